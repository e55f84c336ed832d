"""Base of the functional tests: one real node for the tests of a class, and schedulers to drive
it."""
from __future__ import absolute_import, division, print_function

import os
import shutil
import tempfile
import unittest

from tests.support.computation import FINISHED, TERMINATED
from tests.support.dialects import NEWEST, Dialect
from tests.support.nodeprocess import NodeProcess
from tests.support.scheduler import FakeScheduler
from tests.support.waiting import TIMEOUT, clock, wait_until

__all__ = ('FINISHED', 'NATIVE', 'PY2', 'TERMINATED', 'TIMEOUT', 'NodeCase')

PY2 = str is bytes
# a client on the same kind of Python as the node
NATIVE = Dialect('4.15.2', True, 2) if PY2 else NEWEST


class NodeCase(unittest.TestCase):
    """options: of the node, which serves all tests of the class; faults: log lines that are
    expected."""

    options = ('-c', '2')
    env = {}
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.node = NodeProcess(*cls.options, env=cls.env, guarded=True)
        cls.node.__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.node.__exit__(None, None, None)

    def scheduler(self, dialect=NATIVE, **settings):
        """Return a FakeScheduler that owns the node, once the node is free; closed after the
        test."""
        scheduler = FakeScheduler(self.node, dialect, **settings)
        self.addCleanup(self.let_go, scheduler)
        self.take_node(scheduler)
        return scheduler

    def take_node(self, scheduler):
        """Ping until the node answers: it may have to end what an earlier test opened."""
        def answered():
            scheduler.node_sign = None
            scheduler.send_ping()
            asked = clock()
            wait_until(lambda: scheduler.messages('PONG') or clock() - asked > 0.3, 5)
            return scheduler.messages('PONG')

        pong = wait_until(answered, TIMEOUT,
                          lambda: 'a PONG; node log:\n' + self.node.log_tail())[-1].value
        scheduler.node_sign, scheduler.node_port = pong['sign'], pong['port']
        scheduler.node_ip_addr = pong['ip_addr']

    @staticmethod
    def let_go(scheduler):
        """Close what the scheduler opened."""
        for computation in scheduler.computations:
            if not computation.closed:
                computation.close()
        scheduler.close()
        if scheduler.faults:
            raise AssertionError('the node sent what no client understands: %s' % scheduler.faults)

    def open(self, code, name, dialect=NATIVE, **settings):
        """Open a computation of a scheduler of its own."""
        return self.scheduler(dialect).open(code, name, **settings)

    @staticmethod
    def refusal(scheduler, code='def f(): return 1', name='f', **settings):
        """Return the answer (bytes) to a COMPUTE that is to be refused."""
        answer = scheduler.call('COMPUTE', scheduler.compute_record(code, name, **settings))
        assert not answer.startswith(b'\x80'), answer
        return answer

    def folder(self):
        """Return a new folder, removed after the test."""
        path = os.path.realpath(tempfile.mkdtemp(prefix='dispynode-test-'))
        self.addCleanup(shutil.rmtree, path, True)
        return path

    def file(self, name, content=b'', mode=0o644, mtime=None, folder=None):
        """Make a file in a folder of its own; return its path."""
        path = os.path.join(folder or self.folder(), name)
        with open(path, 'wb') as stream:
            stream.write(content)
        os.chmod(path, mode)
        if mtime is not None:
            os.utime(path, (mtime, mtime))
        return path

    def finished(self, reply):
        """Return the value of a job that must have finished."""
        self.assertEqual((reply.status, reply.exception), (FINISHED, None))
        return reply.value

    def failed(self, reply):
        """Return the exception text of a job that must have failed."""
        self.assertEqual(reply.status, TERMINATED, reply)
        self.assertIsNotNone(reply.exception)
        self.assertEqual(reply.result and reply.value, None)
        return reply.exception

    def files_of(self, *parts):
        """Return the sorted relative paths of what lies in the node's folder for files of
        clients."""
        top = os.path.join(self.node.folder, *parts)
        found = []
        for where, folders, names in os.walk(top):
            folders[:] = [name for name in folders if not name.startswith('.node-')]
            found += [os.path.relpath(os.path.join(where, name), top) for name in names + folders]
        return sorted(found)

    def wait_files(self, expected, *parts):
        """Wait until exactly `expected` lies there."""
        expected = sorted(expected)
        wait_until(lambda: self.files_of(*parts) == expected, TIMEOUT,
                   lambda: 'files %r, there are %r' % (expected, self.files_of(*parts)))
