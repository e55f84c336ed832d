"""One computation: what a COMPUTE request opened, its life cycle, and the ends of its jobs."""
from __future__ import absolute_import, division, print_function

import threading
import time

from dispynode_lib.host.compat import monotonic, signal
from dispynode_lib.log import Log
from dispynode_lib.node.computations import supervision as supervisions
from dispynode_lib.node.computations.frames import (
    ENDED, JobLog, has_cleanup_function, last_words, open_frame)
from dispynode_lib.node.computations.jobs import JOB_FRAMES, Jobs
from dispynode_lib.node.replies.records import Record
from dispynode_lib.node.computations.supervision import Supervision
from dispynode_lib.node.computations.usage import Usage
from dispynode_lib.node.shared.phases import Life, every
from dispynode_lib.wire.messages import PROGRAM

log = Log('dispynode.computations')

ENDED_BEFORE = u'the computation was closed before it had been opened'
SET_UP_BEFORE = u'"setup" failed: the computation is set up already'

# phases; the loop's thread changes them. Whether jobs are admitted is for NodeState to say: it
# stops that before CLOSING. Where its supervisor is, see node.computations.supervision
OPENING = 'opening'                         # COMPUTE: its code is compiled
OPEN = 'open'                               # it takes jobs
RENEWING = 'renewing'  # its client wants setup again: jobs end, then cleanup runs
REOPENING = 'reopening'                     # another supervisor compiles its code
CLOSING = 'closing'                         # it takes no more jobs; those it has go on
CLEANING = 'cleaning'                       # it has no job any more: cleanup runs
REMOVING = 'removing'                       # its supervisor is gone: its files are removed
CLOSED = 'closed'                           # nothing of it is left
# events
OPENED, FAILED = 'be opened', 'fail to be opened'
RENEW, CLOSE, ABANDON = 'be renewed', 'be closed', 'be abandoned'
DRAINED, CLEANED, REMOVED = 'be drained', 'be cleaned up', 'be removed'

EDGES = {
    (OPENING, OPENED): OPEN,
    (OPENING, FAILED): CLOSING,             # who answers COMPUTE closes it
    (OPENING, ABANDON): CLOSED,             # there is no supervisor to be had
    (OPENING, RENEW): RENEWING,
    (OPENING, CLOSE): CLOSING,
    (OPEN, OPENED): OPEN,                   # in place of a supervisor that died
    (OPEN, FAILED): OPEN,                   # the next job has another one started
    (OPEN, RENEW): RENEWING,
    (OPEN, CLOSE): CLOSING,
    (RENEWING, OPENED): RENEWING,           # a supervisor for cleanup: its own died
    (RENEWING, FAILED): RENEWING,
    (RENEWING, CLEANED): REOPENING,
    (RENEWING, CLOSE): CLOSING,
    (REOPENING, OPENED): OPEN,              # NODE_CLOSED tells its client
    (REOPENING, FAILED): OPEN,
    (REOPENING, CLOSE): CLOSING,
    (CLOSING, CLOSE): CLOSING,
    (CLOSING, OPENED): CLOSING,             # for jobs that wait
    (CLOSING, FAILED): CLOSING,
    (CLOSING, CLEANED): CLOSING,            # it was to be renewed, and jobs still wait
    (CLOSING, DRAINED): CLEANING,
    (CLEANING, CLOSE): CLEANING,            # a setup that runs still is not waited for
    (CLEANING, OPENED): CLEANING,           # a supervisor only for cleanup: its own died
    (CLEANING, FAILED): CLEANING,
    (CLEANING, CLEANED): REMOVING,
    (REMOVING, REMOVED): CLOSED,
}
STAGES = (OPEN, RENEWING, CLOSING)          # in which the next node may find it
IGNORED = (every((RENEWING, REOPENING, CLOSING, CLEANING, REMOVING, CLOSED), (RENEW, )) + every(
    (REMOVING, CLOSED), (CLOSE, )) + every((CLOSING, CLEANING, REMOVING, CLOSED), (ABANDON, )))
