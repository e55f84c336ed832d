"""The node's ports: opened at the start, with a new address, or when a connection ends."""
from __future__ import absolute_import, division, print_function

import socket

from dispynode_lib.host.compat import to_text
from dispynode_lib.errors import PortTaken, StartError
from dispynode_lib.host.network import datagrams, net
from dispynode_lib.log import Log
from dispynode_lib.wire import releases

log = Log('dispynode.ports')

FIRST_LOOK, LAST_LOOK = 0.25, 10.0          # seconds between looks for a port, at first and at most
CONNECTION = u'a connection has it'


class Place(object):
    """One thing to open: a TCP port at an address, or the UDP port of a family of addresses.

    why   why it is not open (text), None if it is
    """

    def __init__(self, protocol, addresses, port):
        self.protocol, self.addresses, self.port = protocol, addresses, port
        self.why = u'not tried yet'
        self.socks = []
        self.family = net.family_of(addresses[0])
        self._port_sockets = datagrams.PortSockets(port, self.family) if protocol == 'UDP' else None

    def __str__(self):
        return '%s port %d on %s' % (self.protocol, self.port, ' and '.join(self.addresses))

    def is_udp_of(self, address, port):
        """Return whether it is the UDP port of an address's family."""
        return self.protocol == 'UDP' and self.port == port and self.family == net.family_of(
            address)

    def open(self, inherited=None):
        """Open what its addresses need, or take the socket `inherited`; without success if but a
        connection has the port. Raises StartError."""
        for is_last in (False, True):
            try:
                if self.protocol == 'TCP':
                    self.socks = [inherited or net.open_listener(self.addresses[0], self.port)]
                else:
                    self._port_sockets.follow(self.addresses)
                    self.socks = self._port_sockets.sockets()
                self.why = None
                return
            except PortTaken:
                from dispynode_lib.host.network import holders
                if holders.only_connections(self.protocol, self.port):
                    self.why = CONNECTION
                    return
                if is_last:                 # else the connection may have ended meanwhile
                    raise

    def close(self):
        """Close what is open; nobody uses it yet."""
        for sock in self.socks:
            sock.close()


class Ports(object):
    """Opens the node's ports, which by default anybody's connections may be given, too.

    Once the node has started, the watchdog's thread is the only one that changes anything.
    """

    def __init__(self, chosen, inherited=()):
        """`chosen`: the only port, 0 for any free one, None for the well-known ones; `inherited`:
        listeners of the node before."""
        self._wanted = list(releases.NODE_PORTS) if chosen is None else [chosen]
        self._places = []
        self._addresses = []
        self._pause = FIRST_LOOK
        self._main = None
        self._has_served = False
        self._inherited = dict(((net.canonical(to_text(sock.getsockname()[0])),
                                 sock.getsockname()[1]), sock) for sock in inherited)

    def close_inherited(self):
        """Let go of what is not used, also where another process has it, too."""
        for sock in self._inherited.values():
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except EnvironmentError as error:
                log.debug('closing a listener: %s', error)
            sock.close()
        self._inherited = {}

    def numbers(self):
        """Return the TCP ports (list) at which the node listens."""
        listening = set(place.port for place in self._places
                        if place.protocol == 'TCP' and place.why is None)
        return [port for port in self._wanted if port in listening]

    def main(self):
        """Return the port to announce."""
        return self._main

    def addresses_with(self, port):
        """Return the addresses (list of text) at which the node listens at a TCP port."""
        return [place.addresses[0] for place in self._places
                if place.protocol == 'TCP' and place.port == port and place.why is None]

    def udp_sockets(self):
        """Return all sockets for datagrams (list)."""
        return [sock for place in self._places if place.protocol == 'UDP' for sock in place.socks]

    def open(self, addresses):
        """Return TCP sockets at addresses (texts). Raises StartError for the first port."""
        self._addresses = list(addresses)
        for index, port in enumerate(list(self._wanted)):
            try:
                places = self._open_port(port)
            except StartError as error:
                if index == 0:
                    raise
                _tell_without(error)
                continue
            self._wanted[index] = places[0].port
            self._places += places
            for place in places:
                _tell_missing(place)
        self._has_served = bool(self.numbers())
        self._main = (self.numbers() or self._wanted)[0]
        return self._tcp(self._places)

    def _open_port(self, port):
        places = []
        try:
            for address in self._addresses:
                places.append(Place('TCP', [address], port))
                places[-1].open(self._inherited.pop((address, port), None))
                port = places[-1].port = places[-1].socks[0].getsockname(
                )[1] if places[-1].socks else port
            for family in sorted(set(net.family_of(address) for address in self._addresses)):
                places.append(Place('UDP', self._of_family(family), port))
                places[-1].open()
        except StartError:
            for place in places:
                place.close()
            raise
        return places

    @staticmethod
    def _tcp(places):
        return [sock for place in places if place.protocol == 'TCP' for sock in place.socks]

    # -- later

    def wait(self, _now):
        """Return seconds until the next look for missing ports, None if there is none."""
        return self._pause if any(place.why and place.addresses for place in self._places) else None

    def take_missing(self):
        """Return TCP sockets of what is free now. Raises StartError if the node has no port."""
        self._pause = min(2 * self._pause, LAST_LOOK)
        missing = [place for place in self._places if place.why and place.addresses]
        for place in missing:
            if self._has_served:
                self._try(place)
            else:
                place.open()
            if place.why is None:
                log.info('%s is free now: the node has taken it', place)
        self._has_served = self._has_served or bool(self.numbers())
        return self._tcp([place for place in missing if place.why is None])

    def follow(self, addresses, held=()):
        """Be at `addresses` (texts) only; return TCP sockets: (new ones, useless ones).

        held   addresses that have gone: what listens there stays, so that nobody is refused the
               moment they are back
        """
        useless = [place for place in self._places if place.protocol == 'TCP'
                   and place.addresses[0] not in addresses and place.addresses[0] not in held]
        self._places = [place for place in self._places if place not in useless]
        here = [place.addresses[0] for place in self._places if place.protocol == 'TCP']
        new = [address for address in addresses if address not in here
               and address not in self._addresses]
        self._addresses = list(addresses)
        added = []
        for address in new:
            for port in self._wanted:
                added.append(Place('TCP', [address], port))
                if not any(place.is_udp_of(address, port) for place in self._places + added):
                    added.append(Place('UDP', [address], port))
        for place in added:
            self._try(place)
        for place in [place for place in self._places if place.protocol == 'UDP']:
            place.addresses = self._of_family(place.family)
            if place.addresses:
                self._try(place)
        self._pause = FIRST_LOOK if added else self._pause
        return self._tcp(added), self._tcp(useless)

    def _try(self, place):
        """Open a place; it is kept if that may work later."""
        before = place.why
        try:
            place.open()
        except StartError as error:
            place.why = u'%s' % error
            if place.port != self._main:
                self._places = [one for one in self._places if one is not place]
                _tell_without(error)
                return
            if place.why != before:
                log.warning('%s', error)
        if place not in self._places:
            self._places = self._places + [place]
            _tell_missing(place)

    def _of_family(self, family):
        return [address for address in self._addresses if net.family_of(address) == family]

    def describe(self):
        """Return sentences (list of text) on the ports that are missing."""
        return [u'%s is missing: %s' % (place, place.why) for place in self._places if place.why]


def _tell_missing(place):
    if place.why == CONNECTION:
        log.warning(
            '%s: it is but a connection that has the port; the node takes it as soon as it is free',
            place)


def _tell_without(error):
    log.warning('%s; clients of releases that use this port will not find the node', error)
