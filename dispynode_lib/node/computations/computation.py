"""Open, set up, renew and close one computation: the node's side of its supervisor."""
from __future__ import absolute_import, division, print_function

import collections
import signal
import threading
import time

from dispynode_lib.errors import PeerGone, ProtocolError
from dispynode_lib.host.compat import monotonic, to_bytes, to_text
from dispynode_lib.log import Log
from dispynode_lib.node.shared.complaints import printable
from dispynode_lib.node.computations.jobs import CREW_FRAMES, Crew
from dispynode_lib.node.computations.jobframes import (
    ENDED, JobLog, answer_rest, last_words, text_of)
from dispynode_lib.node.computations.openframe import has_cleanup_function, open_frame
from dispynode_lib.wire.control import number

log = Log('dispynode.computations')

PROGRAM = 2                                 # a computation type
PRESSES, PRESS_AGAIN = 10, 0.5              # signals to a setup that is to end before it is killed, seconds between two
OPEN_TIMEOUT = 60.0                         # seconds to compile the code of a computation
ENDING_JOBS = 2.0                           # seconds that job processes may take to end before cleanup begins
KILL_AFTER = 5.0                            # seconds between SIGTERM and SIGKILL for a cleanup function


class Computation(object):
    """What one COMPUTE request opened.

    Methods named on_* and _* run in the loop's thread, the others in any.
    """

    def __init__(self, parts, request, argument, peer, scheduler, node_ip_addr):
        """Record what a COMPUTE request says; start() opens it.

        parts          the node's parts (loop, state, delivery, workers, folders, options)
        request        wire COMPUTE record; `argument` its bytes, for the supervisor
        peer           wire.peers.Peer of the scheduler at `scheduler`, (address, port)
        node_ip_addr   this node's address (text) as the scheduler knows it
        """
        self._parts = parts
        self.id, self.auth, self.name, self.type = request.id, request.auth, request.name, request.type
        self.request = request
        self._argument = argument
        self.peer = peer
        self.begun = threading.Event()                          # it has its folder and its supervisor
        self.callers = frozenset()                              # addresses that may ask about it
        self.scheduler = scheduler                              # (address, port): pulses and notices
        self.result_address = (scheduler[0], request.job_result_port)
        self.node_ip_addr, self.pulse_interval = node_ip_addr, request.pulse_interval
        self._last_heard = self._last_start = monotonic()
        self.zombie = False                                     # its scheduler is silent: see node.timed.duties
        self.moved = False                                      # its scheduler knows an address that is gone: node.timed.duties
        self.unanswered = 0                                     # pulses since its last sign of life
        self.folder = self.link = None                          # no node.computations.link.Link: there is no supervisor
        self._told_setup = False                                # it has been sent a setup frame
        self.job_log = JobLog(self.id)
        self.outcomes = {}                                      # in words -> number of jobs that ended so
        self._crew = Crew(parts, self, self.type == PROGRAM)
        self._lock = threading.Lock()                           # for _set_up only
        self._set_up = None                                     # parts of the setup frame once sent
        self._answers = collections.defaultdict(collections.deque)      # b'opened', b'setup' ... -> callbacks
        self._when_opened = None                                # function, while another supervisor is being started
        self._renewing = self._ending = self._terminated = False
        self._cleaned = False                                   # cleanup has run, and setup not since
        self.closed_by_client = False
        self._ended_callback = None
        self.cleaning_since = None                              # seconds since the epoch, once it is being cleaned up
        self._bound = None                                      # Timer of what the supervisor is to have done by then
        for name in ('on_child', 'on_child_frame', 'on_child_closed', 'on_lost_child', 'dismiss_idle', 'usage',
                     'job_frame', 'settled'):
            setattr(self, name, getattr(self._crew, name))

    # -- opening and setup

    def start(self, link, done):
        """Attach a supervisor and send it the computation; `done(error text or None)` when it is compiled."""
        self.link, self._told_setup = link, False
        self._answers[b'opened'].append(lambda answer: self._on_opened(answer, done))
        link.attach(self)
        self._parts.loop.call_soon(self._bind, OPEN_TIMEOUT, self._over_open)
        self.tell(*open_frame(self, self._parts, self._argument))       # if it fails the loop sees it, too, and answers

    def _on_opened(self, answer, done):
        self._unbind()
        done(text_of(answer[-1]))

    def _over_open(self):
        """The compiler takes too long: that cannot be interrupted."""
        if self.link is not None and self._answers[b'opened']:
            text = u'its code could not be compiled within %g s' % OPEN_TIMEOUT
            log.warning('computation %d (%s): %s', self.id, printable(self.name), text)
            self._cleaned = True                                # it has made nothing; the same code would take as long
            self.link.signal(signal.SIGKILL)
            self._answers[b'opened'].popleft()([to_bytes(text)])

    def _bind(self, seconds, function):
        """Call `function()` in `seconds` unless the supervisor has done what it is doing, or ended, by then."""
        self._unbind()
        self._bound = self._parts.loop.call_later(seconds, function)

    def _unbind(self):
        bound, self._bound = self._bound, None
        if bound is not None:
            bound.cancel()

    def set_up(self, argument, done):
        """Run setup; `done(error text or None)` at its end. Return False, having done nothing, if it has run before.

        argument   the raw one of the SETUP request, None if it holds none
        """
        frame = self._setup_frame(argument)
        with self._lock:
            first, self._set_up = self._set_up is None, self._set_up or frame
        if first:
            self._parts.loop.call_soon(self._send_setup, lambda answer: done(self._setup_error(answer)))
        return first

    def _setup_frame(self, argument=None):
        if self.request.setup_in_compute or self.request.cleanup_in_compute:
            return b'setup', None, b'compute'
        if argument is None or not (self.request.setup or has_cleanup_function(self.request)):
            return b'setup', None, b'none'
        return b'setup', argument, b'setup'

    def _send_setup(self, callback):
        if self._terminated:
            return callback([b'error', to_bytes(ENDED)])        # close has overtaken it
        self._cleaned, self._told_setup = False, True
        self._answers[b'setup'].append(callback)
        if not self.tell(*self._set_up) and self.link is None:
            self._answers[b'setup'].remove(callback)
            callback([b'error', to_bytes(ENDED)])

    def _setup_error(self, answer):
        if answer[0] == b'error':
            return text_of(answer[1] if len(answer) > 1 else None) or u'"setup" failed'
        self._crew.on_supervisor()
        return None

    def can_fork(self):
        """Return whether job processes may be forked; sees to it that the code is executed before. Any thread."""
        if self._ending or self._renewing or self.link is None:
            return False
        with self._lock:
            first = self._set_up is None
            if first:
                self._set_up = self._setup_frame()
        if first:
            self._told_setup = True
            self._answers[b'setup'].append(self._set_up_unasked)
            self.tell(*self._set_up)
        return True

    def _set_up_unasked(self, answer):
        if answer[0] == b'error':
            self._crew.fail_waiting(text_of(answer[1]))

    def heard(self):
        """Note a sign of life of the scheduler."""
        self._last_heard, self.unanswered = monotonic(), 0

    def last_sign_of_life(self):
        """Return the monotonic time of the scheduler's last sign of life."""
        return max(self._last_heard, self._last_start)

    def is_set_up(self):
        """Return whether SETUP has been sent to the supervisor."""
        with self._lock:
            return self._set_up is not None

    # -- jobs

    def start_job(self, job, frame):
        """Give an admitted job to a job process. Any thread."""
        self._last_start = monotonic()
        self._crew.start(job, frame)

    def stop_job(self, job, why=None):
        """Stop a live job; its final reply, status 9 and `why` for its client, follows when it has ended. Any thread."""
        if not job.stopping:
            job.why, job.stopping = why, True
            self._parts.journal.note_stopping(job)
        self._parts.loop.call_soon(self._crew.stop, job)

    def send(self, *parts):
        """Send a frame to the supervisor; any thread. Raises PeerGone."""
        link = self.link
        if link is None:
            raise PeerGone('there is no supervisor')
        link.send(*parts)

    def tell(self, *parts):
        """Send a frame to the supervisor if it is there; return whether so. Any thread."""
        try:
            self.send(*parts)
        except PeerGone as error:
            log.debug('computation %d: telling its supervisor to %s: %s', self.id, to_text(parts[0]), error)
            return False
        return True

    def ask_pids(self, done):
        """Ask the supervisor which processes run; `done({number of a job process: pid})` in the loop's thread."""
        self._parts.loop.call_soon(self._ask_pids, lambda answer: done(
            {} if answer[:1] == [b'error'] else dict(zip(map(number, answer[::2]), map(number, answer[1::2])))))

    def _ask_pids(self, callback):
        """Ask, unless an answer is under way already: it is for all that wait for it."""
        self._answers[b'pids'].append(callback)
        if len(self._answers[b'pids']) == 1 and not self.tell(b'pids'):
            self._answer_pids([b'error'])

    def _answer_pids(self, answer):
        for callback in self._answers.pop(b'pids', ()):
            callback(answer)

    def finish(self, job, status, result=None, stdout='', stderr='', exception=None, start=None, end=None):
        """Send the one final reply of a job and free its processor. The loop's thread."""
        start, end = start or job.started, end or time.time()
        if not self._parts.state.finish_job(job, max(0.0, end - start)):
            return
        words = last_words(job, status, result, stdout, stderr, exception, start, end)
        self._parts.delivery.deliver(self, job, *words)
        past = self._parts.history.job_ended(job, words[0], start, end, words[4])
        self.usage.job_ended(job.child, past)
        self.outcomes[past.outcome] = self.outcomes.get(past.outcome, 0) + 1
        log.debug('job %d of computation %d %s after %.3f s%s', job.uid, self.id, past.outcome, end - start,
                  ': %s' % words[4] if words[4] else '')
        if job.big is not None:
            self._parts.workers.run(job.big.remove)
        self._job_is_gone()

    def forget_job(self, job):
        """Take back that a job was accepted: its client was not reached by the ACK. Any thread."""
        if self._parts.state.finish_job(job, None):             # else it was stopped, and its reply is under way
            self.settled(job)
            self._parts.loop.call_soon(self._job_is_gone)

    def _job_is_gone(self):
        self._end_if_drained()
        if self._renewing:
            self._renew_if_drained()

    def idle_since(self, now):
        """Return for how many seconds no job has been started or been running; `now` monotonic."""
        return 0.0 if self._parts.state.jobs(self.id) else now - self._last_start

    # -- what comes from the supervisor

    def on_frame(self, parts):
        """Take one frame of the supervisor."""
        kind = parts[0] if parts else b''
        try:
            if kind == b'pids':
                self._answer_pids(parts[1:])
            elif kind in (b'opened', b'setup', b'closed'):
                if self._answers[kind]:
                    self._answers[kind].popleft()(parts[1:])
            elif kind in CREW_FRAMES:
                self._crew.on_frame(kind, parts[1:])
            elif kind == b'imports':
                self._on_imports(parts[1:])
            elif kind == b'log':
                self.job_log.write(parts)
            elif kind == b'shutdown' and self._parts.options.client_shutdown:
                log.info('computation %d: its cleanup function shuts this node down', self.id)
                self._parts.client_shutdown()
        except (ProtocolError, IndexError, ValueError) as error:
            log.error('computation %d: its supervisor sent %r: %s', self.id, kind, error)

    def _on_imports(self, names):
        """Jobs import these modules again and again, and the supervisor has them now: the next processes do, too."""
        self._crew.renew_idle()
        self._parts.workers.run(self._parts.imports.note, names)

    def on_link_closed(self):
        """The supervisor is gone: as wished after close, or by a fault."""
        link, self.link = self.link, None
        self._unbind()
        self._crew.on_link_closed(link)
        answers, self._answers = self._answers, collections.defaultdict(collections.deque)
        if not self._ending and not self._renewing:
            log.error('computation %d: supervisor %d ended unexpectedly', self.id, link.pid)
            if self._crew.count_waiting():
                self.need_supervisor()
        answer_rest(answers)

    def need_supervisor(self):
        """Start another supervisor, unless there is one, and set it up as the one before. The loop's thread."""
        if self.link is None and not self._renewing:
            self._start_another(self._restarted)

    def _start_another(self, opened):
        """Start another supervisor; `opened(error text or None)` in the loop's thread when it knows the code."""
        begun, self._when_opened = self._when_opened is not None, opened
        if not begun:
            self._parts.workers.run(self._take_link)

    def _take_link(self):
        try:
            link, error = self._parts.nursery.take(), None
        except EnvironmentError as reason:
            link, error = None, u'no supervisor can be started: %s' % reason
        self._parts.loop.call_soon(self._use_link, link, error)

    def _use_link(self, link, error):
        opened, self._when_opened = self._when_opened, None
        if link is None:
            opened(error)
        else:
            self.start(link, opened)

    def _restarted(self, error):
        if self._renewing:                  # CLOSE came meanwhile: cleanup first, jobs that wait run after the next setup
            self._renew_if_drained()
        elif error is not None:
            self._crew.fail_waiting(error)
        elif self._set_up is not None:
            self._send_setup(self._set_up_again)
        else:
            self._crew.on_supervisor()

    def _set_up_again(self, answer):
        error = self._setup_error(answer)
        if error is not None:
            self._crew.fail_waiting(error)

    # -- renewing

    def renew(self, terminate):
        """End jobs if `terminate`, run cleanup, and be ready for another setup; NODE_CLOSED says when. Any thread."""
        if terminate:
            for job in self._parts.state.jobs(self.id):
                self.stop_job(job)
        self._parts.loop.call_soon(self._renew)

    def _renew(self):
        if not self._ending and not self._renewing:
            self._renewing = True
            self._press(self.link, PRESSES)
            self._renew_if_drained()

    def _renew_if_drained(self):
        running = len(self._parts.state.jobs(self.id)) - self._crew.count_waiting()
        if self._ending or self._answers[b'closed'] or self._when_opened is not None or running:
            return
        self.dismiss_idle()
        self.cleaning_since = time.time()
        self._tell_to_close(self._renew_supervisor)

    def _renew_supervisor(self, answer):
        self._drop_link(answer)
        self.cleaning_since = None
        with self._lock:
            self._set_up = None
        if self._ending:
            self._closed([None])
        else:
            self._start_another(self._renewed)

    def _renewed(self, error):
        self._renewing = False
        if error is not None:
            log.error('computation %d cannot be renewed: %s', self.id, error)
        self._parts.notices.node_closed(self)

    # -- closing

    def close(self, terminate, ended=None, why=None):
        """Take no more jobs, end the running ones if `terminate`, then clean up. Any thread.

        ended   called in the loop's thread when nothing of it is left
        why     sentence (text) for the exceptions of jobs, None if their client asked for it
        """
        first, jobs = self._parts.state.close_computation(self)
        if ended is not None:
            self._ended_callback = ended
        if terminate or not jobs:
            self.folder.leave()
        if terminate:
            for job in jobs:
                self.stop_job(job, why)
        self._parts.loop.call_soon(self._close, terminate)
        return first

    def _close(self, terminate):
        if terminate:
            self._terminated = True
            self._press(self.link, PRESSES)
        self._end_if_drained()

    def _press(self, link, left):
        """Signal the supervisor until its setup has ended: the user's code may catch a signal, or be about to wait."""
        if self._answers[b'setup'] and link is not None and link is self.link:
            link.signal(signal.SIGTERM if left else signal.SIGKILL)
            self._parts.loop.call_later(PRESS_AGAIN, self._press, link, left - 1)

    def kill(self, number=signal.SIGKILL):
        """End its processes without waiting for anything: the jobs by force, the supervisor by signal `number`."""
        self._parts.loop.call_soon(self._kill, number)

    def _kill(self, number):
        self._crew.kill()
        if self.link is not None:
            self.link.signal(number)

    def _end_if_drained(self):
        if self._parts.state.is_drained(self):
            self._end()

    def _end(self):
        if self._ending:
            return
        self._ending, self.cleaning_since = True, time.time()
        self.dismiss_idle()
        self.folder.leave()
        self._parts.computations.ending(self)
        if self._answers[b'closed']:
            return                                              # it is being renewed: _renew_supervisor ends it
        if self._when_opened is not None or (self.link is None and self._is_to_clean_up()):
            self._start_another(self._close_supervisor)         # its own died: cleanup has yet to run
        else:
            self._close_supervisor(None)

    def _close_supervisor(self, error):
        if error is not None:
            log.error('computation %d: its cleanup function cannot be run: %s', self.id, error)
        self._tell_to_close(self._closed)

    def _is_to_clean_up(self):
        return has_cleanup_function(self.request) and not self._cleaned

    def _tell_to_close(self, closed):
        """Have the supervisor run cleanup, unless that was done, and end; then `closed(answer)`."""
        with_cleanup, self._cleaned = self._is_to_clean_up(), True
        self._answers[b'closed'].append(closed)
        if with_cleanup and not self._told_setup:
            frame = self._set_up or self._setup_frame()
            self.tell(b'remember', *frame[1:])
        if not self.tell(b'close', b'0', b'1' if with_cleanup else b'0'):
            self._answers[b'closed'].pop()
            closed([None])
        elif self._parts.options.cleanup_timeout:
            self._bind_cleanup(self._parts.options.cleanup_timeout)

    def _bind_cleanup(self, limit):
        self._bind(limit + ENDING_JOBS, lambda: self._over_cleanup(limit))

    def _over_cleanup(self, limit):
        """End a cleanup function that takes too long, and before it a setup that runs still; `limit` in seconds."""
        if self.link is None or not self._answers[b'closed']:
            return
        if self._answers[b'setup']:
            self._warn_over('setup', limit, 'SIGTERM')
            self._press(self.link, PRESSES)
            self._bind_cleanup(limit)
        else:
            self._warn_over('cleanup', limit, 'SIGTERM')
            self.link.signal(signal.SIGTERM)
            self._bind(KILL_AFTER, lambda: self._kill_cleanup(limit))

    def _kill_cleanup(self, limit):
        if self.link is not None and self._answers[b'closed']:
            self._warn_over('cleanup', limit + KILL_AFTER, 'SIGKILL')
            self.link.signal(signal.SIGKILL)

    def _warn_over(self, what, seconds, name):
        log.warning('computation %d (%s): its %s still runs %g s after its end (--cleanup_timeout); its supervisor gets %s',
                    self.id, printable(self.name), what, seconds, name)

    def _drop_link(self, answer):
        if answer and answer[0] not in (None, b'error'):
            log.warning('computation %d: cleanup failed: %s', self.id, to_text(answer[0]))
        link, self.link = self.link, None
        self._unbind()
        if link is not None:
            link.close()
            self._crew.on_link_closed(link)
            answer_rest(self._answers)            # it may have been interrupted before it came to a setup

    def _closed(self, answer):
        self._drop_link(answer)
        self._parts.workers.run(self._remove)

    def _remove(self):
        try:
            self.folder.close(bool(self.request.cleanup))
        finally:
            self._parts.computations.ended(self)
            if self._ended_callback is not None:
                self._parts.loop.call_soon(self._ended_callback)
