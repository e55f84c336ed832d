"""Attacks of those who do not know the token."""
from __future__ import absolute_import, division, print_function

import os
import socket
import struct
import time
import unittest

from tests.attack import attacker
from tests.attack.attacker import NATIVE, WAIT, assert_given_back, assert_serves, connect, served
from tests.attack.test_clients import STRICT, Elsewhere
from tests.support.dialects import PYTHON2
from tests.support.nodeprocess import NodeProcess
from tests.support.scheduler import DUMMY_TOKEN, FakeScheduler, make_token
from tests.support.waiting import clock, wait_until

MANY = 2000


class CrowdTest(unittest.TestCase):
    """Very many connections."""

    @classmethod
    def setUpClass(cls):
        attacker.allow_descriptors(MANY + 500)

    def test_two_thousand_connections_hold_up_nobody_and_are_given_back(self):
        with served('--msg_timeout', 5) as (node, _scheduler, computation):
            assert_serves(self, computation)
            held, before = [], attacker.descriptors(node.pid)
            begun = clock()
            for number in range(MANY):
                sock = connect(node)
                if number % 4 == 1:
                    sock.sendall(b'x' * (number % 40))
                elif number % 4 == 2:
                    sock.sendall(DUMMY_TOKEN + struct.pack('>L', 200) + b'PING:')
                held.append(sock)
            assert_serves(self, computation)
            self.assertLess(attacker.threads(node.pid), 80)
            assert_serves(self, computation, 4)
            for sock in held[::2]:
                attacker.reset(sock)                            # half of them vanish
            self.assertTrue(all(attacker.closed_by_peer(sock) for sock in held[1::2]))
            self.assertLess(clock() - begun, 60)
            assert_given_back(node, before)
            assert_serves(self, computation)
            self.assertLess(len([line for line in node.log().splitlines()
                                 if '127.0.0.1:' in line]), 60)

    def test_jobs_take_no_longer_beside_five_hundred_silent_connections(self):
        with served('--msg_timeout', 10 * WAIT) as (node, _scheduler, computation):
            before = self.seconds_of_jobs(computation)
            held = [connect(node) for _number in range(500)]
            # whatever else runs on this host takes its time as well
            wait_until(lambda: self.seconds_of_jobs(computation) < 3 * before + 0.5, WAIT)
            threads = attacker.threads(node.pid)
            self.assertLess(threads, 30)
            for sock in held:
                sock.close()
            wait_until(lambda: self.seconds_of_jobs(computation) < 3 * before + 0.5, WAIT)

    @staticmethod
    def seconds_of_jobs(computation):
        """Return how long 20 jobs take, one after another."""
        begun = clock()
        for number in range(20):
            assert computation.run(number).value == 2 * number
        return clock() - begun

    def test_half_open_connections(self):
        with served('--msg_timeout', 3) as (node, _scheduler, computation):
            before = attacker.descriptors(node.pid)
            held = [connect(node) for _number in range(300)]
            for sock in held:
                sock.shutdown(socket.SHUT_WR)
            assert_serves(self, computation)
            self.assertTrue(all(attacker.closed_by_peer(sock) for sock in held))
            assert_given_back(node, before)

    def test_a_node_with_few_descriptors_still_serves(self):
        allowed = 'import resource, os, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40)); ' \
            'os.execv(sys.argv[1], sys.argv[1:])'
        node = NodeProcess('-c', 2, '--msg_timeout', 1)
        command = node.command
        node.command = lambda: [node.python, '-c', allowed] + command()
        with node, FakeScheduler(node, NATIVE) as scheduler:
            computation = scheduler.open(attacker.CODE, 'job')
            assert_serves(self, computation)
            held = [connect(node) for _number in range(100)]
            wait_until(lambda: 'descriptors' in node.log() or 'too many connections' in node.log(),
                       WAIT)
            for sock in held:
                attacker.reset(sock)
            reply = wait_until(lambda: _attempt(computation), WAIT)
            self.assertEqual(reply.value, 6)
            for number in range(20):
                self.assertEqual(computation.run(number).value, 2 * number)


def _attempt(computation):
    """Return the reply of a job, None if the node has no descriptor for it just now."""
    try:
        return computation.run(3)
    except (EnvironmentError, EOFError):
        return None


