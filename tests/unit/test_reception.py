"""Which connections are accepted, held, handled and closed: histories with real sockets."""
from __future__ import absolute_import, division, print_function

import errno
import os
import socket
import struct
import threading
import unittest

from dispynode_lib.log import CRITICAL, output
from dispynode_lib.node.access.penalties import FREE, Penalties
from dispynode_lib.node.requests import reception as receptions
from dispynode_lib.node.requests.listeners import ACCEPT_AGAIN, Listener
from dispynode_lib.node.requests.reception import READERS, REQUESTS, Held, Reception
from dispynode_lib.node.shared.complaints import Complaints
from dispynode_lib.options.parser import Options
from dispynode_lib.wire.framing import PRE_AUTH_LIMIT, frame
from tests.support.fakes import FakeLoop, FakeWorkers, Recorder, make_common
from tests.support.waiting import wait_until

TOKEN, EARLIER, WRONG = b'a' * 40, b'e' * 40, b'w' * 40
NEAR, FAR, OTHER = u'127.0.0.1', u'192.0.2.7', u'192.0.2.8'
TIMEOUT = 5


class ReceptionCase(unittest.TestCase):

    def setUp(self):
        self.addCleanup(setattr, output, 'level', output.level)
        output.level = CRITICAL + 1
        self.loop, self.pools, self.handled, self.at_once = FakeLoop(), [], [], []
        self.complaints, self.options = Complaints(), Options()
        self.options.msg_timeout = TIMEOUT
        self.allowed = {}                   # address -> False
        self.can_be_done_at_once, self.earlier = True, []
        self.penalties = Penalties(clock=self.loop.clock)
        common = make_common(loop=self.loop)._replace(
            options=self.options,
            identity=Recorder(is_present=TOKEN.__eq__, is_earlier=EARLIER.__eq__))
        self.reception = Reception(
            common, self.complaints, self.penalties,
            is_allowed=lambda address: self.allowed.get(address, True),
            on_earlier=self.earlier.append, handle=self.handle, handle_at_once=self.handle_at_once,
            serve_http=lambda connection: connection.sock.send(b'page'),
            big_folder=None, new_workers=self.new_workers)
        self.addCleanup(self.close_held)
        self.door = socket.socket()
        self.addCleanup(self.door.close)
        self.door.bind((NEAR, 0))
        self.door.listen(100)

    def close_held(self):
        self.work()
        for connection in list(self.reception._held._connections.values()):
            connection.sock.close()

    def new_workers(self, limit, loop):
        self.pools.append(FakeWorkers(limit, loop))
        return self.pools[-1]

    def handle(self, request):
        self.handled.append((request.opcode, bytes(request.argument), request.authorised))
        request.reply(b'done')

    def handle_at_once(self, request):
        if self.can_be_done_at_once:
            self.at_once.append(bytes(request.argument))
        return self.can_be_done_at_once

    def connect(self):
        """Return a client's socket."""
        client = socket.create_connection(self.door.getsockname(), TIMEOUT)
        self.addCleanup(client.close)
        return client

    def arrive(self, data=b'', address=FAR):
        """Have a connection taken that seems to come from `address`; return the client's socket.

        data    is there before
        """
        client = self.connect()
        client.sendall(data)
        accepted = self.door.accept()[0]
        if data:
            accepted.settimeout(TIMEOUT)
            accepted.recv(1, socket.MSG_PEEK)
        self.reception.take(accepted, (address, 4711))
        return client

    def send(self, client, data):
        """Send more, and let it arrive."""
        client.sendall(data)
        wait_until(self.loop.turn, TIMEOUT)

    def work(self):
        """Let all workers work."""
        while any([pool.work() for pool in self.pools]):
            pass

    def queued(self):
        """Return {threads at most: tasks} of the workers that have any."""
        return dict((pool.limit, len(pool.tasks)) for pool in self.pools if pool.tasks)

    def assert_closed(self, client, reset=False):
        """The node has closed the connection: by an end, or a reset."""
        client.settimeout(TIMEOUT)
        try:
            data, was_reset = client.recv(100), False
        except EnvironmentError as error:
            self.assertEqual(error.errno, errno.ECONNRESET)
            data, was_reset = b'', True
        self.assertEqual((data, was_reset), (b'', reset))

    def assert_nothing_left(self):
        """No descriptor is watched, no timer runs, no connection is held."""
        self.assertEqual((self.loop.watched, len(self.reception._held)), ({}, 0))
        self.assertEqual([timer for timer in self.loop.timers if timer.function], [])

    def assert_open(self, client):
        """Nothing has come from the node, and it has not closed."""
        client.setblocking(False)
        with self.assertRaises(EnvironmentError) as caught:
            client.recv(1)
        self.assertIn(caught.exception.errno, (errno.EAGAIN, errno.EWOULDBLOCK))
        client.settimeout(TIMEOUT)


