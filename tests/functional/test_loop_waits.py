"""Nothing keeps the loop's thread waiting, and slow requests keep no short ones waiting."""
from __future__ import absolute_import, division, print_function

import json
import os
import signal
import socket
import threading
import unittest

from tests.support.computation import frame
from tests.support.nodecase import NATIVE, NodeCase
from tests.support.processes import marked, stat_fields
from tests.support.waiting import clock, wait_until

SHORT = 10  # seconds within which a page comes, far less than what is waited for
SETUP = 'def setup(data):\n    global size\n    size = len(data)\n    return 0\ndef f():\n    return size\n'


class WaitingCase(NodeCase):

    options = ('-c', '2', '--msg_timeout', '60')

    def children_of(self, pid):
        """Return the pids of the living children of a process of the node."""
        return [child for child in marked(self.node.mark) if self.parent_of(child) == pid]

    @staticmethod
    def parent_of(pid):
        """Return the pid of the parent of a process, None if that has ended."""
        fields = stat_fields(pid)
        return int(fields[1]) if fields else None

    def stopped(self, pid):
        """Stop a process; it goes on after the test at the latest."""
        os.kill(pid, signal.SIGSTOP)
        self.addCleanup(self.go_on, pid)
        return pid

    @staticmethod
    def go_on(pid):
        """Let a stopped process go on."""
        try:
            os.kill(pid, signal.SIGCONT)
        except EnvironmentError:
            return                          # it has ended

    def in_thread(self, function, *args):
        """Call a function in a thread; return the list that gets what it returns."""
        results = []
        thread = threading.Thread(target=lambda: results.append(function(*args)))
        thread.daemon = True
        thread.start()
        return results

    def page(self, path='/healthz'):
        """Return the answer to a GET (bytes); it has to come soon."""
        sock = socket.create_connection((self.node.ip_addr, self.node.port), SHORT)
        try:
            sock.sendall(('GET %s HTTP/1.1\r\n\r\n' % path).encode('ascii'))
            data = b''
            while True:
                piece = sock.recv(65536)
                if not piece:
                    return data
                data += piece
        finally:
            sock.close()

    def assert_lives(self):
        """Fail unless a page comes soon."""
        self.assertTrue(self.page().startswith(b'HTTP/1.1 200'))


class LoopTest(WaitingCase):

    def beginning(self, scheduler):
        """Return (record of a COMPUTE that is being done, its answers to come, the stopped
        nursery)."""
        nursery = self.stopped(self.children_of(self.node.pid)[0])
        record = scheduler.compute_record('def f(): return 7', 'f')
        answers = self.in_thread(scheduler.ask, 'COMPUTE', record)
        wait_until(lambda: self.owner_port() == scheduler.port)
        return record, answers, nursery

    def owner_port(self):
        """Return the port of the scheduler that has the node, None if there is none."""
        status = json.loads(self.page('/status.json').partition(b'\r\n\r\n')[2].decode('utf-8'))
        return (status['scheduler'] or {}).get('port')

    def opened_once(self):
        """Return a scheduler; there is a nursery."""
        scheduler = self.scheduler()
        scheduler.open('def f(): return 1', 'f').close()
        wait_until(lambda: self.children_of(self.node.pid))
        return self.scheduler()

    def test_a_job_that_comes_before_its_computation_is_open(self):
        scheduler = self.opened_once()
        record, answers, nursery = self.beginning(scheduler)
        job = NATIVE.job(dict(uid=7, hash='abc', compute_id=record.id, xfer_files=[], code=''),
                         NATIVE.arguments(()), NATIVE.arguments({}))
        job_answers = self.in_thread(scheduler.call, 'JOB', job)
        for _ in range(3):
            self.assert_lives()
        self.go_on(nursery)
        wait_until(lambda: answers and job_answers)
        self.assertEqual(job_answers, [b'ACK'])
        self.close(scheduler, record)

    def test_results_are_asked_for_before_the_computation_is_open(self):
        scheduler = self.opened_once()
        record, answers, nursery = self.beginning(scheduler)
        counts = self.in_thread(scheduler.ask, 'RESEND_JOB_RESULTS',
                                dict(compute_id=record.id, auth=record.auth))
        for _ in range(3):
            self.assert_lives()
        self.go_on(nursery)
        wait_until(lambda: answers and counts)
        self.assertEqual(counts, [0])
        self.close(scheduler, record)

    @staticmethod
    def close(scheduler, record):
        """Close a computation opened without the FakeScheduler's help."""
        request = dict(compute_id=record.id, auth=record.auth, terminate_pending=True, close=True,
                       node_ip_addr=scheduler.node_ip_addr)
        scheduler.call('CLOSE', request)

    def test_a_big_argument_for_a_supervisor_that_does_not_read(self):
        scheduler = self.scheduler()
        computation = scheduler.open(SETUP, 'f', setup='setup', send_setup=False)
        nursery = wait_until(lambda: self.children_of(self.node.pid))[0]
        supervisor = self.stopped(wait_until(lambda: self.children_of(nursery))[0])
        answers = self.in_thread(computation.setup, b'x' * 3000000)
        deadline = clock() + 1.5
        while clock() < deadline:           # it comes meanwhile, and has to wait
            self.assert_lives()
        self.assertEqual(answers, [])
        self.go_on(supervisor)
        wait_until(lambda: answers, 20)
        self.assertEqual(computation.run().value, 3000000)


class SlowRequestsTest(WaitingCase):

    def test_slow_files_keep_nobody_waiting(self):
        scheduler = self.scheduler()
        computation = scheduler.open('def f(): return 1', 'f')
        socks = []
        try:
            status = os.stat(self.file('f', b'x' * 5000))
            for number in range(80):
                record = NATIVE.file('file-%d' % number, '', computation.id, status)
                sock = socket.create_connection((self.node.ip_addr, self.node.port), 10)
                socks.append(sock)
                sock.sendall(scheduler.token() + frame(b'FILEXFER:' + NATIVE.dumps(record)))
            # the node asks for the content, which does not come
            self.assertEqual(socks[0].recv(1)[:1], b'\0')
            self.assert_lives()
            self.assertEqual(computation.jobs(), [])
            self.assertEqual(computation.run().value, 1)
            self.assertEqual(computation.close(), b'ACK')
        finally:
            for sock in socks:
                sock.close()


if __name__ == '__main__':
    unittest.main()
