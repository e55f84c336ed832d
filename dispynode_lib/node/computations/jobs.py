"""Job processes of one computation: forked ahead, given jobs, followed to their ends, stopped."""
from __future__ import absolute_import, division, print_function

import collections

from dispynode_lib.errors import PeerGone, ProtocolError
from dispynode_lib.host.compat import monotonic, to_bytes
from dispynode_lib.log import DEBUG, Log, output
from dispynode_lib.host.wording import describe_exit
from dispynode_lib.node.computations.frames import read_done, read_limit, tell_start
from dispynode_lib.node.computations.link import (
    DISMISS, END, EXIT, EXITED, GIVE, GIVEN, GONE, IDLE, LOSE, SHUT, TAKE_BACK, TELL, Child,
    next_program)
from dispynode_lib.node.computations.link import LIFE as CHILD
from dispynode_lib.node.shared import job as states
from dispynode_lib.node.shared.job import LIFE as JOB
from dispynode_lib.wire import control
from dispynode_lib.wire.control import TERMINATED, number, pack

log = Log('dispynode.computations')

EXIT_NEWS_TIMEOUT = 5.0  # seconds between a job's end of file and its exit status
SILENT = (u'the job closed the descriptor by which it tells its result (all of its descriptors?), '
          u'so it was stopped')
LATER = 0.2                                 # seconds until job processes are tried again
AT_ONCE = 65536  # bytes of a frame that an idle job process takes at once
HEAD_SIZE = 4096  # bytes that a frame has, at most, besides arguments and code
EVERY_ONE = b'0'                            # a number that no job process has
SPARE = 4  # children forked at once, besides those that are missing: a third fewer wake-ups
REST = 2.0                                  # seconds without a job after which one child is enough
HANDING_OVER = 0.01  # seconds until the next look at a job that is being handed over

JOB_FRAMES = (b'exited', b'done', b'limit', b'used')
GIVABLE = (states.ADMITTED, states.WAITING)


