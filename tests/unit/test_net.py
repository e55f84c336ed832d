"""Addresses and sockets of this host, on loopback only."""
from __future__ import absolute_import, division, print_function

import os
import socket
import subprocess
import sys
import unittest

from dispynode_lib.errors import PeerGone, StartError
from dispynode_lib.host import compat
from dispynode_lib.host.network import connections, holders, net, tls
from dispynode_lib.node.shared.identity import external_addresses


class Addresses(unittest.TestCase):

    def test_canonical_forms(self):
        for given, expected in (('10.0.0.1', u'10.0.0.1'), (u'10.0.0.1', u'10.0.0.1'),
                                (b'10.0.0.1', u'10.0.0.1'), ('fe80:0:0:0:0:0:0:1%eth0', u'fe80::1'),
                                ('FD00::00AB', u'fd00::ab'), ('::1', u'::1'),
                                ('fd00:0:0:1::1', u'fd00:0:0:1::1')):
            self.assertEqual(net.canonical(given), expected)
            self.assertIsInstance(net.canonical(given), compat.text_type)

    def test_what_is_no_address(self):
        for given in ('', 'localhost', '10.0.0', '10.0.0.256', '1.2.3.4.5', ':::', 'fe80::g',
                      '10.0.0.1 ', '127.1', u'\u0661.2.3.4', '1.2.3.4\0', 'a' * 300):
            self.assertRaises(ValueError, net.canonical, given)
            self.assertFalse(net.is_address(given))

    def test_families(self):
        self.assertEqual(net.family_of(u'10.0.0.1'), socket.AF_INET)
        self.assertEqual(net.family_of(u'fe80::1'), socket.AF_INET6)

    def test_addresses_need_no_name_service(self):
        self.assertEqual(net.resolve(u'192.0.2.7'), [u'192.0.2.7'])
        self.assertEqual(net.resolve(u'FD00::1'), [u'fd00::1'])

    def test_localhost(self):
        self.assertIn(u'127.0.0.1', net.resolve(u'localhost'))

    def test_names_that_cannot_be(self):
        for name in (u'a' * 70, u'a..b', u'x' * 300):
            self.assertRaises(EnvironmentError, net.resolve, name)

    def test_addresses_given(self):
        self.assertEqual(net.node_addresses([u'127.0.0.1', u'::1', u'127.0.0.1']),
                         [(u'127.0.0.1', u'option --ip_addr 127.0.0.1'),
                          (u'::1', u'option --ip_addr ::1')])

    def test_an_address_of_one_link(self):
        with self.assertRaises(StartError) as caught:
            net.node_addresses([u'fe80::1%eth0'])
        self.assertEqual(caught.exception.args[0], u'--ip_addr fe80::1%eth0: fe80::1 counts on one '
                         u'link only, and clients do not know which; give another address of this '
                         u'host')

    def test_an_address_of_many_hosts_is_refused_not_announced(self):
        for address in (u'224.0.0.1', u'255.255.255.255', u'ff02::1'):
            for flag, choose in ((u'--ip_addr', net.node_addresses),
                                 (u'--ext_ip_addr', external_addresses)):
                with self.assertRaises(StartError) as caught:
                    choose([address])
                self.assertEqual(caught.exception.args[0], u'%s %s: this address is that of many '
                                 u'hosts; give one of a single host' % (flag, address))
        self.assertEqual(external_addresses([u'240.0.0.1', u'10.224.0.1']),
                         [u'240.0.0.1', u'10.224.0.1'])

    def test_name_without_address(self):
        with self.assertRaises(StartError) as caught:
            net.node_addresses([u'a..b'])
        self.assertEqual(caught.exception.status, 69)
        self.assertTrue(
            caught.exception.args[0].startswith(u'--ip_addr a..b: no address for this name: '))


