"""Being the parent of what jobs leave behind: processes that gave up their parents to live on by themselves."""
from __future__ import absolute_import, division, print_function

import os

from dispynode_lib.supervisor.processes import stopping
from dispynode_lib.supervisor.processes.lean import call_system, signal

SET_CHILD_SUBREAPER = 36                    # of prctl, Linux 3.4
ROUNDS = 50                                 # of looking and killing: what forks without end is faster than one look


def adopt():
    """Become the parent of descendants whose parents end, where the system can do that."""
    call_system('prctl', SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_descendants(but=()):
    """Kill all that descends from this process until nothing is left; the pids in `but` stay, with their descendants."""
    if not but and stopping.descendants(os.getpid()) == []:
        return                              # as nearly always; a look at all processes of a host takes long
    for _round in range(ROUNDS):
        found = [pid for pid in _below(but) if not _reap(pid)]
        if not found:
            return
        for number in (signal.SIGSTOP, signal.SIGKILL):         # stopped first: it forks no more meanwhile
            for pid in found:
                _signal(pid, number)


def _below(but):
    """Return the pids (set) of all descendants that are not in `but` or below those."""
    table = stopping.all_processes()
    found = set([relative.pid for relative in stopping.below(os.getpid(), table)])
    for pid in but:
        if pid in found:
            found.discard(pid)
            found.difference_update([relative.pid for relative in stopping.below(pid, table)])
    return found


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
