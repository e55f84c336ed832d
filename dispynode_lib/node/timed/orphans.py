"""As process 1 of a container the node inherits processes whose parents have ended: it reaps them."""
from __future__ import absolute_import, division, print_function

import errno
import os

from dispynode_lib.host import proc
from dispynode_lib.host.wording import counted
from dispynode_lib.log import Log

log = Log('dispynode.orphans')

INTERVAL = 5.0                              # seconds


def wait(_now):
    """Return seconds between looks, None for a node that is not process 1."""
    return INTERVAL if os.getpid() == 1 and proc.is_there() else None


def reap(own):
    """Reap children that have exited, those in `own` (pids that others wait for) left out; return how many."""
    reaped = 0
    for pid in proc.pids():
        if pid not in own and _is_exited_child(pid):
            try:
                reaped += os.waitpid(pid, os.WNOHANG)[0] != 0
            except EnvironmentError as error:
                if error.errno != errno.ECHILD:         # somebody else was sooner
                    raise
    if reaped:
        log.debug('reaped %s without a parent', counted(reaped, u'process'))
    return reaped


def _is_exited_child(pid):
    return [b'Z', b'%d' % os.getpid()] == proc.stat_fields(pid)[:2]         # state and parent
