"""The supervisor process of one computation: setup, jobs, programs, cleanup. One thread."""
from __future__ import absolute_import, division, print_function

import errno
import os
import select
import sys

from dispynode_lib.errors import DispynodeError, ProtocolError
from dispynode_lib.supervisor.job.computation import FUNCTION, Computation
from dispynode_lib.supervisor.processes.descriptors import (
    Channels, close_runs, move_out_of_reach, read_some, socket_pair, write_pieces)
from dispynode_lib.supervisor.imports import learning, preload
from dispynode_lib.supervisor.job import job, output, surroundings, tracebacks
from dispynode_lib.supervisor.processes import stopping
from dispynode_lib.supervisor.handover import HandOver
from dispynode_lib.supervisor.processes.lean import to_bytes
from dispynode_lib.supervisor.processes.limits import Limits, Watch
from dispynode_lib.supervisor.processes.processes import Account, Processes
from dispynode_lib.supervisor.processes.signals import Signals, Stopped, end_by_alarm
from dispynode_lib.supervisor.processes.timers import Timers
from dispynode_lib.wire import control

FRAME_LIMIT = 0xFFFFFFFF
READ_SIZE = 65536                           # not so much that the C library maps memory for it
QUIET = frozenset([job.TOLD_WELL << 8, job.TOLD_FAILURE << 8])  # wait statuses of little interest
WARNING, ERROR = 30, 40
NODE_GONE = (errno.EPIPE, errno.ECONNRESET)
RETRY_FORK = 0.5                            # seconds
REAP_DELAY = 0.03                           # seconds that those wait which have told their results
ORPHAN_QUICKER = 0.2                        # without a node nobody waits for what a job still says
LINGER = 1.0  # seconds that job processes may take to end by themselves
MORE_PATIENT = 20  # seconds that this process waits longer than the node for the end of cleanup
LEAVING = 10                                # seconds for what is left to do after an end by a fault
LOGGER = b'dispynode.supervisor'


