"""What a computation may do besides plain jobs, by real clients of several releases, with one
node."""
from __future__ import absolute_import, division, print_function

import unittest

from tests.interop.realclient import configuration, run_client
from tests.support.computation import FINISHED, TERMINATED
from tests.support.nodeprocess import NodeProcess

LONG_SETUP = 11                             # seconds: the original gives up after 10 (defect D12)


class LifecycleTest(unittest.TestCase):

    def test_real_clients_do_everything(self):
        clients, python = configuration()
        with NodeProcess('-c', '2', python=python, port='default') as node:
            for number, client in enumerate(clients):
                told = run_client(client, 'lifecycle.py', LONG_SETUP if not number else 0,
                                  node=node, timeout=120)
                self.assertEqual(told['release'], client.release)
                self.check(told, client.name)
                self.assertNotIn('Traceback', node.log())

    def check(self, told, name):
        for key, expected in (('made', 42), ('for_all', 'for all'), ('for_one', 'for one'),
                              ('send', [0, 0]), ('made again', 42)):
            self.assertEqual((told[key]['status'], told[key]['result']), (FINISHED, expected),
                             (name, key, told[key]))
        self.assertEqual(told['sent'], 'from a job', name)
        for key, text in (('fail late', 'ValueError: no luck'), ('exit', 'exit status 3'),
                          ('kill', 'SIGKILL')):
            self.assertEqual(told[key]['status'], TERMINATED, (name, key))
            self.assertIn(text, told[key]['exception'], (name, key))
        self.assertNotEqual(told['cancelled']['status'], FINISHED, name)
        self.assertEqual(told['cancelled']['alive'], [], name)
        self.assertEqual(told['ran on'], 0, 'of jobs that %s cancelled one after the other' % name)
        self.assertEqual(told['notes'], 'setup;cleanup;', name)


if __name__ == '__main__':
    unittest.main()
