"""Program jobs: started by the supervisor itself, their output read through pipes."""
from __future__ import absolute_import, division, print_function

import errno
import os
import select
import sys
import time

from dispynode_lib.errors import ProtocolError
from dispynode_lib.supervisor.pickles import pickling
from dispynode_lib.supervisor.processes.descriptors import close_quietly, read_pipe
from dispynode_lib.supervisor.processes.lean import PYTHON2, to_bytes, to_path
from dispynode_lib.supervisor.processes.limits import Budget, OverLimit
from dispynode_lib.supervisor.job.output import Kept
from dispynode_lib.supervisor.processes.spawning import spawn
from dispynode_lib.wire import control
from dispynode_lib.wire.pickle import pickles

READ_SIZE = 65536                           # what a pipe holds
GRACE = 0.2  # seconds that output may still come after the program has exited
QUICK = 0.005  # seconds that a program may take before its output is waited for
# a file that somebody has still open for writing cannot be executed
BUSY_DELAY, BUSY_TRIES = 0.02, 100
NOT_STARTED = 127 << 8                      # the wait status of a program that a shell cannot start
JAVA = '/usr/bin/java'


class Program(object):
    """One running program."""

    def __init__(self, number, computation):
        self.number = number
        self.protocol = computation.protocol
        self.budget = Budget(computation.output_limit) if computation.output_limit else None
        self.started = time.time()
        self.ended = None
        self.status = None                  # wait status, once it has exited
        self.stopped = False                # by request
        self.pipes = {}                     # read end -> Kept, while the program may write
        self.watched = False                # whether the poll waits for them
        self.quick = None                   # timer that watches it unless it has ended by then
        self.stdout, self.stderr = Kept(), Kept()


class Programs(object):
    """The running programs of one computation."""

    def __init__(self, computation, poll, timers, processes, send, over_limit):
        """Begin without any, once the computation is set up.

        `send(number, pieces)` brings the report of a program to the node; `over_limit(number,
        option, sentence)` tells it.
        """
        self._computation = computation
        self._poll = poll
        self._timers = timers
        self._processes = processes
        self._send = send
        self._over_limit = over_limit
        self._command, self._environment = _command(computation), _environment(computation)
        self._live = {}                     # number -> Program
        self._readers = {}                  # read end -> Program

    def busy(self):
        """Return whether a program runs or has not been reported."""
        return bool(self._live)

    def numbers(self):
        """Return the numbers (list) of those that have not been reported."""
        return list(self._live)

    def start(self, number, args):
        """Start the computation's program as `number`; what fails is reported as its end.

        args    pickle (bytes) of the list of arguments
        """
        program = self._live[number] = Program(number, self._computation)
        try:
            argv = self._command + _arguments(args)
        except (ProtocolError, ValueError) as error:
            self._report_failure(program, 'the arguments of the program cannot be used: %s' % error)
            return
        self._try(program, argv, BUSY_TRIES)

    def stop(self, number):
        """Note that `number` is to be stopped, in case it has not been started."""
        program = self._live.get(number)
        if program is not None:
            program.stopped = True

    def _try(self, program, argv, tries):
        if program.stopped:
            self._report_failure(program, 'the program was stopped before it could be started')
            return
        ends = []
        try:
            self._computation.enter_folder()
            for _stream in (program.stdout, program.stderr):
                ends.append(read_pipe())
            pid = spawn(argv, self._environment, ends[0][1], ends[1][1])
        except EnvironmentError as error:
            for end in ends:
                close_quietly(end[0])
            if error.errno == errno.ETXTBSY and tries:
                self._timers.add(BUSY_DELAY, self._try, program, argv, tries - 1)
                return
            self._report_failure(program, 'the program %s cannot be started: %s' % (
                _shown(argv), error.strerror or error))
        else:
            self._processes.live[program.number] = pid
            program.pipes = {ends[0][0]: program.stdout, ends[1][0]: program.stderr}
            program.quick = self._timers.add(QUICK, self._watch, program)
        finally:
            for end in ends:
                close_quietly(end[1])

    def _watch(self, program):
        if not program.watched:
            program.watched = True
            for fd in program.pipes:
                self._readers[fd] = program
                self._poll.register(fd, select.POLLIN)

    def read(self, fd, events):
        """Take what a program has written to the pipe `fd`; `events` as poll gives them."""
        program = self._readers.get(fd)
        if program is None:
            return
        if events & select.POLLIN:
            self._read_once(program, fd)
        else:
            self._close(program, fd)
        self._report_if_over(program)

    def _read_once(self, program, fd):
        """Return whether there may be more to read."""
        try:
            data = os.read(fd, READ_SIZE)
        except EnvironmentError as error:
            if error.errno in (errno.EAGAIN, errno.EINTR):
                return False
            data = b''
        if data:
            program.pipes[fd].write(data)
            self._count(program, len(data))
            return True
        self._close(program, fd)
        return False

    def _count(self, program, size):
        """Count what a program writes; it is stopped when that is too much."""
        if program.budget is None:
            return
        try:
            program.budget.take(size)
        except OverLimit as error:
            program.budget = None
            self._over_limit(program.number, control.JOB_OUTPUT, str(error))
            self._processes.kill(program.number)

    def _close(self, program, fd):
        del program.pipes[fd]
        if program.watched:
            del self._readers[fd]
            self._poll.unregister(fd)
        close_quietly(fd)

    def on_exit(self, number, status, stopped):
        """Note that process `number` has exited; return whether it was a program."""
        program = self._live.get(number)
        if program is None:
            return False
        program.status, program.stopped, program.ended = status, stopped, time.time()
        self._timers.cancel(program.quick)
        self._read_rest(program)
        self._report_if_over(program)
        if program.pipes:                   # something it started may hold them for ever
            self._watch(program)
            self._timers.add(GRACE, self._give_up_output, program)
        return True

    def _give_up_output(self, program):
        self._read_rest(program)
        for fd in list(program.pipes):
            self._close(program, fd)
        self._report_if_over(program)

    def _read_rest(self, program):
        for fd in list(program.pipes):
            for _turn in range(64):         # what a pipe holds, and a little that comes meanwhile
                if not self._read_once(program, fd):
                    break

    def _report_if_over(self, program):
        if program.status is None or program.pipes or program.number not in self._live:
            return
        if program.stopped:
            self._report(program, control.TERMINATED, None, b'the program was stopped')
            return
        code = pickling.pickle(_exit_code(program.status), program.protocol)
        self._report(program, control.FINISHED, b''.join(code), None)

    def _report_failure(self, program, sentence):
        program.status, program.ended = NOT_STARTED, time.time()
        self._report(program, control.TERMINATED, None, to_bytes(sentence))

    def _report(self, program, status, result, exception):
        del self._live[program.number]
        number = b'%d' % program.number
        self._send(program.number, [
            control.pack(b'done', number, b'%d' % status, result, program.stdout.value(),
                         program.stderr.value(), exception, b'%.6f' % program.started,
                         b'%.6f' % program.ended),
            control.pack(b'exited', number, b'%d' % program.status)])


