"""The node's ports: opened at the start, or as soon as a connection that happens to have one of them lets go."""
from __future__ import absolute_import, division, print_function

from dispynode_lib import option_table
from dispynode_lib.errors import PortTaken, StartError
from dispynode_lib.host import datagrams, holders, net
from dispynode_lib.log import Log

log = Log('dispynode.ports')

FIRST_LOOK, LAST_LOOK = 0.25, 10.0          # seconds between looks for a port, at first and at most


class Place(object):
    """One thing to open: a TCP port at one address, or the UDP port for the addresses of one family."""

    def __init__(self, protocol, addresses, port):
        self.protocol, self.addresses, self.port = protocol, addresses, port

    def __str__(self):
        return '%s port %d on %s' % (self.protocol, self.port, ' and '.join(self.addresses))

    def open(self):
        """Return its sockets, None if but a connection has the port. Raises StartError."""
        for is_last in (False, True):
            try:
                if self.protocol == 'TCP':
                    return [net.open_listener(self.addresses[0], self.port)]
                return datagrams.open_sockets(self.port, self.addresses)
            except PortTaken:
                if holders.only_connections(self.protocol, self.port):
                    return None
                if is_last:                 # else the connection may have ended meanwhile
                    raise


class Ports(object):
    """Opens the node's ports. By default they are of those that the system gives to connections of anybody.

    numbers   TCP ports at which the node listens
    """

    def __init__(self, chosen, addresses):
        """`chosen`: the only port, 0 for any free one, None for the well-known ones; `addresses`: the node's (texts)."""
        self._wanted = list(option_table.NODE_PORTS) if chosen is None else [chosen]
        self._addresses = addresses
        self._missing = []                  # of Place
        self._pause = FIRST_LOOK
        self.numbers = []

    def main(self):
        """Return the port to announce."""
        return (self.numbers or self._wanted)[0]

    def open(self):
        """Return (TCP sockets, UDP sockets). Raises StartError if the first port is not to be had."""
        socks, socks_udp = [], []
        for port in self._wanted:
            try:
                opened, opened_udp = self._open_port(port)
            except StartError as error:
                if port == self._wanted[0]:
                    raise
                _tell_without(error)
                continue
            socks += opened
            socks_udp += opened_udp
        return socks, socks_udp

    def _open_port(self, port):
        opened, missing = ([], []), []
        try:
            for address in self._addresses:
                _open(Place('TCP', [address], port), opened[0], missing)
                port = opened[0][0].getsockname()[1] if opened[0] else port
            for family in sorted(set(net.family_of(address) for address in self._addresses)):
                same = [address for address in self._addresses if net.family_of(address) == family]
                _open(Place('UDP', same, port), opened[1], missing)
        except StartError:
            for sock in opened[0] + opened[1]:
                sock.close()
            raise
        for place in missing:
            log.warning('%s: it is but a connection that has the port; the node takes it as soon as it is free', place)
        self._missing += missing
        if opened[0]:
            self.numbers.append(port)
        return opened

    # -- later

    def wait(self, _now):
        """Return seconds until the next look for missing ports, None if there is none."""
        return self._pause if self._missing else None

    def take_missing(self):
        """Return (TCP sockets, UDP sockets) of what has become free. Raises StartError if the node has no port and gets none."""
        self._pause = min(2 * self._pause, LAST_LOOK)
        opened, missing = ([], []), []
        for place in self._missing:
            found = opened[place.protocol == 'UDP']
            count = len(found)
            try:
                _open(place, found, missing)
            except StartError as error:
                if not self.numbers:
                    raise
                _tell_without(error)
            if len(found) > count:
                log.info('%s is free now: the node has taken it', place)
                if place.protocol == 'TCP' and place.port not in self.numbers:
                    self.numbers.append(place.port)
        self._missing = missing
        return opened

    def describe(self):
        """Return sentences (list of text) on the ports that are missing."""
        return [u'%s is missing: a connection has it' % place for place in self._missing]


def _open(place, found, missing):
    """Add the sockets of a place to `found`, or it to `missing`. Raises StartError."""
    socks = place.open()
    if socks is None:
        missing.append(place)
    else:
        found += socks


def _tell_without(error):
    log.warning('%s; clients of releases that use this port will not find the node', error)
