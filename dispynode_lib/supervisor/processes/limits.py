"""Limits of jobs: memory, processes, output; looked at at intervals."""
from __future__ import absolute_import, division, print_function

import os
import sys

from dispynode_lib.host import proc
from dispynode_lib.supervisor.processes import stopping
from dispynode_lib.wire.control import JOB_MEMORY, JOB_OUTPUT, JOB_PROCESSES

INTERVAL = 0.25                             # seconds between looks at the processes of jobs
SPARE_DATA = 256 << 20                      # bytes a job may ask for at once beyond twice its limit
# bytes that a free-threaded Python asks for in advance, whatever it needs
RESERVED = 1 << 30 if 't' in getattr(sys, 'abiflags', '') else 0
KEYS = ('nice', 'memory', 'output', 'processes', 'descriptors')


class OverLimit(BaseException):
    """Raised in a job that is over a limit; no Exception, so that user code rarely catches it."""


class Limits(object):
    """Limits of a computation's jobs: nice, memory, output, processes, descriptors; 0: none."""

    def __init__(self, text=''):
        """`text`: words such as memory=1000000."""
        for key in KEYS:
            setattr(self, key, 0)
        for word in text.split():
            key, _equals, value = word.partition('=')
            if key in KEYS:
                setattr(self, key, int(value))

    def apply(self):
        """Take the limits that hold for this process and all it starts."""
        if self.nice:
            os.nice(self.nice)
        if self.descriptors or self.memory:
            import resource
            if self.descriptors:            # the node may have taken more for itself
                _lower(resource, resource.RLIMIT_NOFILE, self.descriptors)
            if self.memory and hasattr(resource, 'RLIMIT_DATA'):
                # one big request cannot be noticed in time: it fails
                _lower(resource, resource.RLIMIT_DATA, 2 * self.memory + SPARE_DATA + RESERVED)

    def watched(self):
        """Return whether somebody has to look at the processes of jobs."""
        return bool(self.memory or self.processes)

    def budget(self):
        """Return the Budget for the output of one job, None if it may print what it likes."""
        return Budget(self.output) if self.output else None


def _lower(resource, which, value):
    soft, hard = resource.getrlimit(which)
    if soft == resource.RLIM_INFINITY or soft > value:
        resource.setrlimit(which,
                           (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


class Budget(object):
    """Bytes of output that one job has left."""

    def __init__(self, limit):
        self._limit = limit
        self._written = 0

    def take(self, size):
        """Count `size` bytes; raise OverLimit if they are too many."""
        self._written += size
        if self._written > self._limit:
            raise OverLimit(self.sentence())

    def sentence(self):
        """Return what to tell the job's author (str), None while all is well."""
        if self._written <= self._limit:
            return None
        return 'the job was stopped: it wrote %d bytes, %s allows %d' % (
            self._written, JOB_OUTPUT, self._limit)


class Watch(object):
    """Looks at the processes of jobs, and ends those of a job that is over a limit."""

    def __init__(self, limits, processes, timers, tell):
        """`tell(number, option, sentence)` is called before job process `number` is killed."""
        self._limits, self._processes, self._timers, self._tell = limits, processes, timers, tell
        timers.add(INTERVAL, self._look)

    def _look(self):
        self._timers.add(INTERVAL, self._look)
        live = self._processes.live
        if not live:
            return
        table = proc.all_processes()
        for number, pid in list(live.items()):
            found = self._judge([pid] + [relative.pid for relative in stopping.below(pid, table)])
            if found is not None:
                self._tell(number, *found)
                self._processes.kill(number)

    def _judge(self, pids):
        limits = self._limits
        if limits.processes and len(pids) > limits.processes:
            return JOB_PROCESSES, 'the job was stopped: it had %d processes, %s allows %d' % (
                len(pids), JOB_PROCESSES, limits.processes)
        if limits.memory:
            used = sum([memory_of(pid) for pid in pids])
            if used > limits.memory:
                return JOB_MEMORY, ('the job was stopped: it used %d bytes of memory, %s allows %d'
                                    % (used, JOB_MEMORY, limits.memory))
        return None


def memory_of(pid):
    """Return the bytes of memory that a process has for itself, and its part of what it shares."""
    for line in proc.read('/proc/%d/smaps_rollup' % pid).splitlines():
        if line.startswith(b'Pss:'):
            return 1024 * int(line.split()[1])
    if not proc.is_there():
        return proc.ask_psutil(pid, lambda process: process.memory_info().rss) or 0
    words = proc.read('/proc/%d/statm' % pid).split()  # an old kernel: all of what it shares counts
    return os.sysconf('SC_PAGE_SIZE') * int(words[1]) if words else 0
