"""Each layout of nodes and clients in both start orders: is the node found, and in how many
seconds."""
from __future__ import absolute_import, division, print_function

import json
import os
import time
import unittest

from tests.interop.realclient import configuration
from tests.support.netlab import HostNode, Lab

CLIENT, NODE, SECOND, FAR = '10.9.0.1', '10.9.0.2', '10.9.0.3', '10.8.0.2'
CLIENT6, NODE6 = 'fd09::1', 'fd09::2'
NODE_FIRST, CLIENT_FIRST = 'node first', 'client first'
WAIT = 100


def release_of(client):
    return tuple(int(number) for number in client.release.split('.'))


class LayoutTest(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        clients, cls.node_python = configuration()
        cls.client = clients[0]
        cls.table = []

    @classmethod
    def tearDownClass(cls):
        path = os.environ.get('DISPYNODE_TEST_TABLE')
        if path:
            with open(path, 'a') as table:
                table.writelines(json.dumps(line) + '\n' for line in cls.table)

    def setUp(self):
        self.lab = Lab()
        self.lab.__enter__()
        self.lab.bridge('near')
        self.host = self.lab.host('c', 'near', CLIENT + '/24', CLIENT6 + '/64')

    def tearDown(self):
        self.lab.__exit__(None, None, None)

    def both_orders(self, layout, host, options=(), limit=WAIT, **settings):
        """Try both start orders; `settings` of the client."""
        for order in (NODE_FIRST, CLIENT_FIRST):
            self.one_order(layout, order, host, options, limit, **settings)

    def one_order(self, layout, order, host, options=(), limit=WAIT, **settings):
        """Start node and client in an order; the client's job must run on the node. Return the
        client's result."""
        settings.setdefault('ip_addr', CLIENT)
        node = HostNode(host, '-c', 2, *options, python=self.node_python)
        program = None
        try:
            if order == CLIENT_FIRST:
                program = self.lab.client(self.host, self.client.python, **settings)
                program.wait_result(event='started')
                last = time.time()
                node.__enter__()
            else:
                node.__enter__()
                program = self.lab.client(self.host, self.client.python, **settings)
                last = program.wait_result(event='started')['time']
            first = program.wait_result(limit, event='first')
            done = program.wait_result(event='done')
            self.table.append((layout, order, self.client.release,
                               round(max(0.0, first['time'] - last), 1)))
            self.assertEqual(done['states'], [11], program.output())
            program.wait_result(event='closed')
            return done
        except AssertionError:
            self.table.append((layout, order, self.client.release, None))
            print(node.log_tail(), program.output() if program else '')
            raise
        finally:
            if program:
                program.end()
            if node.process is not None:
                node.stop()
                node.assert_no_processes()
            node._discard()

    # -- in one network

    def test_broadcast(self):
        self.both_orders('broadcast', self.lab.host('n', 'near', NODE + '/24'), nodes=['*'])

    def test_named(self):
        done = self.one_order('named', NODE_FIRST, self.lab.host('n', 'near', NODE + '/24'), nodes=[
            NODE
        ])
        self.assertEqual(done['nodes'], [NODE])
        self.one_order('named', CLIENT_FIRST, self.lab.hosts['n'], nodes=[NODE])

    def test_multicast(self):
        if release_of(self.client) < (4, 8, 9):
            return                          # those clients know no IPv4 multicast
        self.both_orders('multicast', self.lab.host('n', 'near', NODE + '/24'),
                         ['--ipv4_udp_multicast'], nodes=['*'], ipv4_udp_multicast=True)

    def test_ipv6(self):
        self.both_orders('IPv6', self.lab.host('n', 'near', NODE6 + '/64'), ['-i', NODE6],
                         nodes=['*'], ip_addr=CLIENT6)

    def test_two_addresses(self):
        """Asked at the second address, the node announces that one, once, and is used."""
        host = self.lab.host('n', 'near', NODE + '/24', SECOND + '/24')
        for wanted in (NODE, SECOND):
            done = self.one_order('two addresses, named ' + wanted, NODE_FIRST, host,
                                  ['-i', NODE, '-i', SECOND], nodes=[wanted])
            self.assertEqual(done['nodes'], [wanted])
        self.both_orders('two addresses, broadcast', host, ['-i', NODE, '-i', SECOND], nodes=['*'])

    def test_two_nodes_on_one_host(self):
        host = self.lab.host('n', 'near', NODE + '/24', SECOND + '/24')
        with HostNode(host, '-c', 1, '-i', NODE, python=self.node_python), \
                HostNode(host, '-c', 1, '-i', SECOND, python=self.node_python):
            program = self.lab.client(self.host, self.client.python, nodes=['*'], ip_addr=CLIENT,
                                      jobs=4, seconds=0.5)
            started = program.wait_result(event='started')['time']
            done = program.wait_result(event='done')
            self.assertEqual((done['right'], done['nodes']), (4, [NODE, SECOND]), program.output())
            self.table.append(('two nodes on one host', NODE_FIRST, self.client.release,
                               round(program.wait_result(event='first')['time'] - started, 1)))

    # -- behind a router

    def behind_router(self):
        """Make a second network behind a router, and a host for the node there; return (host,
        router)."""
        self.lab.bridge('far')
        router = self.lab.host('r', 'near', '10.9.0.254/24').connect('far', '10.8.0.254/24')
        router.run('sh', '-c', 'echo 1 > /proc/sys/net/ipv4/ip_forward')
        host = self.lab.host('n', 'far', FAR + '/24')
        host.run('ip', 'route', 'add', 'default', 'via', '10.8.0.254')
        return host, router

    def test_scheduler_node_in_another_network(self):
        host, _router = self.behind_router()
        self.host.run('ip', 'route', 'add', 'default', 'via', '10.9.0.254')
        self.both_orders('--scheduler_node', host, ['--scheduler_node', CLIENT], nodes=['*'])

    def test_named_in_another_network(self):
        host, _router = self.behind_router()
        self.host.run('ip', 'route', 'add', 'default', 'via', '10.9.0.254')
        self.one_order('named, routed', NODE_FIRST, host, nodes=[FAR])

    def test_nat(self):
        """The router forwards the node's ports; the node announces the router's address."""
        host, router = self.behind_router()
        for rule in ('add table ip nat',
                     'add chain ip nat pre { type nat hook prerouting priority -100; }',
                     'add chain ip nat post { type nat hook postrouting priority 100; }',
                     'add rule ip nat pre iifname eth0 tcp dport { 51348, 61591, 9701 } dnat to ' +
                     FAR,
                     'add rule ip nat pre iifname eth0 udp dport { 51348, 61591, 9701 } dnat to ' +
                     FAR, 'add rule ip nat post oifname eth0 masquerade'):
            router.run('nft', rule)
        options = ['--ext_ip_addr', '10.9.0.254']
        done = self.one_order('NAT', NODE_FIRST, host, options, nodes=['10.9.0.254'])
        self.assertEqual(done['nodes'], ['10.9.0.254'])
        self.one_order('NAT', CLIENT_FIRST, host, options + ['--scheduler_node', CLIENT], nodes=[
            '10.9.0.254'
        ])

    def test_relay(self):
        if release_of(self.client) < (4, 15, 2):
            return                          # a relay passes on pings of its own release only
        node_host, _router = self.behind_router()
        self.host.run('ip', 'route', 'add', 'default', 'via', '10.9.0.254')
        relay_host = self.lab.host('y', 'far', '10.8.0.3/24')
        relay_host.run('ip', 'route', 'add', 'default', 'via', '10.8.0.254')
        relay = os.path.join(os.path.dirname(self.client.python), 'dispynetrelay.py')
        self.lab.start(relay_host, self.client.python, relay, '--daemon', '-i', '10.8.0.3',
                       '--scheduler_node', CLIENT)
        self.both_orders('relay', node_host, nodes=['10.8.0.3', '10.8.0.*'])
