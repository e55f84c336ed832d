"""Requests about jobs: JOB, TERMINATE_JOB, and questions about jobs and kept replies."""
from __future__ import absolute_import, division, print_function

import time

from dispynode_lib.errors import Busy, PeerGone, Refused
from dispynode_lib.host.compat import monotonic, to_bytes
from dispynode_lib.log import Log
from dispynode_lib.node.replies import spool
from dispynode_lib.node.requests.callers import ACK, BEGIN_WAIT, answer, is_beginning, read
from dispynode_lib.node.shared.complaints import fault_text
from dispynode_lib.wire import messages, replies
from dispynode_lib.wire.control import TERMINATED
from dispynode_lib.wire.peers import peer_of

log = Log('dispynode.requests')

BUSY_WAIT = 2.0                             # seconds that a job may wait for a CPU
STOPPED_HOLDS = 40  # of --reply_hold, that the reply to a stopped job waits if all CPUs were busy
NONSENSE = b'NAK (invalid job)'


class JobRequests(object):
    """Takes jobs and stops them, tells of them, and gives replies that were kept."""

    def __init__(self, common, callers, journal, spool, delivery):
        self._state, self._loop, self._workers = common.state, common.loop, common.workers
        self._callers, self._journal = callers, journal
        self._spool, self._delivery = spool, delivery
        self._reply_hold = common.options.reply_hold / 1000.0
        self._cancelling = 0.0  # until when (monotonic) a client may go on to cancel jobs

    def table(self):
        """Return {opcode: handler}."""
        return {'JOB': self.on_job, 'TERMINATE_JOB': self.on_terminate_job, 'JOBS': self.on_jobs,
                'PENDING_JOBS': self.on_pending_jobs, 'RETRIEVE_JOB': self.on_retrieve_job,
                'RESEND_JOB_RESULTS': self.on_resend_job_results}

    # -- jobs

    def on_job(self, request):
        """Accept a job: ACK, then it runs; its reply follows on another connection."""
        big = request.big
        try:
            message = read(request, messages.read_job, NONSENSE)
            request.need_peer()
            if big is not None:
                from dispynode_lib.wire.pickle import blobs
                field = read(
                    request, lambda _argument: blobs.holder(message, big.stand_in), NONSENSE)
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

    def at_once(self, request):
        """Do as on_job() without waiting: return False, having done nothing, if no CPU is free."""
        message = read(request, messages.read_job, NONSENSE)
        request.need_peer()
        if is_beginning(self._state.computation(message.compute_id)):
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
        if self._callers.known(message.compute_id, request, timeout and BEGIN_WAIT) is None:
            raise Refused('NAK (invalid computation ID)')
        return self._state.admit_job(
            message.compute_id, message.uid, message.hash, message.xfer_files, time.time(), timeout)

    def _refuse_job(self, request, message, refused):
        computation = self._callers.note_refusal(request, message.compute_id, refused)
        if computation is not None and message.xfer_files:
            self._workers.run(computation.folder.release, message.xfer_files)
        request.reply(to_bytes(str(refused)))

    def _start_job(self, request, message, job, new):
        try:
            job.reply_after = monotonic() + self._reply_hold
            if new:
                frame = job.computation.job_frame(job, message)
                self._journal.add(job, frame)
            request.reply(ACK)
            log.debug('job %d of computation %d accepted%s',
                      job.uid, job.computation.id, '' if new else ' again')
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
            message.args = None                                 # it runs already, or is waited for
            job.computation.wake_job(job)

    def _fail_job(self, job, error):
        self._loop.call_soon(
            job.computation.finish, job, TERMINATED, None, '', '', fault_text(error))

    def on_terminate_job(self, request):
        """Stop a job if it runs; its final reply follows, but not while its client may be cancelling
        others, which it has where all CPUs are busy (docs/protocol.rst, "TERMINATE_JOB")."""
        message = messages.read_job(request.argument, 'TERMINATE_JOB')
        job = self._state.find_job(message.compute_id, message.uid, message.hash)
        if job is not None and self._callers.known(message.compute_id, request) is not None:
            now = monotonic()
            if not self._state.free_cpus() or now < self._cancelling:
                self._cancelling = job.reply_after = now + STOPPED_HOLDS * self._reply_hold
            job.computation.stop_job(job)

    # -- questions about jobs

    def on_jobs(self, request):
        """Tell the uids of jobs accepted and not yet replied to."""
        question = messages.read_question(request.argument)
        computation = self._callers.asked(question, request)
        jobs = self._state.jobs(computation.id) if computation is not None else []
        request.reply(replies.value(peer_of(question), [job.uid for job in jobs]))

    def on_pending_jobs(self, request):
        """Tell the uids of kept replies, and how many jobs still run."""
        question = messages.read_question(request.argument, 'PENDING_JOBS')
        computation = self._callers.asked(question, request)
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
        computation = self._callers.asked(question, request)    # here: it may have to wait

        def running():
            jobs = self._state.jobs(computation.id) if computation is not None else ()
            return [(job.uid, job.hash) for job in jobs]

        self._delivery.resend(
            (question.compute_id, question.auth), running,
            lambda count: self._workers.run(
                answer, request, replies.value(peer_of(question), count)))
        return True
