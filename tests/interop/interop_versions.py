"""Clients on another Python than the node's: each kind of argument and result, or one clear
sentence."""
from __future__ import absolute_import, division, print_function

import json
import os
import unittest

from tests.interop.realclient import configuration, run_client
from tests.support.nodeprocess import NodeProcess

# kinds that the node's Python may lack, and what the user is told then
MAY_FAIL = {
    'class missing there': ('which the Python', 'does not have'),
    'class of a newer Python': ('LinearRegression', 'this node'),
    'syntax of its own': ('the code is for the ', 'this node runs Python'),
}
GOOD = ('ok', 'ok, with str as unicode', None)


class VersionsTest(unittest.TestCase):

    def test_each_kind_of_argument_and_result(self):
        clients, node_python = configuration()
        for client in clients:
            with NodeProcess('-c', '2', python=node_python, port='default') as node:
                told = run_client(client, 'versions.py', node=node)
            self.assertGreater(len(told['told']), 20)
            wrong = []
            for kind, outcome in told['told']:
                if outcome is not None:
                    tell(client.name, kind, outcome)
                words = MAY_FAIL.get(kind)
                if outcome in GOOD or words and all(word in outcome for word in words):
                    continue
                wrong.append('%s: %s' % (kind, outcome))
            self.assertEqual(wrong, [], client.name)


def tell(client, kind, outcome):
    """Give a line of the table to the test command."""
    path = os.environ.get('DISPYNODE_TEST_TABLE')
    if path:
        with open(path, 'a') as table:
            table.write(
                json.dumps({
                    'client': client, 'node': os.environ['DISPYNODE_TEST_NODE'], 'kind': kind,
                    'outcome': outcome
                }) + '\n')