class HalfFrames(ReceptionCase):

    def test_a_request_that_is_there_at_once_is_handled_by_a_worker_and_never_held(self):
        client = self.arrive(TOKEN + frame(b'PING:x'))
        self.assertEqual((self.handled, self.queued()), ([], {REQUESTS: 1}))
        self.work()
        self.assertEqual(self.handled, [('PING', b'x', True)])
        self.assertEqual(client.recv(100), frame(b'done'))
        self.assert_closed(client)
        self.assert_nothing_left()

    def test_half_a_frame_is_held_without_a_thread_until_the_rest_comes(self):
        whole = TOKEN + frame(b'PING:x')
        client = self.arrive()
        ends = [0, 1, 39, 40, 43, 44, len(whole) - 1]
        for begin, end in zip(ends, ends[1:]):
            self.send(client, whole[begin:end])
            self.assertEqual((self.queued(), len(self.reception._held)), ({}, 1), end)
        self.send(client, whole[end:])
        self.work()
        self.assertEqual(self.handled, [('PING', b'x', True)])
        self.assert_nothing_left()

    def test_the_head_of_a_big_request_is_enough_for_a_reader(self):
        client = self.arrive(TOKEN + struct.pack('>L', PRE_AUTH_LIMIT + 100) + b'FILEXFER:')
        self.send(client, b'x' * PRE_AUTH_LIMIT)
        wait_until(lambda: self.loop.turn() or self.queued(), TIMEOUT)
        self.assertEqual(self.queued(), {READERS: 1})
        client.sendall(b'x' * (100 - len(b'FILEXFER:')))
        self.work()
        self.assertEqual([(opcode, len(argument)) for opcode, argument, _ in self.handled],
                         [('FILEXFER', PRE_AUTH_LIMIT + 91)])
        self.assert_nothing_left()

    def test_a_client_that_goes_in_the_middle_is_forgotten(self):
        client = self.arrive(TOKEN + frame(b'PING:x')[:-1])
        client.close()
        wait_until(self.loop.turn, TIMEOUT)
        self.assertEqual((self.handled, self.complaints.counts()), ([], {'broken connection': 1}))
        self.assert_nothing_left()

    def test_one_that_says_nothing_and_goes_is_no_complaint(self):
        self.arrive().close()
        wait_until(self.loop.turn, TIMEOUT)
        self.assertEqual(self.complaints.counts(), {})
        self.assert_nothing_left()

    def test_a_page_begins_when_its_request_ends(self):
        client = self.arrive(b'GET / HTTP/1.1\r\n')
        self.assertEqual(self.queued(), {})
        self.send(client, b'\r\n')
        self.work()
        self.assertEqual((client.recv(100), self.handled), (b'page', []))
        self.assert_closed(client)

    def test_two_that_come_by_halves_do_not_mix(self):
        one = self.arrive(TOKEN + frame(b'PING:1')[:-1])
        other = self.arrive(TOKEN + frame(b'PULSE:2')[:-1], OTHER)
        self.send(other, b'2')
        self.send(one, b'1')
        self.work()
        self.assertEqual(self.handled, [('PULSE', b'2', True), ('PING', b'1', True)])


