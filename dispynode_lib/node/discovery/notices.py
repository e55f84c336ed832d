"""Notices, which the node sends unasked: PONG, PING, PULSE, NODE_CPUS, TERMINATED."""
from __future__ import absolute_import, division, print_function

import collections
import os
import socket
import threading

from dispynode_lib.host.network import datagrams, net
from dispynode_lib.host.io.calls import Call
from dispynode_lib.host.compat import monotonic, to_text
from dispynode_lib.log import DEBUG, INFO, Log
from dispynode_lib.node.shared.common import Allowance
from dispynode_lib.node.shared.state import one_for_each_scheduler
from dispynode_lib.wire import framing, releases, replies
from dispynode_lib.wire.peers import Peer

log = Log('dispynode.notices')

ADDRESSES = 8                               # of one PING that are answered
PEERS = 1000                                # clients remembered
# answers to strangers at once, and a second: to one address, and to all. Each is a connection to
# where they say
TO_ONE, TO_ALL = (50, 5.0), (500, 100.0)
UNREACHED = 1, 1 / 60.0  # lines about a client that cannot be reached: at once, and a second


class Notices(object):
    """Sends messages to schedulers; each on a connection of its own, none holds up another."""

    def __init__(self, common, tls=None):
        """`tls`: of connections to others, or None."""
        self._options, self._state = common.options, common.state
        self._loop, self._identity = common.loop, common.identity
        self._tls = tls
        self._lock = threading.Lock()
        # (address, port) -> (Peer, heard from there, addresses)
        self._peers = collections.OrderedDict()
        self._answers, self._all_answers = Allowance(*TO_ONE), Allowance(*TO_ALL)
        self._unreached_lines = Allowance(*UNREACHED)

    def remember(self, address, port, peer, direct=True, addresses=()):
        """Keep what a PING told about a client; `direct`: it came from that address.

        addresses   that the client says it has

        What somebody else says about a client does not replace what it said itself.
        """
        with self._lock:
            if not direct and self._peers.get((address, port), (None, False, ()))[1]:
                return
            self._peers.pop((address, port), None)
            if len(self._peers) >= PEERS:
                self._peers.popitem(last=False)
            self._peers[(address, port)] = peer, direct, tuple(addresses) if direct else ()

    def peer_at(self, address, port):
        """Return the Peer that pinged from (address, port), a new one if none did."""
        with self._lock:
            known = self._peers.get((address, port))
        return known[0] if known is not None else Peer()

    def forget(self, address, port):
        """Forget the client at (address, port): who listens there later may be another one."""
        with self._lock:
            self._peers.pop((address, port), None)

    def addresses_at(self, address, port):
        """Return the addresses (list of text) that the client at (address, port) said it has."""
        with self._lock:
            return list(self._peers.get((address, port), (None, False, ()))[2])

    def answers(self, ping, source, own_address):
        """Return [((address, port), payload)]: PONGs, or PINGs to a client without a sign.

        ping          wire PING record
        source        address (text) that the PING came from
        own_address   address (text) of this node on which it came
        """
        identity = self._identity
        peer = Peer(version=ping.version, python2=ping.python2, protocol=ping.protocol)
        addresses = addresses_of(ping, source)
        announced = identity.announced(own_address)
        auth = identity.answer_to(ping.sign) if ping.sign else None
        found = []
        for address in addresses[:ADDRESSES]:
            if ping.sign and auth is None or not self._may_answer(address, source):
                continue
            self.remember(address, ping.port, peer, address == source, addresses)
            if net.family_of(address) != net.family_of(announced):
                continue
            if ping.sign:
                payload = replies.pong(peer, announced, identity.port, identity.sign, identity.name,
                                       self._state.cpus(), platform_text(), auth,
                                       identity.meter.read(), address)
            else:
                payload = replies.ping(ping.version, ping.python2, announced, identity.port,
                                       identity.sign, address)
            found.append(((address, ping.port), payload))
        return found

    def send(self, address, payload, done):
        """Send `payload` to (address, port); done(error text or None) in the loop's thread."""
        def sent(_reply, error):
            self._sent(address, error)
            done(error)
        self._call(address, payload, False, sent)

    def _may_answer(self, address, source):
        """Return whether to connect to `address` because somebody at `source` said so."""
        identity = self._identity
        if net.is_special(address) and not (identity.is_ours(source) and identity.is_ours(address)):
            log.debug('%s wants an answer at %s: not sent', source, address)
            return False
        now = monotonic()
        with self._lock:
            may = self._answers.take(address, now) and self._all_answers.take(None, now)
        if not may:
            log.debug('too many answers to %s', address)
        return may

    # -- looking for clients; a Python 2 pickle of plain strings is read by every Python

    def targets(self, own, release):
        """Return the addresses where clients of `release` hear `own` (text) broadcast."""
        if net.family_of(own) == socket.AF_INET6 or self._options.ipv4_udp_multicast:
            return [releases.multicast_group(release, net.family_of(own) == socket.AF_INET6)]
        return net.broadcast_addresses(own)

    def announce_to_all(self, own, candidates):
        """Ping each (port, release) of `candidates` in the network of `own`. May block."""
        messages = [(target, port, self._ping(own, release, None)) for port, release in candidates
                    for target in self.targets(own, release)]
        for target, error in sorted(datagrams.send_from(own, messages).items()):
            self.unreached(target, 'announcing this node from %s to %s: %s', own, target, error)

    def announce_to(self, own, address, port, release):
        """Ping one client that may listen there, on a connection and by datagram."""
        datagrams.send_from(own, [(address, port, self._ping(own, release, address))])
        self.knock(own, (address, port), release, self._tried)

    def knock(self, own, target, release, done):
        """Ping who may listen at `target` on a connection; `done` as of a Call."""
        log.debug('ping to %s port %d, release %s', target[0], target[1], release)
        self._call(target, self._ping(own, release, target[0]), False, done)

    def _ping(self, own, release, address):
        identity = self._identity
        return replies.ping(release, True, identity.announced(own), identity.port, identity.sign,
                            address)

    @staticmethod
    def _tried(_reply, error):
        if error is not None:
            log.debug('%s', error)          # nobody there: the usual case

    def terminated_to_all(self, own, candidates):
        """Tell all that this node is gone, but clients that know no such datagram."""
        payload = self._terminated(Peer(python2=True), self._identity.announced(own))
        datagrams.send_from(
            own, [(target, port, payload) for port, release in candidates
                  if releases.hears_terminated(release) for target in self.targets(own, release)])

    # -- to administration programs

    def node_info(self, info, own, addresses):
        """Answer a NODE_INFO datagram, at the first of `addresses` that takes the connection."""
        identity = self._identity
        if not self._may_answer(addresses[0], addresses[-1]):
            return
        payload = replies.node_info_udp(info.version, info.python2, identity.announced(own),
                                        identity.port, identity.sign)
        self._call((addresses[0], info.port), payload, False,
                   lambda _reply, error: self._next(info, own, addresses[1:], error))

    def _next(self, info, own, addresses, error):
        if error is not None and addresses:
            self.node_info(info, own, addresses)
        elif error is not None:
            log.info('NODE_INFO: %s', error)

    # -- to schedulers

    def pulse(self, computation, done):
        """Send a PULSE to a computation's scheduler; `done(reply, error)` in the loop's thread."""
        self._call(computation.scheduler, self._pulse(computation), True, done)

    def pulse_by_datagram(self, computation):
        """The same for old schedulers, which answer by datagram (docs/protocol.rst, "PULSE")."""
        address, port = computation.scheduler
        own = self._identity.own_address(address)
        if own is not None:
            datagrams.send_from(own, [(address, port, self._pulse(computation))])

    def _pulse(self, computation):
        identity = self._identity
        busy = min(self._state.used_cpus(), self._state.cpus())
        return replies.pulse(computation.peer, computation.node_ip_addr, identity.port, busy,
                             computation.scheduler[0], identity.meter.read())

    def cpus_to_all(self, cpus):
        """Tell each scheduler how many CPUs it may use from now on."""
        for computation in one_for_each_scheduler(self._state.computations()):
            self.node_cpus(computation, cpus)

    def node_cpus(self, computation, cpus, done=None):
        """Tell a scheduler how many CPUs it may use from now on; `done` as of a Call."""
        payload = replies.node_cpus(computation.peer, computation.node_ip_addr, self._identity.sign,
                                    cpus)
        self._send(computation.scheduler, payload, done)

    def node_ends(self, computations):
        """Send TERMINATED to the scheduler of each computation, once."""
        for computation in one_for_each_scheduler(computations):
            self.terminated(computation)

    def terminated(self, computation):
        """Tell a scheduler that this node is gone for it."""
        self._send(computation.scheduler,
                   self._terminated(computation.peer, computation.node_ip_addr))

    def terminated_at(self, address, peer, own):
        """Tell the peer at (address, port) that this node, known to it by `own`, is gone for it."""
        self._send(address, self._terminated(peer, self._identity.announced(own)))

    def _terminated(self, peer, own):
        return replies.terminated(peer, own, self._identity.port, self._identity.sign)

    def node_closed(self, computation):
        """Tell a scheduler that CLOSE with `close` False is done: it may set up anew."""
        self._send(
            computation.scheduler,
            replies.node_closed(computation.peer, computation.node_ip_addr, self._identity.token,
                                computation.id, computation.auth))

    def unreached(self, address, text, *args):
        """Log that `address` (text) was not reached: one line a minute about each."""
        with self._lock:
            level = INFO if self._unreached_lines.take(address, monotonic()) else DEBUG
        log.log(level, text, *args)

    def _send(self, address, payload, done=None):
        self._call(address, payload, False, done
                   or (lambda reply, error: self._sent(address, error)))

    def _call(self, address, payload, await_reply, done):
        call = Call(self._loop, address, [framing.frame(payload)], await_reply,
                    self._options.msg_timeout, done, self._tls)
        self._loop.call_soon(call.start)

    def _sent(self, address, error):
        if error is not None:
            self.unreached(address[0], '%s', error)


def addresses_of(ping, source):
    """Return the addresses (list of text) of who pinged from `source`, each once."""
    told = list(ping.ip_addrs) if ping.relay else [source] + list(ping.ip_addrs)
    return net.unique([net.canonical(address) for address in told if net.is_address(address)])


def platform_text():
    """Return text such as 'Linux-6.1.0-x86_64' for the client's node filter."""
    name = os.uname()
    return to_text('%s-%s-%s' % (name[0], name[2], name[4]))
