"""What never ends by itself does not take the loop's thread for ever: others have their turn."""
from __future__ import absolute_import, division, print_function

import unittest

from dispynode_lib.host.io.calls import Call
from dispynode_lib.host.io.loop import WRITE
from dispynode_lib.node.computations import link
from dispynode_lib.wire import control

ENDLESS = 10000


class FakeLoop(object):
    """Notes what is watched."""

    def __init__(self):
        self.watched = []

    def watch(self, fd, _callback, events):
        """As Loop's."""
        self.watched.append((fd, events))

    def unwatch(self, fd):
        """As Loop's."""
        self.watched.append((fd, None))

    @staticmethod
    def call_at(_when, _function, *_args):
        """As Loop's."""


class FakeSocket(object):
    """Has always something to read."""

    def __init__(self):
        self.count = 0

    @staticmethod
    def fileno():
        """As a socket's."""
        return 7

    def recv(self, _size, _how=0):
        """Return a frame; the test has failed before ENDLESS of them."""
        self.count += 1
        return control.pack(b'log', b'10', b'dispynode', b'x') if self.count < ENDLESS else b''

    def close(self):
        """As a socket's."""


class BigPiece(object):
    """A result in a file, for a client that takes it as fast as it is sent."""

    def __init__(self):
        self.count = 0

    def send_to(self, _sock):
        """Send some of it; return whether that was all."""
        self.count += 1
        return self.count == ENDLESS


class TurnsTest(unittest.TestCase):

    def test_a_big_result_for_a_fast_client(self):
        loop, piece = FakeLoop(), BigPiece()
        call = Call(loop, ('127.0.0.1', 1), [piece], True, 5, None)
        call._sock, call._fd = FakeSocket(), 7
        call._send()
        self.assertLess(piece.count, ENDLESS)
        self.assertEqual(loop.watched, [(7, WRITE)])

    def test_what_an_ended_job_has_left_writes_on(self):
        sock, loop = FakeSocket(), FakeLoop()
        self.addCleanup(setattr, link, 'is_readable', link.is_readable)
        link.is_readable = lambda _sock: True
        child = link.Child(1, sock)
        child.splitter = control.Splitter(1 << 20)
        drained = link.Link.__new__(link.Link)
        drained._loop, drained.children = loop, self
        drained.drain(child)
        self.assertLess(sock.count, ENDLESS)
        self.assertIsNone(child.sock)

    def on_child_frame(self, _child, parts):
        """As a computation's."""
        self.assertEqual(parts[0], b'log')

    def on_child_closed(self, _child):
        """As a computation's."""
