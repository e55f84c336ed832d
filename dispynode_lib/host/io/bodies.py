"""Big requests: memory is allocated as their bytes come, not by the length announced."""
from __future__ import absolute_import, division, print_function

import sys

from dispynode_lib.errors import PeerGone, ProtocolError
from dispynode_lib.host.compat import PY2, monotonic

SLOWEST = 16384.0  # bytes a second that a big request has to come with at least
SLOWEST_FILE = 1024.0                       # and a file
GROWN_SIZE = 256 << 10                      # bigger requests get memory only as their bytes come


class Pace(object):
    """Least rate at which a body has to come, from its first byte to its last."""

    __slots__ = ('_begun', '_rate')

    def __init__(self, timeout, rate=SLOWEST):
        """`timeout`: seconds that it may be late; `rate`: bytes a second."""
        self._begun, self._rate = monotonic() + timeout, rate

    def check(self, count):
        """Raise PeerGone if that only `count` bytes have come is too slow."""
        if count < (monotonic() - self._begun) * self._rate:
            raise PeerGone('too slow: %d bytes came in time' % count)


def read_rest(stream, begun, size):
    """Return the `size` bytes of a request whose first ones, `begun`, are here. A length that lies
    costs nothing.

    Raises PeerGone, and ProtocolError for one that does not fit into this process.
    """
    payload, pace = _memory(size), Pace(stream.timeout)
    if len(payload) == size:
        payload[:len(begun)] = begun
        stream.read_into(memoryview(payload)[len(begun):], pace, len(begun))
        return payload
    payload[:len(begun)] = begun
    while len(payload) < size:              # Python 2
        have = len(payload)
        try:
            payload += bytearray(min(size - have, max(have, GROWN_SIZE)))
        except MemoryError as error:
            raise _too_big(size, error)
        stream.read_into(memoryview(payload)[have:], pace, have)
    return payload


def _memory(size):
    """Return a writable buffer of `size` bytes, or an empty bytearray that has to grow. Raises
    ProtocolError."""
    if size <= GROWN_SIZE:
        return bytearray(size)
    if size > sys.maxsize:                  # 32 bits
        raise _too_big(size, 'more than this Python can address')
    if PY2:
        return bytearray()
    import mmap
    try:
        return mmap.mmap(-1, size)          # the system gives a page when it is first written to
    except (EnvironmentError, MemoryError) as error:
        raise _too_big(size, error)


def _too_big(size, why):
    return ProtocolError(
        'a request of %d bytes does not fit into memory: %s' % (size, why or 'there is none left'))


def aligned_buffer(size):
    """Return a memoryview of `size` zero bytes, from the beginning of a page on where Python has
    that.

    The kernel may take thrice as long to copy to an address that is a few bytes off.
    """
    if PY2:
        return memoryview(bytearray(size))
    import mmap
    return memoryview(mmap.mmap(-1, size))
