"""Big arguments, found in the first bytes of a JOB: they need not be held in memory.

They are a byte string in the pickle that the message is. Its bytes can go to a file as they come,
and the rest is read as usual with a short stand-in for them. Of Python 2 clients other fields are
byte strings, too: the code above all.
"""
from __future__ import absolute_import, division, print_function

import binascii
import os
import struct

from dispynode_lib.errors import ProtocolError
from dispynode_lib.host.compat import text_type, to_text
from dispynode_lib.wire.pickle.objects import STRICT
from dispynode_lib.wire.pickle.pickles import LIMITS
from dispynode_lib.wire.pickle.reader import Reader

STAND_IN_SIZE = 32                          # hex digits
FIELDS = (u'args', u'kwargs', u'_args', u'_kwargs')     # as the releases call what may be big
MOST_OPCODES = 1000

# opcode -> (its length field, the opcode that announces a short one)
_BYTE_STRINGS = {
    b'B': (struct.Struct('<L'), b'C'),          # BINBYTES
    b'\x8e': (struct.Struct('<Q'), b'C'),       # BINBYTES8
    b'T': (struct.Struct('<L'), b'U'),          # BINSTRING, of Python 2
}


class Blob(object):
    """A byte string that begins in the known part of a message and ends behind it.

    head      the bytes of the message before it
    begun     its own first bytes
    size      bytes of it in all
    stand_in  what stands for it in the message that message() gives
    """

    __slots__ = ('head', 'begun', 'size', 'stand_in', '_short')

    def __init__(self, head, begun, size, short):
        self.head, self.begun, self.size, self._short = head, begun, size, short
        self.stand_in = binascii.hexlify(os.urandom(STAND_IN_SIZE // 2))

    def message(self, tail):
        """Return the message with the stand-in; `tail`: its bytes behind the byte string."""
        return self.head + self._short + struct.pack('B', STAND_IN_SIZE) + self.stand_in + tail


def holder(job, stand_in):
    """Return the field of a JOB record that is the stand-in, 'args' or 'kwargs'.

    Raises ProtocolError if it is somewhere else, or in more places than one.
    """
    holders = [name for name in ('args', 'kwargs') if getattr(job, name) == stand_in]
    text = stand_in.decode('ascii')
    if len(holders) != 1 or text in job.code or text in job.hash:
        raise ProtocolError('JOB: big arguments at an odd place')
    return holders[0]


def _is_field(stack):
    """Return whether the last thing read is the name of a field that may be big."""
    return bool(stack) and type(stack[-1]) in (bytes, text_type) and to_text(stack[-1]) in FIELDS


def find(pickle, records):
    """Return the Blob that begins in the beginning of a JOB and goes on behind it, or None.

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
                    if not _is_field(reader.stack):
                        return None         # what comes behind it is not known
                    return Blob(pickle[:at], pickle[begin:], size, row[1])
            at = STRICT[data[at]](reader, at + 1)
            if at < 0:
                return None
    except (ProtocolError, IndexError, struct.error, ValueError):
        return None                             # reading the whole message will tell what is wrong
    return None
