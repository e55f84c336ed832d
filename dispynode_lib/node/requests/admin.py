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
from dispynode_lib.wire.peers import peer_of

log = Log('dispynode.admin')

REFUSED = -1
RIGHT, ORDINARY, WRONG = 'right', 'ordinary', 'wrong'       # tokens
NOT_ALLOWED = b'NAK (the node was started without --admin_secret, or yours is not this node\'s)'


class Administration(object):
    """Handlers of administration requests, each with its own check of the token."""

    def __init__(self, common, orders, service, notices, complaints, penalties):
        self._options, self._state, self._identity = common.options, common.state, common.identity
        self._orders, self._service, self._notices = orders, service, notices
        self._complaints, self._penalties = complaints, penalties

    def handle(self, request):
        """Answer a request of dispatcher.ADMINISTRATION; it checks the token itself."""
        message = messages.read_admin(request.argument, request.opcode)
        answer = self._answer(request, message, self._rank(request))
        if not isinstance(answer, bytes):
            answer = replies.value(peer_of(message), answer)
        request.reply(answer)

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

    def _answer(self, request, message, rank):
        """Return what is answered: bytes as they are sent, or a plain value."""
        opcode = request.opcode
        may_ask = rank == RIGHT or rank == ORDINARY and self._options.admin_secret is None
        if opcode == 'NODE_INFO':           # others get the sign, so that they can make a token
            return self._info() if may_ask else to_bytes(self._identity.sign)
        if opcode == 'NODE_STATUS':
            return self._status() if may_ask else REFUSED
        if rank == ORDINARY:
            return NOT_ALLOWED if opcode == 'SET_CPUS' else b''
        return CHANGES[opcode](self, request.address[0], message) if rank == RIGHT else REFUSED

    # -- questions

    def _info(self):
        return dict(self._status(), name=self._identity.name, cpus=self._state.free_cpus(),
                    max_cpus=resources.host_cpus(), **self._times())

    def _times(self):
        start, stop, end = self._service.times()
        return {'service_start': start, 'service_stop': stop, 'service_end': end}

    def _status(self):
        counts, scheduler = self._state.counts(), self._state.scheduler()
        return {'busy': counts['busy'], 'serve': counts['serve'],
                'clients_done': counts['clients_done'], 'jobs_done': counts['jobs_done'],
                'cpu_time': counts['cpu_time'], 'scheduler_ip': scheduler[0] if scheduler else None,
                'avail_info': self._identity.meter.read()}

    # -- changes; `source`: address that asks for them

    def _change_cpus(self, source, message):
        """Offer another number of CPUs: None all, negative so many fewer than all."""
        total = resources.host_cpus()
        wanted = message.cpus if message.cpus is not None else total
        cpus = wanted if wanted >= 0 else total + wanted
        if 'cpus' not in message.given or not 0 <= cpus <= total:
            return REFUSED
        log.info('%s sets the number of CPUs to %d', source, cpus)
        self._orders.set_cpus(cpus)
        return {u'cpus': cpus}

    def _change_service(self, source, message):
        """Set or clear a service time: HH:MM, '0' for none, None for now."""
        try:
            self._service.change(*self._time(message))
        except (OptionError, ProtocolError, ValueError) as error:
            self._complaints.note(source, 'SERVICE_TIME refused', error)
            return REFUSED
        self._orders.reschedule()
        log.info('%s sets %s: %s', source, message.control, self._service.describe())
        return self._times()

    def _time(self, message):
        if message.control not in CONTROLS:
            raise ProtocolError('SERVICE_TIME: unknown control %s' % message.control)
        if message.time is None:
            return message.control, self._service.this_minute()
        return message.control, None if message.time == u'0' else table.clock(message.time)

    def _change_serve(self, source, message):
        """Quit after so many more clients; -1: never."""
        if message.serve is None or message.serve < -1:
            return REFUSED
        log.info('%s sets the number of clients to serve to %d', source, message.serve)
        self._state.set_serve(message.serve)
        self._orders.reschedule()
        return {u'serve': message.serve}

    # -- by datagram

    def on_datagram(self, argument, arrival):
        """Answer dispyadmin, which looks for nodes: NODE_INFO on a connection."""
        info = messages.read_node_info_udp(argument)
        own = self._identity.own_address(arrival.source, arrival.own)
        if info.sign == self._identity.sign or own is None:
            return
        address = net.canonical(info.ip_addr) if net.is_address(to_text(
            info.ip_addr)) else arrival.source
        self._notices.node_info(info, own, net.unique([address, arrival.source]))


CHANGES = {'SET_CPUS': Administration._change_cpus, 'SERVICE_TIME': Administration._change_service,
           'SERVE_CLIENTS': Administration._change_serve}