class Tokens(ReceptionCase):

    def test_a_small_request_with_a_wrong_token_is_handled_as_such(self):
        """What may be answered to it is for its handler to say."""
        self.arrive(WRONG + frame(b'PING:x'))
        self.work()
        self.assertEqual(self.handled, [('PING', b'x', False)])

    def test_a_big_one_is_closed_before_anything_of_it_is_read(self):
        client = self.arrive(WRONG + struct.pack('>L', PRE_AUTH_LIMIT + 1))
        self.assert_closed(client)
        self.assertEqual(self.complaints.counts(), {'not let in': 1})
        self.assert_nothing_left()

    def test_one_of_an_earlier_run_is_reset_so_that_it_asks_again(self):
        client = self.arrive(EARLIER + struct.pack('>L', PRE_AUTH_LIMIT + 1))
        self.assert_closed(client, reset=True)
        self.assertEqual(self.complaints.counts(), {'token of an earlier run': 1})
        self.assertEqual(self.earlier, [FAR])           # and is told of this run

    def test_a_length_of_four_gigabytes_takes_no_memory(self):
        client = self.arrive(WRONG + b'\xff' * 4)
        self.assert_closed(client)
        self.assertEqual(self.queued(), {})

    def test_who_sends_wrong_ones_again_and_again_is_shut_out_for_a_while(self):
        for _ in range(FREE + 1):
            self.arrive(WRONG + b'\xff' * 4)
        self.assertFalse(self.reception.is_welcome(FAR))
        self.assertTrue(self.reception.is_welcome(OTHER))
        self.loop.pass_time(3600)
        self.assertTrue(self.reception.is_welcome(FAR))

    def test_what_was_open_when_its_peer_was_shut_out_is_not_handled(self):
        client = self.arrive(TOKEN)
        for _ in range(FREE + 1):
            self.arrive(WRONG + b'\xff' * 4)
        self.send(client, frame(b'PING:x'))
        self.assertEqual(self.queued(), {})
        self.assert_closed(client)

    def test_this_host_is_never_shut_out(self):
        for _ in range(FREE + 5):
            self.arrive(WRONG + b'\xff' * 4, NEAR)
        self.assertTrue(self.reception.is_welcome(NEAR))


class JobsAtOnce(ReceptionCase):

    def test_a_job_goes_no_way_through_a_thread(self):
        client = self.arrive(TOKEN + frame(b'JOB:x'))
        self.assertEqual((self.at_once, self.queued()), ([b'x'], {}))
        self.assert_closed(client)

    def test_one_that_would_have_to_wait_goes_to_its_own_workers(self):
        self.can_be_done_at_once = False
        self.arrive(TOKEN + frame(b'JOB:x'))
        self.assertEqual(self.queued(), {receptions.JOBS: 1})
        self.work()
        self.assertEqual(self.handled, [('JOB', b'x', True)])

    def test_one_with_a_wrong_token_does_not_go_at_once(self):
        self.arrive(WRONG + frame(b'JOB:x'))
        self.work()
        self.assertEqual((self.at_once, self.handled), ([], [('JOB', b'x', False)]))

    def test_slow_requests_keep_none_of_the_workers_for_short_ones(self):
        self.can_be_done_at_once = False
        for opcode in (b'FILEXFER:', b'RETRIEVE_JOB:', b'JOB:', b'PING:'):
            self.arrive(TOKEN + frame(opcode))
        self.assertEqual([len(pool.tasks) for pool in self.pools], [1, 0, 0, 2, 1])


class Limits(ReceptionCase):

    def setUp(self):
        super(Limits, self).setUp()
        self.reception._held = Held(3)

    def test_a_request_that_does_not_come_in_time_is_closed(self):
        client = self.arrive(TOKEN)
        self.loop.pass_time(TIMEOUT - 0.1)
        self.assert_open(client)
        self.send(client, b'\0')            # a little now and then does not help
        self.loop.pass_time(0.2)
        self.assert_closed(client)
        self.assertEqual(self.complaints.counts(), {'too slow': 1})
        self.assert_nothing_left()

    def test_with_too_many_the_oldest_of_the_peer_with_most_has_to_go(self):
        first, second = self.arrive(TOKEN), self.arrive(TOKEN)
        other = self.arrive(TOKEN, OTHER)
        newest = self.arrive(TOKEN, OTHER)
        self.assert_closed(first)
        for client in (second, other, newest):
            self.assert_open(client)
        self.assertEqual(len(self.reception._held), 3)
        self.assertEqual(self.complaints.counts(), {'too many connections': 1})
        self.send(newest, frame(b'PING:x'))
        self.work()
        self.assertEqual(newest.recv(100), frame(b'done'))

    def test_one_address_alone_drops_but_its_own(self):
        clients = [self.arrive(TOKEN) for _ in range(5)]
        self.assert_closed(clients[0])
        self.assert_closed(clients[1])
        for client in clients[2:]:
            self.assert_open(client)


    def test_a_request_that_no_thread_can_take_is_closed_and_told_in_one_line(self):
        def none(*_task):
            raise threading.ThreadError("can't start new thread")

        for pool in self.pools:
            pool.run = none
        for data in (TOKEN + frame(b'PING:x'), b'GET / HTTP/1.0\r\n\r\n'):
            self.assert_closed(self.arrive(data))
        held = self.arrive(TOKEN)
        self.send(held, frame(b'PING:x'))
        self.assert_closed(held)
        self.assertEqual(self.complaints.counts(), {'cannot start threads': 3})
        self.assert_nothing_left()


