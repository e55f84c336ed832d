"""--init FILE: its functions init() and close(), each called in a process of its own."""
from __future__ import absolute_import, division, print_function

import os
import sys
import time

from dispynode_lib.errors import StartError
from dispynode_lib.host.compat import monotonic, signal
from dispynode_lib.log import Log

log = Log('dispynode.init')

INTERRUPTED = 130                           # exit status of what was ended by SIGINT
LOOK = 0.05                                 # seconds between two looks at the process
PATIENCE = 1.0                              # seconds between SIGTERM and SIGKILL
WRONG_VALUE = 3  # exit status of the process: the function has told what it returned
# argv: path of the file, name of the function; the module is called node_init, as in dispy
SCRIPT = """\
import os, sys
path, name = sys.argv[1:3]
sys.dont_write_bytecode = True
sys.path[0] = os.path.dirname(path)
module = type(sys)('node_init')
module.__file__ = path
sys.modules['node_init'] = module
with open(path, 'rb') as source:
    exec(compile(source.read(), path, 'exec', 0, True), module.__dict__)
function = getattr(module, name, None)
value = function() if function is not None else 0
if name == 'init' and value != 0:
    sys.stderr.write('%s: init() returned %r\\n' % (path, value))
    sys.exit(3)
"""


class InitFile(object):
    """Functions of one file, called by the main thread or the one that stops the node."""

    def __init__(self, path):
        self._path = path
        self._initialized = False

    def init(self, is_wanted):
        """Call init(), if any, before the node serves. Raises StartError if it fails, or the start
        is not wanted any more.

        is_wanted   function -> bool
        """
        if not os.path.isfile(self._path):
            raise StartError('--init %s: there is no such file; give the path of a Python file' %
                             self._path, os.EX_CONFIG)
        status = self._call('init', is_wanted, None)
        if status is None:
            raise StartError('--init %s: interrupted before init() had ended' % self._path,
                             INTERRUPTED)
        if status:
            what = ('init() returned something else than 0' if status == WRONG_VALUE else
                    'init() failed')
            raise StartError(
                '--init %s: %s; the node does not start. The lines before this one tell more' %
                (self._path, what), os.EX_CONFIG)
        self._initialized = True

    def close(self, timeout):
        """Call close(), if any, at the end, for up to `timeout` seconds. Log what goes wrong."""
        if not self._initialized:
            return
        self._initialized = False
        deadline = monotonic() + timeout
        status = self._call('close', lambda: monotonic() < deadline, timeout)
        if status is None:
            log.warning('--init %s: close() took more than %g s and was ended', self._path, timeout)
        elif status:
            log.warning('--init %s: close() failed', self._path)

    def _call(self, name, may_go_on, timeout):
        """Return the exit status of a process that calls a function; None if it was ended."""
        import subprocess                   # only here: it would make each start dearer
        log.info('--init %s: %s()%s', self._path, name,
                 '' if timeout is None else ', for at most %g s' % timeout)
        try:
            with open(os.devnull) as nothing:
                process = subprocess.Popen([sys.executable, '-c', SCRIPT, self._path, name],
                                           stdin=nothing, stdout=2, close_fds=True,
                                           preexec_fn=os.setpgrp)
        except EnvironmentError as error:
            raise StartError('--init %s: no process can be started: %s' % (self._path, error),
                             os.EX_CONFIG)
        while process.poll() is None and may_go_on():
            time.sleep(LOOK)
        return self._end(process)

    @staticmethod
    def _end(process):
        ended = process.poll() is not None
        for number in (signal.SIGTERM, signal.SIGKILL):
            deadline = monotonic() + PATIENCE
            while process.poll() is None and monotonic() < deadline:
                os.killpg(process.pid, number)
                time.sleep(LOOK)
        return process.wait() if ended else None
