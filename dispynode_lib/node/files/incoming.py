"""Files that come: their content, and whether the folder they are for is still the one it was."""
from __future__ import absolute_import, division, print_function

import errno
import os
import stat
import threading

from dispynode_lib.errors import PeerGone
from dispynode_lib.host.io.bodies import SLOWEST_FILE, Pace, aligned_buffer
from dispynode_lib.host.compat import set_cloexec
from dispynode_lib.log import Log

log = Log('dispynode.folders')

CHUNK = 1024000                             # bytes asked for at once (docs/protocol.rst, "FILEXFER")
PIECE = 256 << 10                           # bytes read and written at once: they stay in a processor's cache
UTIME_OF_FD = os.utime in getattr(os, 'supports_fd', ())


class Anchor(object):
    """Knows a folder again by the look of its last component, without one at each of those above.

    It holds the folder open, for the number of one that is gone may become another's.
    """

    def __init__(self, path, places):
        """`path`: absolute, of a folder; `places`: semaphore, how many may be held open."""
        self._path = path
        self._places = places
        self._lock = threading.Lock()
        self._fd = self._known = None
        self._over = False

    def holds(self, is_in_place):
        """Return whether the path leads to the folder known, or else what the function `is_in_place` says."""
        known = self._known
        if known is not None and _number_of(self._path) == known:
            return True
        if not is_in_place():
            return False
        with self._lock:
            self._drop()
            if not self._over and self._places.acquire(False):
                self._take(is_in_place)
        return True

    def _take(self, is_in_place):
        try:
            self._fd = os.open(self._path, os.O_RDONLY | getattr(os, 'O_DIRECTORY', 0) | getattr(os, 'O_NOFOLLOW', 0))
            set_cloexec(self._fd)
            found = os.fstat(self._fd)
            if is_in_place() and _number_of(self._path) == (found.st_dev, found.st_ino):
                self._known = found.st_dev, found.st_ino
        except EnvironmentError as error:   # removed by a job, or no descriptors left
            log.debug('%s is not held open: %s', self._path, error)
        if self._known is None:
            self._drop(True)

    def lift(self):
        """Hold the folder no more."""
        with self._lock:
            self._over = True
            self._drop()

    def _drop(self, taken=False):
        taken = taken or self._fd is not None
        if self._fd is not None:
            os.close(self._fd)
        self._fd = self._known = None
        if taken:
            self._places.release()


def _number_of(path):
    """Return (device, number) of a folder that is no link; None if there is none."""
    try:
        found = os.lstat(path)
    except EnvironmentError:
        return None
    return (found.st_dev, found.st_ino) if stat.S_ISDIR(found.st_mode) else None


def make_folder(path, mode=0o700):
    """Make `path` with its parents; an existing folder is fine. Raises EnvironmentError."""
    if os.path.isdir(path):
        return
    parent = os.path.dirname(path)
    if parent and parent != path:
        make_folder(parent, 0o711 if mode != 0o700 else 0o700)
    try:
        os.mkdir(path, mode)
    except EnvironmentError as error:
        if error.errno != errno.EEXIST or not os.path.isdir(path):
            raise


def fill(partial, file_record, stream, value):
    """Make the file `partial` of what comes, with its mode and times (the other arguments: see Folder.receive).

    Each part is asked for before the one in front of it is all written: it comes meanwhile.
    """
    size = file_record.size
    if size > CHUNK:
        stream.wait_in_kernel()
    if size:
        stream.send_frame(value(0))
    done, asked, pace = 0, min(size, CHUNK), Pace(stream.timeout, SLOWEST_FILE)
    view, fd = aligned_buffer(PIECE) if size > CHUNK else memoryview(bytearray(min(size, PIECE))), None
    try:
        fd = _new_file(partial)
        while done < size:
            count = stream.read_some_into(view[:min(asked - done, PIECE)])
            done += count
            if done < size:
                pace.check(done)
                if done == asked:
                    stream.send_frame(value(done))
                    asked = min(size, done + CHUNK)
            _write_all(fd, view[:count])
        os.fchmod(fd, file_record.mode & 0o777)
        os.utime(fd if UTIME_OF_FD else partial, (file_record.atime, file_record.mtime))
    except EnvironmentError:
        _pass_over(stream, view, done, asked, pace)
        raise
    finally:
        if fd is not None:
            os.close(fd)


def _pass_over(stream, view, done, asked, pace):
    """Read what a sender was asked for and may be sending: closed with that unread, it would not see the answer."""
    try:
        while done < asked:
            done += stream.read_some_into(view[:min(asked - done, len(view))])
            pace.check(done)
    except PeerGone as gone:
        log.debug('the rest of a file that cannot be written: %s', gone)


def _new_file(path):
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, 'O_NOFOLLOW', 0)
    try:
        return os.open(path, flags, 0o600)
    except EnvironmentError as error:
        if error.errno != errno.ENOENT:
            raise
    make_folder(os.path.dirname(path))
    return os.open(path, flags, 0o600)


def _write_all(fd, data):
    while len(data):
        data = data[os.write(fd, data):]
