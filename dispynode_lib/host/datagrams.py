"""Datagrams: where they arrived, broadcasts and multicast groups."""
from __future__ import absolute_import, division, print_function

import errno
import socket
import struct

from dispynode_lib.errors import StartError
from dispynode_lib.host import compat, net
from dispynode_lib.log import Log
from dispynode_lib.wire import releases

log = Log('dispynode.datagrams')

LIMIT = 65536                               # bytes of a datagram
ANYWHERE = (u'0.0.0.0', u'::')
IP_PKTINFO = getattr(socket, 'IP_PKTINFO', 8)           # Linux
IPV6_RECVPKTINFO = getattr(socket, 'IPV6_RECVPKTINFO', 49)
IPV6_PKTINFO = getattr(socket, 'IPV6_PKTINFO', 50)
PKTINFO4, PKTINFO6 = struct.Struct('=i4s4s'), struct.Struct('=16sI')
SPACE = 128                                 # bytes for ancillary data
HOPS = 1                                    # multicast stays in the local network (docs/protocol.rst, "Addresses")


class Arrival(object):
    """How a datagram came.

    source   address (canonical text) of the sender; `port` its port
    own      address of this host at which it arrived, None if that is not known
    directed whether it was sent to this host alone; None if that is not known
    """

    __slots__ = ('source', 'port', 'own', 'directed')

    def __init__(self, source, port, own=None, directed=None):
        self.source, self.port, self.own, self.directed = source, port, own, directed


def open_sockets(port, addresses, option='-p'):
    """Return the sockets for datagrams at a port; `addresses` (text) are the node's own of one family.

    It is one at all addresses. If another node of this host has that, which has other addresses, they are
    one at each own address, broadcast address and multicast group: both nodes get what is for all.
    Raises StartError.
    """
    family = net.family_of(addresses[0])
    try:
        socks = [net.udp_socket(port, family, option)]
        if not compat.CAN_RECVMSG and len(addresses) > 1:
            # sockets of single addresses get what is sent to these: that tells where it arrived
            socks += [net.shared_udp_socket(address, socks[0].getsockname()[1]) for address in addresses]
    except StartError:
        socks = _shared_sockets(port, addresses)
        if not socks:
            raise
    for sock in socks:
        _tell_arrivals(sock, family)
        for address in addresses:
            for group in client_groups(family):
                join(sock, address, group)
    return socks


def client_groups(family):
    """Return the multicast groups (text) on which clients look for nodes."""
    return releases.multicast_groups(family == socket.AF_INET6)


def _shared_sockets(port, addresses):
    """Return sockets at single addresses, [] if that is not possible either."""
    wanted = list(addresses) + client_groups(net.family_of(addresses[0]))
    for address in addresses:
        wanted += net.broadcast_addresses(address)
    socks = []
    for address in sorted(set(wanted)):
        try:
            socks.append(net.shared_udp_socket(address, port))
        except EnvironmentError as error:
            log.debug('datagrams at %s port %d: %s', address, port, error)
            if address in addresses:
                for sock in socks:
                    sock.close()
                return []
    return socks


def _tell_arrivals(sock, family):
    if not (compat.CAN_RECVMSG and compat.LINUX):
        return
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)


def receive(sock):
    """Return (bytes, Arrival) of the next datagram. Raises EnvironmentError."""
    if not compat.CAN_RECVMSG:
        data, address = sock.recvfrom(LIMIT)
        own = net.canonical(sock.getsockname()[0])
        return data, Arrival(net.canonical(address[0]), address[1], None if own in ANYWHERE else own)
    data, ancillary, _flags, address = sock.recvmsg(LIMIT, SPACE)
    arrival = Arrival(net.canonical(address[0]), address[1])
    for level, kind, value in ancillary:
        if level == socket.IPPROTO_IP and kind == IP_PKTINFO:
            _index, own, target = PKTINFO4.unpack(value[:PKTINFO4.size])
            arrival.own, arrival.directed = compat.to_text(socket.inet_ntoa(own)), own == target
        elif level == socket.IPPROTO_IPV6 and kind == IPV6_PKTINFO:
            target = compat.to_text(socket.inet_ntop(socket.AF_INET6, value[:16]))
            arrival.directed = not target.startswith(u'ff')
            arrival.own = target if arrival.directed else None
    return data, arrival


def join(sock, address, group):
    """Receive what is sent to a multicast group on the interface of `address`; return whether that works."""
    try:
        if net.family_of(address) == socket.AF_INET6:
            index = struct.pack('@I', net.interface_index(address))
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP,
                            socket.inet_pton(socket.AF_INET6, str(group)) + index)
        else:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP,
                            socket.inet_aton(str(group)) + socket.inet_aton(str(address)))
    except EnvironmentError as error:
        if error.errno == errno.EADDRINUSE:             # joined already, by another address of the interface
            return True
        log.info('multicast group %s at %s: %s', group, address, error)
        return False
    return True


def send_from(address, messages):
    """Send datagrams from an own address (text), also to broadcast addresses and multicast groups.

    messages   [(address, port, bytes)]
    Return {address: error text} of the targets that cannot be reached.
    """
    failed = {}
    try:
        sock = _sender(address)
    except EnvironmentError as error:
        return dict((target, str(error)) for target, _port, _data in messages)
    try:
        for target, port, data in messages:
            try:
                sock.sendto(data, net.sockaddr(target, port))
            except EnvironmentError as error:
                failed[target] = str(error)
    finally:
        sock.close()
    return failed


def _sender(address):
    family = net.family_of(address)
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        if compat.PY2:
            compat.set_cloexec(sock.fileno())
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, HOPS)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, net.interface_index(address))
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, HOPS)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(str(address)))
        # bound to the own address: Linux then broadcasts on that address's interface
        sock.bind(net.sockaddr(address, 0))
        return sock
    except EnvironmentError:
        sock.close()
        raise
