"""A node whose network comes after it, whose address changes, whose link goes and comes: real
clients find it again."""
from __future__ import absolute_import, division, print_function

import json
import os
import select
import socket
import unittest

from tests.interop.realclient import configuration
from tests.support.netlab import HostNode, Lab
from tests.support.waiting import wait_until

CLIENT, FIRST, SECOND, THIRD = '10.9.0.1', '10.9.0.2', '10.9.0.3', '10.9.0.4'
SOON = 40                                   # seconds


class NamedNode(HostNode):
    """A node with an /etc/hosts of its own: the file `hosts`."""

    def command(self):
        words, count = super(NamedNode, self).command(), len(self.host.prefix)
        script = 'mount --bind "$0" /etc/hosts && exec "$@"'
        return words[:count] + ['unshare', '--mount', 'sh', '-c', script, self.hosts
                                ] + words[count:]


class AddressesTest(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        clients, cls.node_python = configuration()
        cls.client = clients[0]

    def setUp(self):
        self.lab = Lab()
        self.lab.bridge('near')
        self.host = self.lab.host('c', 'near', CLIENT + '/24')
        self.node_host = self.lab.host('n', 'near')
        self.node = HostNode(self.node_host, '-c', 2, python=self.node_python, wait=False)

    def tearDown(self):
        self.node.stop()
        self.node.assert_no_processes()
        self.node._discard()
        self.lab.__exit__(None, None, None)

    def manager(self):
        """Listen as a service manager does; return the path of its socket."""
        self.notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.notices.close)
        self.notices.settimeout(SOON)
        self.notices.bind(os.path.join(self.node.folder, 'notify'))
        return self.notices.getsockname()

    def wait_status(self, text):
        """Return the next message to the service manager that holds `text`, and no older one is
        left."""
        while True:
            message = self.notices.recv(4096).decode('utf-8')
            if text in message and not select.select([self.notices], [], [], 0)[0]:
                return message

    def change(self, *steps):
        """Give the node's host an address, `+ADDR`, or take one away, `-ADDR`."""
        for step in steps:
            self.node_host.run('ip', 'addr', {'+': 'add', '-': 'del'}[step[0]], step[1:] + '/24',
                               'broadcast', '+', 'dev', 'eth0')

    def start_client(self, **settings):
        """Start a client on the other host; return it when it has looked for nodes."""
        program = self.lab.client(self.host, self.client.python, nodes=['*'], ip_addr=CLIENT,
                                  **settings)
        program.wait_result(event='started')
        return program

    def served_at(self, program, address):
        """Wait until the job of a client has run at an address, and it has closed its cluster."""
        self.assertEqual(
            program.wait_result(SOON, event='first')['ip_addr'], address, self.node.log_tail())
        program.wait_result(SOON, event='closed')

    def told(self, *words):
        """Return what the node answers to a command."""
        return self.node_host.run(self.node.python, self.node.program, '--dest_path_prefix',
                                  self.node.folder, '--ctl', *words)

    def ready(self, address):
        """Return the answer to GET /readyz on the node's own host."""
        code = (
            'import socket, sys; sock = socket.create_connection((%r, 51348)); sock.sendall(b"GET '
            '/readyz HTTP/1.0\\r\\n\\r\\n"); '
            'sys.stdout.write(sock.makefile("rb").read().decode("ascii"))' % address)
        return self.node_host.run(self.node.python, '-c', code)

    def wait_trouble(self, text):
        wait_until(lambda: text in self.told('why'), SOON, self.node.log_tail, interval=0.2)

    def test_the_network_comes_after_the_node_and_its_address_changes_twice(self):
        self.node.env['NOTIFY_SOCKET'] = self.manager()
        self.node.start()
        self.node.wait_serving()
        self.assertIn('no network: this host has but 127.0.0.1', self.told('why'))
        self.assertIn('takes no client of other hosts: no network', self.told('status'))
        self.assertIn('503', self.ready('127.0.0.1').splitlines()[0])
        self.assertIn('no network: ', self.ready('127.0.0.1'))
        self.wait_status('; no network: this host has but 127.0.0.1')
        program = self.start_client()
        self.change('+' + FIRST)
        self.served_at(program, FIRST)
        for address in ('127.0.0.1', FIRST):
            self.assertIn('200', self.ready(address).splitlines()[0])
        self.assertNotIn('no network', self.told('why'))
        self.assertNotIn('no network', self.wait_status('STATUS='))
        self.node.wait_log('whoever reaches port 51348 of ' + FIRST)
        for old, new in ((FIRST, SECOND), (SECOND, THIRD)):
            self.change('-' + old, '+' + new)
            self.served_at(self.start_client(), new)
            self.assertEqual(self.node.log().count(old + ' is no address of this host any more'), 1)
        self.node_host.run('ip', 'link', 'set', 'eth0', 'down')
        self.wait_trouble('no network: the link of %s is down' % THIRD)
        program = self.start_client()
        self.node_host.run('ip', 'link', 'set', 'eth0', 'up')
        self.served_at(program, THIRD)
        self.node_host.cut('near')
        self.wait_trouble('no network: the link of %s is down' % THIRD)
        program = self.start_client()
        self.node_host.restore('near')
        self.served_at(program, THIRD)

    def test_no_job_is_lost_when_the_address_changes_under_an_open_computation(self):
        self.change('+' + FIRST)
        self.node.start()
        self.node.wait_serving()
        program = self.start_client(jobs=5, seconds=1)
        program.wait_result(SOON, event='first')
        self.change('-' + FIRST, '+' + SECOND)
        self.done_at(program, 5, FIRST, SECOND)

    def test_a_reply_that_was_under_way_when_the_address_went_reaches_the_client(self):
        self.change('+' + FIRST)
        self.node.options += ['--msg_timeout', '2']
        self.node.start()
        self.node.wait_serving()
        program = self.start_client(jobs=2, seconds=5)
        self.node.wait_log(' opened')
        wait_until(lambda: self.status()['busy'] == 2, SOON, self.node.log_tail, interval=0.1)
        self.node_host.cut('near')
        wait_until(lambda: self.status()['being_delivered'] == 2, SOON, self.node.log_tail,
                   interval=0.1)
        self.change('-' + FIRST, '+' + SECOND)
        self.node_host.restore('near')
        done = program.wait_result(2 * SOON, event='done')
        self.assertEqual(done['right'], 2, program.output())
        program.end()  # it would wait for ten seconds to close its computation at the old address

    def status(self):
        return json.loads(self.told('status', '--json'))

    def done_at(self, program, jobs, *addresses):
        """Wait until all jobs of a client are right, done at these addresses, and it has closed its
        cluster."""
        done = program.wait_result(2 * SOON, event='done')
        self.assertEqual((done['right'], done['nodes']), (jobs, list(addresses)), program.output())
        program.wait_result(2 * SOON, event='closed')

    def test_a_client_on_the_same_host_works_before_and_after_the_network_comes(self):
        self.node.start()
        self.node.wait_serving()
        program = self.lab.client(self.node_host, self.client.python, nodes=['127.0.0.1'],
                                  ip_addr='127.0.0.1', jobs=5, seconds=0.5)
        program.wait_result(SOON, event='first')
        self.change('+' + FIRST)
        self.done_at(program, 5, '127.0.0.1')

    def test_a_given_address_that_goes_is_served_again_when_it_is_back(self):
        self.change('+' + FIRST)
        self.node.options += ['-i', FIRST + ' 127.0.0.1 ']
        self.node.start()
        self.node.wait_serving()
        program = self.start_client(jobs=4, seconds=1)
        program.wait_result(SOON, event='first')
        self.change('-' + FIRST)
        self.node.wait_log(FIRST + ' is no address of this host any more')
        self.change('+' + FIRST)
        self.done_at(program, 4, FIRST)

    def test_a_name_given_is_resolved_anew(self):
        self.node._discard()
        self.node = NamedNode(self.node_host, '-c', 2, '-i', 'worker.test', python=self.node_python,
                              wait=False)
        self.node.hosts = os.path.join(self.node.folder, 'hosts')
        self.name(FIRST)
        self.change('+' + FIRST)
        self.node.start()
        self.node.wait_serving()
        self.served_at(self.start_client(), FIRST)
        self.name(SECOND)
        self.change('-' + FIRST, '+' + SECOND)
        self.served_at(self.start_client(), SECOND)

    def name(self, address):
        """Let worker.test be this address."""
        with open(self.node.hosts, 'w') as hosts:
            hosts.write('%s worker.test\n' % address)
