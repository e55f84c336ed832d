"""AF_UNIX sockets with a name, also where the path is longer than the system allows."""
from __future__ import absolute_import, division, print_function

import os
import socket
import struct

from dispynode_lib.host.descriptors import set_cloexec, with_short_name

BACKLOG = 16
PEER = struct.Struct('3i')                  # pid, uid, gid
SO_PEERCRED = getattr(socket, 'SO_PEERCRED', 17)        # Python 2 does not name it


def listen(path):
    """Return a listening socket at `path`, made with mode 0600. Raises EnvironmentError."""
    sock = _new()
    try:
        # the folder is private: no one else gets there before chmod
        with_short_name(path, sock.bind)
        os.chmod(path, 0o600)
        sock.listen(BACKLOG)
        return sock
    except BaseException:
        sock.close()
        raise


def connect(path, timeout):
    """Return a socket connected to `path`; `timeout` for each step. Raises EnvironmentError."""
    sock = _new()
    try:
        sock.settimeout(timeout)
        with_short_name(path, sock.connect)
        return sock
    except BaseException:
        sock.close()
        raise


def peer_pid(sock):
    """Return the pid of who listens where `sock` is connected to; 0 if that is not known."""
    try:
        return PEER.unpack(sock.getsockopt(socket.SOL_SOCKET, SO_PEERCRED, PEER.size))[0]
    except EnvironmentError:
        return 0


def _new():
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    set_cloexec(sock.fileno())
    return sock
