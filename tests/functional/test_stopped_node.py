"""A node that is stopped (SIGSTOP), and the second one that is started meanwhile."""
from __future__ import absolute_import, division, print_function

import os
import signal
import unittest

from tests.support.computation import load_result
from tests.support.nodecase import NATIVE, TIMEOUT
from tests.support.nodeprocess import NodeProcess
from tests.support.scheduler import FakeScheduler
from tests.support.waiting import wait_until

CODE = '''
import os, time
def f(path, name):
    with open(path, 'a') as notes:
        notes.write(name + '\\n')
    while not os.path.exists(path + '.' + name):
        time.sleep(0.01)
    return name
'''


class StoppedNodeTest(unittest.TestCase):

    def setUp(self):
        self.node = node = NodeProcess('-c', '1')
        node.__enter__()
        self.addCleanup(node.__exit__, None, None, None)
        self.addCleanup(node.signal, signal.SIGCONT)
        self.path = os.path.join(node.folder, 'notes')
        self.scheduler = FakeScheduler(node, NATIVE)
        self.addCleanup(self.scheduler.close)
        self.computation = self.scheduler.open(CODE, 'f')
        self.job = self.computation.submit(self.path, 'one')
        wait_until(lambda: os.path.exists(self.path), TIMEOUT)
        self.state = os.path.join(node.folder, '.node-%d' % node.port)

    def second(self, *options, **settings):
        """Start a second node with the folder of the first one; return it."""
        settings.setdefault('wait', False)
        node = NodeProcess('-c', '1', *options, folder=self.node.folder, port=self.node.port,
                           **settings)
        self.addCleanup(node.__exit__, None, None, None)
        node.start()
        return node

    def check_refused(self, status, text):
        """Check that a second start, also one with --clean, fails in one line."""
        for options in ((), ('--clean',)):
            node = self.second(*options)
            self.assertEqual(node.wait_exit(TIMEOUT), status)
            self.assertEqual(len(node.log().splitlines()), 1, node.log())
            node.wait_log(text)

    def check_goes_on(self):
        """Check that the first node has lost nothing."""
        self.node.signal(signal.SIGCONT)
        open(self.path + '.one', 'w').close()
        reply = self.job.wait(TIMEOUT)
        self.assertEqual((load_result(reply.result), len(self.job.replies)), ('one', 1))
        self.assertEqual(self.computation.close(), b'ACK')
        with open(self.path) as notes:
            self.assertEqual(notes.read(), 'one\n')

    def test_a_second_start_is_refused_and_the_stopped_node_goes_on(self):
        self.node.signal(signal.SIGSTOP)
        self.check_refused(75, 'is running already: process %d; end it by' % self.node.pid)
        self.check_goes_on()

    def test_a_second_start_with_the_lock_removed_ends_no_job_although_it_is_to_clean(self):
        self.node.signal(signal.SIGSTOP)
        os.unlink(os.path.join(self.state, 'pid'))
        self.check_refused(69, 'TCP port %d on 127.0.0.1 is in use by process %d' % (
            self.node.port, self.node.pid))
        self.check_goes_on()

    def test_a_node_that_was_replaced_while_it_was_stopped_ends_and_changes_nothing(self):
        self.node.signal(signal.SIGSTOP)
        os.unlink(os.path.join(self.state, 'pid'))          # or a lock that the host has lost
        second = self.second(ip_addr='127.0.0.2', wait=True)
        self.node.signal(signal.SIGCONT)
        self.assertEqual(self.node.wait_exit(TIMEOUT), 75)
        self.node.wait_log('another node has taken over the computations of this one')
        for name in ('pid', 'state.json', os.path.join('computations', '%d' % self.computation.id)):
            self.assertTrue(os.path.exists(os.path.join(self.state, name)), name)
        self.scheduler.node = second
        open(self.path + '.one', 'w').close()
        reply = self.job.wait(TIMEOUT)
        self.assertEqual((load_result(reply.result), len(self.job.replies)), ('one', 1))
        self.assertEqual(self.computation.close(), b'ACK')
        self.assertEqual(second.stop(), 0)


if __name__ == '__main__':
    unittest.main()