LIFE = Life(u'a computation', EDGES, IGNORED)
TAKES_JOBS = (OPENING, OPEN, CLOSING)       # processes are forked for its jobs
FORKS = (supervisions.SETTING_UP, supervisions.READY)


class Computation(object):
    """What one COMPUTE request opened.

    Methods named on_* and _* run in the loop's thread, the others in any.
    """

    def __init__(self, common, uses, news, request, argument, peer, scheduler, node_ip_addr):
        """Record what a COMPUTE request says; start() opens it.

        request        wire COMPUTE record; `argument` its bytes, for the supervisor
        peer           wire.peers.Peer of the scheduler at `scheduler`, (address, port)
        node_ip_addr   this node's address (text) as the scheduler knows it
        """
        self._common, self._uses, self._news = common, uses, news
        self._state, self._loop, self._workers = common.state, common.loop, common.workers
        self.id, self.auth = request.id, request.auth
        self.name = request.name
        self.request, self.argument = request, argument
        self.peer = peer
        self.begun = threading.Event()  # it has its folder and its supervisor
        self.callers = frozenset()                              # addresses that may ask about it
        self.scheduler = scheduler  # (address, port): pulses and notices
        self.result_address = (scheduler[0], request.job_result_port)
        self.node_ip_addr, self.pulse_interval = node_ip_addr, request.pulse_interval
        self._last_heard = self._last_start = monotonic()
        self.zombie = False                 # its scheduler is silent: see node.timed.duties
        self.moved = False                  # its scheduler knows an address that is gone: the same
        self.unanswered = 0                 # pulses since its last sign of life
        self.closed_by_client = False       # else the node did
        self.folder = self.noted = None     # node.files.folders.Folder; node.replies.journal's
        self.phase = OPENING
        self.setup = None  # parts of the setup frame, once setup was asked for or needed
        self.cleaned = True                 # cleanup has run, or need not, and setup has not since
        self.cleaning_since = None          # seconds since the epoch, once it is being cleaned up
        self.job_log = JobLog(self.id)
        self.outcomes = {}                  # in words -> number of jobs that ended so
        self.program = request.type == PROGRAM
        self._tell_opened = self._tell_set_up = None  # functions: COMPUTE, SETUP are to be answered
        self._is_setup_untold = False  # the node before this one may not have told how setup ended:
        self._setup_error = None            # this is how
        self.record = Record(uses.records, self)
        self.supervision = Supervision(common, uses.nursery, self)
        self.usage = Usage(self, self.supervision, uses.history, uses.ledger)
        self.jobs = Jobs(common, self, self.supervision, self.usage, uses.journal, uses.big_folder)

    # -- opening and setup

    def start(self, done):
        """Start its supervisor and send it the code; `done(error or None)` when it is compiled.

        May wait. Raises EnvironmentError if there can be no supervisor.
        """
        self._uses.records.prepare()
        self._uses.journal.prepare()
        link = self._uses.nursery.take()
        self._uses.nursery.prepare()
        self._loop.call_soon(self._begin, link, done)

    def _begin(self, link, done):
        if self.phase in (CLEANING, REMOVING, CLOSED):          # close has overtaken it
            link.close()
            done(ENDED_BEFORE)
        else:
            self._tell_opened = done
            self.supervision.attach(link)

    def abandon(self):
        """Give up what cannot begin for want of a supervisor; its files are gone. Any thread."""
        self._loop.call_soon(LIFE.change, self, ABANDON)

    def stage(self):
        """Return in which of STAGES it is, for the next node."""
        return CLOSING if self._state.is_closing(self) else RENEWING if self.phase in (
            RENEWING, REOPENING) else OPEN

    def go_on(self, phase, link):
        """Go on in `phase` after a dead node; `link`: to the supervisor, or None. The loop's."""
        self.phase, self._is_setup_untold = phase, self.setup is not None
        if link is not None:
            self.supervision.adopt(
                link, supervisions.COMPILED if self.setup is None else supervisions.SETTING_UP)

    def open_frame(self):
        """Return what its supervisor has to know, the parts of a frame."""
        records, key = self._uses.records, self.supervision.link.key
        return open_frame(self, self._common, self._uses.big_folder, self._uses.descriptors, (
            records.socket_path(self.id, key), records.orphan_timeout, records.generation))

    def new_key(self):
        """Return the key of a new supervisor, see Records."""
        if self.phase != OPENING:
            self._workers.run(self.record.forget_cleanup)
        return self._uses.records.new_key()

    def on_opened(self, error):
        """A supervisor has compiled the code, or there is none: `error` (text)."""
        before = self.phase
        LIFE.change(self, OPENED if error is None else FAILED)
        self._answer_compute(error)
        if before == REOPENING:
            self._reopened(error)
        elif self.phase in TAKES_JOBS:
            self._go_on(error)
        else:
            self._go_on_cleaning_up(error)

    def _answer_compute(self, error):
        tell, self._tell_opened = self._tell_opened, None
        if tell is not None:
            self.cleaned = error is not None  # else setup may not have run, but cleanup will
            tell(error or (ENDED_BEFORE if self.phase in (CLOSING, CLEANING) else None))

    def _go_on(self, error):
        """Give a new supervisor what waits for it."""
        if error is not None:
            self._fail(error)
        elif self.setup is not None and (self.phase != CLOSING or self.jobs.count_waiting()):
            self._set_up()
        elif self.jobs.count_waiting():
            self.need_supervisor()

    def _reopened(self, error):
        if error is not None:
            log.error('computation %d cannot be renewed: %s', self.id, error)
            self._fail(error)
        elif self.setup is not None:        # jobs that wait run after it
            self._set_up()
        self._news.on_renewed(self)

    def _fail(self, error):
        """There is no supervisor that has been set up: answer all that waits for one."""
        tell, self._tell_set_up = self._tell_set_up, None
        if tell is not None:
            tell(error)                     # SETUP is answered by that, and the computation closed
        else:
            self.jobs.fail_waiting(error)

    def set_up(self, argument, done):
        """Run setup, unless that was done before; `done(error text or None, first)` in the loop's
        thread.

        argument   the raw one of the SETUP request, None if it holds none
        """
        self._loop.call_soon(self._on_setup, argument, done)

    def _on_setup(self, argument, done):
        if self.phase in (CLOSING, CLEANING, REMOVING, CLOSED):
            done(ENDED, True)               # close has overtaken it
        elif self._is_setup_untold:
            self._tell_of_setup(done)
        # without a setup function nothing is done twice
        elif self.setup is not None or self.phase == RENEWING:
            done(SET_UP_BEFORE if self.request.setup else None, False)
        else:
            self.setup = self._setup_frame(argument)
            self._tell_set_up = lambda error: done(error, True)
            if self.supervision.phase == supervisions.COMPILED:
                self._set_up()
            else:
                self.need_supervisor()

    def _tell_of_setup(self, done):
        """The node before this one was asked for setup: tell how it ended, or will end."""
        self._is_setup_untold = False
        if self.supervision.phase == supervisions.SETTING_UP:
            self._tell_set_up = lambda error: done(error, True)
        else:
            done(self._setup_error, True)

    def note_setup(self, argument):
        """Write with what it is set up, before that is done. A worker's thread; as set_up()."""
        if self.setup is None:
            self.record.note_setup(self._setup_frame(argument))

    def setup_frame(self):
        """Return the parts of the setup frame, which is needed from now on."""
        self.setup = self.setup or self._setup_frame()
        return self.setup

    def _setup_frame(self, argument=None):
        if self.request.setup_in_compute or self.request.cleanup_in_compute:
            return b'setup', None, b'compute'
        if argument is None or not (self.request.setup or has_cleanup_function(self.request)):
            return b'setup', None, b'none'
        return b'setup', argument, b'setup'

    def _set_up(self):
        self.cleaned = False
        self.supervision.set_up(self.setup)

    def on_set_up(self, error):
        """Setup has ended."""
        self._setup_error = error
        if error is not None:
            self._fail(error)
            return
        tell, self._tell_set_up = self._tell_set_up, None
        if self.phase in TAKES_JOBS:
            self.jobs.on_supervisor()
        if tell is not None:
            tell(None)

    def need_supervisor(self):
        """See to it that there is a supervisor that takes jobs, sooner or later."""
        if self.phase not in TAKES_JOBS:
            return
        if self.supervision.phase == supervisions.NONE and self.phase != OPENING:
            self.supervision.start()
        elif self.supervision.phase == supervisions.COMPILED:
            if self.program:
                self.jobs.on_supervisor()
                return
            self.setup_frame()
            self._set_up()

    def is_cleaning_up(self):
        """Return whether its supervisor is to end, or was told to by the node before this one."""
        return self.phase in (RENEWING, CLEANING)

    def can_fork(self):
        """Return whether job processes may be forked."""
        return self.supervision.phase in FORKS and self.phase in TAKES_JOBS

    # -- its scheduler

    def heard(self):
        """Note a sign of life of the scheduler."""
        self._last_heard, self.unanswered = monotonic(), 0

    def last_sign_of_life(self):
        """Return the monotonic time of the scheduler's last sign of life."""
        return max(self._last_heard, self._last_start)

    # -- jobs

    def job_frame(self, job, request):
        """Return all that is needed to run an admitted job, see Jobs.job_frame()."""
        return self.jobs.job_frame(job, request)

    def start_job(self, job, frame):
        """Give an admitted job to a job process. Any thread."""
        self._last_start = monotonic()
        self.jobs.start(job, frame)

    def wake_job(self, job):
        """A job was sent again. Any thread."""
        self._loop.call_soon(self.jobs.wake, job)

    def stop_job(self, job, why=None):
        """Stop a live job; its reply, status 9 and `why`, follows at its end. Any thread."""
        self._loop.call_soon(self.jobs.stop, job, why)

    def finish(self, job, status, result=None, stdout=u'', stderr=u'', exception=None, start=None,
               end=None):
        """Send the one final reply of a job and free its CPU. The loop's thread."""
        start, end = start or job.started, end or time.time()
        if not self._state.finish_job(job, max(0.0, end - start)):
            return
        words = last_words(job, status, result, stdout, stderr, exception, start, end)
        self._uses.delivery.deliver(self, job, *words)
        past = self._uses.history.job_ended(job, words[0], start, end, words[4])
        self.usage.job_ended(job.child, past)
        self.outcomes[past.outcome] = self.outcomes.get(past.outcome, 0) + 1
        log.debug('job %d of computation %d %s after %.3f s%s', job.uid, self.id, past.outcome,
                  end - start, ': %s' % words[4] if words[4] else '')
        if job.big is not None:
            self._workers.run(job.big.remove)
        self.end_if_drained()

    def forget_job(self, job):
        """Take back that a job was accepted: its client was not reached by the ACK. Any thread.

        Return False if it has come again meanwhile, and so is to go on.
        """
        if self._state.finish_job(job, None):
            self.settled(job)
            self._loop.call_soon(self.end_if_drained)
        return not job.is_live()            # it may have been stopped, and its reply be under way

    def settled(self, job):
        """The reply to a job is with its client, or on disk: let go of what is left. Any thread."""
        self.jobs.settled(job)

    def idle_since(self, now):
        """Return for how many seconds no job has been started or been running; `now` monotonic."""
        return 0.0 if self._state.jobs(self.id) else now - self._last_start

    def dismiss_idle(self):
        """Let the job processes end that wait for a job. Any thread."""
        self._loop.call_soon(self.jobs.dismiss_idle)

    def ask_pids(self, done):
        """Ask which processes run; `done({number of a job process: pid})` in the loop's thread."""
        self.supervision.ask_pids(done)

    def on_told(self, kind, parts):
        """Take a frame of the supervisor that is not about itself. Raises ProtocolError,
        IndexError, ValueError."""
        if kind in JOB_FRAMES:
            self.jobs.on_frame(kind, parts[1:])
        elif kind == b'imports':
            self._on_imports(parts[1:])
        elif kind == b'log':
            self.job_log.write(parts)
        elif kind == b'shutdown' and self._common.options.client_shutdown:
            log.info('computation %d: its cleanup function shuts this node down', self.id)
            self._news.on_client_shutdown()
        elif kind == b'taken':
            self._news.on_replaced()

    def _on_imports(self, names):
        """Jobs import these modules again and again, and the supervisor has them now: the next
        processes do, too."""
        self.jobs.renew_idle()
        self._workers.run(self._uses.imports.note, names)

    # -- renewing and closing

    def renew(self, terminate):
        """End jobs if `terminate`, run cleanup, be ready for another setup. Any thread."""
        if terminate:
            for job in self._state.jobs(self.id):
                self.stop_job(job)
        self._loop.call_soon(self._renew)

    def _renew(self):
        if LIFE.change(self, RENEW):
            self._workers.run(self.record.write)
            self.supervision.press()
            self.end_if_drained()

    def close(self, terminate, why=None):
        """Take no more jobs, end the running ones if `terminate`, then clean up. Any thread.

        why     sentence (text) for the exceptions of jobs, None if their client asked for it
        """
        first, jobs = self._state.close_computation(self)
        if first and self.closed_by_client:
            self.record.write()             # before its client is told
        elif first:
            self._workers.run(self.record.write)
        if self.folder is not None and (terminate or not jobs):
            self.folder.leave()
        if terminate:
            for job in jobs:
                self.stop_job(job, why)
        self._loop.call_soon(self._close, terminate)
        return first

    def _close(self, terminate):
        if LIFE.change(self, CLOSE):
            if terminate:
                self.supervision.press()
            self.end_if_drained()

    def kill(self, number=signal.SIGKILL):
        """End its processes at once: jobs by force, the supervisor by signal `number`."""
        self._loop.call_soon(self.jobs.kill)
        self._loop.call_soon(self.supervision.signal, number)

    def end_if_drained(self):
        """Clean up if jobs were waited for, and the last one has ended."""
        if self.phase == CLOSING and self._state.is_drained(self):
            LIFE.change(self, DRAINED)
            if self.folder is not None:
                self.folder.leave()
            self._news.on_ending(self)
            self._clean_up()
        elif self.phase == RENEWING and len(self._state.jobs(self.id)) == self.jobs.count_waiting():
            self._clean_up()

    def _clean_up(self):
        """Have the supervisor run cleanup, unless that was done, and end."""
        phase = self.supervision.phase
        self.jobs.dismiss_idle()
        self.cleaning_since = self.cleaning_since or time.time()
        if phase in supervisions.COMING + supervisions.LEAVING:
            return                          # on_opened(), on_closed() go on
        with_cleanup = has_cleanup_function(self.request) and not self.cleaned
        if phase == supervisions.NONE and with_cleanup:
            self.supervision.start()        # its own died: cleanup has yet to run
        elif phase == supervisions.NONE:
            self.on_closed()
        else:
            self.cleaned = True
            self.supervision.close(with_cleanup, self.setup or self._setup_frame())

    def _go_on_cleaning_up(self, error):
        """There is a supervisor for cleanup, or none because of `error`."""
        if error is not None and not self.cleaned:
            log.error('computation %d: its cleanup function cannot be run: %s', self.id, error)
            self.cleaned = True
        if self.phase == CLEANING:
            self._clean_up()
        else:
            self.end_if_drained()

    def on_closed(self):
        """Its supervisor has run cleanup and ended."""
        LIFE.change(self, CLEANED)
        if self.phase == REMOVING:
            self._workers.run(self._remove)
            return
        self.setup = self.cleaning_since = None
        if self.phase == REOPENING:
            self.supervision.start()
        elif self.jobs.count_waiting():
            self.need_supervisor()

    def on_lost(self):
        """Its supervisor died."""
        if self.phase in TAKES_JOBS and self.jobs.count_waiting():
            self.need_supervisor()
        self.end_if_drained()

    def _remove(self):
        try:
            if self.folder is not None:
                self.folder.close(bool(self.request.cleanup))
        finally:
            self._news.on_ended(self)
            self._loop.call_soon(LIFE.change, self, REMOVED)
