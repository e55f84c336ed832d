"""TERMINATE_JOB and CLOSE with running jobs: how jobs are stopped, and that there is exactly one
final reply."""
from __future__ import absolute_import, division, print_function

import os
import unittest

from tests.support.nodecase import FINISHED, TERMINATED, TIMEOUT, NodeCase
from tests.support.processes import lives
from tests.support.waiting import wait_until

CODE = '''
import os, signal, subprocess, sys, time

def f(what, path, *args):
    return globals()[what](path, *args)

def note(path, text):
    with open(path, 'a') as stream:
        stream.write(text + '\\n')

def obey(path):
    """Sleep many times: Python does not see a signal right before one long sleep until that
    ends."""
    note(path, 'running')
    while True:
        time.sleep(0.05)

def tell(path):
    try:
        obey(path)
    except KeyboardInterrupt:
        note(path, 'interrupted')
        raise

def catch(path):
    try:
        obey(path)
    except KeyboardInterrupt:
        return 'caught'

def ignore_int(path):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: note(path, 'SIGTERM') or sys.exit(1))
    obey(path)

def ignore_all(path):
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    obey(path)

def family(path, own_session):
    """A child and a grandchild that ignore everything but SIGKILL."""
    if not os.fork():
        if own_session:
            os.setsid()
        os.fork()
        ignore_int and [signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)]
        note(path, str(os.getpid()))
        time.sleep(1000)
    obey(path)

def program(path):
    note(path, str(subprocess.Popen(['sleep', '1000']).pid))
    obey(path)

def quick(path):
    return 1
'''
STUBBORN = b'''#!/bin/sh
trap '' INT TERM
sleep 1000 &
echo $! >> $1
echo running >> $1
while :; do sleep 1; done
'''


