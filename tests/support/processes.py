"""Processes of a test: start them with a mark, find what is left of them, end it."""
from __future__ import absolute_import, division, print_function

import errno
import os
import signal
import subprocess
import uuid

from tests.support.waiting import clock, wait_until

MARK = 'DISPYNODE_TEST_MARK'


def new_mark():
    """Return a text that is in no other process."""
    return uuid.uuid4().hex


def spawn(command, mark, env=None, **options):
    """Start `command` (list) in its own session, with `mark` in its environment; return the
    Popen."""
    env = dict(os.environ if env is None else env)
    env[MARK] = ':'.join(filter(None, [os.environ.get(MARK), mark]))
    options.setdefault('close_fds', True)
    if hasattr(subprocess, 'DEVNULL'):
        options['start_new_session'] = True
    else:
        options['preexec_fn'] = os.setsid
    return subprocess.Popen(command, env=env, **options)


def marked(mark):
    """Return {pid: command line} of the living processes that were started with `mark`."""
    found = {}
    wanted = mark.encode('ascii')
    for entry in os.listdir('/proc'):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        environment = _read('/proc/%s/environ' % entry)
        if wanted in environment and lives(entry):
            command = _read('/proc/%s/cmdline' % entry).replace(b'\0', b' ')
            found[int(entry)] = command.decode('utf-8', 'replace').strip()
    return found


def _read(path):
    try:
        with open(path, 'rb') as source:
            return source.read()
    except EnvironmentError:
        return b''


def stat_fields(pid):
    """Return the fields (list of text) of /proc/PID/stat behind the name, the state first; [] if
    the process is gone."""
    return _read('/proc/%s/stat' % pid).decode('utf-8', 'replace').rpartition(')')[2].split()


def state(pid):
    """Return the state letter of a process, None if it is gone."""
    return (stat_fields(pid) or [None])[0]


def lives(pid):
    """Return whether a process is there and no zombie."""
    return state(pid) not in (None, 'Z', 'X')


def send(pid, number):
    """Send a signal to a process that may be gone."""
    try:
        os.kill(pid, number)
    except EnvironmentError as error:
        if error.errno != errno.ESRCH:
            raise


def wait_exit(process, timeout):
    """Return the exit status of a Popen, None if it still runs after `timeout` seconds."""
    try:
        wait_until(lambda: process.poll() is not None, timeout)
    except AssertionError:
        return None
    return process.returncode


def end_marked(mark, timeout=0):
    """Give processes with `mark` `timeout` seconds to go, kill the rest; return {pid: command} of
    those."""
    deadline = clock() + timeout
    try:
        wait_until(lambda: not marked(mark), max(0, deadline - clock()), interval=0.05)
        return {}
    except AssertionError:
        left = marked(mark)
    for pid in left:
        send(pid, signal.SIGKILL)
    wait_until(lambda: not marked(mark), 10, 'killed processes to go')
    return left
