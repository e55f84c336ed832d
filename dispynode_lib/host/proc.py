"""Processes of this host as /proc tells of them, or else psutil, if it is there. Supervisors use
this, too: it imports little."""
from __future__ import absolute_import, division, print_function

import os

from dispynode_lib.texts import to_bytes, to_native

MARK = '_DISPYNODE_OF'                      # environment of all that a node starts
KEEPER = '_DISPYNODE_KEEPER'                # of who keeps listeners of a node that has died
STATE, PARENT, SESSION, STARTED = 0, 1, 3, 19           # places in what stat_fields() returns
DEAD = b'Z', b'X'                           # states
ARGUMENTS_BEGIN, ARGUMENTS_END = 45, 46                 # of memory


class AvailInfo(object):
    """Resources free on this host: cpu, swap in percent; memory, disk in bytes."""

    __slots__ = ('cpu', 'memory', 'disk', 'swap')

    def __init__(self, cpu, memory, disk, swap):
        self.cpu, self.memory, self.disk, self.swap = cpu, memory, disk, swap


def is_there():
    """Return whether /proc tells of processes as Linux does; else psutil has to, if it is there."""
    return os.path.exists('/proc/self/stat')


class Relative(object):
    """A process found in relation to others; `started` (ticks) tells it from later ones."""

    __slots__ = ('pid', 'parent', 'session', 'started', 'has_ended')

    def __init__(self, pid, parent, session, started, has_ended):
        """`has_ended`: it is a zombie."""
        self.pid, self.parent, self.session = pid, parent, session
        self.started, self.has_ended = started, has_ended


def look_at(pid):
    """Return the Relative with number `pid`, None if it has gone."""
    fields = stat_fields(pid)
    if fields:
        return Relative(pid, int(fields[PARENT]), int(fields[SESSION]), int(fields[STARTED]),
                        fields[STATE] in DEAD)
    return None if is_there() else ask_psutil(pid, _look_by_psutil)


def _look_by_psutil(process):
    return Relative(process.pid, process.ppid(), os.getsid(process.pid),
                    int(process.create_time() * 100), process.status() == 'zombie')


def all_processes():
    """Return {pid: Relative} of the processes of this host, as far as they can be seen."""
    found = [look_at(pid) for pid in pids()]
    return dict((relative.pid, relative) for relative in found if relative is not None)


def with_descendants(pids, table, sessions):
    """Return `pids` (set) with what descends from them and, if `sessions`, is in theirs.

    table    as of all_processes()
    """
    below = {}
    for relative in table.values():
        below.setdefault(relative.parent, []).append(relative.pid)
        if sessions:
            below.setdefault(relative.session, []).append(relative.pid)
    found, waiting = set(), list(pids)
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting += below.get(pid, ())
    return found


def pids():
    """Return the numbers of all processes that may be seen (list)."""
    if is_there():
        return [int(name) for name in os.listdir('/proc') if name.isdigit()]
    psutil = import_psutil()
    return [] if psutil is None else psutil.pids()


def stat_fields(pid):
    """Return the fields (bytes) of /proc/PID/stat behind the name; [] if it has gone.

    pid     number, or 'self'
    """
    # the name may hold blanks and brackets
    return read('/proc/%s/stat' % pid).rpartition(b')')[2].split()


def is_marked(pid, values):
    """Return whether process `pid` was started with one of `values` (texts) for MARK."""
    if is_there():
        return variable(pid, MARK) in [to_bytes(value) for value in values]
    return ask_psutil(pid, lambda process: process.environ().get(MARK)) in values


def variable(pid, name):
    """Return a variable (bytes) of the environment that process `pid` was started with, or b''."""
    return (b'\0' + read('/proc/%d/environ' % pid)).partition(
        b'\0' + to_bytes(name) + b'=')[2].partition(b'\0')[0]


def read(path):
    """Return what is in a file of the kernel (bytes), nothing if it has gone."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except EnvironmentError:
        return b''
    try:
        pieces = [os.read(fd, 65536)]
        while pieces[-1]:
            pieces.append(os.read(fd, 65536))
        return b''.join(pieces)
    except EnvironmentError:
        return b''
    finally:
        os.close(fd)


def lines(path):
    """Return the lines (str) of a file of the kernel that are not empty, none if it has gone."""
    return [line for line in to_native(read(path)).split('\n') if line]


def import_psutil():
    """Return the module psutil, None if it is not installed or does not work here."""
    try:
        import psutil
    # a broken build raises any of them
    except (ImportError, EnvironmentError, AttributeError, RuntimeError):
        return None
    return psutil


def ask_psutil(pid, question):
    """Return question(psutil.Process(pid)), None without that process or without psutil."""
    psutil = import_psutil()
    try:
        return None if psutil is None else question(psutil.Process(pid))
    except (psutil.Error, EnvironmentError):
        return None
