"""Processes of this host: told apart by number and start time, found by a mark in their
environment."""
from __future__ import absolute_import, division, print_function

import os
import signal

from dispynode_lib.host import proc, resources
from dispynode_lib.host.compat import to_bytes


def start_time(pid):
    """Return when process `pid` started, in the kernel's ticks since boot (int); None if it has
    gone or is a zombie."""
    if not proc.is_there():
        return _asked(
            pid, lambda process: int(process.create_time() * 100)
            if process.status() != 'zombie' else None)
    fields = proc.stat_fields(pid)
    return int(fields[proc.STARTED]) if fields and fields[proc.STATE] not in (b'Z', b'X') else None


def boot_id():
    """Return a text that is another one after the next boot."""
    return proc.read('/proc/sys/kernel/random/boot_id').decode('ascii').strip()[:8] or '-'


def identity(pid):
    """Return text that no other process has, of this boot or another; None if the process has
    gone."""
    started = start_time(pid)
    return None if started is None else '%s-%d-%d' % (boot_id(), pid, started)


def marked(variable, value):
    """Return [(pid, start time)] of other processes of this user that were started with
    `variable`=`value`."""
    if not proc.is_there():
        return _marked_by_psutil(variable, value)
    wanted = b'\0' + to_bytes('%s=%s' % (variable, value)) + b'\0'
    found = []
    for pid in proc.pids():
        if pid != os.getpid():
            started = start_time(pid)
            if started is not None and wanted in b'\0' + proc.read(
                    '/proc/%d/environ' % pid) + b'\0':
                found.append((pid, started))
    return found


def descends(pid, ancestors):
    """Return whether process `pid` is one of `ancestors` (pids), or descends from one."""
    seen = set()
    while pid > 1 and pid not in seen:
        if pid in ancestors:
            return True
        seen.add(pid)
        fields = proc.stat_fields(pid)
        pid = int(fields[proc.PARENT]) if fields else 0
    return False


def _asked(pid, question):
    """Return question(psutil.Process(pid)), None without that process or without psutil."""
    psutil = resources.import_psutil()
    try:
        return None if psutil is None else question(psutil.Process(pid))
    except (psutil.Error, EnvironmentError):
        return None


def _marked_by_psutil(variable, value):
    psutil = resources.import_psutil()
    pids = [] if psutil is None else [pid for pid in psutil.pids() if pid != os.getpid()]
    found = [(pid, start_time(pid)) for pid in pids
             if _asked(pid, lambda process: process.environ().get(variable)) == value]
    return [(pid, started) for pid, started in found if started is not None]


def kill(pid, started, number=signal.SIGKILL):
    """Send a signal to process `pid` if it is still the one that started then; return whether
    so."""
    if start_time(pid) != started:
        return False
    try:
        os.kill(pid, number)
        return True
    except EnvironmentError:
        return False
