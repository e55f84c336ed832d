"""Requests that are wrong: the answer that the protocol lists, or a closed connection; one warning,
no traceback."""
from __future__ import absolute_import, division, print_function

import errno
import json
import os
import pickle
import socket
import struct
import unittest

from tests.support.computation import Refused, frame
from tests.support.dialects import DIALECTS
from tests.support.nodecase import TIMEOUT, NodeCase
from tests.support.scheduler import FakeScheduler
from tests.support.waiting import wait_until

# opcode -> answer to an argument that cannot be read; None: closed without one
UNREADABLE = (('COMPUTE', b'Invalid computation request ignored'),
              ('SETUP', b'invalid setup request'), ('JOB', b'NAK (invalid job)'), ('CLOSE', b'ACK'),
              ('JOBS', None), ('PENDING_JOBS', None), ('RETRIEVE_JOB', None),
              ('RESEND_JOB_RESULTS', None), ('TERMINATE_JOB', None), ('PING', None))
GARBAGE = (b'', b'garbage', b'\x80\x05', b'\x80\x03cos\nsystem\nX\x04\x00\x00\x00trueR.',
           b'\x80\x02}.', b'I4711\n.', b'\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f.',
           b'(' * 5000, b'\x80\x02]' + b'h\x00' * 10 + b'.')


