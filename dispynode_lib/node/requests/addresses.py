"""Addresses of this host, which the node follows as they change."""
from __future__ import absolute_import, division, print_function

import socket

from dispynode_lib.host.compat import set_cloexec
from dispynode_lib.host.network import net
from dispynode_lib.log import Log
from dispynode_lib.node.access import guard
from dispynode_lib.node.shared import identity

log = Log('dispynode.addresses')

LOOK, CALM_LOOK = 3.0, 60.0  # seconds between looks: while something is missing, and otherwise
SETTLE, LEAST = 0.3, 1.0  # seconds: after news of the kernel, for more will come; between two looks
REMEMBERED = 16                             # addresses that are gone
HELD = 50.0                                 # seconds that the node still listens at one of them
# rtnetlink(7): multicast groups for interfaces, and for addresses and routes of IPv4 and IPv6
LINK, ADDRESS4, ROUTE4, ADDRESS6, ROUTE6 = 0x1, 0x10, 0x40, 0x100, 0x400
NETLINK_ROUTE = 0
READ_SIZE, MESSAGES = 65536, 100


class Host(object):
    """This host, asked for its addresses."""

    def __init__(self, given):
        """`given`: names and addresses of --ip_addr (texts); none: the host chooses."""
        self.given = list(given)

    def choose(self, served):
        """Return [(address, why)] at which the node should be, but of names without one now.

        served   addresses at which it is: they are preferred among several of one name
        It may wait for a name server.
        """
        if not self.given:
            return [net.local_address()]
        chosen = []
        for found in [self._choose(name, served) for name in self.given]:
            if found is not None and found[0] not in [address for address, _why in chosen]:
                chosen.append(found)
        return chosen

    def _choose(self, name, served):
        try:
            found = net.resolve(name)
        except EnvironmentError as error:
            log.debug('--ip_addr %s: %s', name, error)
            return None
        order = sorted(found, key=lambda address: (address not in served, not self.has(address)))
        return order[0], u'option --ip_addr %s' % name

    @staticmethod
    def has(address):
        """Return whether this host has an address."""
        return identity.own_interface(address)

    has_link = staticmethod(net.has_link)


