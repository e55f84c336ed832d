"""Big arguments and results, passed on in files, not through the node's memory.

The node writes big arguments to a file as they come; the job process reads them from there. A job
process writes a big result to a file, which the node sends from there and, if the client is away,
keeps.
"""
from __future__ import absolute_import, division, print_function

import os
import stat

from dispynode_lib.errors import PeerGone, ProtocolError
from dispynode_lib.host.io.streams import Pace, aligned_buffer, read_rest
from dispynode_lib.host import files
from dispynode_lib.host.compat import random_hex, read_at, to_native
from dispynode_lib.host.descriptors import write_all
from dispynode_lib.log import Log
from dispynode_lib.wire import framing
from dispynode_lib.wire.pickle import blobs

log = Log('dispynode.bigfiles')

PREFIX = 16384                              # bytes read before looking for them
BUFFER = 1 << 20
SPARE = 64 << 20                            # bytes of disk that stay free
CHUNK = 1 << 20                             # bytes sent at once
JOB_KINDS = ('_DispyJob_', '_XferFile', 'stat')

_buffers = []  # to be used again: fresh memory costs more than the copying


class Arguments(object):
    """Pickled arguments in a file. `stand_in`: what stands for them in the message."""

    __slots__ = ('path', 'stand_in')

    def __init__(self, path, stand_in):
        self.path, self.stand_in = path, stand_in

    def read(self):
        """Return the arguments as bytes."""
        with open(self.path, 'rb') as source:
            return source.read()

    def remove(self):
        """Remove the file."""
        files.remove(self.path)


def keep_arguments(folder, data):
    """Write arguments (bytes) to a file; return the Arguments, None: there is no room."""
    found = Arguments(os.path.join(folder, 'arguments-%s' % to_native(random_hex(8))), None)
    try:
        files.write(found.path, data)
        return found
    except EnvironmentError as error:
        log.debug('arguments of %d bytes go through the memory of the node: %s', len(data), error)
        return None


def receive_job(stream, prefix, size, folder):
    """Read the rest of a JOB request whose beginning is known.

    stream    host.io.streams.Stream
    prefix    the first bytes of the payload; `size` bytes it has in all
    folder    where big arguments go
    Return (argument of the request, Arguments or None). Raises PeerGone, ProtocolError.
    """
    if len(prefix) < PREFIX:
        more = bytearray(PREFIX - len(prefix))
        stream.read_into(memoryview(more), Pace(stream.timeout))
        prefix += bytes(more)
    start = len(b'JOB:')
    blob = blobs.find(prefix[start:], JOB_KINDS)
    if blob is None:
        return _receive_whole(stream, prefix, size), None
    left = size - len(prefix) - (blob.size - len(blob.begun))
    if left < 0:
        raise ProtocolError('JOB: %d bytes announced in a request of %d' % (blob.size, size))
    path = os.path.join(folder, 'arguments-%s' % to_native(random_hex(8)))
    try:
        if not _receive_blob(stream, blob, path):
            files.remove(path)
            return _receive_whole(stream, prefix, size), None
        return blob.message(bytes(read_rest(stream, b'', left)[:])), Arguments(path, blob.stand_in)
    except BaseException:
        files.remove(path)
        raise


def _receive_whole(stream, prefix, size):
    return framing.split(read_rest(stream, prefix, size))[1]


def _receive_blob(stream, blob, path):
    """Write a blob to a file as it comes; return False, with nothing read, for no room."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except EnvironmentError as error:
        log.warning('big arguments are held in memory: %s', error)
        return False
    try:
        if not _has_room(fd, blob.size):
            return False
        write_all(fd, blob.begun)
        buffer = _take_buffer()
        stream.wait_in_kernel()
        left, pace = blob.size - len(blob.begun), Pace(stream.timeout)
        while left:
            part = buffer[:min(left, BUFFER)]
            count = stream.read_some_into(part)
            left -= count
            write_all(fd, part[:count])
            if left:
                pace.check(blob.size - left)
        if len(_buffers) < 4:
            _buffers.append(buffer)
        return True
    # the room went meanwhile; without ACK the client has the job still
    except EnvironmentError as error:
        raise PeerGone('writing %d bytes of arguments: %s' % (blob.size, error))
    finally:
        os.close(fd)


def _take_buffer():
    try:
        return _buffers.pop()
    except IndexError:                      # there is none, or another thread was sooner
        return aligned_buffer(BUFFER)


def _has_room(fd, size):
    """Return whether the file system has room for `size` bytes, with something to spare."""
    free = os.fstatvfs(fd)
    if free.f_bavail * free.f_frsize > 2 * size + SPARE:
        return True
    log.warning('little room on disk: big arguments of %d bytes are held in memory', size)
    return False


class Result(object):
    """The pickled result of a job, in an open file; a piece of a message for host.io.calls."""

    def __init__(self, fd, size, path=None):
        self._fd, self._size, self._sent = fd, size, 0
        self._path = path

    def __len__(self):
        return self._size

    def send_to(self, sock):
        """Send on; return whether all was sent. Raises EnvironmentError, EAGAIN too."""
        left = self._size - self._sent
        if hasattr(os, 'sendfile') and not hasattr(sock, 'do_handshake'):
            count = os.sendfile(sock.fileno(), self._fd, self._sent, min(left, CHUNK))
            if not count:
                raise EnvironmentError('the file with the result became shorter')
        else:
            count = sock.send(read_at(self._fd, min(left, CHUNK), self._sent))
        self._sent += count
        return self._sent == self._size

    def read(self):
        """Return all of it as bytes, to be kept."""
        data = b''
        while len(data) < self._size:
            piece = read_at(self._fd, self._size - len(data), len(data))
            if not piece:
                raise EnvironmentError('the file with the result became shorter')
            data += piece
        return data

    def remove(self):
        """Unlink the file: the reply is with the client, or on disk."""
        if self._path is not None:
            files.remove(self._path)

    def rewind(self):
        """Start at the beginning again: the message is repeated."""
        self._sent = 0

    def __del__(self):
        os.close(self._fd)


def _is_result(name):
    """Tell whether a name is one that job processes give: result-NUMBER-HEXDIGITS."""
    words = name.split('-')
    return len(words) == 3 and words[0] == 'result' and all(words[1:]) and not (
        words[1].strip('0123456789') or words[2].strip('0123456789abcdef'))


def take_result(folder, name):
    """Return the Result that a job process wrote to file `name` (a part of its frame).

    Raises ProtocolError for a name that is none of ours, EnvironmentError.
    """
    name = to_native(name)
    if not _is_result(name):
        raise ProtocolError('a result in the file %r' % name)
    path = os.path.join(folder, name)
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise ProtocolError('a result that is no file')
    except BaseException:
        os.close(fd)
        raise
    return Result(fd, found.st_size, path)


def remove_but(folder, kept):
    """Remove what a dead node left in the folder, but arguments in `kept` (paths) and results.

    Which of the results are wanted is not known yet.
    """
    for name in files.listing(folder):
        path = os.path.join(folder, name)
        if not _is_result(name) and path not in kept:
            files.remove(path)
