"""The node's end of a supervisor: passed descriptors and their numbers."""
from __future__ import absolute_import, division, print_function

import os
import socket
import threading
import unittest

from dispynode_lib.host.descriptors import send_fd
from dispynode_lib.log import CRITICAL, output
from dispynode_lib.node.computations.link import SETTLE_ALONG, Link, socket_pair
from dispynode_lib.wire import control
from tests.support.fakes import FakeLoop, Recorder
from tests.support.waiting import wait_until


class LinkCase(unittest.TestCase):

    def setUp(self):
        near, self.control = socket_pair()
        channels, self.channels = socket_pair()
        self.link = Link(Recorder(), near, channels, os.getpid())
        self.link.children = Recorder()
        for closing in (self.link.close, self.control.close, self.channels.close):
            self.addCleanup(closing)
        output.level, level = CRITICAL + 1, output.level
        self.addCleanup(setattr, output, 'level', level)

    def pass_child(self, number):
        """Pass a channel as a supervisor does; return its other end."""
        near, far = socket_pair()
        send_fd(self.channels, near.fileno())
        near.close()
        self.addCleanup(far.close)
        self.channels.sendall(control.CHILD_NUMBER.pack(number, 1))
        return far

    def take_all(self):
        """Let the link read; return the numbers of the children that it tells of."""
        while self.link._on_channels(None):
            continue
        children = [args[0] for args in self.link.children.named('on_child')]
        for child in children:
            self.link.close_child(child)
        return [child.number for child in children]


class LinkTest(LinkCase):

    def test_each_job_process_has_the_number_that_came_with_its_descriptor(self):
        self.pass_child(7)
        self.pass_child(3)
        self.assertEqual(self.take_all(), [7, 3])

    def test_a_number_that_comes_later_than_its_descriptor_is_waited_for(self):
        near, far = socket_pair()
        send_fd(self.channels, near.fileno())
        self.assertEqual(self.take_all(), [])
        self.channels.sendall(control.CHILD_NUMBER.pack(9, 1))
        self.assertEqual(self.take_all(), [9])
        near.close()
        far.close()

    def test_a_descriptor_that_is_lost_on_its_way_shifts_no_numbers(self):
        # as it comes at the limit for open files
        self.channels.sendall(b'F' + control.CHILD_NUMBER.pack(1, 1))
        self.pass_child(2)
        self.assertEqual(self.take_all(), [2])
        self.assertEqual(len(self.link.children.named('on_lost_child')), 1)

    def test_the_end_of_a_supervisor_closes_a_descriptor_without_a_number(self):
        before = len(os.listdir('/proc/self/fd'))
        near, far = socket_pair()
        send_fd(self.channels, near.fileno())
        near.close()
        self.take_all()
        self.channels.close()
        self.take_all()
        far.close()
        self.assertEqual(len(os.listdir('/proc/self/fd')), before - 1)


class LookTest(LinkCase):
    """A supervisor that outlives the node: what ends a job stays in its channel until it is
    settled."""

    def setUp(self):
        super(LookTest, self).setUp()
        self.loop = FakeLoop()
        self.link._loop = self.loop
        self.link.key = b'k' * 16
        self.far = self.pass_child(7)
        self.link._on_channels(None)
        self.child = self.link.children.named('on_child')[0][0]
        self.child.job = 'a job'

    def take(self):
        """Let the link look; return the frames that the handler gets."""
        before = len(self.link.children.named('on_child_frame'))
        self.loop.turn()
        return [parts for _child, parts in self.link.children.named('on_child_frame')[before:]]

    def left(self):
        """Return the frames that are in the channel."""
        try:
            data = self.child.sock.recv(1 << 20, socket.MSG_PEEK)
        except EnvironmentError:
            return []
        return control.Splitter(1 << 20).feed(data)

    def test_a_result_that_was_taken_is_there_still(self):
        self.far.sendall(control.pack(b'log', b'10', b'a', b'b') + control.pack(b'done', b'11'))
        self.assertEqual(self.take() + self.take(), [[b'log', b'10', b'a', b'b'], [b'done', b'11']])
        self.assertEqual(self.left(), [[b'done', b'11']])
        self.assertEqual((self.take(), self.loop.watched), ([], {}))

    def test_a_result_that_comes_in_parts_is_waited_for(self):
        frame = control.pack(b'done', b'x' * 100000)
        for part in (frame[:2], frame[2:70000], frame[70000:]):
            self.assertEqual(self.take(), [])
            self.far.sendall(part)
        self.assertEqual((len(self.take()), len(self.left())), (1, 1))

    def test_a_frame_that_never_ends_does_not_keep_the_loop_busy(self):
        self.far.sendall(b'\0\0\1\0half')
        self.take()
        self.child.seen_at -= 1
        self.take()
        self.take()
        self.assertFalse(self.loop.turn())

    def test_what_no_buffer_holds_is_taken_as_it_comes(self):
        frame = control.pack(b'done', b'x' * 300000)
        sender = threading.Thread(target=self.far.sendall, args=(frame,))
        sender.start()
        frames = []
        wait_until(lambda: frames.extend(self.take()) or frames)
        sender.join()
        self.assertEqual(len(frames[0][1]), 300000)

    def test_the_supervisor_is_told_what_is_settled_in_one_frame(self):
        for number in (1, 2, 3):
            self.link.settle(number)
        self.loop.turn()
        self.loop.pass_time(1)
        self.assertEqual(
            control.unpack(self.control.recv(1 << 16)[4:]),
            [b'settled', b''.join([control.NUMBER.pack(number) for number in (1, 2, 3)])])

    def test_what_is_settled_goes_along_with_the_next_fork_frame(self):
        numbers = tuple(range(1, SETTLE_ALONG + 1))
        for number in numbers:
            self.link.settle(number)
        self.link.send(b'fork', b'1')
        frames = control.Splitter(1 << 16).feed(self.control.recv(1 << 16))
        self.assertEqual(frames, [
            [b'settled', b''.join([control.NUMBER.pack(number) for number in numbers])],
            [b'fork', b'1']])

    def test_a_child_that_waits_is_let_go_and_settled(self):
        self.child.job = None
        self.link.close_child(self.child)
        self.assertEqual(self.far.recv(1), b'')
        self.assertEqual(list(self.link._settled), [7])


if __name__ == '__main__':
    unittest.main()