class Supervisor(object):
    """One supervisor; the frames it takes and sends are in docs/architecture.rst."""

    def __init__(self, control_fd, channels_fd):
        self._control_fd = control_fd
        self._channels = Channels(channels_fd)
        self._splitter = control.Splitter(FRAME_LIMIT)
        self._hand_over = HandOver(control_fd, self._channels)
        self._signals = Signals()
        self._signals.hand_over = self._hand_over
        self._timers = Timers()
        self._processes = Processes(self._timers)
        self._poll = select.poll()
        self._programs = None               # made for a computation that is a program
        self._computation = None
        self._forked = 0
        self._wanted = 0                    # children still to be forked
        # why none can be forked; whether it will be tried again
        self._fork_error, self._fork_timer = None, False
        self._asked_for = set()             # numbers of children whose end is told in any case
        self._account = Account(lambda used: self._send(b'used', used))
        self._settled = False
        self._learner = None  # learning.Learner, if jobs may import what was loaded before
        self._ending = None                 # function to call when no process is left
        self._ended = False

    def run(self):
        """Serve until the computation is closed or the node has gone."""
        self._signals.install()
        self._poll.register(self._control_fd, select.POLLIN)
        self._poll.register(self._signals.read_end, select.POLLIN)
        while not self._ended:
            try:
                self._turn()
            except Stopped:                 # it came when user code had just ended
                continue

    def _turn(self):
        """Wait for something to happen, and do what it asks for."""
        ready = self._wait()
        for fd, events in ready:
            if fd == self._control_fd:
                self._read_control()
            elif fd == self._signals.read_end:
                self._on_child_signal()
            elif fd == self._hand_over.fd:
                # first what the node before has left
                if not any(other == self._control_fd for other, _events in ready):
                    self._let_in()
            elif self._learner is not None and self._learner.takes(fd):
                continue
            else:
                self._programs.read(fd, events)
        self._timers.run_due()
        if self._signals.children_held and self._is_urgent():
            self._reap_held()
        if self._signals.stop_asked:
            self._on_node_gone()
        if self._ending is not None and not self._is_busy():
            self._ending()

    def _is_busy(self):
        return self._processes.live or (self._programs is not None and self._programs.busy())

    def _wait(self):
        idle_work = self._learner is not None and self._ending is None and self._learner.has_work()
        try:
            events = self._poll.poll(0 if idle_work else self._timers.next_wait())
            if idle_work and not events:
                self._learner.work()
            return events
        except select.error as error:       # only Python 2 does not go on by itself
            if error.args[0] != errno.EINTR:
                raise
            return ()

    # frames of the node

    def _read_control(self):
        data = read_some(self._control_fd, READ_SIZE)
        if not data:
            self._poll.unregister(self._control_fd)
            self._on_node_lost()
            return
        for parts in self._splitter.feed(data):
            row = FRAMES.get(parts[0]) if parts else None
            if row is None or not row[1] <= len(parts) <= row[2]:
                raise ProtocolError('control frame %r with %d parts' % (parts[:1], len(parts)))
            row[0](self, *parts[1:])

    def _on_open(self, *pairs):
        fields = dict((key.decode('ascii'), value or b'')
                      for key, value in zip(pairs[::2], pairs[1::2]))
        missing = [key for key in control.OPEN_KEYS if key not in fields]
        if missing:
            raise ProtocolError('open frame without %s' % ', '.join(missing))
        self._computation = Computation(fields, self._emit)
        self._limit(Limits(self._computation.limits))
        error = self._hand_over.open(self._computation, self._poll)
        if error is not None:
            self._log(WARNING, error)
        self._send(b'opened', _encode(self._run_user_code(self._computation.open)))

    def _limit(self, limits):
        """Apply the operator's limits to this process and its jobs."""
        limits.apply()
        self._computation.set_limits(limits)
        if limits.watched():
            Watch(limits, self._processes, self._timers, self._over_limit)

    def _over_limit(self, number, option, sentence):
        frame = control.pack(b'limit', b'%d' % number, _encode(option), _encode(sentence))
        self._hand_over.note_limit(number, frame)
        self._send_raw([frame])

    def _on_setup(self, argument, which):
        self._settled = False
        if not self._hand_over.setup[0]:        # else the node before this one had it run
            self._hand_over.setup = self._set_up(argument, which)
        self._send(b'setup', *self._hand_over.setup)

    def _set_up(self, argument, which):
        try:
            if self._ending is not None:
                raise Stopped('the frame was on its way when close was sent')
            return self._run_user_code(self._opened().run_setup, which, argument)
        except Stopped:
            return b'error', b'the computation ended before its setup had begun'

    def _on_fork(self, count):
        self._wanted += control.number(count)
        self._fork_wanted()

    def _on_program(self, number, args, kwargs, uid, _job_hash):
        self._settle()
        if self._programs is None:
            from dispynode_lib.supervisor.programs import Programs
            self._programs = Programs(self._opened(), self._poll, self._timers, self._processes,
                                      self._send_report, self._over_limit)
        self._programs.start(control.number(number), args)

    def _send_report(self, number, pieces):
        self._hand_over.note_report(number, pieces)
        self._send_raw(pieces)

    def _on_stop(self, number):
        self._processes.stop(control.number(number))
        if self._programs is not None:
            self._programs.stop(control.number(number))

    def _on_kill(self, number):
        for each in [control.number(number)] if number != b'0' else list(self._processes.live):
            self._processes.kill(each)

    def _on_pids(self):
        self._reap()
        self._account.tell()
        self._send(b'pids', *[b'%d' % value for pair in self._processes.live.items()
                              for value in pair])

    def _on_remember(self, argument, which):
        error = self._opened().remember_cleanup(which, argument)
        if error is not None:
            self._log(WARNING, error)

    def _on_close(self, cleanup):
        # jobs have ended; what a thread of theirs holds up is not waited for
        self._timers.add(LINGER, self._processes.stop_all, ORPHAN_QUICKER)
        if self._learner is not None and self._learner.has_work():
            self._learner.report()
        with_cleanup = cleanup == b'1'
        self._wanted = 0
        self._ending = lambda: self._end(with_cleanup)

    def _opened(self):
        if self._computation is None:
            raise ProtocolError('a control frame that needs a computation came before open')
        return self._computation

    # user code in this process

    def _run_user_code(self, function, *args):
        return self._signals.run_user_code(self._control_fd, function, *args)

    def _clean_up(self):
        """Run the cleanup function, if any; return an error text or None."""
        computation = self._computation
        if computation is None:
            return None
        if computation.cleanup:
            self._hand_over.note_cleanup()
        may_shut_down = computation.client_shutdown == '1'
        return self._run_user_code(
            computation.run_cleanup, (lambda: self._send(b'shutdown')) if may_shut_down else None)

    def _settle(self):
        """Execute the code, unless setup has, and get ready for forks; once."""
        if not self._settled:
            self._settled = True
            self._run_user_code(self._opened().execute)
            self._computation.settle()
            self._learn()
            self._signals.prepare_forks()

    def _learn(self):
        """Begin to learn what jobs import, if that is wanted."""
        computation = self._computation
        if self._learner is None and computation.preload and computation.type == FUNCTION:
            self._learner = computation.learner = learning.Learner(
                preload.begin(), computation.preload, self._poll, self._timers, self._on_learned)
        computation.modules_before = 0
        computation.note_modules()

    def _on_learned(self, names):
        """Jobs import modules `names` again and again; those that can be are loaded."""
        self._computation.freeze()
        if names:
            self._send(b'imports', *[to_bytes(name) for name in names])

    # processes

    def _fork_wanted(self):
        if self._ending is not None:
            return
        self._settle()
        while self._wanted:
            try:
                self._fork_one()
            except EnvironmentError as error:
                self._cannot_fork(error)
                return
            self._wanted -= 1
        if self._fork_error is not None:
            self._fork_error = None
            self._log(WARNING, 'job processes can be started again')

    def _cannot_fork(self, error):
        """Try again soon, with one line in the log for as long as it fails."""
        if self._fork_error is None:
            self._log(ERROR, 'cannot start a job process: %s; trying again' % error)
        self._fork_error = error
        if not self._fork_timer:
            self._fork_timer = True
            self._timers.add(RETRY_FORK, self._fork_again)

    def _fork_again(self):
        self._fork_timer = False
        self._fork_wanted()

    def _fork_one(self):
        near, far = socket_pair()
        held = False
        try:
            far = move_out_of_reach(far)
            if self._computation.modules_before != len(sys.modules):
                self._computation.note_modules()
            pid = os.fork()
            if not pid:
                self._become_job(near, far)
            self._forked += 1
            self._processes.live[self._forked] = pid
            held = self._pass_on(near, self._forked, pid)
        finally:  # whatever fails will be tried again: nothing may be left of it
            if not held:
                os.close(near)
            os.close(far)

    def _pass_on(self, near, number, pid):
        """Pass the node's end of a channel on; return whether it is held here, too."""
        held = self._hand_over.hold(number, near)
        try:
            self._channels.send_fd(near, number, pid)
        except EnvironmentError as error:
            if not held or error.errno not in NODE_GONE:
                self._hand_over.give_back(number)
                raise
        return held

    def _become_job(self, near, far):
        """Be the job process that was just forked; does not return."""
        status = os.EX_SOFTWARE
        try:
            os.setsid()  # its own process group and session: killpg reaches all of it
            ours = [near, self._control_fd, self._channels.fd]
            ours += self._signals.become_job()
            ours += self._hand_over.descriptors()
            if self._learner is not None:
                ours += self._learner.become_job()
            close_runs(ours)
            for renew in self._computation.renewals:
                renew()
            status = job.serve(far, self._computation)
        except KeyboardInterrupt:           # it was stopped before its job had come
            status = 130
        except Exception:                   # the top of this process
            output.complain('job process: %s' % tracebacks.describe(sys.exc_info()))
        finally:
            os._exit(status)

    def _on_child_signal(self):
        """Reap at once if somebody waits for an end, else after REAP_DELAY, many at a time."""
        self._signals.drain()
        if not self._is_urgent() and self._signals.hold_children():
            self._timers.add(REAP_DELAY, self._reap_held)
        else:
            self._reap()

    def _is_urgent(self):
        return (self._asked_for or self._ending is not None or self._programs is not None
                or self._processes.is_stopping())

    def _reap_held(self):
        if self._signals.children_held:
            self._signals.let_children_tell()
            self._signals.drain()
            self._reap()

    def _reap(self):
        """Tell the node of processes that have ended, but not of those that told results."""
        reaped = self._processes.reap()
        self._account.note(reaped, bool(reaped) and self._computation.ledger == '1')
        for number, status, _used, stopped in reaped:
            self._hand_over.note_ended(number, status)
            if self._programs is not None and self._programs.on_exit(number, status, stopped):
                continue
            if status == job.TOLD_FAILURE << 8:
                tracebacks.prepare()        # there will be more
            if status not in QUIET or number in self._asked_for:
                self._send_exited(number, status)

    def _send_exited(self, number, status):
        self._asked_for.discard(number)
        self._send(b'exited', b'%d' % number, b'%d' % status)

    def _on_ended(self, number):
        """Tell the end of job process `number` even if it is ordinary: the node waits for it."""
        number = control.number(number)
        if number in self._processes.live:
            self._asked_for.add(number)
        else:
            self._send_exited(number, job.TOLD_WELL << 8)       # any other end was told

    # another node

    def _on_node_lost(self):
        """Take the end of the connection to the node: another node may come."""
        self._wanted = 0
        if not self._hand_over.is_open:
            self._on_node_gone()
        else:
            self._hand_over.wait(self._timers,
                                 lambda: self._ending is None and self._on_node_gone())

    def _let_in(self):
        self._reap()
        programs = self._programs.numbers() if self._programs is not None else ()
        if self._hand_over.let_in(self._processes.live, programs, self._computation is not None,
                                  self._ending is not None):
            self._splitter = control.Splitter(FRAME_LIMIT)
            self._poll.register(self._control_fd, select.POLLIN)

    # the end

    def _on_node_gone(self):
        """End jobs and this process: the node has gone, or asks for the end."""
        self._signals.stop_asked = False
        if self._ending is None or self._ending != self._end_alone:
            self._wanted = 0
            self._processes.stop_all(ORPHAN_QUICKER)
            self._ending = self._end_alone

    def _end_alone(self):
        computation = self._computation
        self._end(computation is not None and computation.executed)

    def _end(self, with_cleanup):
        self._processes.kill_left_groups()
        self._end_late()
        error = self._clean_up() if with_cleanup else None
        stopping.end_descendants()
        self._run_exit_functions()
        self._hand_over.close()
        if self._hand_over.is_asked_for():  # it came meanwhile, and is to know that cleanup has run
            self._let_in()
        self._account.tell()
        self._send(b'closed', _encode(error))
        self._ended = True

    def _end_late(self):
        """Set an alarm that kills this process if its end takes too long, without a node too."""
        limit = float(self._computation.cleanup_timeout) if self._computation is not None else 0
        if limit:
            end_by_alarm(int(limit) + MORE_PATIENT)

    def _run_exit_functions(self):
        """Run what user code registered with atexit, unless this process was told to end."""
        try:
            self._run_user_code(output.run_exit_functions)
        except Stopped:
            return

    # frames to the node

    def _send(self, *parts):
        self._send_raw([control.pack(*parts)])

    def _send_raw(self, pieces):
        try:
            write_pieces(self._control_fd, pieces)
        except EnvironmentError:
            return  # the node has gone: reading tells, and ends this process

    def _emit(self, level, name, text):
        self._send(b'log', b'%d' % level, to_bytes(name), text)

    def _log(self, level, text):
        self._send(b'log', b'%d' % level, LOGGER, _encode(text))