class Choice(unittest.TestCase):
    """local_address() on hosts that are told, not asked."""

    def setUp(self):
        self._real = net.address_towards, net.interfaces, net.resolve, net.interfaces6, net.has_address

    def tearDown(self):
        net.address_towards, net.interfaces, net.resolve, net.interfaces6, net.has_address = self._real

    def choose(self, routes, interfaces, names, interfaces6=(), foreign=()):
        net.interfaces6 = lambda: list(interfaces6)
        net.has_address = lambda address: address not in foreign
        net.address_towards = lambda target: routes.get(net.family_of(target))
        net.interfaces = lambda: interfaces
        net.resolve = lambda name: names
        return net.local_address()

    def test_route(self):
        self.assertEqual(
            self.choose({socket.AF_INET: u'10.0.0.5'}, [], [u'127.0.1.1'])[0], u'10.0.0.5')

    def test_only_version_6(self):
        self.assertEqual(
            self.choose({socket.AF_INET6: u'fd00::5'}, [], [u'127.0.1.1'])[0], u'fd00::5')

    def test_network_without_a_way_out(self):
        found = self.choose({}, [(u'lo', u'127.0.0.1', None),
                                 (u'eth1', u'10.77.0.1', u'10.77.0.255')], [u'127.0.1.1'])
        self.assertEqual(
            found,
            (u'10.77.0.1', u'address of interface eth1; there is no route to other networks'))

    def test_host_name(self):
        self.assertEqual(self.choose({}, [], [u'127.0.1.1', u'10.1.1.1'])[0], u'10.1.1.1')

    def test_network_of_version_6_without_a_way_out(self):
        found = self.choose({}, [(u'lo', u'127.0.0.1', None)], [u'127.0.1.1'],
                            [(u'lo', u'::1'), (u'eth0', u'fd09::2')])
        self.assertEqual(
            found, (u'fd09::2', u'address of interface eth0; there is no route to other networks'))

    def test_the_host_name_has_an_address_that_the_host_does_not_have_yet(self):
        self.assertEqual(self.choose({}, [], [u'10.1.1.1'], foreign=[u'10.1.1.1'])[0], u'127.0.0.1')

    def test_interfaces_of_version_6_are_addresses_of_this_host(self):
        for _name, address in net.interfaces6():
            self.assertTrue(net.is_address(address))

    def test_alone(self):
        self.assertEqual(
            self.choose({}, [(u'lo', u'127.0.0.1', None)], [u'127.0.1.1'])[0], u'127.0.0.1')

    def test_this_host_has_an_address(self):
        address, why = net.local_address()
        self.assertTrue(net.is_address(address) and why)

    def test_broadcasts(self):
        net.interfaces = lambda: [(u'lo', u'127.0.0.1', None),
                                  (u'eth0', u'10.77.0.1', u'10.77.0.255'),
                                  (u'tun0', u'10.8.0.1', None)]
        self.assertEqual(net.broadcast_addresses(u'10.77.0.1'),
                         [u'10.77.0.255', u'255.255.255.255'])
        self.assertEqual(net.broadcast_addresses(u'10.8.0.1'), [u'255.255.255.255'])
        self.assertEqual(net.broadcast_addresses(u'192.0.2.1'), [u'255.255.255.255'])
        self.assertEqual(net.broadcast_addresses(u'127.0.0.1'),
                         [u'127.255.255.255'] + [u'255.255.255.255'] * compat.LINUX)
        self.assertEqual(net.broadcast_addresses(u'fd00::1'), [])

    def test_the_size_of_a_network(self):
        for broadcast, hosts in ((u'10.9.0.255', 256), (u'10.9.3.255', 1024),
                                 (u'10.8.255.255', 65536), (u'10.9.0.3', 4)):
            self.assertEqual(net.hosts_of(broadcast), hosts)


