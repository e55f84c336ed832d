"""Notifications of the kernel (rtnetlink): interfaces, addresses, routes have changed."""
from __future__ import absolute_import, division, print_function

import socket

from dispynode_lib.host import compat

# rtnetlink(7): multicast groups for interfaces, and for addresses and routes of IPv4 and IPv6
LINK, ADDRESS4, ROUTE4, ADDRESS6, ROUTE6 = 0x1, 0x10, 0x40, 0x100, 0x400
NETLINK_ROUTE = 0
READ_SIZE, MESSAGES = 65536, 100


def open_news():
    """Return a socket that can be read when something has changed, None where there is no such
    thing."""
    try:
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ROUTE)
    except (AttributeError, EnvironmentError):          # no Linux, or a sandbox
        return None
    try:
        compat.set_cloexec(sock.fileno())
        sock.setblocking(False)
        sock.bind((0, LINK | ADDRESS4 | ROUTE4 | ADDRESS6 | ROUTE6))
        return sock
    except EnvironmentError:
        sock.close()
        return None


def drop(sock):
    """Read and drop the notifications: that something has changed is all that counts."""
    try:
        for _ in range(MESSAGES):
            sock.recv(READ_SIZE)
    except EnvironmentError:                # no more, or more than the kernel could keep
        return
