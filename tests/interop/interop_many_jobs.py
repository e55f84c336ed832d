"""Many jobs that do nothing: the traffic at which the original node loses replies or stalls."""
from __future__ import absolute_import, division, print_function

import os
import unittest

from tests.interop.realclient import configuration, run_client
from tests.support.nodeprocess import NodeProcess

# DISPYNODE_TEST_JOBS=2000 for the full number
JOBS = int(os.environ.get('DISPYNODE_TEST_JOBS', 500))


class ManyJobsTest(unittest.TestCase):

    def test_not_one_of_many_jobs_is_lost(self):
        clients, node_python = configuration()
        with NodeProcess(python=node_python, port='default') as node:
            told = run_client(clients[0], 'no_op.py', JOBS, node=node, timeout=60 + JOBS // 10)
        self.assertEqual((told['right'], told['wrong'], told['lost'], told['none']),
                         (JOBS, 0, 0, 0), told)
