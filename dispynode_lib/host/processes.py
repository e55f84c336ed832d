"""Processes of this host: told apart by number and start time, found by a mark in their
environment, ended with all that is theirs."""
from __future__ import absolute_import, division, print_function

import os
import time

from dispynode_lib.host import proc
from dispynode_lib.host.compat import monotonic, signal

MARK = proc.MARK
ROUNDS = 20  # of looking and killing, at most: what forks without end may be faster
DEATH = 1.0  # seconds that killed processes may take to go
LOOK = 0.01                                 # seconds between looks whether they have


def start_time(pid):
    """Return when process `pid` started, in ticks since boot; None: it is gone, or a zombie."""
    found = proc.look_at(pid)
    return None if found is None or found.has_ended else found.started


def identity(pid):
    """Return text that no other process ever has; None if the process has gone."""
    started = start_time(pid)
    # another one after the next boot
    boot = proc.read('/proc/sys/kernel/random/boot_id').decode('ascii').strip()[:8] or '-'
    return None if started is None else '%s-%d-%d' % (boot, pid, started)


def left(values, kept, alone):
    """Return [(pid, start time)] of processes that were started with one of `values` for MARK or
    are children of one of `alone`, with all that descends from them or is in sessions of theirs.

    kept    pids of processes that are left out, with all that descends from them
    alone   pids of processes that are left out themselves; this one always is
    """
    table = dict((pid, relative) for pid, relative in proc.all_processes().items()
                 if not relative.has_ended)
    alone = set(alone)
    kept = proc.with_descendants(kept, table, False)
    found = set(pid for pid, relative in table.items()
                if pid not in kept and (relative.parent in alone or proc.is_marked(pid, values)))
    alone.add(os.getpid())
    found = proc.with_descendants(found - alone, table, True) - kept - alone
    return [(pid, table[pid].started) for pid in sorted(found)]


def end(look):
    """Kill what `look()` returns, [(pid, start time)], until that is nothing; return the pids.

    What is killed was found twice: while one looks the parent of a process may end, which then
    seems to have none.
    """
    killed, tried = [], set()
    for _round in range(ROUNDS):
        found = set(look()) - tried
        found = found and found.intersection(look())
        if not found:
            break
        for pid, started in found:
            kill(pid, started, signal.SIGSTOP)          # it forks no more meanwhile
        killed += [pid for pid, started in found if kill(pid, started)]
        tried |= found
    wait_gone(tried, DEATH)
    return killed


def end_groups(pids):
    """Kill the process groups `pids`, if this host does not tell of its processes."""
    for pid in pids if not proc.is_there() else ():
        try:
            os.killpg(pid, signal.SIGKILL)
        except EnvironmentError:
            continue                        # it has gone


def wait_gone(processes, seconds):
    """Wait up to `seconds` for the ends of `processes`, (pid, start time) each."""
    deadline = monotonic() + seconds
    while any(start_time(pid) == started
              for pid, started in processes) and monotonic() < deadline:
        time.sleep(LOOK)


def kill(pid, started, number=signal.SIGKILL):
    """Signal process `pid` if it is still the one that started then; return whether so."""
    if start_time(pid) != started:
        return False
    try:
        os.kill(pid, number)
        return True
    except EnvironmentError:
        return False
