"""Modules tried for `--check`: whether they can be loaded before jobs are forked."""
from __future__ import absolute_import, division, print_function

import collections
import os
import signal

from dispynode_lib.cli import trial
from dispynode_lib.host import compat
from dispynode_lib.supervisor import nursery
from dispynode_lib.supervisor.imports import learning, preload

# one module: seconds that it took, why it cannot be loaded (None: it can), and what it leaves that
# was not there before
Tried = collections.namedtuple('Tried', 'name seconds error left')
LEAVES = (u'threads', u'open files', u'another working folder', u'another locale', u'processes',
          u'signal handlers')               # in the order of learning.surroundings()


def try_modules(names):
    """Load modules as the nursery does, in a process to be thrown away; return [Tried]."""
    found = []
    while len(found) < len(names):
        found += _try_in_process(names[len(found):])
        for name in names[len(found):len(found) + 1]:
            found.append(Tried(name, 0.0, u'%s: it ends the process that imports it' % name, u''))
    return found


def _try_in_process(names):
    """Return [Tried] as far as the process came."""
    with trial.Uninterrupted():
        read_end, write_end = os.pipe()
        pid = os.fork()
    if not pid:
        _be_trial(names, read_end, write_end)
    os.close(write_end)
    try:
        with os.fdopen(read_end, 'rb') as pipe:
            lines = compat.to_text(pipe.read()).splitlines()
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    rows = [line.split(u'\t') for line in lines]
    return [Tried(name, float(seconds), error or None, left) for name, seconds, error, left in rows]


def _be_trial(names, read_end, write_end):
    """Be the process that loads modules; does not return."""
    try:
        os.close(read_end)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        silent = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(silent, fd)
        preloaded = preload.begin()
        preloaded.install()
        for name in names:
            os.write(write_end, _try(preloaded, name))
    finally:
        os._exit(0)


def _try(preloaded, name):
    """Load one module; return a line of bytes about it."""
    before, began = learning.surroundings(), compat.monotonic()
    error = nursery.in_time(preloaded.load, compat.to_native(name)) or u''
    seconds, after = compat.monotonic() - began, learning.surroundings()
    left = [what for what, one, other in zip(LEAVES, before, after) if one != other]
    fields = name, u'%.3f' % seconds, u' '.join(compat.to_text(error).split()), u', '.join(left)
    return (u'\t'.join(fields) + u'\n').encode('utf-8')
