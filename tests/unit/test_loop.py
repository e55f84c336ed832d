"""The loop and the workers, in one process."""
from __future__ import absolute_import, division, print_function

import errno
import os
import socket
import threading
import unittest

from dispynode_lib.errors import StartError
from dispynode_lib.host.network import net
from dispynode_lib.host.io import workers as host_workers
from dispynode_lib.host.io.calls import Call
from dispynode_lib.host.compat import monotonic
from dispynode_lib.host.io.loop import WRITE, Loop
from dispynode_lib.host.io.workers import Workers
from dispynode_lib.log import output

DEADLINE = 20.0


class LoopTest(unittest.TestCase):
    def setUp(self):
        self.loop = Loop()
        self.thread = threading.Thread(target=self.loop.run)
        self.thread.daemon = True
        self.thread.start()
        self.addCleanup(self.end)

    def end(self):
        self.loop.stop()
        self.thread.join(DEADLINE)
        self.assertFalse(self.thread.is_alive())

    def in_loop(self, function):
        done, results = threading.Event(), []
        self.loop.call_soon(lambda: (results.append(function()), done.set()))
        self.assertTrue(done.wait(DEADLINE))
        return results[0]

    def test_call_soon_runs_in_order_in_the_loops_thread(self):
        seen, done = [], threading.Event()
        for number in range(100):
            self.loop.call_soon(lambda it=number: seen.append(
                (it, threading.current_thread() is self.thread)))
        self.loop.call_soon(done.set)
        self.assertTrue(done.wait(DEADLINE))
        self.assertEqual(seen, [(number, True) for number in range(100)])

    def test_what_came_in_time_is_read_before_a_timer_that_fell_due_during_callbacks(self):
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        self.addCleanup(os.close, writing)
        seen, done = [], threading.Event()

        def note(what):
            seen.append(what)
            self.loop.unwatch(reading)
            done.set()

        def as_an_accepted_connection():
            self.loop.watch(reading, lambda _events: note('read'))
            os.write(writing, b'request')
            self.loop.call_later(0, note, 'too slow')

        self.loop.call_later(DEADLINE * 10, note, 'a timer that is there already')
        self.loop.call_soon(as_an_accepted_connection)
        self.assertTrue(done.wait(DEADLINE))
        self.assertEqual(seen[0], 'read')

    def test_timers_fire_in_the_order_of_their_times(self):
        seen, done = [], threading.Event()

        def arm():
            now = monotonic()
            self.loop.call_at(now + 0.02, seen.append, 'second')
            self.loop.call_at(now + 0.01, seen.append, 'first')
            self.loop.call_at(now + 0.015, seen.append, 'never').cancel()
            self.loop.call_at(now + 0.03, done.set)
        self.loop.call_soon(arm)
        self.assertTrue(done.wait(DEADLINE))
        self.assertEqual(seen, ['first', 'second'])

    def test_a_descriptor_is_watched_until_unwatched(self):
        read_end, write_end = os.pipe()
        got, done = [], threading.Event()

        def readable(_events):
            got.append(os.read(read_end, 10))
            if got[-1] == b'2':
                self.loop.unwatch(read_end)
                done.set()
        self.in_loop(lambda: self.loop.watch(read_end, readable))
        os.write(write_end, b'1')
        self.wait_for(lambda: got == [b'1'])
        os.write(write_end, b'2')
        self.assertTrue(done.wait(DEADLINE))
        os.write(write_end, b'3')
        self.in_loop(lambda: None)
        self.assertEqual(got, [b'1', b'2'])
        os.close(read_end)
        os.close(write_end)

    def test_a_writable_descriptor_is_told(self):
        read_end, write_end = os.pipe()
        done = threading.Event()

        def writable(_events):
            self.loop.unwatch(write_end)
            done.set()
        self.in_loop(lambda: self.loop.watch(write_end, writable, WRITE))
        self.assertTrue(done.wait(DEADLINE))
        os.close(read_end)
        os.close(write_end)

    def test_a_failing_callback_is_logged_and_the_loop_goes_on(self):
        records, handler = [], output.handler
        output.handler = records.append
        try:
            self.loop.call_soon(lambda: 1 // 0)
            self.assertEqual(self.in_loop(lambda: 5), 5)
        finally:
            output.handler = handler
        self.assertEqual(len(records), 1)
        self.assertIs(records[0].exc_info[0], ZeroDivisionError)

    def test_a_reply_of_this_node_has_the_port_of_the_next_node(self):
        client = net.open_listener(u'127.0.0.1', 0)
        self.addCleanup(client.close)

        def opened():
            call = Call(self.loop, client.getsockname(), [b'reply'], True, DEADLINE,
                        lambda reply, error: None)
            self.in_loop(call.start)
            connection, (address, port) = client.accept()
            try:
                net.open_listener(address, port).close()
            except StartError:
                return False  # the port may also be that of a stranger's connection, which is over
            finally:
                connection.close()
            return True
        self.assertTrue(any(opened() for _attempt in range(20)))

    def give_up(self, payload):
        """Return the client's end of a connection on which the node has sent, and awaited the
        answer in vain."""
        client, ended = socket.socket(), threading.Event()
        self.addCleanup(client.close)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.bind(('127.0.0.1', 0))
        client.listen(1)
        call = Call(self.loop, client.getsockname(), [payload], True, 0.2,
                    lambda reply, error: error and ended.set())
        self.in_loop(call.start)
        connection = client.accept()[0]
        self.addCleanup(connection.close)
        self.assertTrue(ended.wait(DEADLINE))
        return connection

    def test_what_the_system_still_has_of_a_message_given_up_does_not_arrive_later(self):
        connection, taken = self.give_up(b'x' * 20000), 0
        with self.assertRaises(EnvironmentError) as caught:
            while taken < 20000:
                taken += len(connection.recv(20000)) or 20000
        self.assertEqual(caught.exception.errno, errno.ECONNRESET)

    def test_who_has_the_whole_message_meets_no_reset_when_he_answers_too_late(self):
        connection = self.give_up(b'reply')
        connection.sendall(b'\0\0\0\3ACK')
        self.assertEqual(connection.recv(100), b'reply')

    def test_idle_threads_end_but_one(self):
        old, host_workers.IDLE_SECONDS = host_workers.IDLE_SECONDS, 0.05
        self.addCleanup(setattr, host_workers, 'IDLE_SECONDS', old)
        workers, gate, threads = Workers(5, self.loop), threading.Event(), []

        def work():
            threads.append(threading.current_thread())
            gate.wait(DEADLINE)
        for _ in range(2):                  # they come again
            del threads[:]
            gate.clear()
            for _ in range(5):
                workers.run(work)
            self.wait_for(lambda: len(threads) == 5)
            gate.set()
            self.wait_for(lambda: len([each for each in threads if each.is_alive()]) == 1)

    def wait_for(self, check):
        deadline = monotonic() + DEADLINE
        while not check():
            self.assertLess(monotonic(), deadline)
            self.in_loop(lambda: None)


class WorkersTest(unittest.TestCase):
    def test_more_work_than_threads_is_done_one_after_another(self):
        workers, lock = Workers(2), threading.Lock()
        gate, done, running = threading.Event(), [], []

        def work(number):
            with lock:
                running.append(number)
            gate.wait(DEADLINE)
            with lock:
                done.append(number)
        for number in range(6):
            workers.run(work, number)
        self.assertFalse(workers.finish(0.05))
        self.assertLessEqual(len(running), 2)
        gate.set()
        self.assertTrue(workers.finish(DEADLINE))
        self.assertEqual(sorted(done), list(range(6)))

    def test_the_thread_that_became_idle_last_goes_on_first(self):
        workers, gate, idents = Workers(3), threading.Event(), []
        for _ in range(3):
            workers.run(gate.wait, DEADLINE)
        gate.set()
        self.assertTrue(workers.finish(DEADLINE))
        for _ in range(6):
            workers.run(lambda: idents.append(threading.current_thread()))
            self.assertTrue(workers.finish(DEADLINE))
        self.assertEqual((len(idents), len(set(idents))), (6, 1))


if __name__ == '__main__':
    unittest.main()
