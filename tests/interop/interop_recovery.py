"""A real client is killed while its jobs run; recover_jobs gets all results."""
from __future__ import absolute_import, division, print_function

import os
import shutil
import signal
import tempfile
import unittest

from tests.interop.realclient import CLIENTS, configuration, run_client
from tests.support import processes
from tests.support.nodeprocess import PROJECT, NodeProcess
from tests.support.scheduler import FakeScheduler
from tests.support.waiting import wait_until

JOBS = 20
PROGRAM = os.path.join(PROJECT, 'tests', 'support', 'manycpus.py')


def release_of(client):
    """Return the release as a tuple of numbers."""
    return tuple(int(part) for part in client.release.split('.'))


class RecoveryTest(unittest.TestCase):

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix='dispynode-test-')
        self.addCleanup(shutil.rmtree, self.folder, True)
        self.output = os.path.join(self.folder, 'output')

    def start(self, client, recover_file, *paths):
        """Start a client and wait until all its jobs run."""
        command = [
            client.python,
            os.path.join(CLIENTS, 'recover.py'), 'submit', recover_file,
            str(JOBS)
        ]
        with open(self.output, 'wb') as output:
            process = processes.spawn(command + list(paths), processes.new_mark(), stdout=output,
                                      stderr=output, cwd=self.folder)
        wait_until(lambda: 'RUNNING' in self.said(), 60, self.said)
        return process

    def said(self):
        with open(self.output, 'rb') as stream:
            return stream.read().decode('utf-8', 'replace')

    def test_all_results_arrive_after_the_client_was_killed(self):
        clients, python = configuration()
        for client in clients:
            recover_file = os.path.join(self.folder, 'recover-' + client.release)
            first, second = recover_file + '.go1', recover_file + '.go2'
            with NodeProcess('-c', str(JOBS), python=python, port='default',
                             program=PROGRAM) as node:
                process = self.start(client, recover_file, first, second)
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                open(first, 'w').close()                    # half of them end while nobody listens
                wait_until(lambda: node.log().count('it is kept') == JOBS // 2, 60, node.log_tail)
                later = ['sh', '-c', 'sleep 2; touch ' + second]
                # the others while it recovers
                toucher = processes.spawn(later, processes.new_mark())
                told = run_client(client, 'recover.py', 'recover', recover_file, node=node,
                                  timeout=90)
                toucher.wait()
                self.assertEqual(told['results'], [number * number
                                                   for number in range(JOBS)], client.name)

    def test_all_results_arrive_though_another_program_at_the_clients_address_did_not_want_them(
            self):
        clients, python = configuration()
        for client in clients:
            recover_file = os.path.join(self.folder, 'refused-' + client.release)
            go = recover_file + '.go'
            with NodeProcess('-c', str(JOBS), python=python, port='default',
                             program=PROGRAM) as node:
                process = self.start(client, recover_file, go)
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                other = FakeScheduler(port=61590 if release_of(client) >= (4, 11) else 51347)
                other.answers['JOB_REPLY'] = b'NAK'
                open(go, 'w').close()
                wait_until(lambda: node.log().count('does not know the job; it is kept') == JOBS,
                           60, node.log_tail)
                other.close()
                told = run_client(client, 'recover.py', 'recover', recover_file, node=node,
                                  timeout=90)
                self.assertEqual(told['results'], [number * number
                                                   for number in range(JOBS)], client.name)


if __name__ == '__main__':
    unittest.main()
