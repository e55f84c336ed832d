"""A node and schedulers on loopback: pings, competition, zombies, --serve, and why somebody was
turned away."""
from __future__ import absolute_import, division, print_function

import socket
import unittest

from tests.support.computation import Refused
from tests.support.dialects import DIALECTS, LEGACY, NEWEST, PYTHON2
from tests.support.nodeprocess import NodeProcess, free_port
from tests.support.pickled import Form
from tests.support.scheduler import FakeScheduler
from tests.support.waiting import wait_until

WAIT = 30
CODE = 'import time\ndef job(seconds=0):\n    time.sleep(seconds)\n    return seconds\n'
GATED = 'import os, time\ndef job(path):\n    while not os.path.exists(path): time.sleep(0.02)\n'


class DiscoveryTest(unittest.TestCase):

    def test_ping_by_connection_and_datagram_in_every_dialect(self):
        with NodeProcess() as node:
            for dialect in DIALECTS:
                for udp in (False, True):
                    with FakeScheduler(node, dialect) as scheduler:
                        pong = scheduler.ping(udp=udp, timeout=WAIT)
                        self.assertEqual((pong['version'], pong['ip_addr'], pong['port']),
                                         (dialect.release, node.ip_addr, node.port))

    def test_a_ping_without_sign_is_answered_by_a_ping(self):
        with NodeProcess() as node, FakeScheduler(node) as scheduler:
            scheduler.send_ping(sign=None, relay='y')
            self.assertEqual(
                scheduler.wait_for('PING', timeout=WAIT).value['version'], NEWEST.release)

    def test_a_node_started_later_finds_its_named_scheduler(self):
        for dialect in (LEGACY, NEWEST):
            with FakeScheduler(None, dialect) as scheduler, \
                    NodeProcess('--scheduler_node', 'localhost', '--scheduler_port', scheduler.port) as node:
                ping = scheduler.wait_for(
                    'PING', timeout=WAIT,
                    match=lambda value: value['version'] == dialect.release).value
                self.assertEqual((ping['ip_addr'], ping['port']), (node.ip_addr, node.port))

    def test_a_release_once_served_is_announced_after_a_restart(self):
        port = free_port()
        with NodeProcess(port=port) as node:
            with FakeScheduler(node) as scheduler, FakeScheduler(node) as stranger:
                scheduler.ping(version='4.13.0', timeout=WAIT)
                stranger.ping(version='4.11.0', timeout=WAIT)
                scheduler.open(CODE, 'job').close()
                node.wait_log('the node is free', WAIT)
                node.stop()
                node.start()
                node.wait_log('4.13.0 at port %d' % scheduler.port, WAIT)
                self.assertNotIn('4.11.0 at port', node.log())      # it only pinged

    def test_announced_external_address(self):
        with NodeProcess('--ext_ip_addr', '192.0.2.7') as node, FakeScheduler(node) as scheduler:
            self.assertEqual(scheduler.ping(timeout=WAIT)['ip_addr'], '192.0.2.7')
            computation = scheduler.open(CODE, 'job')
            job = computation.run(0)
            self.assertEqual(job.value, 0)
            self.assertEqual(scheduler.messages('JOB_REPLY')[0].value.ip_addr, '192.0.2.7')

    def test_whole_datagrams_are_read(self):
        with NodeProcess() as node, FakeScheduler(node) as scheduler:
            scheduler.ping(udp=True,
                           ip_addrs=[scheduler.ip_addr] + ['10.0.0.%d' % n
                                                           for n in range(1, 90)], timeout=WAIT)


class CompetitionTest(unittest.TestCase):

    def test_the_second_client_is_pinged_as_soon_as_the_first_has_closed(self):
        with NodeProcess() as node, FakeScheduler(node) as first, FakeScheduler(node,
                                                                                LEGACY) as second:
            computation = first.open(CODE, 'job')
            second.send_ping(udp=True)
            node.wait_log(
                'PING not answered: busy: busy with the scheduler at 127.0.0.1 port %d' %
                first.port, WAIT)
            self.assertEqual(second.messages('PONG'), [])
            computation.close()
            ping = second.wait_for('PING', timeout=WAIT).value
            self.assertEqual(ping['version'], LEGACY.release)
            second.open(CODE, 'job').close()

    def test_a_client_whose_compute_came_too_late_forgets_the_node_and_is_pinged(self):
        with NodeProcess() as node, FakeScheduler(node) as first, FakeScheduler(node) as second:
            second.ping(timeout=WAIT)
            computation = first.open(CODE, 'job')
            with self.assertRaises(Refused):
                second.open(CODE, 'job')
            self.assertEqual(
                second.wait_for('TERMINATED', timeout=WAIT).value['sign'], second.node_sign)
            computation.close()
            second.wait_for('PING', timeout=WAIT)

    def test_serve_counts_clients_not_computations(self):
        with NodeProcess('--serve', 2) as node:
            for client in range(2):
                wait_until(lambda: node.log().count('the node is free') == client, WAIT, node.log)
                self.assertIsNone(node.status)
                with FakeScheduler(node) as scheduler:
                    for computation in [scheduler.open(CODE, 'job') for _ in range(2)]:
                        self.assertEqual(computation.run(0).value, 0)
            self.assertEqual(node.wait_exit(WAIT), 0)

    def test_code_that_does_not_compile_is_no_client_served(self):
        # a client of another Python is told by its job
        own = LEGACY if bytes is not str else PYTHON2
        with NodeProcess('--serve', 1) as node, FakeScheduler(node, own) as scheduler:
            scheduler.ping(timeout=WAIT)
            answer = scheduler.call('COMPUTE', scheduler.compute_record('def job(:', 'job'))
            self.assertIn(b'nvalid', answer)
            self.assertEqual(scheduler.open(CODE, 'job').run(0).value, 0)