class Termination(NodeCase):

    def setUp(self):
        self.path = os.path.join(self.folder(), 'notes')
        self.computation = self.open(CODE, 'f')

    def tearDown(self):
        """The CPUs are free, and nobody got more than one final reply."""
        scheduler = self.computation.scheduler
        computation = scheduler.open('def f(): return 1', 'f')
        jobs = [computation.submit() for _ in range(3)]
        self.assertEqual([self.finished(job.wait(TIMEOUT)) for job in jobs], [1] * 3)
        for job in scheduler.jobs.values():
            self.assertEqual(len(job.replies), 1, job.replies)

    def notes(self):
        if not os.path.exists(self.path):
            return []
        with open(self.path) as stream:
            return stream.read().split()

    def pids(self):
        return [int(note) for note in self.notes() if note.isdigit()]

    def start(self, what, *args):
        """Start a job and wait until it runs."""
        job = self.computation.submit(what, self.path, *args)
        wait_until(lambda: 'running' in self.notes(), TIMEOUT,
                   lambda: 'the job to run; %r' % self.notes())
        return job

    def assert_stopped(self, job, why=None):
        """The reply is that of a job stopped by request: nothing but its status, and why if its
        client did not ask for it."""
        reply = job.wait(TIMEOUT)
        self.assertEqual((reply.status, reply.stdout, reply.stderr, reply.exception, reply.value),
                         (TERMINATED, None, None, why, None))
        return reply

    def test_a_job_that_obeys_needs_no_sigterm(self):
        job = self.start('tell')
        self.computation.terminate(job)
        self.assert_stopped(job)
        self.assertIn('interrupted', self.notes())

    def test_a_job_that_catches_the_interrupt_and_returns_has_finished(self):
        job = self.start('catch')
        self.computation.terminate(job)
        reply = job.wait(TIMEOUT)
        self.assertEqual((reply.status, reply.value), (FINISHED, 'caught'))

    def test_d20_jobs_that_ignore_the_interrupt_get_sigterm_then_sigkill(self):
        jobs = [self.start('ignore_int')]
        self.path += 'x'
        jobs.append(self.start('ignore_all'))
        for job in jobs:
            self.computation.terminate(job)
        for job in jobs:
            self.assert_stopped(job)
        self.path = self.path[:-1]
        self.assertIn('SIGTERM', self.notes())

    def test_child_and_grandchild_are_gone_after_cancel(self):
        for own_session in (False, True):
            self.path += 'x'
            job = self.start('family', own_session)
            wait_until(lambda: len(self.pids()) == 2, TIMEOUT)
            self.computation.terminate(job)
            self.assert_stopped(job)
            wait_until(lambda: not [pid for pid in self.pids()
                                    if lives(pid)], TIMEOUT, 'all of the family to be gone')

    def test_a_program_started_by_a_job_is_gone_after_cancel(self):
        job = self.start('program')
        self.computation.terminate(job)
        self.assert_stopped(job)
        wait_until(lambda: not [pid for pid in self.pids() if lives(pid)], TIMEOUT)

    def test_a_stubborn_program_is_killed_with_what_it_started(self):
        program = self.computation.scheduler.open_program(self.file('stubborn', STUBBORN, 0o755))
        job = program.submit(self.path)
        wait_until(lambda: 'running' in self.notes(), TIMEOUT)
        for _turn in range(5):  # asking again gives no second reply: see tearDown
            program.terminate(job)
        self.assert_stopped(job)
        wait_until(lambda: not [pid for pid in self.pids() if lives(pid)], TIMEOUT)

    def test_d26_another_hash_terminates_nothing(self):
        job = self.start('obey')
        own, job.record.hash = job.record.hash, 'abcdef0123456789'
        self.computation.terminate(job)
        self.assertEqual(self.computation.jobs(), [job.uid])
        job.record.hash = own
        self.computation.terminate(job)
        self.assert_stopped(job)

    def test_d11_unknown_and_finished_jobs_are_nothing_to_terminate(self):
        job = self.computation.submit('quick', self.path)
        self.assertEqual(self.finished(job.wait()), 1)
        self.assertEqual(self.computation.scheduler.tell('TERMINATE_JOB', job.record), b'')
        job.record.compute_id += 1
        self.assertEqual(self.computation.scheduler.tell('TERMINATE_JOB', job.record), b'')

    def test_terminate_right_after_the_job_was_accepted(self):
        for _turn in range(20):
            job = self.computation.submit('obey', self.path)
            self.computation.terminate(job)
            self.assert_stopped(job)

    def test_close_with_running_jobs_stops_them_and_delivers(self):
        jobs = [self.start('obey'), self.start('obey')]
        self.assertEqual(self.computation.close(), b'ACK')
        for job in jobs:
            self.assert_stopped(job)

    def test_close_without_terminate_pending_lets_jobs_finish(self):
        code = 'import time\ndef f():\n    time.sleep(0.7)\n    return 5'
        computation = self.computation.scheduler.open(code, 'f')
        jobs = [computation.submit() for _ in range(2)]
        computation.close(terminate_pending=False)
        self.assertEqual([self.finished(job.wait(TIMEOUT)) for job in jobs], [5, 5])

    def test_a_stopped_node_stops_jobs_and_tells(self):
        from tests.support.nodeprocess import NodeProcess
        from tests.support.scheduler import FakeScheduler
        with NodeProcess('-c', '1') as node:
            scheduler = FakeScheduler(node, self.computation.scheduler.dialect)
            computation = scheduler.open(CODE, 'f')
            job = computation.submit('family', self.path, True)
            wait_until(lambda: len(self.pids()) == 2, TIMEOUT)
            node.stop(TIMEOUT)
            scheduler.wait_for('TERMINATED', timeout=TIMEOUT)
            self.assert_stopped(job, 'the node was stopped before the job had ended')
            self.assertEqual([pid for pid in self.pids() if lives(pid)], [])
            scheduler.close()

    def test_a_killed_node_leaves_no_job(self):
        from tests.support.nodeprocess import NodeProcess
        from tests.support.scheduler import FakeScheduler
        with NodeProcess('-c', '1', '--orphan_timeout', '0') as node:
            scheduler = FakeScheduler(node, self.computation.scheduler.dialect)
            scheduler.open(CODE, 'f').submit('family', self.path, True)
            wait_until(lambda: len(self.pids()) == 2, TIMEOUT)
            node.kill()
            wait_until(lambda: not [pid for pid in self.pids() if lives(pid)], TIMEOUT)
            node.assert_no_processes(TIMEOUT)
            scheduler.close()


if __name__ == '__main__':
    unittest.main()
