"""Pickles made to cost the node its time or memory, or to make it import something: of strangers,
and with the token."""
from __future__ import absolute_import, division, print_function

import struct
import threading
import unittest

from tests.attack import attacker
from tests.attack.attacker import CODE, WAIT, assert_serves, connect, served
from tests.fuzz.seeds import EXPONENTIAL, PICKLES
from tests.support.computation import frame
from tests.support.scheduler import DUMMY_TOKEN
from tests.support.waiting import clock

OPCODES = ('SETUP', 'COMPUTE', 'JOB', 'FILEXFER', 'CLOSE', 'JOBS', 'RETRIEVE_JOB', 'TERMINATE_JOB',
           'PING', 'NODE_INFO', 'SET_CPUS')
SIZE = struct.Struct('<L')
MEGABYTES = (  # (name, pickle): each some megabytes
    ('marks', b'(' * 3000000), ('lists', b']' * 2000000), ('dicts', b'}' * 2000000),
    ('sets', b'\x8f' * 2000000), ('tuples', b'\x80\x04)' + b'2\x85' * 1000000 + b'.'),
    ('one in the other', b'\x80\x04)' + b'\x85' * 2000000 +
     b'.'), ('references', b'\x80\x04)\x94' + b'h\0h\0\x86\x94' * 300000 +
             b'.'), ('memo', b'N' + b''.join(b'r' + SIZE.pack(2 * number)
                                             for number in range(400000)) +
                     b'.'), ('decimal digits', b'I' + b'9' * 2000000 +
                             b'\n.'), ('decimal long', b'L' + b'9' * 2000000 + b'L\n.'),
    ('binary long', b'\x8b' + SIZE.pack(2000000) + b'\x7f' * 2000000 +
     b'.'), ('bytearray', b'\x80\x05\x96' + struct.pack('<Q', 2**62) +
             b'x' * 2000000), ('bytes',
                               b'\x80\x05\x8e' + struct.pack('<Q', 2**63 + 5) + b'x' * 2000000),
    ('keys', b'}(' + b''.join(b'X' + SIZE.pack(8) + b'%08d' % number + b'N'
                              for number in range(300000)) +
     b'u.'), ('encoded again and again', b'c_codecs\nencode\nq\0X' + SIZE.pack(100000) +
              b'a' * 100000 + b'q\1X\6\0\0\0latin1q\2\x86q\3' + b'h\0h\3R0' * 300000 +
              b'.'), ('nothing', b'(' + b'N' * 3000000 + b't.'))
FIELDS = {
    'version': '4.15.2', 'sign': 'b' * 40, 'port': 9, 'ip_addrs': ['127.0.0.1'], 'compute_id': 1,
    'auth': 'a', 'uid': 1, 'hash': 'a', 'cpus': 1, 'setup_args': (), 'node_ip_addr': '127.0.0.1'
}


def raw_dict(key, value):
    """Return the pickle of FIELDS with `value`, a pickle without its end, under `key`."""
    parts = [
        _bare(name) + (value if name == key else _bare(FIELDS[name])) for name in sorted(FIELDS)
    ]
    return b'\x80\x04}(' + b''.join(parts) + b'u.'


def _bare(value):
    """Return the pickle of a small value without beginning and end."""
    if isinstance(value, int):
        return b'J' + struct.pack('<i', value)
    if isinstance(value, (list, tuple)):
        return b'](' + b''.join(_bare(item) for item in value) + b'e'
    return b'X' + SIZE.pack(len(value)) + value.encode('ascii')


class BombsTest(unittest.TestCase):

    def test_small_ones_of_strangers_and_clients(self):
        with served('--msg_timeout', 2) as (node, scheduler, computation):
            before, cpu = attacker.memory(node.pid), attacker.cpu_seconds(node.pid)
            for token in (DUMMY_TOKEN, scheduler.token()):
                for opcode in OPCODES:
                    for bomb in PICKLES:
                        self.throw(node, token + frame(opcode.encode('ascii') + b':' + bomb))
            for opcode in ('PING', 'SETUP', 'CLOSE', 'RETRIEVE_JOB', 'SET_CPUS'):
                for key in FIELDS:
                    self.throw(
                        node,
                        scheduler.token() +
                        frame(opcode.encode('ascii') + b':' + raw_dict(key, EXPONENTIAL[2:-1])))
            assert_serves(self, computation)
            self.assertLess(attacker.memory(node.pid) - before, 16 << 20)
            self.assertLess(attacker.cpu_seconds(node.pid) - cpu, 20)
            self.assertNotIn('Traceback', node.log())

    @staticmethod
    def throw(node, data):
        """Send bytes; wait until the node closes."""
        sock = connect(node)
        try:
            sock.sendall(data)
        except EnvironmentError:
            pass                                                # refused at its first bytes
        attacker.closed_by_peer(sock)
        sock.close()

    def test_megabytes_with_the_token(self):
        with served('--msg_timeout', 5) as (node, scheduler, computation):
            before = attacker.memory(node.pid)
            for name, bomb in MEGABYTES:
                for opcode in ('COMPUTE', 'JOB'):  # read leniently, as SETUP is, and strictly
                    answers = []
                    thrower = threading.Thread(target=self.ask,
                                               args=(scheduler, opcode, bomb, answers))
                    begun, cpu = clock(), attacker.cpu_seconds(node.pid)
                    thrower.start()
                    assert_serves(self, computation, 3)         # meanwhile
                    self.assertLess(clock() - begun, 15, name)
                    thrower.join()
                    self.assertLess(attacker.cpu_seconds(node.pid) - cpu, 12, name)
                    self.assertFalse([
                        one for one in answers
                        if one is not None and (one == b'ACK' or one.startswith(b'\x80'))
                    ], (name, opcode, answers))
                    self.assertLess(attacker.memory(node.pid) - before, 300 << 20, (name, opcode))
            assert_serves(self, scheduler.open(CODE, 'job', exclusive=False))
            self.assertNotIn('Traceback', node.log())

    @staticmethod
    def ask(scheduler, opcode, bomb, answers):
        """Send a bomb; append what is answered, if it is not refused at its first bytes."""
        try:
            answers.append(scheduler.call(opcode, argument=bomb, timeout=WAIT))
        except EnvironmentError:
            return

    def test_nothing_is_imported_or_called(self):
        marker = 'dispynode_was_here'
        bombs = [
            b"cos\nputenv\n(S'%s'\nS'1'\ntR." % marker.encode('ascii'),
            b'\x80\x04\x8c\x09antigravity\x8c\x05geohash\x93.', b"(S'open'\ni__builtin__\neval\n.",
            b'\x80\x04\x8c\x08builtins\x8c\x04exit\x93)R.', b'cthis\ns\n.',
            b'\x80\x02cdispy\n_Compute\n)R.'
        ]
        with served() as (node, scheduler, computation):
            for token in (DUMMY_TOKEN, scheduler.token()):
                for opcode in OPCODES:
                    for bomb in bombs:
                        self.throw(node, token + frame(opcode.encode('ascii') + b':' + bomb))
            assert_serves(self, computation)
            with open('/proc/%d/maps' % node.pid) as maps:
                self.assertNotIn('antigravity', maps.read())
            self.assertIsNone(node.status)
            self.assertNotIn('Traceback', node.log())
