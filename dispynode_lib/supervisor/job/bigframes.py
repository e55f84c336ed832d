"""Big arguments and results: unpickled as they are read, handed over in files, not copied."""
from __future__ import absolute_import, division, print_function

import _socket
import os

from dispynode_lib.errors import PeerGone
from dispynode_lib.host.descriptors import write_all
from dispynode_lib.supervisor.pickles import pickling
from dispynode_lib.supervisor.processes.lean import PYTHON2, pickles, to_bytes
from dispynode_lib.wire.control import LENGTH, NOTHING

READ_SIZE = 65536
# bytes of a pickled result from which on it goes into a file: a channel holds 180,000, which the
# next node finds there should the present one die
BIG_RESULT = 163840
STREAMED_SIZE = 65536                       # smaller arguments are read as a whole first
FRAMED = 4  # protocols from here on can be unpickled from a stream in big steps


class BigFrame(object):
    """Reads the parts of one frame in turn."""

    def __init__(self, fd, data):
        """`data`: what has been read of the frame."""
        self._fd = fd
        self._data = data

    def first_parts(self, count):
        """Return the first `count` parts, each bytes or None."""
        self._exactly(4)
        return [self.part() for _turn in range(count)]

    def part(self):
        """Return the next part, bytes or None."""
        size = LENGTH.unpack(self._exactly(4))[0]
        return None if size == NOTHING else self._exactly(size)

    def _exactly(self, size):
        """Return the next `size` bytes."""
        while len(self._data) < size < READ_SIZE:
            self._data += _some(self._fd, READ_SIZE)
        head, self._data = self._data[:size], self._data[size:]
        missing = size - len(head)
        return head + _receive(self._fd, missing) if missing else head

    def last_part(self, load):
        """Return the object whose pickle is the next and last part of the frame, read by that.

        load    function that loads any pickle from bytes
        """
        size = LENGTH.unpack(self._exactly(4))[0]
        if not self._can_stream(size, load):
            return load(self._exactly(size))
        stream = PartStream(self._fd, self._data, size)
        try:
            return pickles.Unpickler(stream).load()
        finally:
            # what a failure left: the node would take a half read frame for an accident
            stream.skip()

    def _can_stream(self, size, load):
        if size < STREAMED_SIZE or load is not pickles.loads or not hasattr(os, 'readv'):
            return False
        while len(self._data) < 2:
            self._data += _some(self._fd, READ_SIZE)
        return self._data[:1] == b'\x80' and FRAMED <= bytearray(
            self._data[1:2])[0] <= pickling.HIGHEST


class ArgumentsFile(object):
    """The arguments of a job in a file that the node has written, which removes it."""

    def __init__(self, path):
        self._path = path

    def last_part(self, load):
        """Return the object whose pickle is in the file; `load` loads any pickle from bytes."""
        import io
        with io.open(self._path, 'rb') as source:
            if load is getattr(pickles, 'loads', None):
                return pickles.Unpickler(source).load()
            return load(source.read())


def write_result(folder, pieces):
    """Write a pickled result to a new file; return its name, None if that fails."""
    name = 'result-%d-%s' % (os.getpid(), ''.join(
        ['%02x' % byte for byte in bytearray(os.urandom(8))]))
    path = os.path.join(folder, name)
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except EnvironmentError:
        return None                         # it goes through the channel then
    try:
        for piece in pieces:
            write_all(fd, piece)
        return to_bytes(name)
    except EnvironmentError:
        os.unlink(path)                     # no room
        return None
    finally:
        os.close(fd)


class PartStream(object):
    """What an unpickler reads from: big byte strings are received right into their place."""

    def __init__(self, fd, data, size):
        """`size`: bytes from the start of `data`, which has been read, to the end of the part."""
        self._fd = fd
        self._data = data
        self._left = size - len(data)

    def read(self, size):
        """Return `size` bytes, fewer at the end."""
        data = self._data
        if len(data) < size:
            data += _receive(self._fd, self._take(size - len(data)))
        self._data = data[size:]
        return data[:size] if len(data) > size else data

    def readline(self):
        """Return bytes up to and with the next newline."""
        line = b''
        while not line.endswith(b'\n'):
            letter = self.read(1)
            if not letter:
                break
            line += letter
        return line

    def readinto(self, place):
        """Fill `place`, a writable buffer; return the number of bytes."""
        view = memoryview(place)
        data = self._data
        got = min(len(view), len(data))
        view[:got] = data[:got]
        self._data = data[got:]
        missing = self._take(len(view) - got)
        end = got + missing
        while got < end:
            count = os.readv(self._fd, [view[got:end]])
            if not count:
                raise PeerGone('the node closed in the middle of a frame')
            got += count
        return got

    def skip(self):
        """Read the rest and forget it."""
        while self._left:
            self._take(len(_some(self._fd, min(self._left, 1 << 20))))

    def _take(self, size):
        """Return how many of `size` bytes are still to come, and count them as received."""
        size = min(size, self._left)
        self._left -= size
        return size


def _some(fd, size):
    data = os.read(fd, size)
    if not data:
        raise PeerGone('the node closed in the middle of a frame')
    return data


def _receive(fd, size):
    """Return exactly `size` bytes, received as one object where that goes."""
    if size < READ_SIZE:
        data = b''
        while len(data) < size:
            data += _some(fd, size - len(data))
        return data
    sock = _socket.fromfd(fd, _socket.AF_UNIX, _socket.SOCK_STREAM) if PYTHON2 else _socket.socket(
        fileno=fd)
    try:
        data = sock.recv(size, _socket.MSG_WAITALL)
        while len(data) < size:             # a signal came
            more = sock.recv(size - len(data), _socket.MSG_WAITALL)
            if not more:
                raise PeerGone('the node closed in the middle of a frame')
            data += more
    finally:
        if not PYTHON2:
            sock.detach()
    return data
