"""Reading and writing sockets with a deadline, for threads that may wait; memory for big requests is
allocated as their bytes come, not by the length announced."""
from __future__ import absolute_import, division, print_function

import errno
import select
import socket
import struct
import sys

from dispynode_lib.errors import PeerGone, ProtocolError
from dispynode_lib.host.compat import PY2, WOULD_BLOCK, monotonic
from dispynode_lib.log import Log
from dispynode_lib.wire.framing import LENGTH

log = Log('dispynode.streams')

LOOK = int(socket.MSG_PEEK | socket.MSG_DONTWAIT)
WIDE_LIMITS = (66, 67)                      # Linux: SO_RCVTIMEO_NEW, SO_SNDTIMEO_NEW
SLOWEST = 16384.0  # bytes a second that a big request has to come with at least
SLOWEST_FILE = 1024.0                       # and a file
GROWN_SIZE = 256 << 10                      # bigger requests get memory only as their bytes come


class Stream(object):
    """A non-blocking socket (plain or TLS) read and written with a time limit on progress."""

    __slots__ = ('sock', 'timeout', '_flags')

    def __init__(self, sock, timeout):
        """`timeout`: seconds without any progress after which PeerGone is raised."""
        self.sock = sock
        self.timeout = timeout
        self._flags = 0

    def wait_in_kernel(self):
        """From now on have the system fill what is read: for much data in small pieces."""
        if type(self.sock) is not socket.socket or not self.timeout:
            return                          # TLS
        self.sock.setblocking(True)
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self.sock.setsockopt(socket.SOL_SOCKET, option, time_limit(option, self.timeout))
        self._flags = socket.MSG_WAITALL

    def send(self, data):
        """Send all of `data`. Raises PeerGone."""
        send_all(self.sock, data, None, self.timeout)

    def send_frame(self, payload):
        """Send `payload` with its length in front."""
        self.send(LENGTH.pack(len(payload)) + payload)

    def read_some_into(self, view):
        """Read into a memoryview what is there, at least a byte; return the number of bytes.

        Raises PeerGone: end of file, time limit.
        """
        while True:
            try:
                count = self.sock.recv_into(
                    view, 0, self._flags) if self._flags else self.sock.recv_into(view)
            except EnvironmentError as error:
                if not would_block(error):
                    raise PeerGone('reading: %s' % error)
                if self._flags and error.errno != errno.EINTR:
                    raise PeerGone('no progress within the time limit')
                wait_for(self.sock, wanted(error, select.POLLIN), self.timeout)
                continue
            if not count:
                raise PeerGone('the peer closed the connection')
            return count

    def read_into(self, view, pace=None, before=0):
        """Fill a memoryview; `pace`: a Pace, `before`: bytes before. Raises PeerGone."""
        have, size = 0, len(view)
        while have < size:
            have += self.read_some_into(view[have:])
            if pace is not None and have < size:
                pace.check(before + have)

    def read_exact(self, size):
        """Return exactly `size` bytes as a bytearray."""
        data = bytearray(size)
        self.read_into(memoryview(data))
        return data

    def read_frame(self, limit):
        """Return the payload (bytearray) of a frame. Raises ProtocolError over `limit` bytes."""
        size = LENGTH.unpack(bytes(self.read_exact(4)))[0]
        if size > limit:
            raise ProtocolError('a frame of %d bytes, allowed are %d' % (size, limit))
        return self.read_exact(size)


def time_limit(option, seconds):
    """Return a value for SO_RCVTIMEO or SO_SNDTIMEO: two numbers as wide as the system's.

    On Linux with 32 bits that are 64 if this Python was built so; then the options' numbers are
    others, too.
    """
    return struct.pack('qq' if option in WIDE_LIMITS else 'll', int(seconds),
                       int(seconds % 1 * 1000000))


def send_all(sock, data, deadline, timeout=None):
    """Send all of `data` over a non-blocking socket until `deadline` (monotonic), or while there is
    progress within each `timeout` seconds. Raises PeerGone.
    """
    view = data
    while len(view):
        try:
            sent = sock.send(view)
        except EnvironmentError as error:
            if not would_block(error):
                raise PeerGone('sending: %s' % error)
            left = timeout if deadline is None else deadline - monotonic()
            wait_for(sock, wanted(error, select.POLLOUT), left)
            continue
        if sent == len(view):
            return
        view = memoryview(view)[sent:]


def wait_for(sock, events, timeout):
    """Wait until `sock` is ready for poll `events`; PeerGone after `timeout` seconds."""
    if timeout > 0:
        poll = select.poll()
        poll.register(sock.fileno(), events)
        deadline = monotonic() + timeout
        while timeout > 0:
            try:
                if poll.poll(timeout * 1000.0):
                    return
            except (EnvironmentError, select.error):        # a signal (2.7)
                pass
            timeout = deadline - monotonic()
    raise PeerGone('no progress within the time limit')


def would_block(error):
    """Return whether an error of a socket, plain or TLS, only says that it has to wait."""
    return error.errno in WOULD_BLOCK or error.errno == errno.EINTR \
        or type(error).__name__ in ('SSLWantReadError', 'SSLWantWriteError')


def wanted(error, default):
    """Return the poll events to wait for after an error by which a socket would block.

    default   for a plain socket; TLS may have to read to send, and to send to read
    """
    return {'SSLWantReadError': select.POLLIN,
            'SSLWantWriteError': select.POLLOUT}.get(type(error).__name__, default)


def is_at_end(sock):
    """Return whether the peer of a plain connection has closed it and all was read."""
    if hasattr(sock, 'do_handshake'):
        return False                        # TLS
    try:
        return not sock.recv(1, LOOK)
    except EnvironmentError as error:
        return not would_block(error)


def close_quietly(sock):
    """Close a socket that may be broken."""
    try:
        sock.close()
    except EnvironmentError as error:
        log.debug('closing a connection: %s', error)


def reset_at_close(sock):
    """Have the peer see an error when `sock` is closed (RST), not the end of an answer."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    except EnvironmentError as error:
        log.debug('resetting a connection: %s', error)


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
    """Return the `size` bytes of a request that begins with `begun`. A false length is free.

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
    """Return a writable buffer, or an empty one that has to grow. Raises ProtocolError."""
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
    """Return a memoryview of `size` zero bytes, at a page's beginning if Python has that.

    The kernel may take thrice as long to copy to an address that is a few bytes off.
    """
    if PY2:
        return memoryview(bytearray(size))
    import mmap
    return memoryview(mmap.mmap(-1, size))