def _command(computation):
    """Return the beginning of the argv for the computation's program."""
    name = os.path.basename(to_path(computation.name))
    path = os.path.join(computation.folder, name)
    if '\\' in name and not os.path.exists(path):       # the client's system may be another one
        path = os.path.join(computation.folder, name.rpartition('\\')[2])
    if path.endswith('.py'):
        return [sys.executable, path]
    return [JAVA, path] if path.endswith('.java') else [path]


def _arguments(data):
    """Return the list of arguments in the pickle `data`; raises ProtocolError, ValueError."""
    value, form = pickles.load(data)
    if not isinstance(value, (list, tuple)):
        raise ValueError('they are no list')
    arguments = [_argument(item, form.python2) for item in value]
    if any(b'\0' in argument for argument in arguments):
        raise ValueError('a null byte in them')
    return arguments


def _argument(item, python2):
    if isinstance(item, bytes):
        return item
    if isinstance(item, type(u'')):
        # the bytes of a Python 2 client were read as Latin-1
        return item.encode('latin-1') if python2 and max(
            item or u'a') < u'\u0100' else _system_bytes(item)
    if isinstance(item, (int, float)):
        return str(item).encode('ascii')
    raise ValueError('an argument is no string but a %s' % type(item).__name__)


def _system_bytes(text):
    return text.encode('utf-8') if PYTHON2 else text.encode('utf-8', 'surrogateescape')


def _environment(computation):
    """Return the environment of programs, in bytes, so that it is encoded once."""
    encode = to_bytes if PYTHON2 else os.fsencode
    environment = dict(os.environ if PYTHON2 else os.environb)
    path, folder = environment.get(b'PATH'), encode(computation.folder)
    environment[b'PATH'] = folder + encode(os.pathsep) + path if path else folder
    return environment


def _exit_code(status):
    """Return a wait status as the exit code of subprocess: negative for a signal."""
    if os.WIFSIGNALED(status):
        return -os.WTERMSIG(status)
    return os.WEXITSTATUS(status)


def _shown(argv):
    first = argv[1] if argv[0] in (sys.executable, JAVA) and len(argv) > 1 else argv[0]
    return first if isinstance(first, str) else first.decode('utf-8', 'replace')
