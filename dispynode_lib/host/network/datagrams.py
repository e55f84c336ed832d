"""Datagrams: where they arrived, broadcasts and multicast groups."""
from __future__ import absolute_import, division, print_function

import errno
import socket
import struct

from dispynode_lib.errors import StartError
from dispynode_lib.host import compat
from dispynode_lib.host.network import net
from dispynode_lib.log import Log
from dispynode_lib.wire import releases

log = Log('dispynode.datagrams')

LIMIT = 65536                               # bytes of a datagram
ANYWHERE = (u'0.0.0.0', u'::')
IP_PKTINFO = getattr(socket, 'IP_PKTINFO', 8)           # Linux
IPV6_RECVPKTINFO = getattr(socket, 'IPV6_RECVPKTINFO', 49)
IPV6_PKTINFO = getattr(socket, 'IPV6_PKTINFO', 50)
PKTINFO4 = struct.Struct('=i4s4s')
SPACE = 128                                 # bytes for ancillary data
HOPS = 1  # multicast stays in the local network (docs/protocol.rst, "Addresses")


class Arrival(object):
    """How a datagram came.

    source   address (canonical text) of the sender
    own      address of this host at which it arrived, None if that is not known
    directed whether it was sent to this host alone; None if that is not known
    """

    __slots__ = ('source', 'own', 'directed')

    def __init__(self, source, own=None):
        self.source, self.own, self.directed = source, own, None


class PortSockets(object):
    """The sockets for datagrams at one port, for the node's own addresses of one family.

    It is one at all addresses. If another node of this host has that, which has other addresses,
    they are one at each own address, broadcast address and multicast group: both nodes get what is
    for all.
    """

    def __init__(self, port, family):
        self._port, self._family = port, family
        self._open = {}                     # address -> socket bound to it
        self._not_joined = set()            # (address, group) that were told of

    def sockets(self):
        """Return the list of sockets to read from."""
        return list(self._open.values())

    def close(self):
        """Close all."""
        for address in list(self._open):
            self._open.pop(address).close()

    def follow(self, addresses):
        """Open what `addresses` (text, the node's own now) need, forget what they do not need.

        Raises StartError.
        """
        if not self._open:
            self._begin(addresses)
        whole = ANYWHERE[self._family == socket.AF_INET6]
        wanted = self._wanted(addresses, whole in self._open)
        for address in wanted:
            if address not in self._open:
                self._add(address, address in addresses)
        for address in addresses:
            for group in client_groups(self._family):
                self._join(address, group)
        for address in list(self._open):
            if address not in wanted and address != whole:
                del self._open[address]

    def _begin(self, addresses):
        try:
            sock = net.udp_socket(self._port, self._family)
        except StartError as error:
            try:
                for address in addresses:
                    self._add(address, True)
            except StartError:
                self.close()
                raise error                 # why it was not to be had for all says more
            return
        self._port = sock.getsockname()[1]
        _tell_arrivals(sock, self._family)
        self._open[ANYWHERE[self._family == socket.AF_INET6]] = sock

    def _wanted(self, addresses, is_whole):
        if is_whole:
            # sockets of single addresses get what is sent to these: that tells where it arrived
            return sorted(addresses) if not compat.TELLS_ARRIVALS and len(addresses) > 1 else []
        wanted = set(addresses) | set(client_groups(self._family))
        for address in addresses:
            wanted.update(net.broadcast_addresses(address))
        return sorted(wanted)

    def _add(self, address, is_needed):
        try:
            sock = net.shared_udp_socket(address, self._port)
        except StartError as error:
            if is_needed:
                raise
            log.debug('%s', error)
            return
        _tell_arrivals(sock, self._family)
        self._open[address] = sock

    def _join(self, address, group):
        told = (address, group)
        errors = [error for error in [join(sock, address, group) for sock in self._open.values()]
                  if error is not None]
        if errors and told not in self._not_joined:
            self._not_joined.add(told)
            log.info('multicast group %s at %s: %s', group, address, errors[0])
        elif not errors:
            self._not_joined.discard(told)


def client_groups(family):
    """Return the multicast groups (text) on which clients look for nodes."""
    return releases.multicast_groups(family == socket.AF_INET6)


def _tell_arrivals(sock, family):
    if not compat.TELLS_ARRIVALS:
        return
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)


def receive(sock):
    """Return (bytes, Arrival) of the next datagram. Raises EnvironmentError."""
    if not compat.TELLS_ARRIVALS:
        data, address = sock.recvfrom(LIMIT)
        own = net.canonical(sock.getsockname()[0])
        return data, Arrival(net.canonical(address[0]), None if own in ANYWHERE else own)
    data, ancillary, _flags, address = sock.recvmsg(LIMIT, SPACE)
    arrival = Arrival(net.canonical(address[0]))
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
    """Join a multicast group on the interface of `address`; return None, or the error."""
    try:
        if net.family_of(address) == socket.AF_INET6:
            index = struct.pack('@I', net.interface_index(address))
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP,
                            socket.inet_pton(socket.AF_INET6, str(group)) + index)
        else:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP,
                            socket.inet_aton(str(group)) + socket.inet_aton(str(address)))
    except EnvironmentError as error:
        # EADDRINUSE: joined already, by another address of the interface
        return None if error.errno == errno.EADDRINUSE else error
    return None


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
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF,
                            net.interface_index(address))
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, HOPS)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF,
                            socket.inet_aton(str(address)))
        # bound to the own address: Linux then broadcasts on that address's interface
        sock.bind(net.sockaddr(address, 0))
        return sock
    except EnvironmentError:
        sock.close()
        raise
