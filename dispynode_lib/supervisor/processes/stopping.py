"""Stopping a process with all its descendants, adopted ones included (subreaper)."""
from __future__ import absolute_import, division, print_function

import errno
import os

from dispynode_lib.host import proc
from dispynode_lib.supervisor.processes.lean import call_system, signal

SET_CHILD_SUBREAPER = 36                    # of prctl, Linux 3.4
ROUNDS = 50  # of looking and killing: what forks without end is faster than one look


def descendants(pid):
    """Return the Relatives below `pid`, None if only a look at all processes tells."""
    found, waiting = [], [pid]
    try:
        while waiting:
            number = waiting.pop()
            for child in _children(number):
                relative = proc.look_at(child)
                if relative is not None:
                    found.append(relative)
                    waiting.append(child)
    except EnvironmentError:
        return None
    return found


def _children(pid):
    """Return the numbers of the children of all threads of a process. Raises EnvironmentError."""
    found = []
    try:
        threads = os.listdir('/proc/%d/task' % pid)
    except EnvironmentError as error:
        if error.errno == errno.ENOENT and os.path.exists('/proc/self/task'):
            return found                    # it has gone
        raise
    for thread in threads:
        fd = os.open('/proc/%d/task/%s/children' % (pid, thread), os.O_RDONLY)
        try:
            found += [int(word) for word in os.read(fd, 65536).split()]
        finally:
            os.close(fd)
    return found


def below(pid, table):
    """Return the Relatives of proc.all_processes() that descend from `pid` or are in its session
    or one of theirs, without `pid` itself."""
    found = proc.with_descendants([pid], table, True)
    return [table[one] for one in found if one != pid and one in table]


def leaders_below(pid):
    """Return the Relatives that are children of `pid` and began a session, as jobs do."""
    try:
        found = [proc.look_at(child) for child in _children(pid)]
    except EnvironmentError:
        return []
    return [one for one in found if one is not None and one.session == one.pid]


def kill_session(leader):
    """Kill the Relative `leader` with its session and all that descends from it."""
    for name in ('SIGSTOP', 'SIGKILL'):                 # stopped first: it forks no more meanwhile
        relatives = [leader] + below(leader.pid, proc.all_processes())
        signal_relatives(relatives, getattr(signal, name), None)


def signal_group(pid, number):
    """Send signal `number` to the process group `pid`, or to the process if it has no group yet."""
    try:
        os.killpg(pid, number)
    except EnvironmentError:
        _signal(pid, number)


def signal_relatives(relatives, number, group):
    """Signal those of `relatives` that still live outside of process group `group`."""
    for relative in relatives:
        try:
            if os.getpgid(relative.pid) == group:
                continue
            now = proc.look_at(relative.pid)
            if now is not None and now.started == relative.started:
                os.kill(relative.pid, number)
        except EnvironmentError:
            continue                        # as in _signal()


def group_lives(pid):
    """Return whether the process group `pid` has members."""
    try:
        os.killpg(pid, 0)
    except EnvironmentError:
        return False
    return True


def process_lives(pid):
    """Return whether there is a process with number `pid`."""
    try:
        os.kill(pid, 0)
    except EnvironmentError as error:
        return error.errno == errno.EPERM
    return True


def adopt():
    """Become the parent of descendants whose parents end, where the system can do that."""
    call_system('prctl', SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_descendants(but=()):
    """Kill all that descends from this process but the pids in `but` and theirs."""
    if not but and descendants(os.getpid()) == []:
        return  # as nearly always; a look at all processes of a host takes long
    for _round in range(ROUNDS):
        found = [pid for pid in _below(but) if not _reap(pid)]
        if not found:
            return
        for number in (signal.SIGSTOP, signal.SIGKILL):  # stopped first: it forks no more meanwhile
            for pid in found:
                _signal(pid, number)


def _below(but):
    """Return the pids (set) of all descendants that are not in `but` or below those."""
    own, table = os.getpid(), proc.all_processes()
    found = proc.with_descendants([own], table, True)
    kept = proc.with_descendants(found.intersection(but), table, True)
    return found - kept - set([own])


def _reap(pid):
    """Return whether `pid` was a child that has ended, or is none of ours any more."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except EnvironmentError:
        return not process_lives(pid)


def _signal(pid, number):
    try:
        os.kill(pid, number)
    except EnvironmentError:
        return                              # it has gone: what was wanted
