"""Being the parent of what jobs leave behind: processes that gave up their parents to live on by themselves."""
from __future__ import absolute_import, division, print_function

import os

from dispynode_lib.supervisor import stopping
from dispynode_lib.supervisor.lean import signal

SET_CHILD_SUBREAPER = 36                    # of prctl, Linux 3.4
ROUNDS = 50                                 # of looking and killing: what forks without end is faster than one look


def load():
    """Return the address of the system's prctl function, None where there is none.

    By the C half of ctypes: the rest of it would make every fork dearer.
    """
    try:
        import _ctypes
        return _ctypes.dlsym(_ctypes.dlopen(None, 0), 'prctl')
    except (ImportError, EnvironmentError, AttributeError, TypeError):
        return None                         # not Linux, or a Python without ctypes: process groups have to do


def adopt():
    """Become the parent of descendants whose parents end."""
    function = load()
    if function is not None:
        import _ctypes
        _ctypes.call_function(function, (SET_CHILD_SUBREAPER, 1, 0, 0, 0))


def end_descendants(but=()):
    """Kill all that descends from this process, but the pids in `but`, until nothing is left; reap what can be reaped."""
    for _round in range(ROUNDS):
        found = [relative.pid for relative in stopping.below(os.getpid(), stopping.all_processes())
                 if relative.pid not in but]
        found = [pid for pid in found if not _reap(pid)]
        if not found:
            return
        for number in (signal.SIGSTOP, signal.SIGKILL):         # stopped first: it forks no more meanwhile
            for pid in found:
                _signal(pid, number)


def _reap(pid):
    """Return whether `pid` was a child that has ended, or is none of ours any more."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except EnvironmentError:
        return not stopping.process_lives(pid)


def _signal(pid, number):
    try:
        os.kill(pid, number)
    except EnvironmentError:
        return                              # it has gone
