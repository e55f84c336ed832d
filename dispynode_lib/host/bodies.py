"""Reading big requests into memory that is not given on a peer's mere word."""
from __future__ import absolute_import, division, print_function

from dispynode_lib.host.compat import PY2, monotonic

SLOWEST = 16384.0                           # bytes a second that a big request has to come with at least
GROWN_SIZE = 256 << 10                      # bigger requests get memory only as their bytes come


def read_rest(stream, begun, size):
    """Return the `size` bytes of a request whose first ones, `begun`, are here. A length that lies costs nothing."""
    payload = _memory(size)
    deadline = monotonic() + stream.timeout + size / SLOWEST
    if len(payload) == size:
        payload[:len(begun)] = begun
        stream.read_into(memoryview(payload)[len(begun):], deadline)
        return payload
    payload[:len(begun)] = begun
    while len(payload) < size:              # Python 2
        have = len(payload)
        payload += bytearray(min(size - have, max(have, GROWN_SIZE)))
        stream.read_into(memoryview(payload)[have:], deadline)
    return payload


def _memory(size):
    """Return a writable buffer of `size` bytes, or an empty bytearray that has to grow."""
    if size <= GROWN_SIZE:
        return bytearray(size)
    if PY2:
        return bytearray()
    import mmap
    return mmap.mmap(-1, size)              # the system gives a page when it is first written to
