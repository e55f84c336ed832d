"""Finds the big byte string in the beginning of a message, so that it need not be held in memory.

A job with big arguments is one pickle with a byte string in it. Its bytes can go to a file as they come, and the
rest is read as usual with a short stand-in for them.
"""
from __future__ import absolute_import, division, print_function

import os
import struct

from dispynode_lib.errors import ProtocolError
from dispynode_lib.wire.objects import STRICT
from dispynode_lib.wire.pickles import LIMITS
from dispynode_lib.wire.reader import Reader

STAND_IN_SIZE = 32
MOST_OPCODES = 1000

# opcode -> (its length field, the opcode that announces a short one)
_BYTE_STRINGS = {
    b'B': (struct.Struct('<L'), b'C'),          # BINBYTES
    b'\x8e': (struct.Struct('<Q'), b'C'),       # BINBYTES8
    b'T': (struct.Struct('<L'), b'U'),          # BINSTRING, of Python 2
}


class Blob(object):
    """A byte string that goes on behind the part of a message that is known.

    head      the bytes of the message before it
    begun     its own first bytes
    size      bytes of it in all
    stand_in  what stands for it in the message that message() gives
    """

    __slots__ = ('head', 'begun', 'size', 'stand_in', '_short')

    def __init__(self, head, begun, size, short):
        self.head, self.begun, self.size, self._short = head, begun, size, short
        self.stand_in = os.urandom(STAND_IN_SIZE)

    def message(self, tail):
        """Return the message as it would be with the stand-in; `tail`: its bytes behind the byte string."""
        return self.head + self._short + struct.pack('B', STAND_IN_SIZE) + self.stand_in + tail


def find(pickle, records):
    """Return the Blob that is announced in the beginning of a pickle but not complete in it; None if there is none.

    pickle    bytes: the beginning
    records   as for pickles.load()
    """
    reader = Reader(pickle, records, False, LIMITS)
    data, at = reader.data, 0
    try:
        for _ in range(MOST_OPCODES):
            row = _BYTE_STRINGS.get(pickle[at:at + 1])
            if row is not None:
                begin = at + 1 + row[0].size
                size = row[0].unpack_from(pickle, at + 1)[0]
                if size > len(pickle) - begin:
                    return Blob(pickle[:at], pickle[begin:], size, row[1])
            at = STRICT[data[at]](reader, at + 1)
            if at < 0:
                return None
    except (ProtocolError, IndexError, struct.error, ValueError):
        return None                             # reading the whole message will tell what is wrong
    return None