class Addresses(object):
    """Follows addresses that come and go. `look` and `wait` are called by the watchdog only.

    An address stays the node's as long as the host has it, even if the host would choose another
    one now: clients know the node by it.
    """

    def __init__(self, common, host, serve_at, reschedule, on_more, on_network_changed):
        """Follow the addresses of `host`, a Host.

        serve_at             function([address], [address that is gone]): listens there, returns
                             where that works
        reschedule           function: this duty is due at another time now
        on_more              function: the node can be reached where it could not be before
        on_network_changed   function: there is a network, or none any more
        """
        self._options, self._identity = common.options, common.identity
        self._loop, self._workers = common.loop, common.workers
        self._host = host
        self._serve_at = serve_at
        self._reschedule = reschedule
        self._on_more, self._on_network_changed = on_more, on_network_changed
        self._news = None                   # socket of open_news()
        self._asking, self._answer = False, None
        self._looked, self._news_came = None, None      # seconds of the watchdog's clock
        self._good = []                     # where others can reach the node
        self._trouble = None
        self._has_warned = False            # that whoever reaches it may run programs
        self._gone = {}                     # address -> since when
        self._why = {}                      # address of the node -> why it is

    def begin(self, chosen, now):
        """The node serves at what Host.choose() has told."""
        self._looked, self._why = now, dict(chosen)
        self._has_warned = bool(self._doors(self._identity.addresses))
        self._note(chosen, self._identity.addresses)
        self._news = open_news()
        if self._news is not None:
            self._loop.call_soon(self._loop.watch, self._news.fileno(), self._on_news)

    def describe(self):
        """Return [(address, why the node has it)]."""
        return [(address, self._why.get(address, u'')) for address in self._identity.addresses]

    def trouble(self):
        """Return why no other host can use the node (text), None if some can."""
        return self._trouble

    def gone_for(self, address, now):
        """Return for how long (s) the node is elsewhere, as this address is gone; or None.

        While it is at none the address may still come back with the network.
        """
        since = self._gone.get(address)
        return None if since is None or self._trouble is not None else max(0.0, now - since)

    def close(self):
        """Look no more; the loop's thread has ended."""
        if self._news is not None:
            self._news.close()

    def _on_news(self, _events):
        """The kernel tells of a change; the loop's thread."""
        drop(self._news)
        if not self._news_came:
            self.look_soon()

    def look_soon(self):
        """Look again soon: something has changed. Any thread."""
        self._news_came = True
        self._reschedule()

    # -- the duty

    def wait(self, now):
        """Return seconds until the next look, None while an answer is on its way."""
        if self._asking:
            return None
        if self._answer is not None:
            return 0.0
        if self._news_came:
            return max(SETTLE, self._looked + LEAST - now)
        calm = self._news is not None and self._trouble is None
        return max(0.0, self._looked + (CALM_LOOK if calm else LOOK) - now)

    def look(self, now):
        """Ask the host in a worker, or do what its answer asks for."""
        answer, self._answer = self._answer, None
        if answer is not None:
            self._follow(answer, now)
            return
        self._asking, self._looked, self._news_came = True, now, None
        self._workers.run(self._ask)

    def _ask(self):
        try:
            self._answer = self._host.choose(self._identity.addresses)
        finally:
            self._asking = False
            self._reschedule()

    def _follow(self, chosen, now):
        had = self._identity.addresses
        chosen = [(address, why) for address, why in chosen if self._host.has(address)]
        wanted = [address for address, _why in chosen]
        wanted += [address for address in had if address not in wanted and self._host.has(address)]
        self._why.update(chosen)
        self._remember(had, wanted, now)
        works = self._serve_at(
            wanted, [address for address, since in self._gone.items() if now - since < HELD])
        self._identity.addresses = [address for address in wanted if address in works]
        for address in had:
            if address not in wanted:
                log.warning('%s is no address of this host any more: the node does not serve there',
                            address)
        new = [address for address in self._identity.addresses if address not in had]
        for address in new:
            log.info('%s serves at %s now (%s)', self._identity.name, address,
                     self._why.get(address))
        if not self._has_warned:
            lines = self._doors(new)
            self._has_warned = bool(lines)
            for line in lines:
                log.warning('%s', line)
        was_alone = self._trouble is not None
        if self._note(chosen, wanted):
            self._on_more()
        if was_alone:
            self._gone = dict.fromkeys(self._gone, now)

    def _doors(self, addresses):
        return guard.open_doors(self._options, addresses, self._identity.port)

    def _remember(self, had, addresses, now):
        for address in had:
            if address not in addresses:
                self._gone[address] = now
                self._why.pop(address, None)
        for address in addresses:
            self._gone.pop(address, None)
        for address in sorted(self._gone, key=self._gone.get)[:-REMEMBERED]:
            del self._gone[address]

    def _note(self, chosen, addresses):
        """Find whether others can reach the node; tell a change; return whether at more."""
        own = [address for address in addresses if self._host.given or not net.is_loopback(address)]
        good = [address for address in own if self._host.has_link(address)]
        more = [address for address in good if address not in self._good]
        trouble = None if good else self._describe(chosen, own)
        if trouble is not None and trouble != self._trouble:
            log.warning('%s', trouble)
        elif trouble is None and self._trouble is not None:
            log.info('there is a network: the node can be reached at %s', ', '.join(good))
        has_changed, self._good, self._trouble = trouble != self._trouble, good, trouble
        if has_changed:
            self._on_network_changed()
        return bool(more)

    def _describe(self, chosen, own):
        if own:
            return u'no network: the link of %s is down' % u', '.join(own)
        if self._host.given:
            return u'no network: this host does not have %s (-i)' % u', '.join(self._host.given)
        return u'no network: this host has but %s; clients on other hosts cannot use the node' % (
            u', '.join(address for address, _why in chosen) or u'no address')


def open_news():
    """Return a socket that can be read when the kernel has changed interfaces, addresses or routes,
    None where there is no such thing."""
    try:
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ROUTE)
    except (AttributeError, EnvironmentError):          # no Linux, or a sandbox
        return None
    try:
        set_cloexec(sock.fileno())
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
