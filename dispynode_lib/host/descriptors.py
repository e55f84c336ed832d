"""Descriptors: kept from programs, and passed from one process to another with a byte each.

Supervisors use this, too: no more is imported than they have.
"""
from __future__ import absolute_import, division, print_function

import _socket
import errno
import fcntl
import os
import select
import struct

from dispynode_lib.texts import path_bytes

HAS_SENDMSG = hasattr(_socket.socket, 'sendmsg')
CMSG_CLOEXEC = getattr(_socket, 'MSG_CMSG_CLOEXEC', 0)
LONGEST_NAME = 100                          # bytes of the name of a socket; Linux allows 107
MARK = b'F'                                 # the byte that a descriptor comes with
NUMBER = struct.Struct('i')

if not HAS_SENDMSG:
    try:
        import _multiprocessing
    except NotImplementedError:             # no random numbers: host/surroundings says so
        _multiprocessing = None


def set_cloexec(fd):
    """Keep descriptor `fd` from being inherited by programs; newer Pythons do it by themselves."""
    fcntl.fcntl(fd, fcntl.F_SETFD, fcntl.fcntl(fd, fcntl.F_GETFD) | fcntl.FD_CLOEXEC)


def set_blocking(fd, blocking):
    """Set whether reads and writes on descriptor `fd` wait."""
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    flags = flags & ~os.O_NONBLOCK if blocking else flags | os.O_NONBLOCK
    fcntl.fcntl(fd, fcntl.F_SETFL, flags)


def write_all(fd, data):
    """Write all of `data` (bytes-like) to a descriptor that blocks. Raises EnvironmentError."""
    size = len(data)
    sent = 0
    while sent < size:
        try:
            sent += os.write(fd, data if not sent else memoryview(data)[sent:])
        except EnvironmentError as error:
            if error.errno != errno.EINTR:
                raise


def is_readable(fd, seconds=0):
    """Wait up to `seconds` for something to read from `fd`, or its end; return whether there is."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    try:
        return bool(poll.poll(int(seconds * 1000)))
    except select.error:                    # a signal (2.7)
        return False


def with_short_name(path, function):
    """Call function(name) for a socket at `path`; a long one is named by its opened folder."""
    if len(path_bytes(path)) <= LONGEST_NAME:
        return function(path)
    folder = os.open(os.path.dirname(path), os.O_RDONLY)
    try:
        return function('/proc/self/fd/%d/%s' % (folder, os.path.basename(path)))
    finally:
        os.close(folder)


if HAS_SENDMSG:
    def send_fd(sock, fd, more=b''):
        """Pass descriptor `fd` over AF_UNIX socket `sock`. Raises EnvironmentError."""
        sock.sendmsg([MARK + more], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, NUMBER.pack(fd))])

    def recv_fd_and(sock, size):
        """Take one descriptor passed by send_fd; return it, None at end of file or if it was lost,
        and its byte with up to `size` more. Close-on-exec is set.

        Raises EnvironmentError of the socket (EAGAIN when it does not block).
        """
        data, ancillary, _flags, _address = sock.recvmsg(1 + size, 20, CMSG_CLOEXEC)
        for level, kind, payload in ancillary:
            if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS and len(payload) >= 4:
                fd = NUMBER.unpack(payload[:4])[0]
                if not CMSG_CLOEXEC:
                    set_cloexec(fd)
                return fd, data
        return None, data

    def recv_fd(sock):
        """Take one descriptor passed by send_fd, and its byte; None at end of file. As
        recv_fd_and()."""
        fd, data = recv_fd_and(sock, 0)
        if fd is None and data:
            raise EnvironmentError(errno.EPROTO, 'a byte without a descriptor')
        return fd
else:
    def send_fd(sock, fd, more=b''):
        """Pass descriptor `fd` over AF_UNIX socket `sock`, with one byte and `more`."""
        _multiprocessing.sendfd(sock.fileno(), fd)
        write_all(sock.fileno(), more)

    def recv_fd(sock):
        """Take one descriptor passed by send_fd, close-on-exec; None at end of file."""
        try:
            fd = _multiprocessing.recvfd(sock.fileno())
        except RuntimeError:                # it saw end of file: no control message
            return None
        set_cloexec(fd)
        return fd

    def recv_fd_and(sock, _size):
        """Take one descriptor passed by send_fd, and its byte; return it, and b'': what else came
        is still there."""
        return recv_fd(sock), b''