class TwoAddressesTest(unittest.TestCase):

    def test_the_address_on_which_the_ping_came_is_announced_once(self):
        with NodeProcess('-i', '127.0.0.2') as node, FakeScheduler(node) as scheduler:
            self.assertEqual(scheduler.ping(udp=True, timeout=WAIT)['ip_addr'], '127.0.0.1')
            node.ip_addr = '127.0.0.2'
            for udp in (False, True):
                self.assertEqual(scheduler.ping(udp=udp, timeout=WAIT)['ip_addr'], '127.0.0.2')
            self.assertEqual(len(scheduler.messages('PONG')), 3)

    def test_a_client_that_finds_the_node_at_two_addresses_keeps_its_computation(self):
        """It sends the same COMPUTE to both, and closes the one that is refused."""
        with NodeProcess('-i', '127.0.0.2') as node, FakeScheduler(node) as scheduler:
            computation = scheduler.open(CODE, 'job')
            again = scheduler.compute_record(CODE, 'job', id=computation.record.id,
                                             auth=computation.record.auth)
            again.node_ip_addr = '127.0.0.2'
            self.assertEqual(scheduler.ask('COMPUTE', again), 0)
            scheduler.call(
                'CLOSE', {
                    'compute_id': again.id, 'auth': again.auth, 'node_ip_addr': '127.0.0.2',
                    'terminate_pending': True, 'close': True
                })
            self.assertEqual(computation.run(0).value, 0)


class PulseTest(unittest.TestCase):

    def test_pulses_come_in_the_interval_that_the_client_asked_for(self):
        with NodeProcess() as node, FakeScheduler(node) as scheduler:
            scheduler.open(CODE, 'job', pulse_interval=0.5)
            pulse = scheduler.wait_for('PULSE', 3, timeout=WAIT).value
            self.assertEqual((pulse['ip_addr'], pulse['port'], pulse['cpus']),
                             (node.ip_addr, node.port, 0))

    def test_a_dead_client_fills_the_log_with_three_lines_each_10_s(self):
        with NodeProcess('-d') as node, FakeScheduler(node) as scheduler:
            computation, gate = scheduler.open(GATED, 'job', pulse_interval=0.5), node.folder + '/go'
            computation.submit(gate)
            scheduler.stop_listening()
            open(gate, 'w').close()
            for text in ('pulse: ', 'cannot be delivered yet'):
                wait_until(lambda: node.log().count(text) >= 3, WAIT, text)
            lines = [
                line for line in node.log().splitlines()
                if 'pulse: ' in line or 'delivered yet' in line
            ]
            self.assertEqual(len([line for line in lines if ' INFO ' in line]), 1, lines)

    def test_an_old_client_gets_its_pulses_by_datagram(self):
        with NodeProcess() as node, FakeScheduler(node, DIALECTS[0]) as scheduler:
            scheduler.answers['PULSE'] = 'close the connection without an answer'
            listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            listener.bind((scheduler.ip_addr, scheduler.port))
            listener.settimeout(WAIT)
            scheduler.open(CODE, 'job', pulse_interval=0.5)
            try:
                datagram = listener.recv(1000)
                while not datagram.startswith(b'PULSE:'):
                    datagram = listener.recv(1000)
            finally:
                listener.close()


class WhyTest(unittest.TestCase):
    """Each cause has a line in the log."""

    def test_wrong_secret(self):
        with NodeProcess('--secret', 'right') as node, FakeScheduler(node,
                                                                     secret='wrong') as scheduler:
            scheduler.ping(timeout=WAIT)
            self.assertIsNone(scheduler.call('JOBS', {'compute_id': 1, 'auth': 'a'}))
            node.wait_log('127.0.0.1: wrong secret: JOBS with the token of another secret', WAIT)

    def test_undecodable_datagram(self):
        with NodeProcess() as node:
            sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sender.sendto(b'PING:cos\nsystem\n(S\'true\'\ntR.', (node.ip_addr, node.port))
            sender.close()
            node.wait_log('127.0.0.1: bad datagram:', WAIT)

    def test_a_line_is_not_repeated_at_once(self):
        with NodeProcess() as node, FakeScheduler(node) as first, FakeScheduler(node) as second:
            first.open(CODE, 'job')
            for _ in range(20):
                second.send_ping()
            second.send_ping(udp=True)
            wait_until(lambda: 'PING not answered' in node.log(), WAIT)
            self.assertEqual(node.log().count('PING not answered'), 1)

    def test_python_3_client_of_a_node_on_python_2(self):
        with NodeProcess() as node, FakeScheduler(node) as scheduler:
            sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sender.sendto(b'PING:' + Form(False, 4).dumps(scheduler.ping_record()),
                          (node.ip_addr, node.port))
            sender.close()
            scheduler.wait_for('PONG', timeout=WAIT)

    def test_start_tells_addresses_ports_and_targets(self):
        with NodeProcess('--client_release', '4.12.4') as node:
            for text in ('serves at 127.0.0.1 (option --ip_addr 127.0.0.1)', 'TCP and UDP port',
                         '4.12.4 at port 61590', 'from 127.0.0.1 to 127.255.255.255'):
                node.wait_log(text, WAIT)
