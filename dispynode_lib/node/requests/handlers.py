"""The request table: one handler for each opcode a peer may send."""
from __future__ import absolute_import, division, print_function

import time

from dispynode_lib.errors import AlreadyOpen, Busy, NodeBusy, NotAvailable, PeerGone, ProtocolError, Refused
from dispynode_lib.host.network import net
from dispynode_lib.host.compat import monotonic, to_bytes, to_text
from dispynode_lib.log import Log
from dispynode_lib.node.computations.computation import ENDED_BEFORE
from dispynode_lib.node.replies import spool
from dispynode_lib.node.shared import faults
from dispynode_lib.node.access.guard import callers_of, may_speak, same
from dispynode_lib.node.shared.complaints import printable
from dispynode_lib.wire import messages, replies
from dispynode_lib.wire.control import TERMINATED
from dispynode_lib.wire.pickle import blobs
from dispynode_lib.wire.peers import Peer, peer_of

log = Log('dispynode.requests')

ACK = b'ACK'
INVALID = 'Invalid computation request ignored'
ABOUT_KEPT = ('PENDING_JOBS', 'RETRIEVE_JOB', 'RESEND_JOB_RESULTS', 'CLOSE')
BEGIN_WAIT = 10.0                           # seconds that requests wait for a COMPUTE that is being done
BUSY_WAIT = 2.0                             # seconds that a job may wait for a CPU