class SlowTest(unittest.TestCase):

    def test_one_byte_at_a_time_does_not_keep_a_connection(self):
        with NodeProcess('--msg_timeout', 1) as node:
            sock = connect(node)
            begun = clock()
            sock.settimeout(0.2)
            data = DUMMY_TOKEN + struct.pack('>L', 4000)
            sent = 0
            try:
                while clock() - begun < WAIT:
                    sock.sendall(data[sent:sent + 1] or b'y')
                    sent += 1
                    try:
                        if not sock.recv(1):
                            break
                    except socket.timeout:
                        continue
            except EnvironmentError:
                pass                                            # it has closed
            self.assertLess(clock() - begun, 20)
            self.assertLess(sent, 100)
            sock.close()

    def test_slow_big_requests_with_the_token_do_not_hold_up_others(self):
        """More of them than there are threads, a byte now and then, and lengths that would give
        them hours."""
        with served('--msg_timeout', 2) as (node, scheduler, computation):
            held, begun = [], clock()
            for number in range(150):
                sock = connect(node)
                sock.sendall(scheduler.token() +
                             struct.pack('>L', 1 << 30 if number % 2 else 200000) +
                             b'JOB:\x80\x04}(' + b'x' * (4200 + 100 * number))
                held.append(sock)
            while 'too slow' not in node.log():
                assert_serves(self, computation, 7)
                asked = clock()
                wait_until(lambda: not computation.jobs(), WAIT)
                self.assertLess(clock() - asked, 10)
                for sock in held:
                    try:
                        sock.send(b'x')
                    except EnvironmentError:
                        continue                                # closed already
                self.assertLess(clock() - begun, WAIT)
                time.sleep(0.1)
            for sock in held:
                sock.close()
            assert_serves(self, computation)
            self.assertLess(attacker.threads(node.pid), 150)

    def test_lying_lengths_take_no_memory(self):
        with served('--msg_timeout', 5) as (node, scheduler, computation):
            before = attacker.memory(node.pid)
            held = []
            for size in (5000, 1 << 20, 1 << 30, 0xFFFFFFFF):
                sock = connect(node)
                sock.sendall(DUMMY_TOKEN + struct.pack('>L', size) + b'COMPUTE:')
                self.assertTrue(attacker.closed_by_peer(sock))
                for opcode in (b'JOB:', b'COMPUTE:'):
                    sock = connect(node)
                    sock.sendall(scheduler.token() + struct.pack('>L', size) + opcode)
                    held.append(sock)
            assert_serves(self, computation)
            self.assertLess(attacker.memory(node.pid) - before, 64 << 20)
            for sock in held:
                sock.close()
            assert_serves(self, computation)


