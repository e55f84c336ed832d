"""The clients in examples/, run as they stand."""
from __future__ import absolute_import, division, print_function

import os
import shutil
import subprocess
import tempfile
import unittest

from tests.interop.interop_shared import Scheduler
from tests.interop.realclient import configuration
from tests.support import processes
from tests.support.nodeprocess import PROJECT, NodeProcess
from tests.support.waiting import wait_until

EXAMPLES = os.path.join(PROJECT, 'examples')
SAID = {
    'bounded.py': 'sum of 200 squares: 2646700',
    'setup_data.py': 'a: 3, b: 2, c: 1',
    'files.py': 'HELLO FROM THE CLIENT',
    'provisional.py': 'on the way: [1875, 2500, 2500, 2500]; in the end: 2500',
}


class ExamplesTest(unittest.TestCase):

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix='dispynode-examples-')
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        clients, self.python = configuration()
        self.client, self.recovering = [[client for client in clients
                                         if client.release == release][0]
                                        for release in ('4.15.2', '4.12.4')]

    def run_example(self, node, name, *words, **settings):
        """Run an example in the test's folder; return what it says. settings: client."""
        mark = processes.new_mark()
        self.addCleanup(processes.end_marked, mark)
        process = processes.spawn(
            [settings.get('client', self.client).python,
             os.path.join(EXAMPLES, name)] + list(words), mark, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=self.folder)
        try:
            said = process.communicate(timeout=60)[0].decode('utf-8', 'replace')
        except subprocess.TimeoutExpired:
            self.fail('%s is not done after 60 s\n%s' % (name, node.log_tail()))
        self.assertEqual(process.returncode, 0, said + node.log_tail())
        return said

    def test_each_example_is_run(self):
        self.assertEqual(sorted(list(SAID) + ['recovery.py', 'shared.py']),
                         sorted(name for name in os.listdir(EXAMPLES) if name.endswith('.py')))

    def test_examples_of_one_client(self):
        with NodeProcess('-c', '2', python=self.python, port='default') as node:
            for name in sorted(SAID):
                self.assertIn(SAID[name], self.run_example(node, name), name)

    def test_recovery(self):
        with NodeProcess('-c', '2', python=self.python, port='default') as node:
            self.run_example(node, 'recovery.py', 'submit', client=self.recovering)
            wait_until(lambda: 'it is kept' in node.log(), 60, node.log_tail)
            self.assertIn('recovered: 49', self.run_example(
                node, 'recovery.py', 'recover', client=self.recovering))

    def test_shared_scheduler(self):
        with Scheduler(self.client), NodeProcess('-c', '2', python=self.python,
                                                 port='default') as node:
            self.assertIn(str([number * number for number in range(10)]),
                          self.run_example(node, 'shared.py'))


if __name__ == '__main__':
    unittest.main()
