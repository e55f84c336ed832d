"""The node of a real client is killed and started again while jobs run and others wait: how they
end.

DISPYNODE_TEST_ROUNDS says how often with each pause, by default once.
"""
from __future__ import absolute_import, division, print_function

import os
import shutil
import tempfile
import threading
import time
import unittest

from tests.interop.realclient import configuration, run_client
from tests.support.nodeprocess import PROJECT, NodeProcess
from tests.support.waiting import wait_until

JOBS = 10
SECONDS = 0.3                               # that a job takes
LOST = ((), ('status 9',), ('status 10',))      # of the one that ran: terminated or abandoned
DYING = os.path.join(PROJECT, 'tests', 'support', 'dying.py')
POINTS = (                                  # of the node's death, in the order of what is asked
    'node.operation Operation.opened before',           # COMPUTE is noted
    'node.operation Operation.opened after',
    'node.files.folders Folder.receive before',         # FILEXFER
    'node.computations.supervision Supervision.set_up after',
    'node.requests.opening Opening._set_up before',     # SETUP has ended
    'node.replies.delivery Delivery._judge before',     # the client has a reply
    'node.computations.jobs Jobs.settled after')        # that is noted
ROUNDS = int(os.environ.get('DISPYNODE_TEST_ROUNDS', '1'))


class RestartTest(unittest.TestCase):

    def ends(self, client, python, reentrant, pause):
        """Return how the jobs of a client ended whose node was away for `pause` seconds."""
        told, folder = [], tempfile.mkdtemp(prefix='dispynode-test-')
        self.addCleanup(shutil.rmtree, folder, True)
        path = os.path.join(folder, 'two are done')
        with NodeProcess('-c', '1', python=python, port='default') as node:
            def run():
                told.append(
                    run_client(client, 'restart.py', int(reentrant), SECONDS, path, node=node,
                               timeout=90))
            thread = threading.Thread(target=run)
            thread.start()
            try:
                wait_until(lambda: os.path.exists(path), 60, node.log_tail)
                node.kill()
                time.sleep(pause)           # for which there is no node
                node.start()
            finally:
                thread.join()
        return told[0]['ends'] if told else []

    def test_jobs_that_had_not_begun_are_run_by_the_next_node(self):
        clients, python = configuration()
        for client in clients:
            for pause in (0, 0.5) * ROUNDS:
                ends = self.ends(client, python, False, pause)
                self.assertIn(tuple(end for end in ends
                                    if end != 'finished'), LOST, (client.name, pause, ends))

    def test_all_jobs_of_a_reentrant_client_finish(self):
        clients, python = configuration()
        for client in clients:
            for pause in (0, 0.5) * ROUNDS:
                self.assertEqual(self.ends(client, python, True, pause), ['finished'] * JOBS,
                                 (client.name, pause))

    def test_a_client_is_served_wherever_its_node_dies(self):
        clients, python = configuration()
        for client in clients:
            for point in POINTS:
                told = self.served(client, python, point)
                self.assertEqual(told['ends'], ['finished'] * 6, (client.name, point, told))
                self.assertEqual(told['runs'], list(range(6)), (client.name, point))
                self.assertEqual([statuses.count(11) for _number, statuses in told['told']], [1] * 6,
                                 (client.name, point, told))

    def served(self, client, python, point):
        """Return what cut_off.py tells whose node dies once at `point`, and is started again."""
        folder = tempfile.mkdtemp(prefix='dispynode-test-')
        self.addCleanup(shutil.rmtree, folder, True)
        armed, told = os.path.join(folder, 'armed'), []
        open(armed, 'w').close()
        env = {'DISPYNODE_TEST_DIES': point, 'DISPYNODE_TEST_ARMED': armed}
        with NodeProcess('-c', '2', python=python, port='default', program=DYING, env=env) as node:
            thread = threading.Thread(target=lambda: told.append(
                run_client(client, 'cut_off.py', os.path.join(folder, 'runs'), node=node,
                           timeout=90)))
            thread.start()
            try:
                node.wait_exit(60)
                node.start()
            finally:
                thread.join()
        return told[0]


if __name__ == '__main__':
    unittest.main()
