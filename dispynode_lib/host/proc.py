"""Reading /proc, where there is one, or psutil. Supervisors use this, too: it imports little."""
from __future__ import absolute_import, division, print_function

import os

from dispynode_lib.texts import to_bytes

MARK = '_DISPYNODE_OF'                      # environment of all that a node starts
KEEPER = '_DISPYNODE_KEEPER'                # of who keeps listeners of a node that has died
STATE, PARENT, SESSION, STARTED = 0, 1, 3, 19           # places in what stat_fields() returns
ARGUMENTS_BEGIN, ARGUMENTS_END = 45, 46                 # of memory


class AvailInfo(object):
    """Resources free on this host: cpu, swap in percent; memory, disk in bytes."""

    __slots__ = ('cpu', 'memory', 'disk', 'swap')

    def __init__(self, cpu, memory, disk, swap):
        self.cpu, self.memory, self.disk, self.swap = cpu, memory, disk, swap


def is_there():
    """Return whether /proc tells of processes as Linux does; else psutil has to, if it is there."""
    return os.path.exists('/proc/self/stat')


def pids():
    """Return the numbers of all processes that may be seen (list)."""
    try:
        return [int(name) for name in os.listdir('/proc') if name.isdigit()]
    except EnvironmentError:
        return []


def stat_fields(pid):
    """Return the fields (bytes) of /proc/PID/stat behind the name; [] if it has gone.

    pid     number, or 'self'
    """
    # the name may hold blanks and brackets
    return read('/proc/%s/stat' % pid).rpartition(b')')[2].split()


def is_marked(pid, *values):
    """Return whether process `pid` was started with one of `values` (texts) for MARK."""
    return variable(pid, MARK) in [to_bytes(value) for value in values]


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


def import_psutil():
    """Return the module psutil, None if it is not installed or does not work here."""
    try:
        import psutil
    # a broken build raises any of them
    except (ImportError, EnvironmentError, AttributeError, RuntimeError):
        return None
    return psutil
