"""One node process serves clients of several releases, on its default ports, without options."""
from __future__ import absolute_import, division, print_function

import unittest

from tests.interop.realclient import configuration, run_client
from tests.support.nodeprocess import NodeProcess

JOBS = 200


class ReleasesTest(unittest.TestCase):

    def test_one_node_process_serves_all_releases_one_after_the_other(self):
        clients, node_python = configuration()
        self.assertGreater(len(set(client.release for client in clients)), 1)
        with NodeProcess('-c', '2', python=node_python, port='default') as node:
            pid = node.pid
            for client in clients + clients[:1]:
                told = run_client(client, 'main_job.py', JOBS, node=node)
                self.assertEqual(told['release'], client.release)
                self.assertEqual(told['many']['right'], JOBS, told)
                self.assertIsNone(node.status, 'the node ended')
            self.assertEqual(node.pid, pid)
