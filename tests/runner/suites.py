"""One suite: some test modules in one interpreter, in a process of its own."""
from __future__ import absolute_import, division, print_function

import copy
import glob
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time

from tests.runner.environments import PROJECT
from tests.support import processes

STACKS_BEFORE_END = 3       # seconds between printing the stacks and the end


COMPILED = os.path.join(PROJECT, '.venvs', 'compiled')           # of Pythons that can keep it apart


class Suite(object):
    """kind: 'unit', 'functional' or 'interop'; title: where it runs; targets: for the child.

    python       path, or a function that returns it, called as `prepare`
    flags        options of the interpreter
    own_network  run in a network namespace with nothing but loopback
    prepare      function called first, in the thread that runs the suite; returns environment
                 variables; may raise CannotBuild
    minor        of the interpreter whose node is tested; None: not in the table of interpreters
    program      'tree' or 'one file'
    """

    def __init__(self, kind, title, python, targets, timeout, flags=(), own_network=False,
                 prepare=None, minor=None, program='tree'):
        self.kind, self.title, self.python, self.targets = kind, title, python, list(targets)
        self.timeout, self.flags = timeout, list(flags)
        self.own_network, self.prepare = own_network, prepare
        self.minor, self.program = minor, program

    def changed(self, **attributes):
        """Return another suite that differs in `attributes`."""
        new = copy.copy(self)
        vars(new).update(attributes)
        return new


class Outcome(object):
    """passed (number), failures [(name, text)], skipped [(name, reason)], seconds; told: lines of
    tables, as JSON says them."""

    def __init__(self, suite, passed=0, failures=(), skipped=(), seconds=0.0):
        self.suite, self.passed, self.seconds, self.told = suite, passed, seconds, []
        self.failures, self.skipped = list(failures), list(skipped)

    def line(self):
        """Return one line for people."""
        parts = ['%d passed' % self.passed]
        if self.failures:
            parts.append('%d FAILED' % len(self.failures))
        if self.skipped:
            parts.append('%d skipped' % len(self.skipped))
        return '%-10s %-34s %6.1f s  %s' % (
            self.suite.kind, self.suite.title, self.seconds, ', '.join(parts))


def modules_in(folder, but=()):
    """Return the names of the modules of tests in a folder of tests/, without those of `but`."""
    paths = glob.glob(os.path.join(PROJECT, 'tests', folder, 'test_*.py'))
    names = sorted(os.path.basename(path)[:-len('.py')] for path in paths)
    return [name for name in names if name not in but]


def network_prefix():
    """Return (command prefix that gives a new network namespace, None) or (None, reason)."""
    unshare = shutil.which('unshare')
    if unshare is None:
        return None, 'no network namespace: the command unshare is missing'
    prefix = [unshare, '--net'] if os.geteuid() == 0 else [unshare, '--map-root-user', '--net']
    done = subprocess.run(prefix + ['true'], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    if done.returncode:
        return None, 'no network namespace: %s' % done.stdout.decode('utf-8', 'replace').strip()
    return prefix, None


def run(suite, prefix):
    """Run a suite to its end or its time limit; return the Outcome. `prefix`: see
    network_prefix."""
    variables = suite.prepare() if suite.prepare else {}
    folder = tempfile.mkdtemp(prefix='dispynode-suite-')
    os.chmod(folder, 0o711)                 # tests start programs in it as other users
    try:
        return _run_in(folder, suite, prefix if suite.own_network else None, variables)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run_in(folder, suite, prefix, variables):
    result_path = os.path.join(folder, 'result.json')
    output_path = os.path.join(folder, 'output')
    mark = processes.new_mark()
    env = dict(os.environ, TMPDIR=folder, PYTHONUNBUFFERED='1', PYTHONPYCACHEPREFIX=COMPILED,
               **variables)
    env.setdefault('DISPYNODE_TEST_TABLE', os.path.join(folder, 'table'))
    # hundreds of nodes are started: each would compile itself
    env.pop('PYTHONDONTWRITEBYTECODE', None)
    for name in ('PYTHONPATH', 'PYTHONHOME', 'PYTHONWARNINGS', 'PYTHONSTARTUP'):
        env.pop(name, None)
    if prefix:
        env['DISPYNODE_TEST_NETWORK'] = '1'
    limit = str(max(1, suite.timeout - STACKS_BEFORE_END))
    python = suite.python() if callable(suite.python) else suite.python
    command = (prefix or []) + [python] + suite.flags + [
        '-m', 'tests.runner.child', result_path, limit] + suite.targets
    started = time.time()
    with open(output_path, 'wb') as output:
        process = processes.spawn(command, mark, env, stdin=subprocess.DEVNULL, stdout=output,
                                  stderr=output, cwd=PROJECT)
    try:
        status = processes.wait_exit(process, suite.timeout)
        if status is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    except BaseException:
        processes.end_marked(mark)
        process.wait()
        raise
    seconds = time.time() - started
    left = processes.end_marked(mark, 0.5)
    outcome = _outcome(suite, status, seconds, result_path, output_path)
    outcome.told = [json.loads(line) for line in _read(os.path.join(folder, 'table')).splitlines()]
    if left:
        outcome.failures.append(('processes left behind', '\n'.join(
            '%d: %s' % item for item in sorted(left.items()))))
    return outcome


def _outcome(suite, status, seconds, result_path, output_path):
    """Read what the child wrote; anything odd about its end is a failure."""
    tail = _read(output_path)[-6000:]
    running = _read(result_path + '.progress') or 'the start'
    try:
        told = json.loads(_read(result_path))
        outcome = Outcome(suite, told['passed'], told['failures'], told['skipped'], seconds)
    except ValueError:
        outcome = Outcome(suite, seconds=seconds)
    if status is None:
        outcome.failures.append(
            ('not done after %d s; running: %s' % (suite.timeout, running), tail))
    elif status:
        outcome.failures.append(('ended with status %s; running: %s' % (status, running), tail))
    elif not (outcome.passed or outcome.failures or outcome.skipped):
        outcome.failures.append(('no test was found in ' + ' '.join(suite.targets), tail))
    return outcome


def _read(path):
    try:
        with open(path, 'rb') as source:
            return source.read().decode('utf-8', 'replace')
    except EnvironmentError:
        return ''
