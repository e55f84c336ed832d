"""Base of the tests of what an operator does: runs the program, talks to running nodes."""
from __future__ import absolute_import, division, print_function

import io
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

from dispynode_lib.host.process import lockfile
from dispynode_lib.node.operator import control_socket, statefolder
from tests.support import processes
from tests.support.dialects import NEWEST, Dialect
from tests.support.nodeprocess import PROGRAM, NodeProcess, free_port
from tests.support.scheduler import FakeScheduler
from tests.support.waiting import TIMEOUT, clock, wait_until

# a client on the same kind of Python as the node
NATIVE = Dialect('4.15.2', True, 2) if str is bytes else NEWEST
WAIT = 'def wait(path):\n    import os, time\n    while not os.path.exists(path):\n        time.sleep(0.02)\n    return 42\n'
# marks its start by a file, too
MARKED = (
    'def wait(path):\n    import os, time\n    open(path + "-%d" % os.getpid(), "w").close()\n'
    '    while not os.path.exists(path):\n        time.sleep(0.02)\n    return os.getpid()\n')


def read(path):
    """Return the text of a file."""
    with io.open(path, encoding='utf-8') as source:
        return source.read()


class Ended(object):
    """A program that has ended: status, out, err (texts)."""

    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, err

    def __repr__(self):
        return 'status %s\n--- output ---\n%s--- error ---\n%s' % (self.status, self.out, self.err)


class OperatorCase(unittest.TestCase):
    """Each test has a folder and a port; whatever it started has ended after it."""

    maxDiff = None

    def setUp(self):
        self.folder = os.path.realpath(tempfile.mkdtemp(prefix='dispynode-test-'))
        self.addCleanup(shutil.rmtree, self.folder, True)
        self.mark = processes.new_mark()
        self.addCleanup(self._end_all)
        self.port = free_port()
        self.files = os.path.join(self.folder, 'files')

    def _end_all(self):
        self.assertEqual(processes.end_marked(self.mark, 8), {})

    def command(self, *options):
        """Return the command line of this test's node with `options`."""
        return [sys.executable, PROGRAM, '-i', '127.0.0.1', '-p', str(self.port),
                '--dest_path_prefix', self.files] + [str(option) for option in options]

    def run_command(self, command, env=None, stdin=None, cwd=None):
        """Run a program to its end; return the Ended."""
        full = dict(os.environ)
        full.update(env or {})
        with open(os.devnull, 'rb') as null:
            process = processes.spawn(command, self.mark, full, stdin=stdin or null,
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=cwd
                                      or self.folder)
        out, err = [text.decode('utf-8') for text in process.communicate()]
        return Ended(process.returncode, out, err)

    def run_node(self, *options, **settings):
        """Run the program with this test's port and folder, and `options`, to its end."""
        return self.run_command(self.command(*options), **settings)

    def ctl(self, *words):
        """Send a command to this test's node; return the Ended."""
        return self.run_node('--ctl', *words)

    def told(self, *words):
        """Send a command that must be done; return its output."""
        ended = self.ctl(*words)
        self.assertEqual(ended.status, 0, ended)
        return ended.out

    def status(self):
        """Return the node's status, a dict, as --ctl status --json tells it: asked here, for most
        tests ask again and again, and each time a program would have to be started."""
        answer = self.ask('status')
        self.assertTrue(answer, 'no node answers in ' + self.state_folder)
        return answer['data']

    def ask(self, *words):
        """Return the answer of this test's node to a command, a dict; None if there is no node."""
        path = os.path.join(self.state_folder, statefolder.SOCKET)
        try:
            return control_socket.ask(path, words, TIMEOUT)
        except EnvironmentError:
            return None

    def has_ended(self):
        """Return whether this test's node has ended."""
        return not self.ask('status') and not lockfile.owner(
            os.path.join(self.state_folder, statefolder.PID))

    def node(self, *options, **settings):
        """Return a NodeProcess with this test's port and folder, to be used in a `with`."""
        if not os.path.isdir(self.files):
            os.mkdir(self.files)
        settings.setdefault('port', self.port)
        settings.setdefault('guarded', True)
        return NodeProcess(*options, folder=self.files, **settings)

    def scheduler(self, node):
        """Return a FakeScheduler whose pings the node answers: it may have to end an earlier
        computation."""
        scheduler = FakeScheduler(node, NATIVE)

        def answered():
            scheduler.send_ping()
            asked = clock()
            wait_until(lambda: scheduler.messages('PONG') or clock() - asked > 0.3, 5)
            return scheduler.messages('PONG')
        self.wait(answered)
        pong = scheduler.messages('PONG')[-1].value
        scheduler.node_sign, scheduler.node_port = pong['sign'], pong['port']
        scheduler.node_ip_addr = pong['ip_addr']
        return scheduler

    @property
    def state_folder(self):
        """Return the path of the node's state folder."""
        return os.path.join(self.files, '.node-%d' % self.port)

    def wait(self, check, what=None):
        """Wait until check() is true; return what it returns."""
        return wait_until(check, TIMEOUT, what)
