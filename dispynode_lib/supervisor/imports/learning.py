"""Learning which modules jobs import, and loading them before the next jobs are forked."""
from __future__ import absolute_import, division, print_function

import os
import select
import sys

from dispynode_lib.host.descriptors import is_readable
from dispynode_lib.supervisor.processes import stopping
from dispynode_lib.supervisor.processes.descriptors import (
    close_quietly, move_out_of_reach, read_some, wake_pipe)
from dispynode_lib.supervisor.processes.lean import COMPLETE_LAST, signal, to_bytes, to_native
from dispynode_lib.supervisor.imports.preload import NOT_TAKEN, is_standard
from dispynode_lib.supervisor.processes.signals import end_by_alarm
from dispynode_lib.wire.control import MODULE_NAME_SIZE, is_module_name

LEARN = 'learn'  # word of a policy: modules of any package, each after a trial
TIMES = 2                                   # jobs that have to import a module before it is loaded
LINES = 4000  # bytes of names that are written at once: less than PIPE_BUF
NAMES = 3000                                # names that are counted
CURIOUS = 16  # messages after which jobs tell nothing more of what is loaded
TRIAL_TIMEOUT = 5.0                         # seconds that loading a module of others' may take


class Learner(object):
    """Imports of one supervisor's jobs: counted, and loaded ahead."""

    def __init__(self, preloaded, policy, poll, timers, on_learned):
        """Learn by a preload.Preloaded.

        policy      words: LEARN or not, and packages whose modules are loaded as those of the
                    standard library are
        poll        the select.poll of the supervisor; it calls takes() for what is readable
        on_learned  function (names): jobs import these; they are loaded now if they can be
        """
        self._preloaded, self._poll, self._timers = preloaded, poll, timers
        self._packages = frozenset(policy.split())
        self._on_learned = on_learned
        self.read_end, write_end = wake_pipe()
        self._write_end = move_out_of_reach(write_end)
        self._base = frozenset(sys.modules)
        self._count = {}                    # name -> jobs that imported it
        self._pending, self._told = [], []  # names to load; names that are imported again and again
        self._messages = 0
        self._trial = None
        preloaded.install()
        poll.register(self.read_end, select.POLLIN)

    def rebase(self):
        """Note which modules are loaded before jobs are forked."""
        self._base = frozenset(sys.modules)
        self._preloaded.rebase()

    # in a job process

    def become_job(self):
        """Return the descriptors that a job does not need."""
        return (self.read_end,) if self._trial is None else (self.read_end, self._trial[2])

    def tell(self):
        """Tell the supervisor what was imported since it forked this process, what others need
        first."""
        curious, loaded = self._messages < CURIOUS, self._preloaded
        if not curious and self.has_given_all():
            return
        names = [
            to_bytes(name) for name, module in list(sys.modules.items())
            if module is not None and name not in self._base and (
                curious or not loaded.has_aside(name))
        ]
        lines, size = [], 0
        for name in (names if COMPLETE_LAST else reversed(names)):
            if lines and size + len(name) >= LINES:
                self._write(lines)
                lines, size = [], 0
            if len(name) <= MODULE_NAME_SIZE:
                lines.append(name)
                size += len(name) + 1
        if lines:
            self._write(lines)

    def has_given_all(self):
        """Return whether all that was imported since was loaded ahead."""
        return len(sys.modules) == len(self._base) + self._preloaded.count_given()

    def _write(self, lines):
        try:
            os.write(self._write_end, b'\n'.join(lines) + b'\n')
        except EnvironmentError:
            return  # the pipe is full, or was closed by the job: others will tell

    # in the supervisor

    def takes(self, fd):
        """Take what came on descriptor `fd` if it is one of these; return whether it is."""
        if fd == self.read_end:
            self._read()
        elif self._trial is not None and fd == self._trial[2]:
            self._end_trial(self._trial[1])
        else:
            return False
        return True

    def _read(self):
        """Read what jobs have told; it is checked, for jobs may write anything."""
        self._messages += 1
        try:
            data = read_some(self.read_end, 65536)
        except EnvironmentError:            # another process was quicker
            return
        for line in data.split(b'\n'):
            name = to_native(line)
            if is_module_name(name) and (name in self._count or len(self._count) < NAMES):
                self._count[name] = count = self._count.get(name, 0) + 1
                if count == TIMES:
                    self._told.append(name)
                    if not self._preloaded.has(name) and self._may_load(name):
                        self._pending.append(name)

    def _may_load(self, name):
        top = name.partition('.')[0]
        return top not in NOT_TAKEN and (LEARN in self._packages or self._is_trusted(top))

    def _is_trusted(self, top):
        return is_standard(top) or top in self._packages

    def has_work(self):
        """Return whether work() has something to do."""
        return self._trial is None and bool(self._pending or self._told)

    def work(self):
        """Load one module, or report; called when there is nothing else to do."""
        if not self._pending:
            self.report()
            return
        name = self._pending.pop(0)
        if self._is_trusted(name.partition('.')[0]):
            self._preloaded.load(name)
        elif not self._preloaded.has(name):
            self._try(name)

    def report(self):
        """Tell what jobs import again and again, if that has not been told."""
        self._preloaded.settle()
        self._preloaded.look()
        told, self._told = [name for name in self._told if self._may_load(name)], []
        self._on_learned(told)

    # modules that are not of the standard library

    def _try(self, name):
        """See in a process to be thrown away whether module `name` can be loaded before a fork;
        then load it."""
        read_end, write_end = os.pipe()
        pid = os.fork()
        if not pid:
            _be_trial(self._preloaded, name, write_end)
        os.close(write_end)
        self._trial = name, pid, read_end
        self._poll.register(read_end, select.POLLIN)
        self._timers.add(TRIAL_TIMEOUT, self._end_trial, pid)

    def _end_trial(self, pid):
        if self._trial is None or self._trial[1] != pid:
            return
        name, pid, read_end = self._trial
        self._trial = None
        self._poll.unregister(read_end)
        good = is_readable(read_end) and read_some(read_end, 1) == b'1'
        close_quietly(read_end)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        if good:
            self._preloaded.load(name)


def _be_trial(preloaded, name, write_end):
    """Be the process of a trial; does not return."""
    try:
        os.setsid()
        end_by_alarm(int(TRIAL_TIMEOUT) + 1)
        before = surroundings()
        if preloaded.load(name) is None and surroundings() == before:
            os.write(write_end, b'1')
    finally:
        os._exit(0)


def surroundings():
    """Return what a module that is loaded before a fork must leave as it is: threads, descriptors,
    working folder, locale, processes, signal handlers."""
    import locale
    return (len(os.listdir('/proc/self/task')), sorted(os.listdir('/proc/self/fd')), os.getcwd(),
            locale.setlocale(locale.LC_ALL), stopping.descendants(os.getpid()),
            [signal.getsignal(number) for number in range(1, signal.NSIG)])
