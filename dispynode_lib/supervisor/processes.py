"""The processes of one computation: forked, stopped step by step, reaped."""
from __future__ import absolute_import, division, print_function

import os

from dispynode_lib.supervisor import stopping
from dispynode_lib.supervisor.signals import number_of
from dispynode_lib.wire import control


class Process(object):
    """A job process or program that has not been reaped."""

    __slots__ = ('number', 'pid', 'stopping', 'relatives', 'ended')

    def __init__(self, number, pid):
        self.number = number
        self.pid = pid
        self.stopping = False
        self.relatives = {}                 # what it started, by number; known once it is being stopped
        self.ended = False


class Processes(object):
    """All of them, and the process groups that ended jobs left behind."""

    def __init__(self, timers):
        """`timers`: a timers.Timers."""
        self._timers = timers
        self._live = {}                     # number -> Process
        self._left_groups = set()           # of jobs that ended by themselves: their authors may want that

    def __len__(self):
        return len(self._live)

    def add(self, number, pid):
        """Follow the process `pid` as `number`."""
        self._live[number] = Process(number, pid)

    def stop(self, number, quicker=1.0):
        """Begin to stop process `number`: control.STOP_STEPS, their times multiplied by `quicker`."""
        process = self._live.get(number)
        if process is not None:
            self._begin([process], quicker)

    def stop_all(self, quicker=1.0):
        """Begin to stop every process."""
        self._begin(list(self._live.values()), quicker)

    def kill(self, number):
        """Kill process `number` and what it started, at once."""
        process = self._live.get(number)
        if process is not None:
            process.stopping = True
            self._step(process, 'SIGKILL', stopping.all_processes())

    def _begin(self, processes, quicker):
        table = None
        for process in processes:
            if process.stopping:
                continue
            process.stopping = True
            table = table if table is not None else stopping.all_processes()
            for delay, name in control.STOP_STEPS:
                if delay:
                    self._timers.add(delay * quicker, self._later_step, process, name)
                else:
                    self._step(process, name, table)

    def _later_step(self, process, name):
        if not process.ended:
            self._step(process, name, stopping.all_processes() if name == 'SIGKILL' else None)

    def _step(self, process, name, table):
        """Send one signal to a process and all that it started; `table`: see stopping.all_processes(), or None."""
        if table is not None:
            for relative in stopping.below(process.pid, table):
                process.relatives.setdefault(relative.pid, relative)
        number = number_of(name)
        stopping.signal_group(process.pid, number)
        stopping.signal_relatives(process.relatives.values(), number, process.pid)

    def reap(self):
        """Return [(number, wait status, stopped by request)] of what has ended since the last call."""
        reaped = []
        for process in list(self._live.values()):
            try:
                pid, status = os.waitpid(process.pid, os.WNOHANG)
            except EnvironmentError:        # the user's setup has waited for it: its status is lost
                pid, status = process.pid, 0
            if pid:
                self._forget(process)
                reaped.append((process.number, status, process.stopping))
        return reaped

    def _forget(self, process):
        process.ended = True
        del self._live[process.number]
        if process.stopping:                # what did not follow it is not asked again
            self._step(process, 'SIGKILL', None)
        elif stopping.group_lives(process.pid):
            self._left_groups.add(process.pid)
        if self._left_groups:
            self._left_groups = set(pid for pid in self._left_groups if stopping.group_lives(pid))

    def kill_left_groups(self):
        """Kill what ended jobs left in their process groups: the computation ends."""
        for pid in self._left_groups:
            stopping.signal_group(pid, number_of('SIGKILL'))
        self._left_groups = set()
