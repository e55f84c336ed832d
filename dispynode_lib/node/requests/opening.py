"""Requests about a computation as a whole: COMPUTE, SETUP, FILEXFER, CLOSE."""
from __future__ import absolute_import, division, print_function

from dispynode_lib.errors import AlreadyOpen, NodeBusy, NotAvailable, Refused
from dispynode_lib.host.compat import to_bytes, to_text
from dispynode_lib.host.network import net
from dispynode_lib.log import Log
from dispynode_lib.node.access.guard import callers_of
from dispynode_lib.node.computations.computation import ENDED_BEFORE
from dispynode_lib.node.computations.frames import indented
from dispynode_lib.node.requests.callers import ACK, BEGIN_WAIT, answer, fault, read
from dispynode_lib.node.shared.complaints import printable
from dispynode_lib.wire import messages, replies
from dispynode_lib.wire.peers import Peer, peer_of

log = Log('dispynode.requests')

INVALID = 'Invalid computation request ignored'


class Opening(object):
    """Opens computations, gives them their files, has them set up and closed."""

    def __init__(self, common, callers, new_computation, folders, delivery, spool, notices,
                 announcer, cut_off, complaints, on_opened, on_freed):
        """Handle requests of `callers`, a Callers, by `common`, a node.shared.common.Common.

        new_computation   function(COMPUTE record, its bytes, Peer, scheduler, this node's address)
                          -> Computation
        on_opened         function(Computation): its code is compiled; its client is told so next
        on_freed          function: the node has no scheduler any more
        """
        self._state, self._loop, self._workers = common.state, common.loop, common.workers
        self._identity, self._callers = common.identity, callers
        self._new_computation, self._folders = new_computation, folders
        self._delivery, self._spool = delivery, spool
        self._notices, self._complaints = notices, complaints
        self._announcer, self._cut_off = announcer, cut_off
        self._on_opened, self._on_freed = on_opened, on_freed
        self._waiting = {}          # Computation -> [COMPUTE to be answered]; the loop's thread

    def table(self):
        """Return {opcode: handler}."""
        return {'COMPUTE': self.on_compute, 'SETUP': self.on_setup,
                'FILEXFER': self.on_filexfer, 'CLOSE': self.on_close}

    # -- opening a computation

    def on_compute(self, request):
        """Open a computation: the number of CPUs when its code compiles, else a text."""
        compute = read(request, messages.read_compute, to_bytes(INVALID))
        request.need_peer()
        try:
            computation, known = self._open(compute, request)
        except Refused as refused:
            self._note_refusal(compute, request, refused)
            self._refuse_compute(request, compute, refused)
            return False
        if known:
            computation.begun.wait(BEGIN_WAIT)
            self._loop.call_soon(self._ask_again, computation, request)
            return True
        try:
            self._begin(computation, request)
        finally:
            computation.begun.set()         # who asks about it meanwhile waits until now
        return True

    def _begin(self, computation, request):
        self._waiting[computation] = [request]          # the loop does not know it yet
        try:
            computation.start(lambda error: self._workers.run(
                self._opened, self._waiting.pop(computation), computation, error))
        except EnvironmentError as error:
            log.error('computation %d: no supervisor can be started: %s', computation.id, error)
            self._abandon(computation, to_bytes('no supervisor can be started: %s' % error))
        except Exception as error:
            self._abandon(computation, fault(request, error))

    def _ask_again(self, computation, request):
        """Answer a repeated COMPUTE, with the first if that waits still. The loop's thread."""
        if computation in self._waiting:
            self._waiting[computation].append(request)
        elif self._state.is_closing(computation):
            self._workers.run(answer, request, to_bytes(ENDED_BEFORE))
        else:
            self._workers.run(self._answer_again, computation, request)

    def _answer_again(self, computation, request):
        """Answer a client that has forgotten this node, or had no answer: it will set up again."""
        if computation.peer.always_sets_up():
            computation.record.note_answered(False)
        answer(request, self._cpus_reply(computation))

    def _open(self, compute, request):
        if not self._is_for_us(compute) or not net.is_address(compute.scheduler_ip_addr or u'::'):
            raise Refused(INVALID)
        scheduler = self._scheduler_of(compute, request)
        own_address = compute.node_ip_addr or self._identity.announced(
            to_text(request.local_address()))
        peer = self._notices.peer_at(*scheduler)
        peer.heard(compute)
        computation = self._new_computation(
            compute, bytes(request.argument), peer, scheduler, own_address)
        source = net.canonical(to_text(request.address[0]))
        computation.callers = callers_of(compute, scheduler, source, self._notices)
        known = self._state.open_computation(computation)
        if known is not None:
            return known, True
        try:
            for file_record in compute.xfer_files:
                self._folders.check_size(file_record.size)
            computation.folder = self._folders.open(
                scheduler[0], compute.name, compute.id, compute.dest_path)
            if computation.record.files_path is not None:
                computation.folder.note_uses(computation.record.files_path)
            if self._state.is_closing(computation):     # its end may not have seen the folder
                computation.folder.close(True)
                raise Refused(ENDED_BEFORE)
        except Exception:
            self._forget(computation)
            computation.begun.set()
            raise
        return computation, False

    def _abandon(self, computation, payload):
        """A computation cannot begin: undo what was done for it, and tell all who asked for it."""
        computation.abandon()
        computation.folder.close(True)
        self._forget(computation)
        self._loop.call_soon(self._give_up, computation, payload)

    def _give_up(self, computation, payload):
        for request in self._waiting.pop(computation):
            self._workers.run(answer, request, payload)

    def _forget(self, computation):
        if self._state.forget_computation(computation):
            self._on_freed()

    def _note_refusal(self, compute, request, refused):
        cause, reason = 'COMPUTE refused', str(refused)
        if isinstance(refused, (NodeBusy, NotAvailable)):
            cause, reason = self._state.refusal() or ('busy', reason)
            cause = 'COMPUTE refused: %s' % cause
            scheduler = self._scheduler_of(compute, request)
            self._announcer.compute_refused(scheduler, self._notices.peer_at(*scheduler))
        self._complaints.note(request.address[0], cause, reason)

    @staticmethod
    def _scheduler_of(compute, request):
        """Return (address, port) of the scheduler that sent a COMPUTE."""
        address = compute.scheduler_ip_addr or to_text(request.address[0])
        return net.canonical(address), compute.scheduler_port

    @staticmethod
    def _refuse_compute(request, compute, refused):
        peer = peer_of(compute)
        if isinstance(refused, NotAvailable):
            request.reply(replies.value(peer, -1))
        elif isinstance(refused, AlreadyOpen):
            request.reply(replies.value(peer, 0))
        elif isinstance(refused, NodeBusy):
            request.reply(replies.value(peer, str(refused)))
        else:
            request.reply(to_bytes(str(refused)))

    def _cpus_reply(self, computation):
        return replies.value(computation.peer, self._state.cpus())

    def _opened(self, requests, computation, error):
        """Answer COMPUTE, once or more: the supervisor has compiled, or could not."""
        is_open = False
        try:
            if error is None:
                self._on_opened(computation)
                payload, is_open = self._cpus_reply(computation), True
            else:
                self._complaints.note(requests[0].address[0], 'COMPUTE refused', error)
                payload = to_bytes(error)
        except Exception as problem:
            payload = fault(requests[0], problem)
        if not is_open:
            computation.close(terminate=True)
        reached = [answer(request, payload) for request in requests]
        if is_open:
            log.info('computation %d (%s) of %s opened', computation.id,
                     printable(computation.name), computation.scheduler[0])
        if is_open and any(reached):
            self._delivery.opened(computation)
        elif is_open:
            log.info('computation %d is closed again: nobody knows of it', computation.id)
            computation.close(terminate=True)

    def on_setup(self, request):
        """Run the setup function: ACK when it has ended well, else its traceback."""
        setup = read(request, messages.read_setup, b'invalid setup request')
        computation = self._callers.known(setup.compute_id, request)
        if computation is None or self._state.is_closing(computation):
            request.reply(b'invalid computation')
            return False
        argument = bytes(request.argument) if setup.has_args else None
        computation.note_setup(argument)
        computation.set_up(argument, lambda error, first: self._workers.run(
            self._set_up, request, computation, error, first))
        return True

    def _set_up(self, request, computation, error, first):
        try:
            if error is not None and self._state.is_closing(computation):
                log.info('setup of computation %d has ended with the computation', computation.id)
            elif error is not None and first:
                log.warning('setup of computation %d failed: %s',
                            computation.id, indented(error))
                computation.close(terminate=True)
            payload = ACK if error is None else to_bytes(error)
        except Exception as problem:
            payload = fault(request, problem)
        answer(request, payload)
        if error is None:
            computation.record.note_answered()

    # -- files

    def on_filexfer(self, request):
        """Receive a file into the folder of its computation."""
        record = read(request, messages.read_file, replies.value(Peer(), -1))
        peer = peer_of(record)
        computation = self._callers.known(record.compute_id, request)
        try:
            if computation is None:
                raise Refused('a file for the unknown computation %s' % record.compute_id)
            computation.folder.receive(
                record, request.stream, lambda number: replies.value(peer, number))
        except Refused as refused:
            self._callers.note_refusal(request, record.compute_id, refused)
            request.reply(replies.value(peer, -1))
        # times that no file can have
        except (EnvironmentError, ValueError, OverflowError) as error:
            log.error('receiving %s for computation %s: %s',
                      printable(record.name), record.compute_id, error)
            request.reply(replies.value(peer, -1))

    # -- closing

    def on_close(self, request):
        """Close a computation. Always answered with ACK; only a full match acts."""
        closed = False
        try:
            message = messages.read_close(request.argument)
            computation = self._callers.asked(message, request)
            # another address: it found this node at two of them, and gives one up
            if computation is not None and message.node_ip_addr in (None, computation.node_ip_addr):
                closed = self._close(computation, message)
            elif message.close and self._state.computation(message.compute_id) is None:
                self._spool.close((message.compute_id, message.auth))     # it ended before
                self._cut_off.closed_unknown(net.canonical(to_text(request.address[0])))
        finally:
            request.reply(ACK)
        if closed:
            log.info('computation %d closed by its client', computation.id)

    def _is_for_us(self, message):
        address = message.node_ip_addr
        return not address or (
            net.is_address(address) and self._identity.is_ours(net.canonical(address)))

    def _close(self, computation, message):
        """Return whether it is closed by that, for the first time."""
        if not message.close:
            log.info('computation %d is to be set up anew', computation.id)
            computation.renew(terminate=message.terminate_pending)
            return False
        if self._cut_off.keeps(computation):
            log.info('computation %d stays open: its client, whose request was cut off, may use it',
                     computation.id)
            return False
        computation.closed_by_client = True
        self._spool.close((computation.id, computation.auth))
        return computation.close(terminate=message.terminate_pending)
