"""A pid file, locked while its process lives, so that a stale one is no obstacle."""
from __future__ import absolute_import, division, print_function

import errno
import fcntl
import os
import time

from dispynode_lib.host.compat import set_cloexec

HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)       # some network file systems
ATTEMPTS, PAUSE = 20, 0.02                  # a look by `owner` may hold the lock for a moment


class Held(Exception):
    """A living process has the lock; `pid` is its number, None if the file does not tell."""

    def __init__(self, pid):
        super(Held, self).__init__('held by process %s' % pid)
        self.pid = pid


class LockFile(object):
    """One pid file; acquire() once, release() at the end."""

    def __init__(self, path):
        self.path = path
        self._fd = None

    def acquire(self):
        """Lock the file and write our pid. Raises Held, EnvironmentError."""
        while self._fd is None:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, 'O_NOFOLLOW', 0), 0o644)
            set_cloexec(fd)
            try:
                _lock(fd)
                if _is_same(fd, self.path):     # else its owner has just ended and removed it
                    os.ftruncate(fd, 0)
                    os.write(fd, ('%d\n' % os.getpid()).encode('ascii'))
                    fd, self._fd = None, fd
            finally:
                if fd is not None:
                    os.close(fd)

    def renew(self):
        """Make the file anew if somebody has removed it. Raises as acquire()."""
        if self._fd is None or os.path.lexists(self.path):
            return
        old, self._fd = self._fd, None
        try:
            self.acquire()
        finally:
            if self._fd is None:
                self._fd = old
            else:
                os.close(old)

    def release(self):
        """Remove the file, then give the lock back. Does nothing without the lock."""
        if self._fd is None:
            return
        try:
            if _is_same(self._fd, self.path):
                os.unlink(self.path)
        except EnvironmentError:
            # the folder is not ours (any more): the file stays, and names nobody
            os.ftruncate(self._fd, 0)
        finally:
            os.close(self._fd)
            self._fd = None


def owner(path):
    """Return the pid of the living process that has the lock of `path`, None if none has."""
    try:
        fd = os.open(path, os.O_RDWR)
    except EnvironmentError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except EnvironmentError as error:
        return _read_pid(fd) if error.errno in HELD else None
    finally:
        os.close(fd)


def _lock(fd):
    for attempt in range(ATTEMPTS):
        try:
            return fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except EnvironmentError as error:
            if error.errno in NO_LOCKS:
                return None                 # the ports will tell of another node
            if error.errno not in HELD:
                raise
            if attempt + 1 == ATTEMPTS:
                raise Held(_read_pid(fd))
            time.sleep(PAUSE)


def _read_pid(fd):
    os.lseek(fd, 0, os.SEEK_SET)
    word = os.read(fd, 32).strip()
    return int(word) if word.isdigit() else None


def _is_same(fd, path):
    try:
        there, here = os.stat(path), os.fstat(fd)
    except EnvironmentError:
        return False
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)