class NonsenseTest(unittest.TestCase):
    """Bytes that are no request."""

    FOREIGN = (b'GET / HTTP/1.1\r\nHost: node\r\n\r\n' + b'A' * 200, b'SSH-2.0-OpenSSH_9.2p1\r\n' +
               b'\0' * 100, b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03' + b'\x11' * 300,
               b'\x00' * 400, b'\xff' * 400, b'*3\r\n$3\r\nSET\r\n$1\r\na\r\n' * 20,
               b'\x1b]0;owned\x07\x1b[2J' * 30, b'EHLO there\r\n' * 20)

    def assert_quiet(self, node):
        log = node.log()
        self.assertNotIn('Traceback', log)
        self.assertLess(len(log.splitlines()), 100)
        self.assertFalse([letter for letter in log if ord(letter) < 32 and letter != '\n'])

    def test_foreign_protocols_and_random_bytes(self):
        with served('--msg_timeout', 3) as (node, _scheduler, computation):
            before = attacker.descriptors(node.pid)
            for data in self.FOREIGN + tuple(
                    os.urandom(size) for size in (1, 39, 40, 43, 44, 45, 300, 5000)):
                sock = connect(node)
                try:
                    sock.sendall(data)
                    sock.shutdown(socket.SHUT_WR)
                except EnvironmentError:
                    pass                                        # refused at its first bytes
                self.assertTrue(attacker.closed_by_peer(sock), data)
                sock.close()
            assert_serves(self, computation)
            assert_given_back(node, before)
            self.assert_quiet(node)

    def test_truncated_and_empty_frames(self):
        with served('--msg_timeout', 3) as (node, scheduler, computation):
            before = attacker.descriptors(node.pid)
            for token in (DUMMY_TOKEN, scheduler.token()):
                message = token + struct.pack('>L', 60) + b'PING:' + b'\x80\x04}.' * 20
                for size in list(range(0, 60, 3)):
                    sock = connect(node)
                    sock.sendall(message[:size])
                    sock.close()
                for payload in (b'', b':', b'PING', b'PING:', b'JOB:', b'\x00', b'NODE_INFO:',
                                b'NODE_STATUS:', b'PING:\x80\x04', b'COMPUTE:(' * 40,
                                b'PING:' + b'(' * 4000):
                    sock = connect(node)
                    sock.sendall(token + struct.pack('>L', len(payload)) + payload)
                    self.assertTrue(attacker.closed_by_peer(sock), payload[:20])
                    sock.close()
            assert_serves(self, computation)
            assert_given_back(node, before)
            self.assert_quiet(node)

    def test_datagrams_of_every_size(self):
        with served() as (node, _scheduler, computation):
            sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            ping = b'PING:' + NATIVE.dumps(
                {'version': '4.15.2', 'sign': 'a' * 40, 'port': 1, 'ip_addrs': ['127.0.0.1']})
            for size in list(range(0, 200)) + [500, 1000, 1472, 1500, 9000, 30000, 65000, 65507]:
                for data in (os.urandom(size), (ping + b'\0' * size)[:max(size, 5)],
                             b'PULSE:' + os.urandom(max(0, size - 6)),
                             b'NODE_INFO:' + b'(' * max(0, size - 10)):
                    try:
                        sender.sendto(data[:65507], (node.ip_addr, node.port))
                    except EnvironmentError:
                        continue                                # the receiver's buffer is full
            sender.close()
            assert_serves(self, computation)
            self.assert_quiet(node)

    def test_mistyped_pings(self):
        good = {'version': '4.15.2', 'sign': 'b' * 40, 'port': 9, 'ip_addrs': ['127.0.0.1']}
        odd = [
            None, 0, -1, 2**70, 1.5, '', 'x' * 4000, 'a\nb\x1b[2J', [], ['a'] * 100, {}, {'a': 1},
            (None, ), ['host.example.org'], ['::ffff:1.2.3.4%eth0'], [''], ['1.2.3.4.5'], [None, 5]
        ]
        with served() as (node, scheduler, computation):
            sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            for dialect in (NATIVE, PYTHON2):
                for key in good:
                    for value in odd:
                        ping = dict(good, **{key: value})
                        try:
                            data = b'PING:' + dialect.dumps(ping)
                        except (TypeError, ValueError):
                            continue  # this test's pickler does not know it
                        sender.sendto(data[:60000], (node.ip_addr, node.port))
                        sender.sendto(
                            data.replace(b'PING', b'PULSE', 1)[:60000], (node.ip_addr, node.port))
                        scheduler.tell('PING', argument=data[5:3000], token=DUMMY_TOKEN)
            sender.close()
            assert_serves(self, computation)
            self.assert_quiet(node)
        # the same while it is free
        with NodeProcess() as node, FakeScheduler(node, NATIVE) as scheduler:
            for value in odd:
                for key in good:
                    try:
                        scheduler.tell('PING', dict(good, **{key: value}), token=DUMMY_TOKEN)
                    except (TypeError, ValueError):
                        continue
            scheduler.ping(timeout=WAIT)
            self.assert_quiet(node)