class Jobs(object):
    """The job processes of a computation, and the jobs that wait for one.

    Methods named on_* and _* run in the loop's thread, the others in any.
    """

    def __init__(self, common, computation, supervision, usage, journal, big_folder):
        """Begin without any.

        computation   has id, program (whether its jobs are programs, which the supervisor starts
                      one by one), need_supervisor(), can_fork(), finish(job, status, ...), job_log
        supervision   has link, send(*parts), tell(*parts), ask_pids(done)
        usage         node.computations.usage.Usage
        journal       node.replies.journal.Journal
        big_folder    where big arguments and results are
        """
        self._state, self._loop, self._workers = common.state, common.loop, common.workers
        self._options = common.options
        self._computation, self._supervision = computation, supervision
        self._program = computation.program
        self._usage, self._journal, self._big_folder = usage, journal, big_folder
        self._forking = 0                   # children that were asked for and have not come yet
        self._idle = collections.deque()    # children that wait for a job
        self._waiting = collections.deque()  # (job, frame) without a child
        self._children = {}                 # number -> Child, of the present supervisor
        self._resting = None  # Timer, while jobs come: more than one child may wait for one
        self._done = 0                      # jobs done since then
        self.adopted = None                 # adoption.Adopted of a computation that was taken over

    # -- giving jobs

    def job_frame(self, job, request):
        """Return all that is needed to run a job, bytes: for the journal, then for start().

        request   wire JOB record: args, kwargs (bytes), code
        """
        identity = (b'%d' % job.uid, to_bytes(job.hash))
        kind, args = b'job', request.args
        if not isinstance(args, bytes):     # bigfiles.Arguments
            job.big = args
            kind, args = b'filejob', args.read() if self._program else to_bytes(args.path)
        if self._program:
            return pack(b'program', *((args, request.kwargs) + identity))
        if kind == b'job' and len(args) > AT_ONCE - HEAD_SIZE and self._outlives():
            from dispynode_lib.node.files import bigfiles
            job.big = bigfiles.keep_arguments(self._big_folder, args)
            if job.big is not None:
                kind, args = b'filejob', to_bytes(job.big.path)
        return pack(kind, *(identity + (to_bytes(request.code), request.kwargs, args)))

    def start(self, job, frame):
        """Give an admitted job to a job process: `frame` is job_frame() of it."""
        if self._program:
            self._start_program(job, frame)
        else:
            self._give(job, frame)

    def _start_program(self, job, frame):
        child = Child(next_program(), link=self._supervision.link)
        child.job, job.child = job, child
        self._note_process(child)
        self.attach(child, job)
        try:
            self._supervision.send(b'program', b'%d' % child.number, *control.unpack(frame[4:])[1:])
            if self._options.job_time:
                self._loop.call_soon(self._begin_time, job)
            if output.level <= DEBUG:
                self._supervision.ask_pids(lambda pids: tell_start(job, pids.get(child.number)))
        except PeerGone as error:
            log.debug('computation %d: %s', self._computation.id, error)
            self._loop.call_soon(self._take_back, job, child, frame)

    def attach(self, child, job):
        """Note that a job is in the hands of a process."""
        child.job, job.child = job, child
        self._children[child.number] = child
        CHILD.change(child, GIVE)
        if job.phase in GIVABLE:
            JOB.change(job, states.GIVE)
        child.sent = True

    def expect(self, count):
        """Note that `count` processes are to come. The loop's thread."""
        self._forking += count

    def _take_back(self, job, child, frame):
        """A program could not be sent: let it wait, unless it has been given up meanwhile."""
        self._children.pop(child.number, None)
        if CHILD.change(child, TAKE_BACK):
            child.job = job.child = None
            self.wait(job, frame)

    def _outlives(self):
        link = self._supervision.link
        return link is not None and link.key is not None

    def _note_process(self, child):
        if child.link is not None and child.link.key is not None:
            self._journal.note_process(child.job, child.link.key, child.number)

    def _give(self, job, frame):
        while True:
            try:
                child = self._idle.popleft()
            except IndexError:
                self._loop.call_soon(self.wait, job, frame)
                return
            child.job, job.child = job, child
            self._note_process(child)
            CHILD.change(child, GIVE)
            if job.phase in GIVABLE:        # else it was given before, and is the loop's now
                JOB.change(job, states.GIVE)
            try:
                child.send(frame)
            except PeerGone as error:
                log.debug('job process %d of computation %d: %s', child.number,
                          self._computation.id, error)
                job.child = None
                self._loop.call_soon(self._not_sent, child)
                continue
            child.sent = True
            self._journal.note_given(job, frame)
            tell_start(job, child.pid)
            if self._options.job_time:
                self._loop.call_soon(self._begin_time, job)
            if child.phase in (SHUT, EXITED):       # meanwhile, and was left to this thread
                self._loop.call_soon(self._child_gone, child)
            self._loop.call_soon(self.top_up)
            return

    def _not_sent(self, child):
        child.job = None
        child.link.close_child(child)
        CHILD.change(child, TAKE_BACK)

    def _begin_time(self, job):
        """Stop a job once it has run for as long as it may."""
        limit = self._options.job_time
        if limit and job.is_live():
            job.timer = self._loop.call_later(limit, self.over_time, job, monotonic())

    def over_time(self, job, began):
        """Stop a job, begun at `began` (monotonic), that had all its time. The loop's thread."""
        if job.is_live():
            sentence = u'the job was stopped: it ran for %.1f s, %s allows %g' % (
                monotonic() - began, control.JOB_TIME, self._options.job_time)
            job.limit = states.Limit(control.JOB_TIME, sentence)
            self.stop(job)

    def _hand_over(self, job, frame):
        """Give a job in the loop's thread, one that may have to wait in another."""
        if len(frame) > AT_ONCE:
            JOB.change(job, states.TAKE)
            self._workers.run(self._give, job, frame)
        else:
            self._give(job, frame)

    def wait(self, job, frame):
        """Give a job in the loop's thread to a process, as soon as there is one."""
        if job.phase == states.STOPPING:
            self._computation.finish(job, TERMINATED)
        elif self._idle and job.is_live():
            self._hand_over(job, frame)
        elif JOB.change(job, states.WAIT):
            self._waiting.append((job, frame))
            self._computation.need_supervisor()
            self.top_up()

    def top_up(self):
        """Have a child forked ahead, and while jobs come as many as could come at once.

        If there are fewer then, some more are asked for: to wake the supervisor, and the copying of
        what it writes to after a fork, cost nearly the same for several children as for one. The
        loop's thread.
        """
        if self._program or not self._computation.can_fork():
            return
        missing = self._count_wanted() - len(self._idle) - self._forking
        if missing <= 0:
            return
        if self._resting is not None:
            missing += min(SPARE, self._done)           # of what one job leaves most end unused
        self._forking += missing
        try:
            self._supervision.send(b'fork', b'%d' % missing)
        except PeerGone as error:
            log.debug('computation %d: %s', self._computation.id, error)

    def _count_wanted(self):
        return len(
            self._waiting) + (1 if self._resting is None else max(1, self._state.free_cpus()))

    def count_waiting(self):
        """Return how many jobs wait for a process."""
        return len(self._waiting)

    def on_supervisor(self):
        """The supervisor takes jobs: give it the waiting ones."""
        if not self._program:
            self.top_up()
            return
        waiting, self._waiting = self._waiting, collections.deque()
        for job, frame in waiting:
            self._start_program(job, frame)

    def fail_waiting(self, reason):
        """Answer the jobs that wait for a process with a failure, `reason`. The loop's thread."""
        waiting, self._waiting = self._waiting, collections.deque()
        for job, _frame in waiting:
            self._computation.finish(job, TERMINATED, exception=reason)

    # -- stopping them

    def stop(self, job, why=None):
        """Stop a live job; its final reply follows when it has ended. The loop's thread.

        why   sentence for its client, None if he asked for that
        """
        if job.phase == states.ADMITTED:        # a thread is just handing it over
            self._loop.call_later(HANDING_OVER, self.stop, job, why)
            return
        first = job.phase != states.STOPPING
        if JOB.change(job, states.STOP):
            if first:
                job.why = why
                self._journal.note_stopping(job)
            self._stop(job)

    def _stop(self, job):
        child = job.child
        if not job.is_live():
            return
        if child is None:
            self._stop_waiting(job)
        elif not child.sent:
            self._loop.call_later(HANDING_OVER, self._stop, job)
        elif child.link is self._supervision.link:      # else it is ended with its supervisor
            self._supervision.tell(b'stop', b'%d' % child.number)

    def _stop_waiting(self, job):
        left = collections.deque(entry for entry in self._waiting if entry[0] is not job)
        if len(left) == len(self._waiting):             # a thread tries one process after the other
            self._loop.call_later(HANDING_OVER, self._stop, job)
            return
        self._waiting = left
        self._computation.finish(job, TERMINATED)

    def kill(self):
        """Kill all that run, at once. The loop's thread."""
        self._supervision.tell(b'kill', EVERY_ONE)

    def _rest(self):
        """Let all children but one go that wait for a job, if there has been none of late."""
        self._resting = None
        if self._computation.idle_since(monotonic()) >= REST:
            self._done = 0
            self.dismiss_idle(but=1)
        else:
            self._resting = self._loop.call_later(REST, self._rest)

    def dismiss_idle(self, but=0):
        """Let the children that wait for a job end, `but` so many. The loop's thread."""
        while len(self._idle) > but:
            try:
                child = self._idle.popleft()
            except IndexError:              # a worker's thread has just taken it
                return
            self.dismiss(child)

    @staticmethod
    def dismiss(child):
        """Let a job process end that waits for a job. The loop's thread."""
        CHILD.change(child, DISMISS)
        child.link.close_child(child)

    def renew_idle(self):
        """Replace waiting children: the supervisor has since loaded what jobs import."""
        if not self._waiting:
            self.dismiss_idle()
            self.top_up()

    def wake(self, job):
        """The client of a job has sent it again. The loop's thread."""
        if self.adopted is not None:
            self.adopted.wake(job)

    # -- what comes from them

    def on_child(self, child):
        """Take a new job process that waits for a job."""
        self.has_come()
        if self.adopted is not None and self.adopted.takes(child):
            return
        self._children[child.number] = child
        if not self._computation.can_fork():
            self.dismiss(child)
            return
        self._idle.append(child)
        if self._waiting:
            self._hand_over(*self._waiting.popleft())

    def has_come(self):
        """A process that was asked for, or expected, is there."""
        self._forking = max(0, self._forking - 1)

    def on_child_frame(self, child, parts):
        """Take a frame from a job process."""
        if parts and parts[0] == b'done' and len(parts) == 8:
            self._on_done(child, parts[1:])
        elif parts and parts[0] == b'filedone' and len(parts) == 8:
            self._on_file_done(child, parts[1:])
        elif parts and parts[0] == b'log' and child.job is not None:
            self._computation.job_log.write(parts, child.job.uid)
        elif parts and parts[0] == b'limit':
            self._note_limit(child, parts[1:])
        else:
            raise ProtocolError('unknown frame')

    def on_child_closed(self, child):
        """A job process closed its channel: it has ended, or soon will."""
        if self._is_being_given(child):
            self._loop.call_later(HANDING_OVER, self.on_child_closed, child)
            return
        CHILD.change(child, END)
        if child.sent or child.phase == GONE:
            self._child_gone(child)         # else: whoever is sending to it sees to it

    def _is_being_given(self, child):
        """Return whether a thread has just taken it; else it waits no more."""
        return child.phase == IDLE and not self._take(child)

    def _take(self, child):
        """Take a process from those that wait for a job; return False if a thread was faster."""
        try:
            self._idle.remove(child)
        except ValueError:
            return False
        return True

    def _child_gone(self, child):
        child.link.close_child(child)
        if child.phase == EXITED or (child.phase == SHUT
                                     and self._supervision.link is not child.link):
            self._lost(child, None)
        elif child.phase == SHUT:
            self._supervision.tell(b'ended', b'%d' % child.number)
            self._loop.call_later(EXIT_NEWS_TIMEOUT, self._end_silent, child)

    def _end_silent(self, child):
        """End a job that lives on but closed its channel: it can no more tell its result."""
        if child.phase == SHUT:
            self._supervision.tell(b'kill', b'%d' % child.number)
            self._lost(child, SILENT)

    def on_frame(self, kind, fields):
        """Take one of JOB_FRAMES of the supervisor. Raises ProtocolError, IndexError."""
        if kind == b'exited':
            self.on_exited(number(fields[0]), number(fields[1]))
        elif kind == b'done':
            self.on_program_done(number(fields[0]), fields[1:])
        elif kind == b'limit':
            self._note_limit(self._children.get(number(fields[0])), fields[1:])
        else:
            self._usage.on_used(fields[0], self._children)

    def on_exited(self, child_number, status):
        """The supervisor reaped a job process; `status` as os.waitpid gives it. It does not tell
        this of those that did well."""
        child = self._children.pop(child_number, None)
        if child is not None:  # else: it had told its result; yet it ended in an odd way
            child.exit_status = status
            self._exited(child)

    def _exited(self, child):
        if self._is_being_given(child):
            self._loop.call_later(HANDING_OVER, self._exited, child)
        elif child.phase == IDLE:
            self.dismiss(child)
        elif CHILD.change(child, EXIT) and child.sent:
            if child.sock is not None:
                child.link.drain(child)     # that may hold its result
            self._lost(child, None)

    def on_program_done(self, child_number, fields):
        """The supervisor tells the result of a program."""
        child = self._children.get(child_number)
        if child is not None:
            self._on_done(child, fields)

    def _on_done(self, child, fields):
        done = read_done(fields, self._program)
        if not CHILD.change(child, TELL):
            return
        if not self._program:
            self._children.pop(child.number, None)
            child.link.close_child(child)   # nothing that comes later counts
            self._done += 1
            if self._resting is None and child.link is self._supervision.link:
                self._resting = self._loop.call_later(REST, self._rest)
        self._computation.finish(child.job, *done)

    @staticmethod
    def _note_limit(child, fields):
        """A job is over a limit, and is being killed, or has ended by itself."""
        if child is not None and child.phase in (GIVEN, SHUT, EXITED):
            child.job.limit = read_limit(fields)

    def on_lost_child(self):
        """A new process could not be taken over, for want of descriptors: try again."""
        self.has_come()
        self._loop.call_later(LATER, self.top_up)

    def _on_file_done(self, child, fields):
        from dispynode_lib.node.files import bigfiles
        try:
            fields[1] = bigfiles.take_result(self._big_folder, fields[1])
            if child.job is not None:
                child.job.result = fields[1]
        except EnvironmentError as error:
            log.error('the result of a job of computation %d: %s', self._computation.id, error)
            fields[:2] = [b'%d' % TERMINATED, None]
            fields[4] = to_bytes(
                u'the result, in a file because of its size, cannot be read: %s' % error)
        self._on_done(child, fields)

    def settled(self, job):
        """The reply is with the client, or on disk: let go of the job. Any thread."""
        if job.slot is not None:
            self._journal.remove(job.slot)
            job.slot = None
        if job.child is not None and job.child.link is not None:
            job.child.link.settle(job.child.number)
        result, job.result = job.result, None               # its memory is free at once
        if result is not None:
            self._workers.run(result.remove)
        if job.xfer_files:                  # after the slot: none is released twice
            self._workers.run(self._computation.folder.release, job.xfer_files)

    def _lost(self, child, reason):
        """A job ended without its result: say how."""
        if CHILD.change(child, LOSE):
            self._computation.finish(child.job, TERMINATED, exception=reason
                                     or describe_exit(child.exit_status))

    def on_link_closed(self, link):
        """The supervisor is gone: return the job processes that it had. on_left_ended() follows."""
        children, self._children = list(self._children.values()), {}
        self._forking = 0
        for child in list(self._idle):
            if child.link is link and self._take(child):
                self.dismiss(child)
        self._usage.expect_nothing()
        return children

    def on_left_ended(self, child):
        """A job process was ended, for its supervisor had died: what it has told counts."""
        if child.phase in (GIVEN, SHUT) and not child.sent:
            self._loop.call_later(HANDING_OVER, self.on_left_ended, child)
        elif child.phase in (GIVEN, SHUT):
            child.link.drain(child)
            self._lost(child, None)