class Accepting(ReceptionCase):

    def setUp(self):
        super(Accepting, self).setUp()
        door = socket.fromfd(self.door.fileno(), socket.AF_INET, socket.SOCK_STREAM)
        self.listener = Listener(door, self.reception, self.loop)
        self.addCleanup(self.listener.server_close)
        self.listener.start()
        self.loop.turn()

    def test_it_is_a_server_of_the_standard_library_and_makes_no_thread(self):
        client = self.connect()
        client.sendall(TOKEN + frame(b'PING:x'))
        wait_until(lambda: self.loop.turn() and self.queued(), TIMEOUT)
        self.work()
        self.assertEqual((self.handled, client.recv(100)), ([('PING', b'x', True)], frame(b'done')))

    def test_one_connection_is_accepted_a_turn(self):
        clients = [self.connect() for _ in range(3)]
        for number in (1, 2, 3):
            self.loop.turn()
            self.assertEqual(len(self.reception._held), number)
        self.assertFalse(self.loop.turn())
        self.assertEqual(len(clients), 3)

    def test_who_is_not_allowed_is_closed_before_anything_is_read(self):
        self.allowed[NEAR] = False
        client = self.connect()
        self.loop.turn()
        self.assert_closed(client)
        self.assertEqual(self.complaints.counts(), {'not allowed': 1})
        self.assertEqual(list(self.loop.watched), [self.listener.fileno()])

    def test_a_fault_in_the_reception_closes_one_connection_and_the_listener_goes_on(self):
        told = []
        self.addCleanup(setattr, output, 'handler', output.handler)
        output.level, output.handler = 0, told.append
        take, self.reception.take = self.reception.take, None
        client = self.connect()
        self.loop.turn()
        self.assert_closed(client)
        self.assertEqual([record.message.splitlines()[0] for record in told],
                         ['a connection from 127.0.0.1'])
        self.reception.take = take
        client = self.connect()
        self.loop.turn()
        self.assertEqual(len(self.reception._held), 1)

    def fail_to_accept(self, number):
        """Have the next attempts to accept fail with an errno, by a double of the socket."""
        class Door(object):
            fileno, close = self.listener.socket.fileno, self.listener.socket.close

            @staticmethod
            def accept():
                raise socket.error(number, os.strerror(number))

            _accept = accept                # what that of Python 3 calls
        self.real, self.listener.socket = self.listener.socket, Door()

    def test_without_descriptors_one_held_connection_goes_and_accepting_pauses(self):
        held = self.arrive(TOKEN)
        self.connect()
        self.fail_to_accept(errno.EMFILE)
        self.loop.turn()
        self.assert_closed(held)
        self.assertEqual(self.complaints.counts(),
                         {'cannot accept connections': 1, 'too many connections': 1})
        self.assertEqual(self.loop.watched, {})
        self.listener.socket = self.real
        self.loop.pass_time(ACCEPT_AGAIN)
        self.loop.turn()
        self.assertEqual(len(self.reception._held), 1)

    def test_a_connection_that_has_gone_before_it_was_accepted_is_nothing(self):
        self.connect()
        for number in (errno.ECONNABORTED, errno.EAGAIN):
            self.fail_to_accept(number)
            self.loop.turn()
            self.listener.socket = self.real
            self.assertEqual(list(self.loop.watched), [self.listener.fileno()])
            self.assertEqual(self.complaints.counts(), {})

    def test_stopped_it_accepts_no_more_and_leaves_nothing(self):
        self.listener.stop()
        self.loop.turn()
        self.loop.turn()
        self.assertEqual(self.loop.watched, {})
        with self.assertRaises(EnvironmentError):
            self.connect()
        with self.assertRaises(EnvironmentError):
            self.listener.socket.getsockname()


if __name__ == '__main__':
    unittest.main()
