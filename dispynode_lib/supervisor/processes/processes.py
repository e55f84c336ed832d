"""The processes of one computation: forked, stopped step by step, reaped."""
from __future__ import absolute_import, division, print_function

import os

from dispynode_lib.host import proc
from dispynode_lib.supervisor.processes import stopping
from dispynode_lib.supervisor.processes.lean import HAS_WAIT4
from dispynode_lib.supervisor.processes.signals import number_of
from dispynode_lib.wire import control

HAS_WAITID = hasattr(os, 'waitid')
MEMORY_UNIT = 1024                          # bytes: in it Linux tells peak memory
MOST_UNTOLD = 64  # ended processes of which the node has not been told what they used
MOST_ENDED, GROUPS_DELAY = 16, 0.2          # jobs, seconds until their process groups are looked at


class Processes(object):
    """Processes that have not been reaped, and process groups that ended jobs have left."""

    def __init__(self, timers):
        self.live = {}                      # number -> pid
        self._timers = timers
        # number -> {pid: Relative}: what a process that is being stopped started
        self._stopped = {}
        self._ended = []                    # pids of jobs that ended by themselves of late
        self._look_planned = False
        self._groups = []  # of those, the groups with members: their authors may want that

    def is_stopping(self):
        """Return whether there are some that were told to end, and have not."""
        return bool(self._stopped)

    def stop(self, number, quicker=1.0):
        """Begin to stop process `number`: control.STOP_STEPS, `quicker` times."""
        if number in self.live:
            self._begin([number], quicker)

    def stop_all(self, quicker=1.0):
        """Begin to stop every process."""
        self._begin(list(self.live), quicker)

    def kill(self, number):
        """Kill process `number` and what it started, at once."""
        if number in self.live:
            self._stopped.setdefault(number, {})
            self._step(number, 'SIGKILL', self._all_below(number))

    def _begin(self, numbers, quicker):
        for number in numbers:
            if number in self._stopped:
                continue
            self._stopped[number] = {}
            for delay, name in control.STOP_STEPS:
                if delay:
                    self._timers.add(delay * quicker, self._later_step, number, name)
                else:
                    self._step(number, name, self._below(number))

    def _later_step(self, number, name):
        if number in self._stopped:
            self._step(number, name,
                       self._all_below(number) if name == 'SIGKILL' else self._below(number))

    def _below(self, number):
        """Return the Relatives below a process: quickly, if the system can tell."""
        found = stopping.descendants(self.live[number])
        return found if found is not None else self._all_below(number)

    def _all_below(self, number):
        """Return the Relatives below a process or in its session, by a look at all processes."""
        return stopping.below(self.live[number], proc.all_processes())

    def _step(self, number, name, below):
        """Send one signal to a process and to its Relatives `below`, and to those known before."""
        pid, relatives = self.live[number], self._stopped[number]
        for relative in below:
            relatives.setdefault(relative.pid, relative)
        stopping.signal_group(pid, number_of(name))
        stopping.signal_relatives(relatives.values(), number_of(name), pid)

    def reap(self):
        """Return [(number, wait status, used, stopped by request)] of what ended meanwhile.

        used   CPU time in seconds and peak memory in bytes; None if the user has waited for it: its
               status is lost
        """
        reaped = [(number, status, used, number in self._stopped)
                  for number, status, used in self._wait()]
        for number, _status, _used, stopped in reaped:
            if stopped:
                self._end_relatives(number, self.live.pop(number))
            else:
                self._ended.append(self.live.pop(number))
        if self._ended and reaped:
            self._plan_look()
        return reaped

    def _wait(self):
        """Return [(number, wait status, used)] of ended ones; others' children are left."""
        found = []
        if HAS_WAITID and len(self.live) > 2:
            numbers = dict((pid, number) for number, pid in self.live.items())
            while True:
                try:
                    ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                except EnvironmentError:
                    break                   # no child at all
                if ended is None:
                    return found
                number = numbers.pop(ended.si_pid, None)
                if number is None:
                    break                   # it hides the others
                found.append((number,) + _wait_for(ended.si_pid, 0)[1:])
        known = set([row[0] for row in found]) if found else ()
        for number, pid in self.live.items():
            if number in known:
                continue
            try:
                ended, status, used = _wait_for(pid, os.WNOHANG)
            except EnvironmentError:        # the user's setup has waited for it: its status is lost
                ended, status, used = pid, 0, None
            if ended:
                found.append((number, status, used))
        return found

    def _end_relatives(self, number, pid):
        """Kill descendants that outlived a process that was stopped."""
        relatives = self._stopped.pop(number)
        stopping.signal_relatives(relatives.values(), number_of('SIGKILL'), None)
        if stopping.group_lives(pid):
            stopping.signal_group(pid, number_of('SIGKILL'))
        self._timers.add(0.0, self._end_session, pid)

    @staticmethod
    def _end_session(pid):
        """Kill what is left in a stopped process's session, before its number is free."""
        left = [relative for relative in proc.all_processes().values()
                if relative.session == pid and relative.pid != pid]
        stopping.signal_relatives(left, number_of('SIGKILL'), None)

    def _plan_look(self):
        """See to it that the process groups of ended jobs are looked at.

        Not at each end, for it takes a while, but soon: as long as a group has members its number
        is not given away.
        """
        if len(self._ended) >= MOST_ENDED:
            self._look_for_groups()
        elif not self._look_planned:
            self._look_planned = True
            self._timers.add(GROUPS_DELAY, self._planned_look)

    def _planned_look(self):
        self._look_planned = False
        self._look_for_groups()

    def _look_for_groups(self):
        self._groups += [pid for pid in self._ended if stopping.group_lives(pid)]
        self._ended = []

    def kill_left_groups(self):
        """Kill what ended jobs left in their process groups: the computation ends."""
        self._look_for_groups()
        for pid in self._groups:
            # else it is another process, and the group has gone
            if not stopping.process_lives(pid):
                stopping.signal_group(pid, number_of('SIGKILL'))
        self._groups = []


class Account(object):
    """Resource usage of ended processes, told to the node many at a time."""

    def __init__(self, send):
        """`send`: function that brings control.USED of some (bytes) to the node."""
        self._send = send
        self._untold = []

    def note(self, reaped, at_once):
        """Take what Processes.reap() returned; tell it if wanted, or much."""
        for number, status, used, _stopped in reaped:
            self._untold.append(control.USED.pack(number, status, *used) if used is not None else
                                control.USED.pack(number, control.LOST, *control.NOT_KNOWN))
        if len(self._untold) >= (1 if reaped and at_once else MOST_UNTOLD):
            self.tell()

    def tell(self):
        """Tell what was not told yet."""
        untold, self._untold = self._untold, []
        if untold:
            self._send(b''.join(untold))


def _wait_for(pid, how):
    """Return (pid or 0, wait status, used) of a child; as reap(). Raises EnvironmentError."""
    if not HAS_WAIT4:
        return os.waitpid(pid, how) + (control.NOT_KNOWN,)
    ended, status, usage = os.wait4(pid, how)
    return ended, status, (usage.ru_utime + usage.ru_stime, usage.ru_maxrss * MEMORY_UNIT)