class BadInput(NodeCase):

    @classmethod
    def tearDownClass(cls):
        log = cls.node.log()
        super(BadInput, cls).tearDownClass()
        assert 'Traceback' not in log, log

    def setUp(self):
        self.scheduler_now = self.scheduler()
        self.computation = self.scheduler_now.open('import time\ndef f(): return 1', 'f')

    def tearDown(self):
        """The node serves on."""
        self.assertEqual(self.finished(self.computation.run()), 1)

    def test_arguments_that_cannot_be_read(self):
        for opcode, expected in UNREADABLE:
            for garbage in GARBAGE:
                if opcode == 'SETUP' and garbage in (b'I4711\n.',):
                    continue
                answer = self.scheduler_now.call(opcode, argument=garbage)
                self.assertEqual(answer, expected, (opcode, garbage))
        for garbage in GARBAGE:
            self.assertEqual(
                self.scheduler_now.call('FILEXFER', argument=garbage)[-5:], b'\xff\xff\xff\xff.',
                garbage)

    def test_d2_nothing_in_a_request_is_called(self):
        mark = os.path.join(self.folder(), 'mark')
        attack = b'\x80\x03cos\nsystem\nX' + struct.pack(
            '<L',
            len(mark) + 6) + b'touch ' + mark.encode() + b'\x85R.'
        for opcode, _expected in UNREADABLE:
            self.scheduler_now.call(opcode, argument=attack)
        self.assertFalse(os.path.exists(mark))

    def test_unknown_requests_are_named(self):
        for opcode in ('NO_SUCH', 'JOB_REPLY', 'PULSE'):
            answer = self.scheduler_now.call(opcode, {})
            self.assertTrue(answer.startswith(b'NAK (invalid command'), (opcode, answer))

    def test_a_wrong_token_closes_the_connection(self):
        for opcode, _expected in UNREADABLE:
            self.assertIsNone(self.scheduler_now.call(opcode, {}, token=b'0' * 40))
        self.node.wait_log('with the token of another secret', TIMEOUT)

    def refused(self, cause):
        """Return how often the node has turned somebody away for `cause`."""
        page = self.raw(b'GET /status.json HTTP/1.0\r\n\r\n').partition(b'\r\n\r\n')[2]
        return json.loads(page.decode('utf-8'))['refused'].get(cause, 0)

    def raw(self, data):
        """Send bytes, return what comes until the node closes, be it by a reset: it has not read
        all then."""
        connection, answer = socket.create_connection((self.node.ip_addr, self.node.port),
                                                      TIMEOUT), b''
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while True:
                piece = connection.recv(4096)
                if not piece:
                    return answer
                answer += piece
        except EnvironmentError as error:
            self.assertIn(error.errno, (errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN), error)
            return answer
        finally:
            connection.close()

    def test_streams_that_are_no_requests(self):
        token, pid = self.scheduler_now.token(), self.node.pid
        for data in (b'', b'x', b'x' * 39, b'x' * 40, token + b'\0\0', token + b'\0\0\0\0',
                     token + b'\xff\xff\xff\xff', token + frame(b'no colon'),
                     b'x' * 40 + b'\xff\xff\xff\xff', token + frame(b'JOB:')[:-1], b'\0' * 5000,
                     b'\x16\x03\x01\x02\x00\x01' + b'\0' * 600):
            self.assertEqual(self.raw(data), b'', data[:60])
            self.assertEqual(self.raw(b'GET /healthz HTTP/1.0\r\n\r\n')[-3:], b'ok\n', data[:60])
        self.assertEqual(self.node.pid, pid)

    def test_a_token_may_claim_four_gigabytes_and_gets_no_memory_for_it(self):
        before = self.memory()
        connections = []
        for _turn in range(5):
            connection = socket.create_connection((self.node.ip_addr, self.node.port), TIMEOUT)
            connection.sendall(b'x' * 40 + b'\xff\xff\xff\xff' + b'x' * 1000)
            connections.append(connection)
        self.finished(self.computation.run())
        self.assertLess(self.memory() - before, 50000)
        for connection in connections:
            connection.close()

    def memory(self):
        with open('/proc/%d/statm' % self.node.pid) as stream:
            return int(stream.read().split()[1]) * 4

    def test_computations_that_are_refused(self):
        scheduler, record = self.scheduler_now, self.computation.record
        # clients on a newer Python are told by their jobs
        if scheduler.dialect.form.protocol <= pickle.HIGHEST_PROTOCOL:
            self.assertIn(b'SyntaxError', self.refusal(scheduler, code='def f(:'))
        self.assertEqual(self.refusal(scheduler, node_ip_addr='203.0.113.9'),
                         b'Invalid computation request ignored')
        other = FakeScheduler(self.node, scheduler.dialect)
        other.node_sign, other.node_ip_addr = scheduler.node_sign, scheduler.node_ip_addr
        self.assertEqual(other.ask('COMPUTE', other.compute_record('def f(): return 1', 'f')),
                         'Node busy')
        other.close()
        # d25: the answer to COMPUTE was lost, and it is sent again
        self.assertEqual(scheduler.ask('COMPUTE', record), 2)
        record.auth, own = 'ab' * 20, record.auth
        self.assertEqual(scheduler.ask('COMPUTE', record), 0)
        record.auth = own

    def test_jobs_that_are_refused(self):
        job = self.computation.make_job()
        for key, value in (('compute_id', 4711), ('_args', 5), ('uid', 'x'), ('hash', '../x'),
                           ('hash', 5)):
            own = getattr(job.record, key)
            setattr(job.record, key, value)
            with self.assertRaises(Refused) as caught:
                self.computation.send(job)
            self.assertTrue(caught.exception.answer.startswith(b'NAK'), caught.exception.answer)
            setattr(job.record, key, own)
        self.assertEqual(self.finished(self.computation.send(job).wait()), 1)

    def test_d16_jobs_beyond_the_cpus_are_refused_after_a_while(self):
        slow = self.scheduler_now.open('import time\ndef f(): time.sleep(1000)', 'f')
        jobs = [slow.submit(), slow.submit()]
        with self.assertRaises(Refused) as caught:
            slow.submit()
        self.assertEqual(caught.exception.answer, b'NAK (all cpus busy)')
        for job in jobs:
            slow.terminate(job)
            job.wait(TIMEOUT)

    def test_close_that_does_not_match_closes_nothing(self):
        computation = self.computation
        for changes in ({'auth': 'abcdef'}, {'compute_id': 4711}, {'node_ip_addr': '203.0.113.9'}, {
                'auth': 5
        }):
            self.assertEqual(computation.close(**changes), b'ACK')
        self.assertEqual(self.finished(computation.run()), 1)

    def test_d11_every_request_of_every_dialect_for_something_unknown_is_answered_or_closed(self):
        scheduler = self.scheduler_now
        for dialect in DIALECTS:
            scheduler.dialect = dialect
            job = self.computation.raw_job(b'')
            job.record.compute_id = 4711
            for opcode, value in (('SETUP', dialect.setup(4711, ())), ('JOB', job.record),
                                  ('TERMINATE_JOB', job.record),
                                  ('JOBS', {'compute_id': 4711, 'auth': 'ab'}),
                                  ('PENDING_JOBS', {'compute_id': 4711, 'auth': 'ab'})):
                scheduler.call(opcode, value)  # hangs, and times out, if it is neither
        scheduler.dialect = self.computation.scheduler.dialect = self.scheduler_dialect()

    @staticmethod
    def scheduler_dialect():
        from tests.support.nodecase import NATIVE
        return NATIVE

    def test_datagrams_that_are_no_messages(self):
        sender, before = socket.socket(socket.AF_INET,
                                       socket.SOCK_DGRAM), self.refused('bad datagram')
        for garbage in GARBAGE:
            for data in (garbage, b'PING:' + garbage, b'PULSE:' + garbage, b'NODE_INFO:' + garbage,
                         b'NO:' + garbage):
                sender.sendto(data, (self.node.ip_addr, self.node.port))
        sender.close()
        wait_until(lambda: self.refused('bad datagram') - before >= len(GARBAGE), TIMEOUT)

    def test_five_hundred_connections_that_say_nothing(self):
        connections = [
            socket.create_connection((self.node.ip_addr, self.node.port), TIMEOUT)
            for _ in range(500)
        ]
        self.assertEqual(self.finished(self.computation.run()), 1)
        with open('/proc/%d/status' % self.node.pid) as stream:
            threads = [int(line.split()[1]) for line in stream if line.startswith('Threads')][0]
        self.assertLess(threads, 90)
        for connection in connections:
            connection.close()
        wait_until(lambda: self.finished(self.computation.run()) == 1, TIMEOUT)


if __name__ == '__main__':
    unittest.main()
