"""Requests of administration programs: dispyadmin and others that know the admin secret.

Source: docs/protocol.rst, "Administration".
"""
from __future__ import absolute_import, division, print_function

from dispynode_lib.options import table
from dispynode_lib.errors import OptionError, ProtocolError
from dispynode_lib.host import resources
from dispynode_lib.host.network import net
from dispynode_lib.host.compat import to_bytes, to_text
from dispynode_lib.log import Log
from dispynode_lib.node.timed.service import CONTROLS
from dispynode_lib.wire import framing, messages, replies
from dispynode_lib.wire.peers import Peer

log = Log('dispynode.admin')

REFUSED = -1
RIGHT, ORDINARY, WRONG = 'right', 'ordinary', 'wrong'       # tokens
NOT_ALLOWED = b'NAK (the node was started without --admin_secret, or yours is not this node\'s)'


class Administration(object):
    """Handlers of administration requests, each with its own check of the token."""

    def __init__(self, common, service, notices, complaints, penalties, set_cpus, reschedule):
        """Answer by `common`, a node.shared.common.Common.

        set_cpus     function(number): have the node offer so many
        reschedule   function: duties are due at other times now
        """
        self._options, self._state, self._identity = common.options, common.state, common.identity
        self._service, self._notices = service, notices
        self._complaints, self._penalties = complaints, penalties
        self._set_cpus, self._reschedule = set_cpus, reschedule

    def handle(self, request):
        """Answer a request of dispatcher.ADMINISTRATION; it checks the token itself."""
        getattr(self, 'on_' + request.opcode.lower())(request)

    def _rank(self, request):
        """Return RIGHT, ORDINARY or WRONG for the token of a request."""
        secret, sign = self._options.admin_secret, self._identity.sign
        if secret is not None and framing.same_token(request.token, framing.token(secret, sign)):
            return RIGHT
        if request.authorised:
            return ORDINARY
        self._complaints.note(request.address[0], 'administration refused: secret',
                                    '%s with another secret' % request.opcode)
        self._penalties.wrong_secret(request.address[0])
        return WRONG

    def _may_ask(self, request):
        rank = self._rank(request)
        return rank == RIGHT or (rank == ORDINARY and self._options.admin_secret is None)

    # -- questions

    def on_node_info(self, request):
        """Tell status and limits; to others only the sign, so that they can make a token."""
        peer = self._peer(request)
        if not self._may_ask(request):
            request.reply(to_bytes(self._identity.sign))
            return
        start, stop, end = self._service.times()
        request.reply(replies.value(peer, dict(self._status(), name=self._identity.name,
                                               cpus=self._state.free_cpus(),
                                               max_cpus=resources.host_cpus(), service_start=start,
                                               service_stop=stop, service_end=end)))

    def on_node_status(self, request):
        """Tell the node's status."""
        request.reply(replies.value(self._peer(request),
                                    self._status() if self._may_ask(request) else REFUSED))

    def _peer(self, request):
        """Return a Peer that speaks as the request does."""
        admin = messages.read_admin(request.argument, request.opcode)
        peer = Peer()
        peer.heard(admin)
        return peer

    def _status(self):
        counts, scheduler = self._state.counts(), self._state.scheduler()
        return {'busy': counts['busy'], 'serve': counts['serve'],
                'clients_done': counts['clients_done'], 'jobs_done': counts['jobs_done'],
                'cpu_time': counts['cpu_time'], 'scheduler_ip': scheduler[0] if scheduler else None,
                'avail_info': self._identity.meter.read()}

    # -- changes

    def on_set_cpus(self, request):
        """Offer another number of CPUs: None all, negative so many fewer than all."""
        message, peer, rank = self._change(request)
        if rank == ORDINARY:
            request.reply(NOT_ALLOWED)
            return
        total = resources.host_cpus()
        wanted = message.cpus if message.cpus is not None else total
        cpus = wanted if wanted >= 0 else total + wanted
        if rank == WRONG or 'cpus' not in message.given or not 0 <= cpus <= total:
            request.reply(replies.value(peer, REFUSED))
            return
        log.info('%s sets the number of CPUs to %d', request.address[0], cpus)
        self._set_cpus(cpus)
        request.reply(replies.value(peer, {u'cpus': cpus}))

    def on_service_time(self, request):
        """Set or clear a service time: HH:MM, '0' for none, None for now."""
        message, peer, rank = self._change(request)
        if rank != RIGHT:
            request.reply(b'' if rank == ORDINARY else replies.value(peer, REFUSED))
            return
        try:
            self._service.change(*self._time(message))
        except (OptionError, ProtocolError, ValueError) as error:
            self._complaints.note(request.address[0], 'SERVICE_TIME refused', error)
            request.reply(replies.value(peer, REFUSED))
            return
        self._reschedule()
        log.info('%s sets %s: %s', request.address[0], message.control, self._service.describe())
        start, stop, end = self._service.times()
        request.reply(replies.value(peer, {u'service_start': start, u'service_stop': stop,
                                           u'service_end': end}))

    def _time(self, message):
        if message.control not in CONTROLS:
            raise ProtocolError('SERVICE_TIME: unknown control %s' % message.control)
        if message.time is None:
            return message.control, self._service.this_minute()
        return message.control, None if message.time == u'0' else table.clock(message.time)

    def on_serve_clients(self, request):
        """Quit after so many more clients; -1: never."""
        message, peer, rank = self._change(request)
        if rank != RIGHT:
            request.reply(b'' if rank == ORDINARY else replies.value(peer, REFUSED))
            return
        if message.serve is None or message.serve < -1:
            request.reply(replies.value(peer, REFUSED))
            return
        log.info('%s sets the number of clients to serve to %d', request.address[0], message.serve)
        self._state.set_serve(message.serve)
        self._reschedule()
        request.reply(replies.value(peer, {u'serve': message.serve}))

    def _change(self, request):
        """Return (message, Peer to answer, rank of the token)."""
        message = messages.read_admin(request.argument, request.opcode)
        peer = Peer()
        peer.heard(message)
        return message, peer, self._rank(request)

    # -- by datagram

    def on_datagram(self, argument, arrival):
        """Answer dispyadmin, which looks for nodes: NODE_INFO on a connection."""
        info = messages.read_node_info_udp(argument)
        own = self._identity.own_address(arrival.source, arrival.own)
        if info.sign == self._identity.sign or own is None:
            return
        address = net.canonical(info.ip_addr) if net.is_address(to_text(
            info.ip_addr)) else arrival.source
        self._notices.node_info(info, own, unique_addresses(address, arrival.source))


def unique_addresses(first, second):
    """Return the list of one or two different addresses."""
    return [first] if first == second else [first, second]
