"""More than one of each: a dispyscheduler with three nodes, a link that is cut, clients that
compete."""
from __future__ import absolute_import, division, print_function

import unittest

from tests.interop.realclient import configuration
from tests.support.netlab import HostNode, Lab
from tests.support.waiting import clock, wait_until

CLIENT, RIVAL, SCHEDULER = '10.9.0.1', '10.9.0.2', '10.9.0.3'
NODES = ['10.9.0.11', '10.9.0.12', '10.9.0.13']
WAIT = 60
CUT_SECONDS = 20


class ManyTest(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        clients, cls.node_python = configuration()
        cls.client = clients[0]

    def setUp(self):
        self.lab = Lab()
        self.lab.bridge('near')
        self.nodes = []

    def tearDown(self):
        for node in self.nodes:
            node.stop()
            node.assert_no_processes()
            node._discard()
        self.lab.__exit__(None, None, None)

    def host(self, address):
        return self.lab.host('h%s' % address.rpartition('.')[2], 'near', address + '/24')

    def node(self, address, *options):
        """Start a node on a host of its own."""
        node = HostNode(self.host(address), '-c', 2, *options, python=self.node_python)
        node.__enter__()
        self.nodes.append(node)
        return node

    def scheduler(self, *options):
        """Start a dispyscheduler on a host of its own; wait until it listens."""
        return self.lab.scheduler(self.host(SCHEDULER), self.client.python, SCHEDULER, *options)

    def shared_client(self, address, **settings):
        return self.lab.client(self.host(address), self.client.python, shared=SCHEDULER,
                               ip_addr=address, nodes=['*'], **settings)

    def test_a_scheduler_finds_nodes_that_were_there_before_and_later_ones(self):
        self.node(NODES[0])
        self.scheduler()
        for address in NODES[1:]:
            self.node(address)
        client = self.shared_client(CLIENT, jobs=24, seconds=0.5)
        done = client.wait_result(WAIT, event='done')
        self.assertEqual((done['right'], done['nodes']), (24, NODES), client.output())
        client.wait_result(event='closed')

    def test_a_link_is_cut_for_20_seconds_while_jobs_run(self):
        """Jobs that end meanwhile are brought to the scheduler afterwards; those of other nodes do
        not notice."""
        for address in NODES:
            self.node(address)
        scheduler = self.scheduler('--pulse_interval', '10')
        client = self.shared_client(CLIENT, jobs=6, seconds=8)
        cut = self.nodes[0]
        wait_until(lambda: 'on %s (busy: 2 / 2)' % NODES[0] in scheduler.output(), WAIT,
                   scheduler.output)
        cut.wait_accepted(2)
        cut.host.cut('near')
        end = clock() + CUT_SECONDS
        wait_until(lambda: 'cannot be delivered' in cut.log(), WAIT, cut.log, interval=0.2)
        wait_until(lambda: clock() > end, WAIT, interval=0.2)
        self.assertEqual(client.results()[-1]['event'], 'first')
        cut.host.restore('near')
        try:
            done = client.wait_result(WAIT, event='done')
        except AssertionError:
            print(cut.log_tail(), scheduler.output()[-6000:])
            raise
        self.assertEqual((done['right'], done['nodes']), (6, NODES),
                         client.output() + cut.log_tail())

    def test_two_clients_compete_for_one_node(self):
        node = self.node(NODES[0])
        first = self.lab.client(self.host(CLIENT), self.client.python, nodes=[NODES[0]],
                                ip_addr=CLIENT, hold=2)
        first.wait_result(event='first')
        second = self.lab.client(self.host(RIVAL), self.client.python, nodes=[NODES[0]],
                                 ip_addr=RIVAL)
        wait_until(lambda: 'PING not answered: busy' in node.log(), WAIT, node.log)
        self.assertEqual(second.wait_result(WAIT, event='done')['right'], 1)
        closed = first.wait_result(event='closed')['time']
        self.assertLess(second.wait_result(event='first')['time'] - closed, 10)
