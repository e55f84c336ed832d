"""A node is killed and started again: what its clients, who know nothing of it yet, see of the new
one."""
from __future__ import absolute_import, division, print_function

import errno
import os
import unittest

from tests.support.nodecase import NATIVE, TIMEOUT
from tests.support.nodeprocess import NodeProcess
from tests.support.scheduler import FakeScheduler, make_token
from tests.support.waiting import wait_until

CODE = 'import time\ndef f(seconds, more=b""):\n    time.sleep(seconds)\n    return seconds\n'
FAR = 600
STUBBORN = '''
import os, signal, time

def f(stay):
    path = os.path.join('locked', 'deep')
    os.makedirs(path)
    open(os.path.join(path, 'file'), 'w').close()
    os.chmod('locked', 0)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    open('begun', 'w').close()
    while stay:                         # and is not ended soon: its files are removed after that
        time.sleep(0.1)

def look(name):
    return os.path.exists(name), sorted(os.listdir('.'))
'''


class KilledTest(unittest.TestCase):

    def start(self, code=CODE, **settings):
        """Start a node and a client with a job that takes long; return them."""
        node = NodeProcess('-c', '1', '--orphan_timeout', '0')
        node.__enter__()
        self.addCleanup(node.__exit__, None, None, None)
        scheduler = FakeScheduler(node, NATIVE)
        self.addCleanup(scheduler.close)
        computation = scheduler.open(code, 'f', **settings)
        return node, scheduler, computation

    @staticmethod
    def restart(node):
        node.wanted_port = node.port
        node.kill()
        node.start()

    def answer_to_job(self, computation, token, *args):
        """Send a job with `token`; return what becomes of it: the answer, None, or the errno of the
        connection."""
        scheduler = computation.scheduler
        try:
            return scheduler.call('JOB', computation.make_job(*args).record, token=token)
        except EnvironmentError as error:
            return error.errno

    def test_a_job_with_the_token_of_before_is_reset_so_that_its_client_queues_it_again(self):
        node, scheduler, computation = self.start()
        self.restart(node)
        for more in (b'', b'x' * 300000):
            answer = self.answer_to_job(computation, scheduler.token(), 0, more)
            self.assertIn(answer, (errno.ECONNRESET, errno.EPIPE), len(more))
            self.assertIsNone(
                self.answer_to_job(computation, make_token('guessed', scheduler.node_sign), 0))
        node.wait_log('token of an earlier run')

    def test_the_client_hears_of_the_new_node_before_it_is_told_of_lost_jobs(self):
        node, scheduler, computation = self.start()
        job = computation.submit(FAR)
        self.restart(node)
        ping = scheduler.wait_for('PING', timeout=TIMEOUT,  # on a connection, in its own release
                                  match=lambda ping: ping['sign'] != scheduler.node_sign)
        self.assertEqual(ping.value['version'], NATIVE.release)
        scheduler.ping()
        self.assertEqual(job.replies, [])
        scheduler.ask('COMPUTE', computation.record)
        self.assertIn('the node was killed', job.wait(TIMEOUT).exception)
        computation.setup()
        self.assertEqual(computation.run(0).value, 0)
        self.assertEqual(len(job.replies), 1)

    def test_lost_jobs_of_a_reentrant_client_are_its_own_to_run_again(self):
        node, scheduler, computation = self.start(reentrant=True)
        job = computation.submit(FAR)
        self.restart(node)
        scheduler.wait_for('PING', timeout=TIMEOUT,
                           match=lambda ping: ping['sign'] != scheduler.node_sign)
        scheduler.ping()
        scheduler.ask('COMPUTE', computation.record)
        computation.setup()
        job.record._args = computation.make_job(0).record._args
        self.assertEqual(computation.send(job).wait(TIMEOUT).value, 0)      # the same uid and hash
        wait_until(lambda: computation.pending_jobs() == {'done': [], 'pending': 0}, TIMEOUT)
        self.assertEqual([reply.status for reply in job.replies], [11])

    def test_files_of_a_client_that_is_back_with_the_same_dest_path_stay(self):
        node, scheduler, computation = self.start(STUBBORN, dest_path='data')
        folder = os.path.join(node.folder, '127.0.0.1', 'data')
        computation.submit(True)
        wait_until(lambda: os.path.exists(os.path.join(folder, 'begun')), TIMEOUT)
        self.restart(node)
        scheduler.node_sign = None
        again = scheduler.open(STUBBORN, 'look', dest_path='data')
        self.assertEqual(again.run('begun').value[0], False)
        open(os.path.join(folder, 'mine'), 'w').close()
        left = os.path.join(node.folder, '.node-%d' % node.port, 'left')
        wait_until(lambda: 'ended without tidying up' in node.log() and not os.path.exists(left),
                   TIMEOUT, node.log_tail)
        self.assertEqual(again.run('mine').value[0], True)
        self.assertNotIn('WARNING dispynode.removal', node.log())

    def test_a_client_that_does_not_come_back_is_told_of_lost_jobs_all_the_same(self):
        node, scheduler, computation = self.start()
        job = computation.submit(FAR)
        self.restart(node)
        self.assertIn('the node was killed', job.wait(TIMEOUT).exception)
        self.assertTrue(scheduler.messages('PING'))
        with self.assertRaises(EnvironmentError):
            computation.run(0)


if __name__ == '__main__':
    unittest.main()