class Sockets(unittest.TestCase):

    def test_connecting_loads_no_tables_of_international_names(self):
        listener = net.open_listener(u'127.0.0.1', 0)
        self.addCleanup(listener.close)
        code = (
            'import sys\nfrom dispynode_lib.host.network import connections, net\nfor address in (u"127.0.0.1", '
            'b"127.0.0.1".decode(), "127.0.0.1"):\n'
            '    connections.connect(address, %d, 5.0).close()\n    net.sockaddr(address, 1)\n'
            'print([name for name in sys.modules if name == "encodings.idna"])' %
            listener.getsockname()[1])
        self.assertEqual(subprocess.check_output([sys.executable, '-c', code]).strip(), b'[]')

    def setUp(self):
        self.opened = []

    def tearDown(self):
        for sock in self.opened:
            sock.close()

    def keep(self, sock):
        self.opened.append(sock)
        return sock

    def refusal(self, function, *args):
        """Return the StartError of a call."""
        with self.assertRaises(StartError) as caught:
            self.keep(function(*args))
        self.assertNotIn('\n', caught.exception.args[0])
        return caught.exception

    def test_listener_and_connection(self):
        listener = self.keep(net.open_listener(u'127.0.0.1', 0))
        client = self.keep(connections.connect(u'127.0.0.1', listener.getsockname()[1], 5))
        server = self.keep(listener.accept()[0])
        client.sendall(b'hello')
        self.assertEqual(server.recv(5), b'hello')
        self.assertNotEqual(client.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY), 0)

    def test_connection_through_tls_of_the_caller(self):
        listener = self.keep(net.open_listener(u'127.0.0.1', 0))
        wrapped = []
        port = listener.getsockname()[1]
        client = self.keep(
            connections.connect(u'127.0.0.1', port, 5, lambda sock: wrapped.append(sock) or sock))
        self.assertEqual(wrapped, [client])

    def test_a_peer_that_takes_no_record_is_given_up_after_one_timeout(self):
        listener = self.keep(net.open_listener(u'127.0.0.1', 0))
        client = self.keep(connections.connect(u'127.0.0.1', listener.getsockname()[1], 0.5))
        self.keep(listener.accept()[0])         # it reads nothing
        begun = compat.monotonic()
        with self.assertRaises((PeerGone, socket.timeout)):
            tls.send_whole_records(client, b'x' * 50000000)
        self.assertLess(compat.monotonic() - begun, 30)

    def test_port_is_free_again_at_once_after_connections(self):
        listener = self.keep(net.open_listener(u'127.0.0.1', 0))
        port = listener.getsockname()[1]
        client = self.keep(connections.connect(u'127.0.0.1', port, 5))
        listener.accept()[0].close()
        client.close()
        listener.close()
        self.keep(net.open_listener(u'127.0.0.1', port))

    def test_taken_tcp_port_names_its_holder(self):
        port = self.keep(net.open_listener(u'127.0.0.1', 0)).getsockname()[1]
        error = self.refusal(net.open_listener, u'127.0.0.1', port)
        self.assertEqual(error.status, 69)
        self.assertTrue(error.args[0].startswith(u'TCP port %d on 127.0.0.1 is in use by ' % port),
                        error)
        self.assertIn(u'choose another port with -p', error.args[0])
        if compat.LINUX:
            self.assertIn(u'process %d (' % os.getpid(), error.args[0])

    def test_port_taken_by_a_connection(self):
        listener = self.keep(net.open_listener(u'127.0.0.1', 0))
        client = self.keep(connections.connect(u'127.0.0.1', listener.getsockname()[1], 5))
        self.keep(listener.accept()[0])
        error = self.refusal(net.open_listener, u'127.0.0.1', client.getsockname()[1])
        self.assertEqual(error.status, 69)
        if compat.LINUX:
            self.assertIn(u'process %d (' % os.getpid(), error.args[0])

    def test_taken_udp_port_is_not_stolen(self):
        sock = self.keep(net.udp_socket(0))
        port = sock.getsockname()[1]
        error = self.refusal(net.udp_socket, port, socket.AF_INET)
        self.assertEqual(error.status, 69)
        self.assertIn(u'UDP port %d on 0.0.0.0 is in use by ' % port, error.args[0])
        self.assertIn(u'with -p', error.args[0])

    def test_udp_port_of_a_careless_program_is_not_stolen(self):
        careless = self.keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        careless.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        careless.bind(('127.0.0.1', 0))
        self.assertEqual(self.refusal(net.udp_socket, careless.getsockname()[1]).status, 69)

    def test_udp_socket_may_broadcast(self):
        sock = self.keep(net.udp_socket(0))
        self.assertNotEqual(sock.getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST), 0)

    def test_address_of_another_host(self):
        error = self.refusal(net.open_listener, u'198.51.100.1', 0)
        self.assertEqual(error.status, 69)
        self.assertIn(u'no interface of this host has that address; give one with -i',
                      error.args[0])

    def test_no_permission(self):
        error = net._bind_error(EnvironmentError(13, 'Permission denied'), u'TCP', u'10.0.0.1', 80)
        self.assertEqual((error.status, error.args[0]), (
            77,
            u'TCP port 80 on 10.0.0.1: only root may use ports below 1024; choose another port '
            u'with -p'
        ))

    def test_other_failure(self):
        error = net._bind_error(EnvironmentError(24, ''), u'UDP', u'10.0.0.1', 5000)
        self.assertEqual((error.status, error.args[0]),
                         (69, u'UDP port 5000 on 10.0.0.1: Too many open files'))

    def test_sockets_are_not_inherited(self):
        import fcntl
        listener = self.keep(net.open_listener(u'127.0.0.1', 0))
        for sock in (listener, self.keep(net.udp_socket(0)),
                     self.keep(connections.connect(u'127.0.0.1', listener.getsockname()[1], 5))):
            self.assertTrue(fcntl.fcntl(sock.fileno(), fcntl.F_GETFD) & fcntl.FD_CLOEXEC)

    def test_version_6(self):
        try:
            listener = self.keep(net.open_listener(u'::1', 0))
        except StartError:
            return self.skipTest('this host has no IPv6')
        port = listener.getsockname()[1]
        self.keep(connections.connect(u'::1', port, 5))
        self.keep(net.udp_socket(port, socket.AF_INET6))
        self.keep(net.udp_socket(port))         # the families do not get in each other's way

    def test_refused_connection(self):
        listener = net.open_listener(u'127.0.0.1', 0)
        port = listener.getsockname()[1]
        listener.close()
        self.assertRaises(EnvironmentError, connections.connect, u'127.0.0.1', port, 5)

    def test_arguments_of_the_holder_are_not_shown(self):
        if compat.LINUX:
            shown = holders.program_of(os.getpid())
            self.assertTrue(shown)
            for argument in sys.argv[1:]:
                if not argument.endswith('.py'):
                    self.assertNotIn(argument, shown.split())


if __name__ == '__main__':
    unittest.main()