class OracleTest(unittest.TestCase):
    """What a node answers must open no door."""

    def test_a_ping_with_the_nodes_own_sign_gets_no_token(self):
        with NodeProcess('-s', 'a secret') as node:
            with FakeScheduler(node, NATIVE, secret='a secret') as scheduler:
                signs = [scheduler.ping(timeout=WAIT)['sign']]
            node.wanted_port = node.port
            node.stop()
            node.start()
            with FakeScheduler(node, NATIVE, secret='a secret') as scheduler:
                signs.append(scheduler.ping(timeout=WAIT)['sign'])
                self.assertNotEqual(*signs)
                known = len(scheduler.messages('PONG'))
                for sign in signs:
                    for udp in (False, True):
                        scheduler.send_ping(udp=udp, sign=sign)
                scheduler.sign = 'c' * 40
                answer = scheduler.ping(timeout=WAIT)
                tokens = [message.value['auth'] for message in scheduler.messages('PONG')[known:]]
                self.assertEqual(answer['auth'], make_token('a secret', 'c' * 40))
                for sign in signs:
                    self.assertNotIn(make_token('a secret', sign), tokens)

    def test_no_answer_is_an_administrators_token(self):
        with NodeProcess('-s', 'cluster', '--admin_secret', 'cluster-admin') as node, \
                FakeScheduler(node, NATIVE, secret='cluster') as scheduler:
            sign = scheduler.ping(timeout=WAIT)['sign']
            scheduler.send_ping(sign='-admin' + sign)
            scheduler.sign = 'd' * 40
            scheduler.ping(timeout=WAIT)
            self.assertNotIn(make_token('cluster-admin', sign),
                             [message.value['auth'] for message in scheduler.messages('PONG')])

    def test_a_wrong_token_opens_nothing(self):
        with NodeProcess('-s', 'right') as node, FakeScheduler(node, NATIVE,
                                                               secret='right') as scheduler:
            scheduler.ping(timeout=WAIT)
            right = scheduler.token()
            for wrong in (DUMMY_TOKEN, right.upper(), right[:-1] + b'x', b'x' + right[1:],
                          make_token('', scheduler.node_sign)):
                for opcode in ('COMPUTE', 'JOB', 'CLOSE', 'FILEXFER', 'SETUP', 'JOBS',
                               'RETRIEVE_JOB', 'TERMINATE_JOB'):
                    self.assertIsNone(scheduler.call(opcode, {}, token=wrong), opcode)

    def test_secrets_can_be_tried_without_end(self):
        with NodeProcess('-c', 2, '-s', 'right', program=STRICT) as node, \
                FakeScheduler(node, NATIVE, secret='right') as scheduler:
            computation = scheduler.open(attacker.CODE, 'job')
            stranger = Elsewhere(node, NATIVE)
            self.addCleanup(stranger.close)
            question, port = computation.credentials(), node.port

            def asked(who, **options):
                try:
                    return who.call('JOBS', question, port=port, **options)
                except EnvironmentError:
                    return None             # it was closed before all was sent
            right = scheduler.token()
            # it knows the secret, but the computation is not its own
            self.assertIsNotNone(asked(stranger, token=right))
            for _ in range(12):
                self.assertIsNone(asked(stranger, token=DUMMY_TOKEN))
            node.wait_log('127.0.0.9: too many wrong secrets: not listened to for 10 s', WAIT)
            self.assertIsNone(asked(stranger, token=right))     # it is not told that this is right
            for _ in range(15):
                # this host is never shut out
                self.assertIsNone(asked(scheduler, token=DUMMY_TOKEN))
            assert_serves(self, computation)
            page = connect(node)
            page.sendall(b'GET /status.json HTTP/1.0\r\n\r\n')
            told = b''.join(iter(lambda: page.recv(65536), b''))
            page.close()
            self.assertIn(b'127.0.0.9 is not listened to for', told)
            self.assertIn(b'shut out', told)


class ReflectorTest(unittest.TestCase):

    def test_one_ping_opens_at_most_eight_connections(self):
        with NodeProcess() as node, FakeScheduler(node, NATIVE) as scheduler:
            listener = socket.socket()
            listener.bind(('0.0.0.0', 0))
            listener.listen(128)
            scheduler.tell(
                'PING',
                scheduler.ping_record(
                    port=listener.getsockname()[1], sign='e' * 40, ip_addrs=[
                        '127.0.0.%d' % (2 + number % 40) for number in range(60)
                    ]), token=DUMMY_TOKEN)
            scheduler.ping(timeout=WAIT)
            taken = 0
            listener.settimeout(WAIT)
            try:
                while True:
                    listener.accept()[0].close()
                    taken += 1
                    listener.settimeout(1)
            except socket.timeout:
                pass
            listener.close()
            self.assertLessEqual(taken, 8)
            self.assertGreater(taken, 0)

    def test_pongs_to_one_address_are_limited(self):
        with NodeProcess() as node, FakeScheduler(node, NATIVE) as scheduler:
            sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            begun = clock()
            for number in range(1000):  # one client would be answered once a second
                data = b'PING:' + NATIVE.dumps(scheduler.ping_record(sign='%040d' % number))
                sender.sendto(data, (node.ip_addr, node.port))
                time.sleep(0.0005)                              # or the receiver's buffer overflows
            wait_until(lambda: len(scheduler.messages('PONG')) >= 40, WAIT)
            seconds = clock() - begun
            wait_until(lambda: not attacker.descriptors(node.pid) > 60, WAIT)
            self.assertLess(len(scheduler.messages('PONG')), 60 + 6 * (seconds + 5))
            sender.close()

    def test_unreachable_addresses_hold_up_nobody(self):
        with NodeProcess('--msg_timeout', 3) as node, FakeScheduler(node, NATIVE) as scheduler:
            for number in range(20):
                scheduler.tell(
                    'PING',
                    scheduler.ping_record(
                        sign='%040d' % number, ip_addrs=[
                            '192.0.2.%d' % (10 * number % 250 + more) for more in range(10)
                        ]), token=DUMMY_TOKEN)
            begun = clock()
            scheduler.sign = 'a' * 40
            scheduler.ping(timeout=WAIT)
            self.assertLess(clock() - begun, 20)
            self.assertLess(attacker.threads(node.pid), 40)
