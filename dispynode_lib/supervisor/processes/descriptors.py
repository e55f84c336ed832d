"""Descriptors of a supervisor: its two sockets, channels of job processes, reading, writing.

Job processes are forked from here, so nothing big is imported: `socket` alone would make each fork
dearer.
"""
from __future__ import absolute_import, division, print_function

import _socket
import errno
import fcntl
import os

from dispynode_lib.host.descriptors import (
    HAS_SENDMSG, recv_fd, send_fd, set_blocking, set_cloexec, with_short_name, write_all)
from dispynode_lib.supervisor.processes.lean import PYTHON2
from dispynode_lib.wire.control import CHILD_NUMBER

LOWEST = 64                     # where our descriptors go: out of the way of what user code opens
USUAL = 1024                    # limit for open files on most hosts
REACH = 64
BACKLOG = 4                     # nodes that may wait to be let in
DUPLICATE = getattr(fcntl, 'F_DUPFD_CLOEXEC', fcntl.F_DUPFD)
JOINED_LIMIT = 65536            # pieces up to this size together are joined into one write


def move_away(fd, lowest=LOWEST):
    """Move descriptor `fd` to a high number, closed in programs; return the number."""
    try:
        moved = fcntl.fcntl(fd, DUPLICATE, lowest)
    except EnvironmentError:                # this process may not have so many
        moved = fcntl.fcntl(fd, DUPLICATE, min(lowest, LOWEST // 4))
    if DUPLICATE == fcntl.F_DUPFD:
        set_cloexec(moved)
    os.close(fd)
    return moved


def move_out_of_reach(fd):
    """Move descriptor `fd` above the limit for open files; return its number.

    Whoever closes or takes over all descriptors up to the limit, as jobs may, does not meet it
    there.
    """
    soft = os.sysconf('SC_OPEN_MAX')
    if not LOWEST < soft <= USUAL:          # a long table of descriptors would make forks dear
        return move_away(fd, USUAL if soft > 2 * USUAL or soft < 0 else LOWEST)
    import resource                         # only here: each module of C makes each fork dearer
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < soft + REACH:
        return move_away(fd, max(LOWEST, soft - REACH))
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft + REACH, hard))
    try:
        return move_away(fd, soft)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def take_standard():
    """Take the socket that came as descriptor 0; return its new number.

    Afterwards 0 is /dev/null and 1 a copy of 2 (the node's log).
    """
    taken = move_away(0)
    os.open(os.devnull, os.O_RDONLY)        # takes the lowest free number, which is 0
    fcntl.fcntl(0, fcntl.F_SETFD, 0)
    os.dup2(2, 1)
    return taken


def close_strangers(kept):
    """Close every descriptor above 2 that is not in `kept`: what Python 2 may have let through."""
    try:
        numbers = [int(name) for name in os.listdir('/proc/self/fd')]
    except EnvironmentError:
        numbers = range(3, 256)
    for fd in numbers:
        if fd > 2 and fd not in kept:
            close_quietly(fd)


def close_quietly(fd):
    """Close `fd`, which may be closed already."""
    try:
        os.close(fd)
    except EnvironmentError:
        return                  # user code closes what it likes


def close_runs(fds):
    """Close many descriptors in a few calls: each run of numbers in one."""
    first = last = None
    for fd in sorted(fds):
        if fd - 1 == last:
            last = fd
            continue
        if last is not None:
            os.closerange(first, last + 1)
        first = last = fd
    if last is not None:
        os.closerange(first, last + 1)


def wake_pipe():
    """Return (read end, write end) of a pipe that never blocks, for signals."""
    ends = private_pipe()
    for fd in ends:
        set_blocking(fd, False)
    return ends


def private_pipe():
    """Return (read end, write end) of a pipe, out of users' way and kept from programs."""
    ends = list(os.pipe())
    try:
        for place in (0, 1):
            ends[place] = move_away(ends[place])
    except EnvironmentError:                # too many are open: it will be tried again
        _close_all(ends)
        raise
    return tuple(ends)


def _close_all(fds):
    for fd in fds:
        os.close(fd)


def read_pipe():
    """Return (read end, write end) of a pipe for a program's output; others get none."""
    ends = os.pipe() if HAS_SENDMSG else private_pipe()  # Python 2 would let programs inherit them
    if min(ends) < 3:                       # setup has closed the standard ones
        _close_all(ends)
        ends = private_pipe()
    set_blocking(ends[0], False)
    return ends


def socket_pair():
    """Return the descriptors of two connected stream sockets; programs do not inherit them."""
    one, other = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
    if HAS_SENDMSG:
        return one.detach(), other.detach()
    fds = []
    try:
        for sock in (one, other):
            fds.append(os.dup(sock.fileno()))
            set_cloexec(fds[-1])
    except EnvironmentError:
        _close_all(fds)
        raise
    return fds


def listen(path):
    """Return a socket that listens at `path`, for this user only. Raises EnvironmentError."""
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    mask = os.umask(0o077)
    try:
        set_cloexec(sock.fileno())
        with_short_name(path, sock.bind)
        sock.listen(BACKLOG)
        return sock
    except EnvironmentError:
        sock.close()
        raise
    finally:
        os.umask(mask)


def accept(listener):
    """Return the next connection to a socket of listen(). Raises EnvironmentError."""
    sock = listener.accept()[0] if PYTHON2 else _socket.socket(fileno=listener._accept()[0])
    set_cloexec(sock.fileno())
    return sock


class _Socket(object):
    """A socket by its number, for passing descriptors on Python 2."""

    def __init__(self, fileno):
        self._fd = fileno

    def fileno(self):
        return self._fd

    def close(self):
        close_quietly(self._fd)


_passing = _socket.socket if HAS_SENDMSG else _Socket


class Channels(object):
    """Passes descriptors to the node."""

    def __init__(self, fd):
        self.fd = fd
        self._sock = _passing(fileno=fd)

    def send_fd(self, fd, number, pid):
        """Pass `fd` on, and number and pid of its job process. Raises EnvironmentError."""
        send_fd(self._sock, fd, CHILD_NUMBER.pack(number, pid))


class Receiver(object):
    """Takes descriptors from the node."""

    def __init__(self, fd):
        self._sock = _passing(fileno=fd)

    def receive_fd(self):
        """Return a descriptor, moved out of the way of user code; None when the node has gone."""
        try:
            fd = recv_fd(self._sock)
        except EnvironmentError:
            return None
        return None if fd is None else move_away(fd)

    def close(self):
        """Close the socket."""
        self._sock.close()


def read_some(fd, size):
    """Return up to `size` bytes, b'' at the end; an end by force counts as one."""
    while True:
        try:
            return os.read(fd, size)
        except EnvironmentError as error:
            if error.errno == errno.ECONNRESET:
                return b''
            if error.errno != errno.EINTR:
                raise


def write_pieces(fd, pieces):
    """Write all `pieces` (bytes-like), small ones together. Raises EnvironmentError."""
    if sum(map(len, pieces)) <= JOINED_LIMIT:
        write_all(fd, b''.join(pieces))
        return
    waiting, size = [], 0
    for piece in pieces:
        if len(piece) > JOINED_LIMIT:
            write_all(fd, b''.join(waiting))
            waiting, size = [], 0
            write_all(fd, piece)
            continue
        waiting.append(piece)
        size += len(piece)
        if size > JOINED_LIMIT:
            write_all(fd, b''.join(waiting))
            waiting, size = [], 0
    write_all(fd, b''.join(waiting))
