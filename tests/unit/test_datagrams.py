"""Sockets for datagrams at addresses that come and go, on loopback only."""
from __future__ import absolute_import, division, print_function

import select
import socket
import unittest

from dispynode_lib.errors import StartError
from dispynode_lib.host import compat
from dispynode_lib.host.network import datagrams, net

FIRST, SECOND, THIRD = u'127.0.0.1', u'127.0.0.2', u'127.0.0.3'


class PortSocketsTest(unittest.TestCase):

    def setUp(self):
        self.sockets, self.opened = None, []
        self.sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.keep(self.sender)

    def keep(self, sock):
        self.addCleanup(sock.close)
        return sock

    def follow(self, *addresses):
        """Follow these addresses; close what is not needed any more, as the thread that reads
        does."""
        before = self.sockets.sockets()
        self.sockets.follow(list(addresses))
        for sock in self.sockets.sockets():
            self.keep(sock)
        for sock in before:
            if sock not in self.sockets.sockets():
                sock.close()

    def arrives(self, address):
        """Return the address at which a datagram to it arrives, None if it does not."""
        self.sender.sendto(b'PING:', (address, self.port))
        ready = select.select(self.sockets.sockets(), [], [], 0.2)[0]
        found = [datagrams.receive(sock)[1].own for sock in ready]
        return found[0] if found else None

    def test_one_socket_takes_all(self):
        whole = self.keep(net.udp_socket(0))
        self.port = whole.getsockname()[1]
        whole.close()
        self.sockets = datagrams.PortSockets(self.port, socket.AF_INET)
        self.follow(FIRST)
        self.follow(FIRST, SECOND)
        # on every Python
        self.assertEqual([self.arrives(FIRST), self.arrives(SECOND)], [FIRST, SECOND])
        self.follow(SECOND)
        self.assertEqual(len(self.sockets.sockets()), 1)
        self.assertEqual(self.arrives(SECOND), SECOND if compat.CAN_RECVMSG else None)

    def test_beside_a_node_that_takes_all(self):
        self.port = self.keep(net.udp_socket(0)).getsockname()[1]
        self.sockets = datagrams.PortSockets(self.port, socket.AF_INET)
        self.follow(SECOND)
        self.follow(SECOND, THIRD)
        self.assertEqual([self.arrives(SECOND), self.arrives(THIRD)], [SECOND, THIRD])
        self.follow(THIRD)
        self.assertEqual([self.arrives(SECOND), self.arrives(THIRD)], [None, THIRD])

    def test_neither_all_nor_the_own_address(self):
        rival = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.keep(rival).bind((SECOND, 0))
        self.sockets = datagrams.PortSockets(rival.getsockname()[1], socket.AF_INET)
        with self.assertRaises(StartError) as caught:
            self.sockets.follow([SECOND])
        self.assertIn('UDP port', caught.exception.args[0])
        self.assertEqual(self.sockets.sockets(), [])
