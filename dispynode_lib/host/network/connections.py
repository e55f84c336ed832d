"""Connections to peers; jobs use this, too: it imports little."""
from __future__ import absolute_import, division, print_function

import socket
import struct

from dispynode_lib.host.compat import LINUX, PY2, set_cloexec, to_native, to_text


def for_resolver(name):
    """Return a host name as getaddrinfo takes it; ASCII as bytes: text takes large tables."""
    name = to_text(name)
    return to_native(name) if any(letter > u'\x7f' for letter in name) else name.encode('ascii')


def connect(address, port, timeout, tls=None):
    """Return a connected TCP socket, blocking with `timeout` seconds for each operation.

    address   name or IP address
    tls       None, or a function socket -> TLS socket as client
    Raises EnvironmentError.
    """
    sock = socket.create_connection((for_resolver(address), port), timeout)
    try:
        if PY2:
            set_cloexec(sock.fileno())
        # small messages at once (docs/protocol.rst, "FILEXFER": stop and wait)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock if tls is None else tls(sock)
    except EnvironmentError:
        sock.close()
        raise


def unacknowledged(sock):
    """Return how many of the bytes sent by a socket the peer's host has not acknowledged (TCP), or
    the peer has not read (AF_UNIX: with what the system adds); 0 where only Linux would know.

    Raises EnvironmentError.
    """
    if not LINUX:
        return 0
    import fcntl
    import termios
    return struct.unpack('i', fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, struct.pack('i', 0)))[0]
