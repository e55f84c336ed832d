"""The ledger of real clients' mixed runs beside what the clients saw."""
from __future__ import absolute_import, division, print_function

import io
import json
import os
import shutil
import tempfile
import unittest

from tests.interop.realclient import configuration, run_client
from tests.support.nodeprocess import NodeProcess
from tests.support.waiting import wait_until

# name of a job -> outcome, limit, exit status, signal in the ledger; whether the client saw it
# finish
EXPECTED = {
    'burn': ('finished', None, None, None, True), 'plain': ('finished', None, None, None, True),
    'fail': ('failed', None, None, None, False),
    'memory': ('stopped by --job_memory', '--job_memory', None, 'SIGKILL', False),
    'time': ('stopped by --job_time', '--job_time', None, None, False),
    'cancel': ('stopped', None, None, None, False),
    'good': ('finished', None, 0, None, True), 'bad': ('finished', None, 3, None, True),
}


class LedgerTest(unittest.TestCase):

    def setUp(self):
        folder = tempfile.mkdtemp(prefix='dispynode-test-')
        self.addCleanup(shutil.rmtree, folder)
        self.path = os.path.join(folder, 'ledger')

    def lines(self, event):
        with io.open(self.path, encoding='ascii') as source:
            lines = [json.loads(line) for line in source.read().splitlines()]
        return [line for line in lines if line['event'] == event]

    def test_the_ledger_says_what_real_clients_saw(self):
        clients, python = configuration()
        with NodeProcess('-c', '1', '--job_time', '8', '--job_memory', '150m', '--ledger',
                         self.path, python=python, port='default') as node:
            already = 0
            for number, client in enumerate(clients):
                told = run_client(client, 'ledger.py', node=node, timeout=120)
                wait_until(lambda: len(self.lines('computation')) == 2 * (number + 1), 30)
                computations = self.lines('computation')[-2:]
                jobs = self.lines('job')[already:]
                already += len(jobs)
                self.check(client.name, told, jobs)
                self.check_sums(computations, jobs)

    def check(self, client, told, jobs):
        by_end = dict((round(line['end'], 3), line) for line in jobs)
        for name, expected in sorted(EXPECTED.items()):
            status, start, end, _result = told[name]
            line = by_end.pop(round(end, 3))
            self.assertEqual((line['outcome'], line['limit'], line['exit_status'], line['signal'],
                              status == told['finished']), expected, (client, name, line))
            self.assertAlmostEqual(line['start'], start, 3)
            self.assertEqual(line['client'], '127.0.0.1')
            if name == 'burn':
                self.assertGreaterEqual(line['cpu_seconds'], 0.15)
            if name == 'memory':
                self.assertGreaterEqual(line['peak_memory'], 100 << 20)
        # a job of which submit() has given None may have run
        self.assertLessEqual(len(by_end), told['again'], by_end)

    def check_sums(self, computations, jobs):
        for line in computations:
            own = [job for job in jobs if job['computation'] == line['computation']]
            self.assertEqual((line['outcome'], sum(line['jobs'].values())), ('closed', len(own)))
            self.assertAlmostEqual(line['cpu_seconds'], sum(job['cpu_seconds'] for job in own))
            self.assertEqual(line['peak_memory'], max(job['peak_memory'] for job in own))


if __name__ == '__main__':
    unittest.main()
