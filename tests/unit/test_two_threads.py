"""What two threads of the node share: the one's doing harms the other in no order."""
from __future__ import absolute_import, division, print_function

import os
import sys
import tempfile
import threading
import unittest

from dispynode_lib.host.compat import read_at
from dispynode_lib.host.network.net import Network
from dispynode_lib.host.network.datagrams import Arrival
from dispynode_lib.log import output
from dispynode_lib.node.access import guard
from dispynode_lib.node.files import bigfiles
from dispynode_lib.node.requests import listeners

TIMES = 2000
PIECE = 5000


class TwoThreads(unittest.TestCase):

    def setUp(self):
        if hasattr(sys, 'setswitchinterval'):
            self.addCleanup(sys.setswitchinterval, sys.getswitchinterval())
            sys.setswitchinterval(1e-6)
        else:
            self.addCleanup(sys.setcheckinterval, sys.getcheckinterval())
            sys.setcheckinterval(1)

    def at_once(self, *functions):
        """Call functions in a thread each; fail with what they raise."""
        raised = []

        def call(function):
            try:
                function()
            except BaseException as error:
                raised.append(repr(error))
        threads = [threading.Thread(target=call, args=(function,)) for function in functions]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(raised, [])

    def test_who_may_connect_is_known_to_two_listeners(self):
        is_allowed = guard.filter_of([Network(u'10.0.0.0/9')])

        def ask(first):
            for number in range(20000):
                address = u'10.%d.%d.%d' % (first, number >> 8 & 255, number & 255)
                self.assertEqual(is_allowed(address), first < 128)
        self.at_once(lambda: ask(1), lambda: ask(200), lambda: ask(2))

    def test_a_result_is_sent_by_one_thread_and_kept_by_another(self):
        content = b''.join([bytes(bytearray([number % 251])) * PIECE for number in range(100)])
        with tempfile.TemporaryFile() as file_:
            file_.write(content)
            file_.flush()
            result = bigfiles.Result(os.dup(file_.fileno()), len(content))

        def send():
            for number in range(TIMES):
                begin = number % 90 * PIECE
                self.assertTrue(read_at(result._fd, PIECE, begin) == content[begin:begin + PIECE])

        def keep():
            for _ in range(TIMES // 10):
                self.assertTrue(result.read() == content)
        self.at_once(send, keep, keep)

    def test_the_last_spare_buffer_goes_to_one_of_two_threads(self):
        class Snatched(list):
            """Had one when it was asked."""

            def __len__(self):
                return 1

            def pop(self, *_index):
                raise IndexError('pop from empty list')
        self.addCleanup(setattr, bigfiles, '_buffers', bigfiles._buffers)
        bigfiles._buffers = Snatched()
        self.assertEqual(len(bigfiles._take_buffer()), bigfiles.BUFFER)


class DatagramThread(unittest.TestCase):

    def test_a_fault_in_who_may_connect_does_not_end_it(self):
        told = []
        self.addCleanup(setattr, output, 'handler', output.handler)
        output.handler = told.append
        self.addCleanup(setattr, listeners.datagrams, 'receive', listeners.datagrams.receive)
        listeners.datagrams.receive = lambda _sock: (b'PING:', Arrival(u'10.0.0.1'))
        listener = listeners.DatagramListener([], None, None, {}.__getitem__)
        listener._receive(None)
        self.assertIn('handling a datagram from 10.0.0.1', told[0].message)
