"""Frames, tokens and the helpers that read them."""
from __future__ import absolute_import, division, print_function

import hashlib
import socket
import unittest

from dispynode_lib.errors import PeerGone, ProtocolError
from dispynode_lib.wire import framing


class FakeSocket(object):
    """Gives its bytes in pieces of at most `step`; then end of file or an error."""

    def __init__(self, data, step=3, error=None):
        self.data, self.step, self.error = data, step, error
        self.timeouts = []
        self.asked = []

    def settimeout(self, timeout):
        self.timeouts.append(timeout)

    def recv(self, size):
        self.asked.append(size)
        if not self.data and self.error:
            raise self.error
        piece = self.data[:min(size, self.step)]
        self.data = self.data[len(piece):]
        return piece


class TokenTest(unittest.TestCase):

    def test_token_is_the_digest_of_secret_and_sign(self):
        expected = hashlib.sha1(u'secr\u00e9tabc'.encode('utf-8')).hexdigest().encode('ascii')
        self.assertEqual(framing.token(u'secr\u00e9t', u'abc'), expected)
        self.assertEqual(type(framing.token(u'', u'')), bytes)
        self.assertEqual(len(framing.token(u'', u'')), framing.TOKEN_SIZE)

    def test_same_token(self):
        token = framing.token(u'a', u'b')
        self.assertTrue(framing.same_token(bytearray(token), token))
        self.assertFalse(framing.same_token(framing.DUMMY_TOKEN, token))
        self.assertFalse(framing.same_token(token[:-1], token))


class SplitTest(unittest.TestCase):

    def test_opcode_and_argument(self):
        self.assertEqual(framing.split(b'NODE_STATUS:'), ('NODE_STATUS', b''))
        self.assertEqual(framing.split(b'PING:a:b'), ('PING', b'a:b'))
        opcode, argument = framing.split(bytearray(b'PING:x'))
        self.assertEqual((type(opcode), type(argument)), (str, bytes))

    def test_what_is_no_request(self):
        for payload in (b'', b':', b'PING', b'ping:', b'PI NG:', b'\x80\x02}.', b'A' * 40 + b':',
                        b'JOB\xe9:'):
            with self.assertRaises(ProtocolError):
                framing.split(payload)

    def test_only_a_big_job_is_not_copied(self):
        big = b'JOB:' + b'x' * framing.VIEW_SIZE
        for payload in (big, bytearray(big)):
            opcode, argument = framing.split(payload)
            self.assertEqual(opcode, 'JOB')
            self.assertNotEqual(type(argument), bytes)
            self.assertEqual(len(argument), framing.VIEW_SIZE)
            self.assertEqual(bytes(argument[:3]), b'xxx')
        self.assertEqual(type(framing.split(b'SETUP:' + big)[1]), bytes)
        self.assertEqual(type(framing.split(bytearray(b'JOB:x'))[1]), bytes)


class ReadTest(unittest.TestCase):

    def test_frame(self):
        self.assertEqual(framing.frame(b'ACK'), b'\0\0\0\x03ACK')
        self.assertEqual(framing.frame(b''), b'\0\0\0\0')

    def test_read_frame_in_pieces(self):
        for step in (1, 3, 100):
            sock = FakeSocket(framing.frame(b'hello world') + b'rest', step)
            self.assertEqual(framing.read_frame(sock, 20), b'hello world')
            self.assertEqual(sock.data, b'rest')

    def test_empty_frame(self):
        self.assertEqual(framing.read_frame(FakeSocket(b'\0\0\0\0'), 20), b'')

    def test_a_frame_over_the_limit_is_refused_before_it_is_read(self):
        sock = FakeSocket(b'\xff\xff\xff\xff', 100)
        with self.assertRaises(ProtocolError) as caught:
            framing.read_frame(sock, 4096)
        self.assertIn('4294967295', str(caught.exception))
        self.assertEqual(sock.asked, [4])

    def test_a_big_frame_is_asked_for_in_chunks(self):
        payload = b'ab' * framing.CHUNK_SIZE
        sock = FakeSocket(framing.frame(payload), 1 << 17)
        read = framing.read_frame(sock, 1 << 30)
        self.assertTrue(read == payload)
        self.assertEqual(max(sock.asked), framing.CHUNK_SIZE)

    def test_end_of_file_in_the_middle(self):
        for data in (b'', b'\0\0', b'\0\0\0\x05abc', framing.LENGTH.pack(10 ** 7) + b'x'):
            with self.assertRaises(PeerGone):
                framing.read_frame(FakeSocket(data), 10 ** 8)

    def test_failures_of_the_socket(self):
        for error in (socket.timeout('timed out'), EnvironmentError(104, 'reset')):
            with self.assertRaises(PeerGone):
                framing.read_frame(FakeSocket(b'\0\0', error=error), 100)

    def test_deadline(self):
        with self.assertRaises(PeerGone):
            framing.read_exact(FakeSocket(b'abcd'), 4, framing.monotonic() - 1)
        sock = FakeSocket(b'abcd', 2)
        self.assertEqual(framing.read_exact(sock, 4, framing.monotonic() + 1000), b'abcd')
        self.assertEqual(len(sock.timeouts), 2)
        self.assertTrue(all(900 < timeout <= 1000 for timeout in sock.timeouts), sock.timeouts)

    def test_without_a_deadline_the_timeout_of_the_socket_stays(self):
        sock = FakeSocket(b'abcd')
        framing.read_exact(sock, 4)
        self.assertEqual(sock.timeouts, [])


if __name__ == '__main__':
    unittest.main()
