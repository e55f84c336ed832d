"""The node's ports at addresses that come and go, on loopback only."""
from __future__ import absolute_import, division, print_function

import select
import socket
import unittest

from dispynode_lib.host.network import net
from dispynode_lib.node.requests.ports import Ports

HERE, THERE = u'127.0.0.1', u'127.0.0.2'


class PortsTest(unittest.TestCase):

    def setUp(self):
        self.ports = Ports(0)
        self.opened = self.ports.open([HERE])
        self.port = self.ports.main()

    def tearDown(self):
        for sock in self.opened + self.ports.udp_sockets():
            sock.close()

    def follow(self, *addresses):
        """Be at these addresses; return (where sockets were opened, where they are of no use any
        more)."""
        opened, useless = self.ports.follow(list(addresses))
        self.opened += opened
        return [[sock.getsockname() for sock in socks] for socks in (opened, useless)]

    def test_an_address_comes_and_goes(self):
        self.assertEqual(self.ports.numbers(), [self.port])
        self.assertEqual(self.follow(HERE, THERE), [[(THERE, self.port)], []])
        self.assertEqual(self.follow(HERE, THERE), [[], []])
        self.assertEqual(self.ports.addresses_with(self.port), [HERE, THERE])
        self.assertEqual(self.follow(THERE), [[], [(HERE, self.port)]])
        self.assertEqual(self.ports.addresses_with(self.port), [THERE])

    def test_nobody_is_refused_when_an_address_is_back(self):
        opened, useless = self.ports.follow([THERE], [HERE])
        self.opened += opened
        self.assertEqual(useless, [])
        self.assertEqual(self.ports.addresses_with(self.port), [HERE, THERE])
        self.assertEqual(self.follow(HERE, THERE), [[], []])

    def test_no_address_and_one_again(self):
        self.assertEqual(self.follow(), [[], [(HERE, self.port)]])
        self.assertEqual((self.ports.numbers(), self.ports.wait(0)), ([], None))
        self.assertTrue(self.ports.udp_sockets())       # nobody else gets the port meanwhile
        self.opened.pop(0).close()
        self.assertEqual(self.follow(HERE), [[(HERE, self.port)], []])

    def test_datagrams_come_at_a_new_address(self):
        self.follow(HERE, THERE)
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(client.close)
        client.sendto(b'PING:', (THERE, self.port))
        self.assertEqual(len(select.select(self.ports.udp_sockets(), [], [], 5)[0]), 1)

    def test_a_port_in_use_at_a_new_address_is_taken_when_it_is_free(self):
        rival = net.open_listener(THERE, self.port)
        self.assertEqual(self.follow(HERE, THERE), [[], []])
        self.assertEqual(self.ports.addresses_with(self.port), [HERE])
        self.assertIn('TCP port %d on %s' % (self.port, THERE), self.ports.describe()[0])
        self.assertEqual(self.ports.take_missing(), [])
        self.assertIsNotNone(self.ports.wait(0))
        rival.close()
        self.opened += self.ports.take_missing()
        self.assertEqual(self.ports.addresses_with(self.port), [HERE, THERE])
        self.assertEqual((self.ports.describe(), self.ports.wait(0)), ([], None))
