"""Pickles of a newer protocol than this Python's own: protocol 5 on Python 3.6 and 3.7."""
from __future__ import absolute_import, division, print_function

import io
import pickle
import struct

BYTEARRAY8, NEXT_BUFFER, READONLY_BUFFER = 0x96, 0x97, 0x98
NEWEST = 5


class Loader(pickle._Unpickler):
    """The standard library's pure Python unpickler with the opcodes of protocol 5."""

    dispatch = dict(pickle._Unpickler.dispatch)
    find_stand_in = None

    def find_class(self, module, name):
        """Return the class or function that a pickle names."""
        found = self.find_stand_in(module, name) if self.find_stand_in else None
        return found or pickle._Unpickler.find_class(self, module, name)

    def load_proto(self):
        """Accept one protocol more than the standard library does."""
        proto = self.read(1)[0]
        if proto > NEWEST:
            raise ValueError(
                'the pickle has protocol %d; this Python reads up to %d' % (proto, NEWEST))
        self.proto = min(proto, pickle.HIGHEST_PROTOCOL)
    dispatch[pickle.PROTO[0]] = load_proto

    def load_bytearray8(self):
        """BYTEARRAY8: eight bytes of length, then the content."""
        size, = struct.unpack('<Q', self.read(8))
        self.append(bytearray(self.read(size)))
    dispatch[BYTEARRAY8] = load_bytearray8

    def load_next_buffer(self):
        """NEXT_BUFFER: its data travels outside of the pickle, which dispy never does."""
        raise pickle.UnpicklingError('the pickle refers to a buffer outside of it')
    dispatch[NEXT_BUFFER] = load_next_buffer

    def load_readonly_buffer(self):
        """READONLY_BUFFER: make the buffer on the stack read-only."""
        self.stack[-1] = memoryview(bytes(self.stack[-1]))
    dispatch[READONLY_BUFFER] = load_readonly_buffer


def load(data, encoding, find_stand_in):
    """Return the object in `data`; see pickling.unpickle().

    find_stand_in   function of (module, name) that gives a class or None; or None
    """
    loader = Loader(io.BytesIO(data), encoding=encoding)
    loader.find_stand_in = find_stand_in
    return loader.load()
