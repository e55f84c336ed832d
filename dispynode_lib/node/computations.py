"""Open, set up, follow and close one computation: the node's side of its supervisor and its jobs."""
from __future__ import absolute_import, division, print_function

import collections
import itertools
import logging
import threading
import time

from dispynode_lib.errors import PeerGone, ProtocolError
from dispynode_lib.host.compat import integer_types, monotonic, to_bytes, to_text
from dispynode_lib.node.exits import describe_exit
from dispynode_lib.node.link import Child
from dispynode_lib.wire import control
from dispynode_lib.wire.control import number, pack

log = logging.getLogger('dispynode.computations')

FINISHED, TERMINATED = 11, 9                # job status numbers (docs/protocol.rst, "Status numbers")
FUNCTION, PROGRAM = 1, 2                    # computation types
EXIT_NEWS_TIMEOUT = 5.0                     # seconds between a job's end of file and its exit status

_program_numbers = itertools.count(control.FIRST_PROGRAM)


class Computation(object):
    """What one COMPUTE request opened.

    Methods named on_* and _* run in the loop's thread, the others in any.
    """

    def __init__(self, parts, request, argument, peer, scheduler, node_ip_addr):
        """Record what a COMPUTE request says; start() opens it.

        parts          the node's parts (loop, state, delivery, workers, options)
        request        wire COMPUTE record; `argument` its bytes, for the supervisor
        peer           wire.peers.Peer of the scheduler at `scheduler`, (address, port)
        node_ip_addr   this node's address (text) as the scheduler knows it
        """
        self._parts = parts
        self.id, self.auth, self.name, self.type = request.id, request.auth, request.name, request.type
        self.request = request
        self._argument = argument
        self.peer = peer
        self.scheduler = scheduler                              # (address, port): pulses and notices
        self.result_address = (scheduler[0], request.job_result_port)
        self.node_ip_addr = node_ip_addr
        self.pulse_interval = request.pulse_interval
        self._last_heard = self._last_start = monotonic()
        self.zombie = False                                     # its scheduler is silent: see node.duties
        self.folder = None
        self._cleanup = request.cleanup
        self._link = None
        self._lock = threading.Lock()                           # for _forking and _set_up only
        self._set_up = None                                     # parts of the setup frame once sent
        self._answers = collections.defaultdict(collections.deque)      # b'opened', b'setup' ... -> callbacks
        self._idle = collections.deque()                        # children that wait for a job
        self._forking = 0
        self._waiting = collections.deque()                     # (job, frame) without a child
        self._children = {}                                     # number -> Child, of the present supervisor
        self._ending = False
        self._ended_callback = None

    # -- opening and setup

    def start(self, link, done):
        """Attach a supervisor and send it the computation; `done(error text or None)` when it is compiled."""
        self._link = link
        self._answers[b'opened'].append(lambda answer: done(self._open_error(answer)))
        link.attach(self)
        self._send_open()

    @staticmethod
    def _open_error(answer):
        return to_text(answer[-1]) if answer[-1] is not None else None

    def _send_open(self):
        parts = [b'open']
        for key, value in self._settings():
            parts.append(key.encode('ascii'))
            parts.append(b'%d' % value if isinstance(value, integer_types) else to_bytes(value))
        self._link.send(*parts)

    def _settings(self):
        request, options = self.request, self._parts.options
        client = request.client_reply_addr or (u'', 0)
        cleanup = request.cleanup if not isinstance(request.cleanup, bool) else u''
        in_compute = request.setup_in_compute or request.cleanup_in_compute
        return (
            ('id', request.id), ('type', request.type), ('name', request.name), ('code', request.code),
            ('folder', self.folder.path), ('setup', request.setup), ('cleanup', cleanup),
            ('compute', self._argument if in_compute else b''),
            ('python2', int(self.peer.python2)), ('protocol', self.peer.protocol),
            ('setup_accepts', ' '.join('%d' % status for status in self.peer.accepts_setup())),
            ('node_name', self._parts.name), ('node_ip_addr', self.node_ip_addr),
            ('scheduler_ip_addr', self.result_address[0]), ('job_result_port', self.result_address[1]),
            ('client_ip_addr', client[0]), ('client_port', client[1]),
            ('msg_timeout', '%g' % options.msg_timeout),
            ('certfile', options.certfile or ''), ('keyfile', options.keyfile or ''),
            ('client_shutdown', int(bool(options.client_shutdown))))

    def set_up(self, argument, done):
        """Run setup with the SETUP request's raw argument; `done(error text or None)` when it has ended."""
        which = b'compute' if self.request.setup_in_compute else b'setup'
        if not self.request.setup:
            which, argument = (b'none' if not self.request.cleanup else which), argument
        parts = (b'setup', None if which == b'compute' else argument, which)
        self._ask(parts, lambda answer: done(self._setup_error(answer)))

    def _ask(self, parts, callback):
        self._answers[b'setup'].append(callback)
        with self._lock:
            self._set_up = parts
        try:
            self._link.send(*parts)
        except PeerGone as error:
            log.warning('computation %d: %s', self.id, error)

    def _setup_error(self, answer):
        status, text = answer[0], answer[1] if len(answer) > 1 else None
        if status == b'error':
            return to_text(text or b'"setup" failed')
        self._top_up()
        return None

    def heard(self):
        """Note a sign of life of the scheduler."""
        self._last_heard = monotonic()

    def last_sign_of_life(self):
        """Return the monotonic time of the scheduler's last sign of life."""
        return max(self._last_heard, self._last_start)

    def is_set_up(self):
        """Return whether SETUP has been sent to the supervisor."""
        with self._lock:
            return self._set_up is not None

    # -- jobs

    def start_job(self, job, request):
        """Give an admitted job to a job process. Any thread.

        request   wire JOB record: args, kwargs (bytes), code
        """
        identity = (b'%d' % job.uid, to_bytes(job.hash))
        self._last_start = monotonic()
        if self.type == PROGRAM:
            child = Child(next(_program_numbers))
            child.job, job.child = job, child
            self._children[child.number] = child
            try:
                self._link.send(b'program', b'%d' % child.number, request.args, request.kwargs, *identity)
            except PeerGone as error:
                self._parts.loop.call_soon(self._lost, child, str(error))
            return
        self._give(job, pack(b'job', request.args, request.kwargs, to_bytes(request.code), *identity))

    def _give(self, job, frame):
        while True:
            try:
                child = self._idle.popleft()
            except IndexError:
                self._parts.loop.call_soon(self._wait_for_child, job, frame)
                return
            child.job, job.child = job, child
            try:
                child.send(frame)
            except PeerGone as error:
                log.debug('job process %d of computation %d: %s', child.number, self.id, error)
                child.job = job.child = None
                self._parts.loop.call_soon(self._child_gone, child)
                continue
            child.sent = True
            if child.closed_by_peer:
                self._parts.loop.call_soon(self._child_gone, child)
            self._top_up()
            return

    def _wait_for_child(self, job, frame):
        if self._idle:
            self._give(job, frame)
            return
        self._waiting.append((job, frame))
        if self._link is None:
            self._restart()
        self._top_up()

    def _top_up(self):
        """Have as many children forked ahead as jobs could come at once, and at least one."""
        if self.type != FUNCTION or self._ending:
            return
        wanted = max(1, self._parts.state.free_cpus()) + len(self._waiting)
        with self._lock:
            missing = wanted - len(self._idle) - self._forking
            if missing <= 0:
                return
            self._forking += missing
            first, self._set_up = self._set_up is None, self._set_up or (b'setup', None, b'none')
        try:
            if first:
                self._answers[b'setup'].append(self._ignore)
                self._link.send(*self._set_up)
            self._link.send(b'fork', b'%d' % missing)
        except PeerGone as error:
            log.debug('computation %d: %s', self.id, error)

    @staticmethod
    def _ignore(_answer):
        return

    def stop_job(self, job):
        """Stop a live job; its final reply, status 9, follows when it has ended. Any thread."""
        job.stopping = True
        self._parts.loop.call_soon(self._stop, job)

    def _stop(self, job):
        if self._parts.state.find_job(self.id, job.uid, job.hash) is not job:
            return
        child = job.child
        if child is None:
            self._waiting = collections.deque(entry for entry in self._waiting if entry[0] is not job)
            self._finish(job, TERMINATED)
        elif child.sock is not None and not child.sent:
            self._parts.loop.call_later(0.01, self._stop, job)
        else:
            self._tell(b'stop', b'%d' % child.number)

    def _tell(self, *parts):
        try:
            self._link.send(*parts)
        except (PeerGone, AttributeError) as error:
            log.warning('computation %d: telling its supervisor to %s: %s', self.id, to_text(parts[0]), error)

    def ask_pids(self, done):
        """Ask the supervisor which processes run; `done({number of a job process: pid})` in the loop's thread."""
        self._answers[b'pids'].append(lambda answer: done(
            {} if answer[:1] == [b'error'] else dict(zip(map(number, answer[::2]), map(number, answer[1::2])))))
        try:
            self._link.send(b'pids')
        except (PeerGone, AttributeError) as error:
            log.debug('computation %d: asking for processes: %s', self.id, error)

    def dismiss_idle(self):
        """Let the children that wait for a job end. The loop's thread."""
        while self._idle:
            child = self._idle.popleft()
            child.link.close_child(child)

    # -- what comes from the supervisor and the children

    def on_frame(self, parts):
        """Take one frame of the supervisor."""
        kind = parts[0]
        try:
            if kind in (b'opened', b'setup', b'renewed', b'closed', b'pids'):
                if self._answers[kind]:
                    self._answers[kind].popleft()(parts[1:])
            elif kind == b'exited':
                self._on_exited(self._children.pop(number(parts[1]), None), number(parts[2]))
            elif kind == b'done':
                child = self._children.get(number(parts[1]))
                if child is not None:
                    self._on_done(child, parts[2:])
            else:
                self._on_other(parts)
        except (ProtocolError, IndexError) as error:
            log.error('computation %d: its supervisor sent %r: %s', self.id, kind, error)

    def _on_other(self, parts):
        if parts[0] == b'log':
            logger = logging.getLogger(to_text(parts[2]))
            logger.log(number(parts[1]), 'computation %d: %s', self.id, to_text(parts[3]))
        elif parts[0] == b'shutdown':
            self._parts.client_shutdown()

    def on_child(self, child):
        """Take a new job process that waits for a job."""
        with self._lock:
            self._forking = max(0, self._forking - 1)
        self._children[child.number] = child
        if self._ending:
            child.link.close_child(child)
            return
        self._idle.append(child)
        if self._waiting:
            self._give(*self._waiting.popleft())

    def on_child_frame(self, child, parts):
        """Take a frame from a job process."""
        if parts and parts[0] == b'done' and len(parts) == 8:
            self._on_done(child, parts[1:])
        elif parts and parts[0] == b'log' and len(parts) == 4 and child.job is not None:
            logging.getLogger(to_text(parts[2])).log(
                number(parts[1]), 'job %d of computation %d: %s', child.job.uid, self.id, to_text(parts[3]))
        else:
            raise ProtocolError('unknown frame')

    def on_child_closed(self, child):
        """A job process closed its channel: it has ended, or soon will."""
        child.closed_by_peer = True
        try:
            self._idle.remove(child)
        except ValueError:
            if child.job is None or child.sent:
                self._child_gone(child)
            return                                              # else: whoever is sending to it sees to it
        child.link.close_child(child)

    def _child_gone(self, child):
        child.link.close_child(child)
        if child.job is None or child.done:
            return
        if child.exit_status is not None or self._link is not child.link:
            self._lost(child, None)
            return
        self._parts.loop.call_later(EXIT_NEWS_TIMEOUT, self._lost, child, None)

    def _on_exited(self, child, status):
        if child is None:
            return
        child.exit_status = status
        if child.sock is not None and not child.closed:
            child.link.drain(child)
        if child.job is not None and not child.done:
            self._lost(child, None)

    def _on_done(self, child, fields):
        status, result, stdout, stderr, exception, start, end = fields
        if child.job is None or child.done:
            return
        child.done = True
        if child.sock is None:
            out, err = stdout, stderr                           # a program's output is bytes
        else:
            out, err = to_text(stdout or b''), to_text(stderr or b'')
        self._finish(child.job, number(status), result, out, err,
                     to_text(exception) if exception is not None else None, float(start), float(end))

    def _lost(self, child, reason):
        """A job ended without its result: say how."""
        if child.done:
            return
        child.done = True
        self._finish(child.job, TERMINATED, exception=reason or describe_exit(child.exit_status))

    def _finish(self, job, status, result=None, stdout='', stderr='', exception=None, start=None, end=None):
        start, end = start or job.started, end or time.time()
        if not self._parts.state.finish_job(job, max(0.0, end - start)):
            return
        if job.stopping and status == TERMINATED:
            result = stdout = stderr = exception = None
        self._parts.delivery.deliver(
            self, job, status, result, stdout, stderr, exception,
            start, end)
        self._parts.history.job_ended(job, status, start, end, exception)
        if job.xfer_files:
            self._parts.workers.run(self.folder.release, job.xfer_files)
        if exception is not None:
            log.debug('job %d of computation %d failed: %s', job.uid, self.id, exception)
        if self._parts.state.is_drained(self):
            self._end()

    def on_link_closed(self):
        """The supervisor is gone: as wished after close, or by a fault."""
        link, self._link = self._link, None
        children, self._children = self._children, {}
        with self._lock:
            self._forking = 0
        for child in children.values():
            if child.job is not None and not child.done and child.closed:
                self._lost(child, u'the supervisor of the computation ended, and the job with it')
        if not self._ending:
            log.error('computation %d: supervisor %d ended unexpectedly', self.id, link.pid)
            if self._waiting:
                self._restart()
        answers, self._answers = self._answers, collections.defaultdict(collections.deque)
        for kind in (b'opened', b'setup', b'renewed', b'closed', b'pids'):
            for callback in answers[kind]:
                callback([b'error', b'the supervisor of the computation ended'])

    def _restart(self):
        """Start another supervisor in place of one that died, and set it up the same way."""
        try:
            link = self._parts.nursery.take()
        except EnvironmentError as error:
            return self._fail_waiting(u'no supervisor can be started: %s' % error)
        self._link = link
        self._answers[b'opened'].append(self._restarted)
        link.attach(self)
        try:
            self._send_open()
            if self._set_up is not None:
                self._answers[b'setup'].append(self._restarted)
                link.send(*self._set_up)
        except PeerGone as error:
            return self._fail_waiting(u'the supervisor of the computation ended: %s' % error)
        self._top_up()

    def _restarted(self, answer):
        if answer and answer[0] == b'error':
            self._fail_waiting(to_text(answer[1] or b''))

    def _fail_waiting(self, reason):
        waiting, self._waiting = self._waiting, collections.deque()
        for job, _frame in waiting:
            self._finish(job, TERMINATED, exception=reason)

    # -- closing

    def close(self, terminate, ended=None):
        """Take no more jobs, end the running ones if `terminate`, then clean up. Any thread.

        ended   called in the loop's thread when nothing of it is left but the files being removed
        """
        first, jobs = self._parts.state.close_computation(self)
        if ended is not None:
            self._ended_callback = ended
        if terminate:
            for job in jobs:
                self.stop_job(job)
        self._parts.loop.call_soon(self._end_if_drained)
        return first

    def kill(self):
        """End its processes without waiting for anything: the supervisor kills its jobs when the node leaves."""
        self._parts.loop.call_soon(self._kill)

    def _kill(self):
        for child in list(self._children.values()):
            self._tell(b'kill', b'%d' % child.number)

    def idle_since(self, now):
        """Return for how many seconds no job has been started or been running; `now` monotonic."""
        return 0.0 if self._parts.state.jobs(self.id) else now - self._last_start

    def _end_if_drained(self):
        if self._parts.state.is_drained(self):
            self._end()

    def _end(self):
        if self._ending:
            return
        self._ending = True
        self.dismiss_idle()
        self._parts.computations.ending(self)
        if self._link is None:
            self._closed([None])
            return
        self._answers[b'closed'].append(self._closed)
        try:
            self._link.send(b'close', b'0', b'1' if self._cleanup else b'0')
        except PeerGone as error:
            log.warning('computation %d: closing its supervisor: %s', self.id, error)

    def _closed(self, answer):
        if answer and answer[0] not in (None, b'error'):
            log.warning('computation %d: cleanup failed: %s', self.id, to_text(answer[0]))
        if self._link is not None:
            link, self._link = self._link, None
            link.close()
            self._parts.workers.run(self._remove)

    def _remove(self):
        try:
            if self._cleanup:
                self.folder.remove()
        finally:
            self._parts.computations.ended(self)
            if self._ended_callback is not None:
                self._parts.loop.call_soon(self._ended_callback)
