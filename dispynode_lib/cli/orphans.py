"""Computations of a node that has died, which wait for the next one."""
from __future__ import absolute_import, division, print_function

import os

from dispynode_lib.host import processes
from dispynode_lib.host.network import unixsocket
from dispynode_lib.host.process import lockfile
from dispynode_lib.node.computations import link
from dispynode_lib.node.operator import statefolder
from dispynode_lib.node.replies.records import Records

TIMEOUT = 2.0                               # seconds for a supervisor to be reached


def count(folder):
    """Return how many computations of the state folder `folder` have a supervisor that lives."""
    return len([path for path in _sockets(folder) if _is_there(path)])


def _sockets(folder):
    return [path for found in Records(folder, 0, 0).supervisors().values() for _key, path in found]


def _is_there(path):
    try:
        unixsocket.connect(path, TIMEOUT).close()
        return True
    except EnvironmentError:
        return False


def end(folder, seconds):
    """End them as a node that stops does, wait so many seconds at most; return how many there were.

    Raises lockfile.Held if there is a node, EnvironmentError without access.
    """
    paths = _sockets(folder)
    if not paths:
        return 0
    lock = lockfile.LockFile(os.path.join(folder, statefolder.PID))
    lock.acquire()                          # no node comes meanwhile
    try:
        pids = [link.end_supervisor(path) for path in paths]
        begun = [(pid, processes.start_time(pid)) for pid in pids if pid]
        processes.wait_gone([pair for pair in begun if pair[1] is not None], seconds)
    finally:
        lock.release()
    return len([pid for pid in pids if pid is not None])
