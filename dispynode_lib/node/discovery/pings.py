"""Clients and relays that look for nodes: who is answered, and why others are not; one answer to
each, again where none arrived, and none that is not needed."""
from __future__ import absolute_import, division, print_function

from dispynode_lib.errors import ProtocolError
from dispynode_lib.host.network import net
from dispynode_lib.host.compat import fraction, monotonic, to_text
from dispynode_lib.node.shared import state as states
from dispynode_lib.wire import messages
from dispynode_lib.node.shared.common import Allowance

SPREAD = 0.25  # seconds over which nodes spread their answers to one broadcast
WIDEST = 4                                  # times as long in networks that may have more nodes
AGAIN = 1.0  # seconds in which one client gets one answer: it asks in several ways at once
REMEMBERED = 200                            # clients
# seconds, more or less: when many nodes answer, a client cannot take all
BACK_OFF = (2.0, 4.0, 8.0)


class Discovery(object):
    """Handles PING, from connections and datagrams, and the other datagrams of clients."""

    def __init__(self, common, answers, announcer, complaints, administration):
        """Handle what clients send by `common`, a node.shared.common.Common.

        administration   function -> what has on_datagram(bytes, arrival), for NODE_INFO
        """
        self._state, self._loop, self._identity = common.state, common.loop, common.identity
        self._answers, self._complaints = answers, complaints
        self._announcer, self._administration = announcer, administration

    def table(self):
        """Return {opcode: handler of a Request}."""
        return {'PING': self.on_ping}

    def on_ping(self, request):
        """Answer a client that looks for nodes: PONG on a new connection."""
        source, own = to_text(request.address[0]), to_text(request.local_address())
        ping = self._accepted(request.argument, source)
        if ping is not None:
            self._answers.give(ping, source, own, True)

    def on_datagram(self, opcode, argument, arrival):
        """Take one datagram: PING of a client, PULSE as sign of life. Raises ProtocolError."""
        if opcode == 'PING':
            ping = self._accepted(argument, arrival.source)
            own = self._identity.own_address(arrival.source, arrival.own)
            if ping is None or own is None:
                return
            if arrival.directed:
                self._answers.give(ping, arrival.source, own, False)
            else:                           # many nodes may have heard it
                self._loop.call_soon(self._loop.call_later, fraction() * spread(own),
                                           self._answers.give, ping, arrival.source, own, False)
        elif opcode == 'PULSE':
            pulse = messages.read_pulse(argument)
            if self._is_from(pulse, arrival.source):
                states.heard(self._state, (pulse.ip_addr, pulse.port))
        elif opcode == 'NODE_INFO':
            self._administration().on_datagram(argument, arrival)
        elif opcode != 'TERMINATED':        # of another node, to clients
            raise ProtocolError('unknown notice %s' % opcode)

    def _is_from(self, pulse, source):
        """Return whether a PULSE comes from whom it names; on this host all addresses are one."""
        if not net.is_address(pulse.ip_addr):
            return False
        address = net.canonical(pulse.ip_addr)
        return source == address or (self._identity.is_ours(source)
                                     and self._identity.is_ours(address))

    def _accepted(self, argument, source):
        """Return the PING in `argument` if it is to be answered now, else None."""
        ping = messages.read_ping(argument)
        if ping.sign == self._identity.sign:
            return None                     # this node's own broadcast
        if ping.sign and self._identity.answer_to(ping.sign) is None:
            self._complaints.note(source, 'PING not answered: sign',
                                  'it has the sign of a node, not of a client')
            return None
        refusal = self._state.refusal_of(ping, source)
        if refusal is not None:
            self._complaints.note(source, 'PING not answered: %s' % refusal[0], refusal[1])
            self._announcer.turned_away(ping, source)
            return None
        return ping


def spread(own):
    """Return the seconds over which nodes near `own` (address) spread their answers."""
    known = [address for address in net.broadcast_addresses(own) if address != net.EVERYBODY]
    if not known or net.is_loopback(own):
        return SPREAD
    return SPREAD * min(WIDEST, max(1, net.hosts_of(known[0]) / 256.0))


class Answers(object):
    """Sends PONGs through notices; the loop's thread."""

    def __init__(self, common, notices, visitors, announcer, nursery, clock=monotonic,
                 random=fraction):
        self._state, self._loop = common.state, common.loop
        self._notices, self._visitors = notices, visitors
        self._announcer, self._nursery = announcer, nursery
        self._clock, self._random = clock, random
        self._allowance = Allowance(1, 1 / AGAIN, REMEMBERED)       # for (sign, source)

    def give(self, ping, source, own, connected):
        """Answer a PING from `source` to `own` (addresses), if that is due. Any thread.

        connected   whether it came on a connection
        """
        self._loop.call_soon(self._give, ping, source, own, connected)

    def _give(self, ping, source, own, connected):
        if self._state.refusal_of(ping, source) is not None:
            return                          # somebody was faster
        # relays have no sign
        if ping.sign is not None and not self._allowance.take((ping.sign, source), self._clock()):
            return
        self._visitors.answered((source, ping.port), ping.version, ping.ip_addrs, connected)
        self._announcer.answered(ping, source)
        self._send(ping, source, own, 0)
        self._nursery.prepare()

    def forget(self):
        """Answer whoever asks from now on, for the node is free. Any thread."""
        self._loop.call_soon(self._allowance.forget)

    def _send(self, ping, source, own, attempt):
        """Answer at all addresses of the client."""
        if self._state.refusal_of(ping, source) is not None:
            return
        messages, errors = self._notices.answers(ping, source, own), []

        def sent(error):
            errors.append(error)
            if len(errors) == len(messages):
                self._sent(ping, source, own, attempt, errors)
        for target, payload in messages:
            self._notices.send(target, payload, sent)

    def _sent(self, ping, source, own, attempt, errors):
        """Note whether an answer has arrived anywhere; if not, try again later."""
        arrived = None in errors
        self._visitors.unreached((source, ping.port), None if arrived else errors[0])
        if not arrived and attempt < len(BACK_OFF):
            self._loop.call_later(BACK_OFF[attempt] * (0.5 + self._random()),
                                        self._send, ping, source, own, attempt + 1)
