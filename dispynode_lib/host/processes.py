"""Processes of this host: told apart by number and start time, found by a mark in their
environment, ended with all that is theirs."""
from __future__ import absolute_import, division, print_function

import os
import signal
import time

from dispynode_lib.host import proc, resources
from dispynode_lib.host.compat import monotonic

MARK = proc.MARK
ROUNDS = 20  # of looking and killing, at most: what forks without end may be faster
DEATH = 1.0  # seconds that killed processes may take to go
LOOK = 0.01                                 # seconds between looks whether they have
DEAD = b'Z', b'X'


def start_time(pid):
    """Return when process `pid` started, in ticks since boot; None: it is gone, or a zombie."""
    if not proc.is_there():
        return _asked(pid, lambda process: int(process.create_time() * 100)
                      if process.status() != 'zombie' else None)
    fields = proc.stat_fields(pid)
    return int(fields[proc.STARTED]) if fields and fields[proc.STATE] not in DEAD else None


def boot_id():
    """Return a text that is another one after the next boot."""
    return proc.read('/proc/sys/kernel/random/boot_id').decode('ascii').strip()[:8] or '-'


def identity(pid):
    """Return text that no other process ever has; None if the process has gone."""
    started = start_time(pid)
    return None if started is None else '%s-%d-%d' % (boot_id(), pid, started)


def is_marked(pid, values):
    """Return whether process `pid` was started with one of `values` (texts) for MARK."""
    if proc.is_there():
        return proc.is_marked(pid, *values)
    return _asked(pid, lambda process: process.environ().get(MARK)) in values


def left(values, kept, alone):
    """Return [(pid, start time)] of processes that were started with one of `values` for MARK or
    are children of one of `alone`, with all that descends from them or is in sessions of theirs.

    kept    pids of processes that are left out, with all that descends from them
    alone   pids of processes that are left out themselves; this one always is
    """
    table = _table()
    alone = set(alone)
    kept = _with_descendants(set(kept), table)
    found = set(pid for pid, (parent, _session, _started) in table.items()
                if pid not in kept and (parent in alone or is_marked(pid, values)))
    alone.add(os.getpid())
    found -= alone
    found = _with_descendants(found, table, sessions=True) - kept - alone
    return [(pid, table[pid][2]) for pid in sorted(found)]


def _table():
    """Return {pid: (parent, session, start time)} of the living processes of this host."""
    found = {}
    for pid in proc.pids() if proc.is_there() else _pids_by_psutil():
        if proc.is_there():
            fields = proc.stat_fields(pid)
            if fields and fields[proc.STATE] not in DEAD:
                found[pid] = int(fields[proc.PARENT]), int(fields[proc.SESSION]), int(
                    fields[proc.STARTED])
        elif start_time(pid) is not None:
            found[pid] = _asked(pid, lambda process: process.ppid()) or 0, 0, start_time(pid)
    return found


def _with_descendants(pids, table, sessions=False):
    """Return `pids` (set) with what descends from them or is, if wanted, in their sessions."""
    below = {}
    for pid, (parent, session, _started) in table.items():
        below.setdefault(parent, []).append(pid)
        if sessions:
            below.setdefault(session, []).append(pid)
    found, waiting = set(), list(pids)
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting += below.get(pid, ())
    return found


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


def _asked(pid, question):
    """Return question(psutil.Process(pid)), None without that process or without psutil."""
    psutil = resources.import_psutil()
    try:
        return None if psutil is None else question(psutil.Process(pid))
    except (psutil.Error, EnvironmentError):
        return None


def _pids_by_psutil():
    psutil = resources.import_psutil()
    return [] if psutil is None else psutil.pids()


def kill(pid, started, number=signal.SIGKILL):
    """Signal process `pid` if it is still the one that started then; return whether so."""
    if start_time(pid) != started:
        return False
    try:
        os.kill(pid, number)
        return True
    except EnvironmentError:
        return False
