"""A node that notes each control frame that it sends or gets, a line of JSON in the file
DISPYNODE_TEST_TAP: for tests.support.frozen."""
from __future__ import absolute_import, division, print_function

import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from dispynode_lib.node.computations import link
from tests.support import manycpus

_notes = os.open(os.environ['DISPYNODE_TEST_TAP'], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def note(sender, frame, computation=None, process=None):
    """Write a line about one frame (bytes)."""
    os.write(_notes, json.dumps([sender, computation, process,
                                 frame.decode('latin-1')]).encode('ascii') + b'\n')


class Packing(object):
    """wire.control, as the module `link` uses it: what it packs is sent."""

    def __getattr__(self, name):
        return getattr(self._control, name)

    def __init__(self, control):
        self._control = control

    def pack(self, *parts):
        frame = self._control.pack(*parts)
        note('node', frame)
        return frame


class Heard(object):
    """Stands before `of`, which is told of the frames that come."""

    def __init__(self, of):
        self._of = of

    def __getattr__(self, name):
        return getattr(self._of, name)

    def on_frame(self, parts):
        note('supervisor', pack(*parts), self._owner.id)
        self._of.on_frame(parts)

    def on_child_frame(self, child, parts):
        note('supervisor', pack(*parts), self._computation.id, child.number)
        self._of.on_child_frame(child, parts)


def attach(self, handler, children):
    real_attach(self, Heard(handler), Heard(children))


def send(self, data):
    note('node', bytes(data))
    real_send(self, data)


pack = link.control.pack
real_attach, link.Link.attach = link.Link.attach, attach
real_send, link.Child.send = link.Child.send, send
link.control = Packing(link.control)

if __name__ == '__main__':
    manycpus.main.program()
