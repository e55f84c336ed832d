"""Provisional results and files that a job sends to its client."""
from __future__ import absolute_import, division, print_function

import os
import pickle
import socket
import threading
import unittest

from dispynode_lib.wire import framing, messages, replies
from dispynode_lib.wire.peers import Peer
from tests.functional.test_supervisor import SupervisorCase

LIMIT = 1 << 20


class FakeClient(object):
    """Takes one connection at a time and records what came."""

    def __init__(self, answer=b'ACK', refuse=False):
        self.replies = []
        self.files = []
        self.contents = []
        self._answer = answer
        self._refuse = refuse
        self._listener = socket.socket()
        self._listener.bind(('127.0.0.1', 0))
        self._listener.listen(5)
        self.port = b'%d' % self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.daemon = True
        self._thread.start()

    def close(self):
        socket.create_connection(self._listener.getsockname()).close()      # wakes it up
        self._thread.join(10)
        self._listener.close()

    def _serve(self):
        while True:
            sock = self._listener.accept()[0]
            sock.settimeout(10)
            try:
                opcode, argument = framing.split(framing.read_frame(sock, LIMIT))
                self._take(sock, opcode, argument)
            except framing.PeerGone:
                return
            finally:
                sock.close()

    def _take(self, sock, opcode, argument):
        if opcode == 'JOB_REPLY':
            self.replies.append(messages.read_job_reply(argument))
            sock.sendall(framing.frame(self._answer))
            return
        self.files.append(messages.read_file(argument))
        self.replies.append(messages.read_job_reply(framing.read_frame(sock, LIMIT)))
        content = b''
        self._tell(sock, -1 if self._refuse else 0)
        size = self.files[-1].size
        while not self._refuse and len(content) < size:
            content += bytes(framing.read_exact(sock, min(1024000, size - len(content))))
            self._tell(sock, len(content))
        self.contents.append(content)

    def _tell(self, sock, number):
        sock.sendall(framing.frame(replies.value(Peer(None, False, 3), number)))


class SendingTest(SupervisorCase):

    def client(self, **settings):
        client = FakeClient(**settings)
        self.addCleanup(client.close)
        return client

    def test_a_provisional_result_reaches_the_client(self):
        client = self.client()
        node = self.node(u'''
def compute(n):
    return [dispy_provisional_result({'part': n}), dispy_provisional_result(n, timeout=5, relay=True)]
''', job_result_port=client.port)
        self.assertEqual(node.run(4).result, [0, 0])
        first = client.replies[0]
        self.assertEqual((first.uid, first.hash, first.ip_addr, first.status),
                         (77, u'abcdef', u'127.0.0.1', 7))
        self.assertEqual(pickle.loads(bytes(first.result)), {'part': 4})

    def test_a_refused_or_undeliverable_one_gives_minus_one(self):
        for client in (self.client(answer=b'NAK'), None):
            node = self.node(u'def compute(): return dispy_provisional_result(1, 5)',
                             job_result_port=client.port if client else b'1')
            child = node.start()
            self.assertIn(b'a provisional result was not delivered', child.take(b'log')[2])
            self.assertEqual(pickle.loads(child.take(b'done')[1]), -1)

    def test_shared_clients_are_told_directly_unless_by_relay(self):
        scheduler, client = self.client(), self.client()
        node = self.node(u'''
def compute(relay):
    return dispy_provisional_result(relay, relay=relay)
''', job_result_port=scheduler.port, client_ip_addr=b'127.0.0.1', client_port=client.port)
        self.assertEqual([node.run(False).result, node.run(True).result], [0, 0])
        self.assertEqual([len(client.replies), len(scheduler.replies)], [1, 1])

    def test_files_of_any_size_reach_the_client(self):
        client = self.client()
        node = self.node(u'''
import os
def compute():
    found = []
    os.mkdir('below')
    for name, size in (('empty', 0), ('below/small', 10), ('big', 2500000)):
        with open(name, 'wb') as stream:
            stream.write(b'z' * size)
        found.append(dispy_send_file(name))
    found.append(dispy_send_file('/etc/passwd'))
    found.append(dispy_send_file('nothing of that name'))
    return found
''', job_result_port=client.port)
        self.assertEqual(node.run().result, [0, 0, 0, 0, -1])
        self.assertEqual([len(content) for content in client.contents[:3]], [0, 10, 2500000])
        self.assertEqual([info.dest_path for info in client.files], [u'.', u'below', u'.', u'.'])
        self.assertEqual(client.files[1].name, os.path.join(node.folder, 'below', 'small'))
        self.assertIsNone(client.files[0].compute_id)
        self.assertEqual(client.replies[0].uid, 77)

    def test_a_refused_file_gives_minus_one(self):
        client = self.client(refuse=True)
        node = self.node(u'def compute(name): return dispy_send_file(name)',
                         job_result_port=client.port)
        self.assertEqual(node.run(node.write('data', 'text')).result, -1)

    def test_python2_clients_get_messages_they_can_read(self):
        client = self.client()
        node = self.node(u'def compute(): return dispy_provisional_result(1)', python2=b'1',
                         protocol=b'2', job_result_port=client.port)
        self.assertEqual(node.run().result, 0)
        self.assertTrue(client.replies[0].python2)

    def test_setup_cannot_send(self):
        node = self.node(u'def setup(): return 1 + dispy_send_file("setup")', set_up=False,
                         setup='setup')
        self.assertEqual(node.setup(b'\x80\x02}.', b'setup'), (b'0', None))
        self.assertIn(b'belong to no job', node.control.take(b'log')[2])


if __name__ == '__main__':
    unittest.main()
