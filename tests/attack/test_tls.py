"""Attacks on a node that speaks TLS: peers that are silent in the middle of the handshake, or say
nonsense in it or after it."""
from __future__ import absolute_import, division, print_function

import os
import unittest

from tests.attack import attacker
from tests.attack.attacker import NATIVE, WAIT, assert_given_back, assert_serves, connect, served
from tests.support.nodeprocess import PROJECT
from tests.support.scheduler import DUMMY_TOKEN, tls_contexts
from tests.support.waiting import wait_until

CERTIFICATE = os.path.join(PROJECT, 'tests', 'interop', 'clients', 'tls.pem')
# a whole first record of a client that offers TLS 1.2; the node's answer is not waited for
HELLO = bytes(
    bytearray.fromhex('16030100700100006c0303' + '11' * 32 + '00' +
                      '001ac02fc030c02bc02cc013c014009c009d002f0035000a130113021303'[:56] + '0100' +
                      '0029000d000a00080401050106010201000a00080006001d00170018000b00020100' +
                      'ff01000100' + '00170000'))


def tls_served(*options):
    """A node with TLS, a client of its own, an open computation."""
    return served('--certfile', CERTIFICATE, *options, tls=CERTIFICATE)


def shake(node, **options):
    """Return a TLS connection to the node, after the handshake."""
    return tls_contexts(CERTIFICATE)[0].wrap_socket(connect(node), **options)


class TlsTest(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        attacker.allow_descriptors(2000)

    def test_silence_in_each_part_of_the_handshake_holds_up_nobody(self):
        with tls_served('--msg_timeout', 3) as (node, _scheduler, computation):
            assert_serves(self, computation)
            before, held = attacker.descriptors(node.pid), []
            for number in range(200):
                sock = connect(node)
                sock.sendall(HELLO[:(0, 1, 5, 60, len(HELLO))[number % 5]])
                held.append(sock)
            held += [shake(node) for _number in range(30)]      # shaken hands, and then nothing
            assert_serves(self, computation)
            self.assertLess(attacker.threads(node.pid), 40)
            self.assertTrue(all(attacker.closed_by_peer(sock) for sock in held))
            for sock in held:
                sock.close()
            assert_given_back(node, before)
            assert_serves(self, computation)

    def test_nonsense_in_the_handshake_and_after_it(self):
        with tls_served('--msg_timeout', 3) as (node, scheduler, computation):
            before, held = attacker.descriptors(node.pid), []
            for data in (b'GET / HTTP/1.1\r\n\r\n', scheduler.token() + b'\0\0\0\5PING:',
                         b'\x16\x03\x01\xff\xff' + b'\1' * 500, b'\x80' * 300, HELLO + HELLO,
                         HELLO + b'\x15\x03\x03\0\2\2\x28', HELLO + b'\x16\x03\x03\xff\xff',
                         HELLO + os.urandom(500), HELLO[:50] + os.urandom(100)) + tuple(
                             HELLO[:place] + b'\xff' + HELLO[place + 1:]
                             for place in range(0, 117, 3)):
                held.append(connect(node))
                held[-1].sendall(data)
            for data in (os.urandom(300), b'\x16\x03\x03\0\5hello',
                         b'\x17\x03\x03\xff\xff' + b'a' * 2000, b'\x14\x03\x03\0\1\1' * 40,
                         b'\x15\x03\x03\0\2\1\0', b'\x16\x03\x03\0\4\0\0\0\0'):
                held.append(shake(node))
                # past the TLS of this side: no key was used for it
                os.write(held[-1].fileno(), data)
            for data in (DUMMY_TOKEN, DUMMY_TOKEN + b'\xff\xff\xff\xff',
                         scheduler.token() + b'\0\0\xff\xff' + b'JOB:'):
                held.append(shake(node))
                held[-1].sendall(data)
            for sock in held:
                self.assertTrue(attacker.closed_by_peer(sock))
                sock.close()
            assert_serves(self, computation)
            assert_given_back(node, before)
            self.assertNotIn('Traceback', node.log())
            self.assertFalse([
                letter for letter in node.log() if ord(letter) < 32 and letter != '\n'
            ])

    def test_who_speaks_no_tls_gets_nothing_and_the_protocol_is_a_present_one(self):
        with tls_served('--msg_timeout', 3) as (node, scheduler, computation):
            record = computation.make_job(1).record
            plain = connect(node)
            plain.sendall(scheduler.token() + b'\0\0\0\x08JOB:abcd' + NATIVE.dumps(record))
            self.assertTrue(attacker.closed_by_peer(plain))
            plain.close()
            sock = shake(node)
            self.assertIn(sock.version(), ('TLSv1.2', 'TLSv1.3'))
            sock.close()
            assert_serves(self, computation)

    def test_files_and_big_results_by_tls(self):
        with tls_served() as (node, scheduler, computation):
            self.assertEqual(computation.run(attacker.BIG).value, 2 * attacker.BIG)
            path = os.path.abspath(__file__).replace('.pyc', '.py')
            self.assertEqual(computation.send_file(path), os.path.getsize(path))
            job = computation.submit(4)
            wait_until(job.final, WAIT)
            self.assertEqual(len(job.replies), 1)
