"""Clients of many releases, all started before the node, are found by it without options about
releases."""
from __future__ import absolute_import, division, print_function

import json
import os
import sys
import time
import unittest

from tests.interop.realclient import configuration
from tests.support.netlab import HostNode, Lab
from tests.support.waiting import clock, wait_until

CLIENT, RIVAL, SCHEDULER, NODE = '10.9.0.1', '10.9.0.4', '10.9.0.3', '10.9.0.2'
FRIEND, FAR = '10.9.0.5', '10.8.0.2'
WAIT = 40
SOME = slice(2, None, 4)                    # of the clients: those of layouts that take longer
HEAR = '''
import select, socket
socks = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _port in range(3)]
for sock, port in zip(socks, (51347, 61590, 9700)):
    sock.bind(('', port))
print('RESULT {"event": "hears"}', flush=True)
while True:
    for sock in select.select(socks, [], [])[0]:
        print('heard %r from %s' % sock.recvfrom(2000), flush=True)
'''


class ReleasesTest(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        cls.clients, cls.node_python = configuration()

    def each(self, layout, try_it, chosen=slice(None)):
        """Call try_it(lab, client) -> seconds for each chosen client, in a lab of its own."""
        table = []
        for client in self.clients[chosen]:
            with Lab() as lab:
                lab.bridge('near')
                try:
                    table.append((layout, 'client first', client.release,
                                  round(max(0.0, try_it(lab, client)), 1)))
                except AssertionError:
                    print(layout, client.name)
                    raise
        if os.environ.get('DISPYNODE_TEST_TABLE'):
            with open(os.environ['DISPYNODE_TEST_TABLE'], 'a') as target:
                target.writelines(json.dumps(line) + '\n' for line in table)

    def waiting(self, lab, client, address=CLIENT, **settings):
        """Start a client that waits for a node; return it."""
        settings.setdefault('nodes', ['*'])
        settings.setdefault('ip_addr', address)
        program = lab.client(lab.host('c' + address.rpartition('.')[2], 'near', address + '/24'),
                             client.python, **settings)
        program.wait_result(event='started')
        return program

    def node(self, host, *options, **settings):
        return HostNode(host, '-c', 1, *options, python=self.node_python, **settings)

    def finish(self, program, node, since):
        """Wait until the client has its result; return the seconds until it came."""
        try:
            seconds = program.wait_result(WAIT, event='first')['time'] - since
            self.assertEqual(program.wait_result(event='done')['right'], 1, program.output())
            program.wait_result(event='closed')
            return seconds
        except AssertionError:
            print(node.log_tail())
            raise

    def late(self, lab, program, *options):
        """Start a node, wait for the client's result; return the seconds."""
        with self.node(lab.host('n', 'near', NODE + '/24'), *options) as node:
            return self.finish(program, node, time.time())

    def test_broadcast(self):
        self.each('broadcast', lambda lab, client: self.late(lab, self.waiting(lab, client)))

    def test_a_client_on_the_same_host_with_nothing_but_loopback(self):
        def try_it(lab, client):
            program = self.waiting(lab, client, ip_addr='127.0.0.1', nodes=['127.0.0.1'])
            near = lab.start(lab.host('f', 'near', FRIEND + '/24'), sys.executable, '-c', HEAR)
            near.wait_result(event='hears')
            host = lab.hosts['c1']
            host.run('ip', 'route', 'add', 'default', 'via', FRIEND)
            with self.node(host, ip_addr='127.0.0.1') as node:
                seconds = self.finish(program, node, time.time())
            self.assertNotIn('heard', near.output())    # what is said on loopback stays there
            return seconds
        self.each('loopback', try_it)

    def test_a_listed_node_comes_late(self):
        def try_it(lab, client):
            program, end = self.waiting(lab, client, nodes=[NODE]), clock() + 4
            wait_until(lambda: clock() > end, WAIT, interval=0.2)       # its own pings have failed
            return self.late(lab, program)
        self.each('listed', try_it, SOME)

    def test_scheduler_node_in_another_network(self):
        def try_it(lab, client):
            program = self.waiting(lab, client)
            lab.bridge('far')
            router = lab.host('r', 'near', '10.9.0.254/24').connect('far', '10.8.0.254/24')
            router.run('sh', '-c', 'echo 1 > /proc/sys/net/ipv4/ip_forward')
            host = lab.host('n', 'far', FAR + '/24')
            for one in host, lab.hosts['c1']:
                one.run('ip', 'route', 'add', 'default', 'via',
                        '10.8.0.254' if one is host else '10.9.0.254')
            with self.node(host, '--scheduler_node', CLIENT) as node:
                return self.finish(program, node, time.time())
        self.each('--scheduler_node', try_it)

    def test_dispyscheduler(self):
        def try_it(lab, client):
            lab.scheduler(lab.host('s', 'near', SCHEDULER + '/24'), client.python, SCHEDULER)
            return self.late(lab, self.waiting(lab, client, shared=SCHEDULER))
        self.each('dispyscheduler', try_it, SOME)

    def test_serve_1_in_a_loop(self):
        """Two clients wait; each start of the node serves one."""
        def try_it(lab, client):
            programs = [self.waiting(lab, client), self.waiting(lab, client, RIVAL)]
            host = lab.host('n', 'near', NODE + '/24')
            with self.node(host, '--serve', 1) as node:
                node.wait_exit(WAIT)
            served = [
                program for program in programs if program.results()[-1]['event'] != 'started'
            ]
            self.assertEqual(len(served), 1, node.log_tail())
            left = programs[1 - programs.index(served[0])]
            with self.node(host, '--serve', 1) as node:
                return self.finish(left, node, time.time())
        self.each('--serve 1', try_it, SOME)