class Requests(object):
    """Handles requests; every method `on_*` runs in a worker thread and may take its time.

    A handler returns True if it keeps the connection to answer later.
    """

    def __init__(self, common, open_to_all, new_computation, folders, delivery, spool, journal,
                 notices, announcer, complaints, penalties, on_opened, on_freed):
        """Handle requests by `common`, a node.shared.common.Common.

        open_to_all       {opcode: handler of a Request} of those that are not about a computation
        new_computation   function(COMPUTE record, its bytes, Peer, scheduler, this node's address) -> Computation
        on_opened         function(Computation): its code is compiled, and its client is told so next
        on_freed          function: the node has no scheduler any more
        """
        self._state, self._loop, self._workers = common.state, common.loop, common.workers
        self._identity = common.identity
        self._new_computation, self._folders = new_computation, folders
        self._delivery, self._spool, self._journal = delivery, spool, journal
        self._notices, self._announcer = notices, announcer
        self._complaints, self._penalties = complaints, penalties
        self._on_opened, self._on_freed = on_opened, on_freed
        self._reply_hold = common.options.reply_hold / 1000.0
        self._opening = {}                  # Computation -> [COMPUTE request to be answered]; the loop's thread
        self._table = {
            'COMPUTE': self.on_compute, 'FILEXFER': self.on_filexfer,
            'SETUP': self.on_setup, 'JOB': self.on_job, 'TERMINATE_JOB': self.on_terminate_job,
            'CLOSE': self.on_close, 'JOBS': self.on_jobs, 'PENDING_JOBS': self.on_pending_jobs,
            'RETRIEVE_JOB': self.on_retrieve_job, 'RESEND_JOB_RESULTS': self.on_resend_job_results,
        }
        self._open_to_all = open_to_all

    def handle(self, request):
        """Answer one request, if by the refusal that a fault of the node is. Return True if its connection is kept.

        Raises PeerGone, ProtocolError.
        """
        try:
            return self._handle(request)
        except (PeerGone, ProtocolError):
            raise
        except Exception as error:
            self._answer_fault(request, error)
            return False

    def _answer_fault(self, request, error):
        refusal = self._refusal(request, error)
        if refusal is not None:
            request.reply(refusal)

    @staticmethod
    def _refusal(request, error):
        log.exception('%s of %s', request.opcode, request.address[0])
        return faults.refusal(request.opcode, error)

    def _handle(self, request):
        if request.opcode in self._open_to_all:
            return self._open_to_all[request.opcode](request)
        if not request.authorised and not self._knows_of_old(request):
            if self._identity.is_earlier(request.token):
                raise ProtocolError('%s with the token of an earlier run: the client has not heard of the restart yet'
                                    % request.opcode)
            self._complaints.note(request.address[0], 'wrong secret',
                                        '%s with the token of another secret' % request.opcode)
            self._penalties.wrong_secret(request.address[0])
            return False
        handler = self._table.get(request.opcode)
        if handler is None:
            request.reply(b'NAK (invalid command: %s)' % to_bytes(request.opcode))
            raise ProtocolError('unknown request %s' % request.opcode)
        return handler(request)

    def _knows_of_old(self, request):
        """Return whether it asks for replies kept since before a restart, by the token of that time."""
        return request.opcode in ABOUT_KEPT and self._spool.knows_token(request.token)

    # -- opening a computation

    def on_compute(self, request):
        """Open a computation: the number of CPUs when its code compiles, else a text."""
        compute = self._read(request, messages.read_compute, to_bytes(INVALID))
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
        self._loop.call_soon(self._opening.__setitem__, computation, [request])
        try:
            computation.start(lambda error: self._workers.run(
                self._opened, self._opening.pop(computation), computation, error))
        except EnvironmentError as error:
            log.error('computation %d: no supervisor can be started: %s', computation.id, error)
            self._abandon(computation, to_bytes('no supervisor can be started: %s' % error))
        except Exception as error:
            self._abandon(computation, self._refusal(request, error))

    def _ask_again(self, computation, request):
        """Answer a repeated COMPUTE, together with the first if that has yet to be answered. The loop's thread."""
        if computation in self._opening:
            self._opening[computation].append(request)
        else:
            is_closed = self._state.is_closing(computation)
            self._workers.run(self._answer, request,
                              to_bytes(ENDED_BEFORE) if is_closed else self._cpus_reply(computation))

    @staticmethod
    def _read(request, read, refusal):
        """Return the message in a request; whoever sent something else is told `refusal`. Raises ProtocolError."""
        try:
            return read(request.argument)
        except ProtocolError:
            request.reply(refusal)
            raise

    def _open(self, compute, request):
        if not self._is_for_us(compute) or not net.is_address(compute.scheduler_ip_addr or u'::'):
            raise Refused(INVALID)
        scheduler = self._scheduler_of(compute, request)
        node_ip_addr = compute.node_ip_addr or self._identity.announced(to_text(request.local_address()))
        peer = self._notices.peer_at(*scheduler)
        peer.heard(compute)
        computation = self._new_computation(compute, bytes(request.argument), peer, scheduler, node_ip_addr)
        source = net.canonical(to_text(request.address[0]))
        computation.callers = callers_of(compute, scheduler, source, self._notices)
        known = self._state.open_computation(computation)
        if known is not None:
            return known, True
        try:
            for file_record in compute.xfer_files:
                self._folders.check_size(file_record.size)
            computation.folder = self._folders.open(scheduler[0], compute.name, compute.id, compute.dest_path)
            if self._state.is_closing(computation):             # since then: its end may not have seen the folder
                computation.folder.close(True)
                raise Refused(ENDED_BEFORE)
        except Exception:
            self._forget(computation)
            computation.begun.set()
            raise
        return computation, False

    def _abandon(self, computation, answer):
        """A computation cannot begin: undo what was done for it, and give all who ask for it the `answer`."""
        computation.abandon()
        computation.folder.close(True)
        self._forget(computation)
        self._loop.call_soon(self._give_up, computation, answer)

    def _give_up(self, computation, answer):
        for request in self._opening.pop(computation):
            self._workers.run(self._answer, request, answer)

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
        return net.canonical(compute.scheduler_ip_addr or to_text(request.address[0])), compute.scheduler_port

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
        """Answer COMPUTE, and those that repeat it, now that the supervisor has compiled the code, or could not."""
        is_open = False
        try:
            if error is None:
                log.info('computation %d (%s) of %s opened', computation.id, printable(computation.name),
                         computation.scheduler[0])
                self._on_opened(computation)
                answer, is_open = self._cpus_reply(computation), True
            else:
                self._complaints.note(requests[0].address[0], 'COMPUTE refused', error)
                answer = to_bytes(error)
        except Exception as fault:
            answer = self._refusal(requests[0], fault)
        if not is_open:
            computation.close(terminate=True)
        reached = [self._answer(request, answer) for request in requests]
        if is_open and any(reached):
            self._delivery.opened(computation)
        elif is_open:
            log.info('computation %d is closed again: nobody knows of it', computation.id)
            computation.close(terminate=True)

    def on_setup(self, request):
        """Run the setup function: ACK when it has ended well, else its traceback."""
        setup = self._read(request, messages.read_setup, b'invalid setup request')
        computation = self._known(setup.compute_id, request)
        if computation is None or self._state.is_closing(computation):
            request.reply(b'invalid computation')
            return False
        argument = bytes(request.argument) if setup.has_args else None
        computation.set_up(argument, lambda error, first: self._workers.run(
            self._set_up, request, computation, error, first))
        return True

    def _set_up(self, request, computation, error, first):
        try:
            if error is not None and first:
                log.warning('setup of computation %d failed: %s', computation.id, printable(error, 2000))
                computation.close(terminate=True)
            answer = ACK if error is None else to_bytes(error)
        except Exception as fault:
            answer = self._refusal(request, fault)
        self._answer(request, answer)

    # -- files

    def on_filexfer(self, request):
        """Receive a file into the folder of its computation."""
        record = self._read(request, messages.read_file, replies.value(Peer(), -1))
        peer = peer_of(record)
        computation = self._known(record.compute_id, request)
        try:
            if computation is None:
                raise Refused('a file for the unknown computation %s' % record.compute_id)
            computation.folder.receive(record, request.stream, lambda number: replies.value(peer, number))
        except Refused as refused:
            self._note(request, record.compute_id, refused)
            request.reply(replies.value(peer, -1))
        except (EnvironmentError, ValueError, OverflowError) as error:      # times that no file can have
            log.error('receiving %s for computation %s: %s', printable(record.name), record.compute_id, error)
            request.reply(replies.value(peer, -1))

    # -- jobs

    def on_job(self, request):
        """Accept a job: ACK, then it runs; its reply follows on another connection."""
        big = request.big
        try:
            message = self._read(request, messages.read_job, b'NAK (invalid job)')
            if big is not None:
                field = self._read(request, lambda _argument: blobs.holder(message, big.stand_in), b'NAK (invalid job)')
                setattr(message, field, big if field == 'args' else big.read())
            self._do_job(request, message)
            if big is message.args:
                big = None                                      # the job's from now on
        finally:
            if big is not None:
                big.remove()

    def _do_job(self, request, message):
        try:
            admitted = self._admit(request, message, BUSY_WAIT)
        except Refused as refused:
            self._refuse_job(request, message, refused)
            message.args = None
            return
        self._start_job(request, message, *admitted)

    def job_at_once(self, request):
        """The same without waiting: return False, having done nothing, if no CPU is free."""
        try:
            return self._job_at_once(request)
        except (PeerGone, ProtocolError):
            raise
        except Exception as error:
            self._answer_fault(request, error)
            return True

    def _job_at_once(self, request):
        message = self._read(request, messages.read_job, b'NAK (invalid job)')
        if self._is_beginning(self._state.computation(message.compute_id)):
            return False
        try:
            admitted = self._admit(request, message, 0.0)
        except Busy:
            return False
        except Refused as refused:
            self._refuse_job(request, message, refused)
            return True
        self._start_job(request, message, *admitted)
        return True

    def _admit(self, request, message, timeout):
        if self._known(message.compute_id, request, timeout and BEGIN_WAIT) is None:
            raise Refused('NAK (invalid computation ID)')
        return self._state.admit_job(
            message.compute_id, message.uid, message.hash, message.xfer_files, time.time(), timeout)

    def _refuse_job(self, request, message, refused):
        computation = self._note(request, message.compute_id, refused)
        if computation is not None and message.xfer_files:
            self._workers.run(computation.folder.release, message.xfer_files)
        request.reply(to_bytes(str(refused)))

    def _note(self, request, computation_id, refused):
        """Count a refusal, unless it was for the address and so _known() has; return the peer's computation, or None."""
        computation = self._state.computation(computation_id)
        if computation is not None and not may_speak(computation, request.address[0], self._identity):
            return None
        self._complaints.note(request.address[0], '%s refused' % request.opcode, refused)
        return computation

    def _start_job(self, request, message, job, new):
        try:
            job.reply_after = monotonic() + self._reply_hold
            if new:
                frame = job.computation.job_frame(job, message)
                self._journal.add(job, frame)
            request.reply(ACK)
            log.debug('job %d of computation %d accepted%s', job.uid, job.computation.id, '' if new else ' again')
        except BaseException as error:      # mostly PeerGone
            if not new or job.computation.forget_job(job):
                raise
            if not isinstance(error, PeerGone):     # who sent it again has the ACK, and waits
                self._fail_job(job, error)
                raise
        if new:
            try:
                self._journal.note_accepted(job)
                job.computation.start_job(job, frame)
            except Exception as error:      # it has been accepted: it gets its reply
                log.exception('job %d of computation %d', job.uid, job.computation.id)
                self._fail_job(job, error)
        else:
            message.args = None                                 # it runs already

    def _fail_job(self, job, error):
        self._loop.call_soon(job.computation.finish, job, TERMINATED, None, '', '', faults.text(error))

    def on_terminate_job(self, request):
        """Stop a job if it runs; its final reply follows."""
        message = messages.read_job(request.argument, 'TERMINATE_JOB')
        job = self._state.find_job(message.compute_id, message.uid, message.hash)
        if job is not None and self._known(message.compute_id, request) is not None:
            job.computation.stop_job(job)

    def on_close(self, request):
        """Close a computation. Always answered with ACK; only a full match acts."""
        try:
            message = messages.read_close(request.argument)
            computation = self._asked(message, request)
            # another address: it found this node at two of them, and gives one up
            if computation is not None and message.node_ip_addr in (None, computation.node_ip_addr):
                self._close(computation, message)
            elif message.close and self._state.computation(message.compute_id) is None:
                self._spool.close((message.compute_id, message.auth))     # it ended before
        finally:
            request.reply(ACK)

    def _is_for_us(self, message):
        address = message.node_ip_addr
        return not address or (net.is_address(address) and self._identity.is_ours(net.canonical(address)))

    def _close(self, computation, message):
        if not message.close:
            log.info('computation %d is to be set up anew', computation.id)
            computation.renew(terminate=message.terminate_pending)
            return
        computation.closed_by_client = True
        self._spool.close((computation.id, computation.auth))
        if computation.close(terminate=message.terminate_pending):
            log.info('computation %d closed by its client', computation.id)

    # -- questions about jobs

    def on_jobs(self, request):
        """Tell the uids of jobs accepted and not yet replied to."""
        question = messages.read_question(request.argument)
        computation = self._asked(question, request)
        uids = [job.uid for job in self._state.jobs(computation.id)] if computation is not None else []
        request.reply(replies.value(peer_of(question), uids))

    def on_pending_jobs(self, request):
        """Tell the uids of kept replies, and how many jobs still run."""
        question = messages.read_question(request.argument, 'PENDING_JOBS')
        computation = self._asked(question, request)
        running = len(self._state.jobs(computation.id)) if computation is not None else 0
        done = [uid for uid, _hash in self._spool.jobs((question.compute_id, question.auth))]
        request.reply(replies.value(peer_of(question), {u'done': done, u'pending': running}))

    def on_retrieve_job(self, request):
        """Give one kept reply; it is removed once the client has acknowledged it."""
        question = messages.read_question(request.argument, 'RETRIEVE_JOB')
        key, job = (question.compute_id, question.auth), (question.uid, question.hash)
        payload = self._spool.find(key, job)
        if payload is None:
            request.reply(replies.value(peer_of(question), None))
            return
        request.reply(spool.bare_reply(payload))
        if bytes(request.stream.read_frame(4096)) == ACK:
            self._spool.remove(key, job)

    def on_resend_job_results(self, request):
        """Tell how many replies will come, kept and running, and send the kept ones."""
        question = messages.read_question(request.argument, 'RESEND_JOB_RESULTS')

        computation = self._asked(question, request)            # here: it may have to wait

        def running():
            jobs = self._state.jobs(computation.id) if computation is not None else ()
            return [(job.uid, job.hash) for job in jobs]

        self._delivery.resend(
            (question.compute_id, question.auth), running,
            lambda count: self._workers.run(self._answer, request, replies.value(peer_of(question), count)))
        return True

    @staticmethod
    def _answer(request, payload):
        """Answer a request whose connection was kept; return whether its peer is still there."""
        try:
            request.reply(payload)
            return True
        except PeerGone as gone:
            log.info('answering %s: %s', request.opcode, gone)
            return False
        finally:
            request.close()

    @staticmethod
    def _is_beginning(computation):
        return computation is not None and not computation.begun.is_set()

    def _known(self, computation_id, request, timeout=BEGIN_WAIT):
        """Return the computation with that id if a request about it may come from where it came, else None.

        timeout   seconds that a COMPUTE may take that is still being done
        """
        computation = self._state.computation(computation_id)
        if timeout and self._is_beginning(computation):
            computation.begun.wait(timeout)
            computation = self._state.computation(computation_id)
        if computation is None or may_speak(computation, request.address[0], self._identity):
            return computation
        self._complaints.note(request.address[0], '%s refused: address' % request.opcode,
                                    'computation %d belongs to %s' % (computation_id, computation.scheduler[0]))
        return None

    def _asked(self, question, request):
        computation = self._known(question.compute_id, request)
        return computation if computation is not None and same(computation.auth, question.auth) else None