# frame -> (method, fewest parts, most parts), the name of the frame counted
FRAMES = {
    b'open': (Supervisor._on_open, 3, 999),
    b'setup': (Supervisor._on_setup, 3, 3),
    b'fork': (Supervisor._on_fork, 2, 2),
    b'program': (Supervisor._on_program, 6, 6),
    b'stop': (Supervisor._on_stop, 2, 2),
    b'kill': (Supervisor._on_kill, 2, 2),
    b'ended': (Supervisor._on_ended, 2, 2),
    b'pids': (Supervisor._on_pids, 1, 1),
    b'remember': (Supervisor._on_remember, 3, 3),
    b'settled': (lambda supervisor, numbers: supervisor._hand_over.settle(numbers), 2, 2),
    b'end': (Supervisor._on_node_gone, 1, 1),
    b'close': (Supervisor._on_close, 2, 2),         # whether to run cleanup
}


def _encode(text):
    """Return text as UTF-8 bytes, None as None."""
    return None if text is None else to_bytes(text)


def run(control_fd, channels_fd):
    """Be a supervisor that talks to the node through these two sockets. Does not return."""
    status = 0
    try:
        stopping.adopt()
        output.forgive_letters()
        preload.begin()
        surroundings.prepare()
        Supervisor(control_fd, channels_fd).run()
    except DispynodeError as error:
        output.complain('supervisor: %s' % error)
        status = os.EX_SOFTWARE
    except Exception:                       # the top of this process
        output.complain('supervisor: %s' % tracebacks.describe(sys.exc_info()))
        status = os.EX_SOFTWARE
    finally:
        end_by_alarm(LEAVING)
        output.leave(status)
