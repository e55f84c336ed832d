"""Faults: what dies, fills up, is cut off or stands still."""
from __future__ import absolute_import, division, print_function

import os
import signal
import time
import unittest

from tests.attack import attacker
from tests.attack.attacker import NATIVE, WAIT, assert_serves, served
from tests.attack.test_clients import all_files, file_record
from tests.support.computation import Computation, Refused
from tests.support.nodeprocess import NodeProcess
from tests.support.scheduler import CLOSE, SILENT, FakeScheduler
from tests.support.waiting import clock, wait_until

SLEEPER = 'import time\ndef job(n=600):\n    time.sleep(n)\n    return n\n'


class KilledNodeTest(unittest.TestCase):

    def test_each_job_of_a_killed_node_gets_one_final_reply(self):
        with NodeProcess('-c', 2, '--orphan_timeout', 0) as node, \
                FakeScheduler(node, NATIVE) as scheduler:
            computation = scheduler.open(SLEEPER, 'job')
            done = computation.submit(0)
            self.assertEqual(done.wait(WAIT).value, 0)
            # the node has heard that it was taken
            wait_until(lambda: computation.resend() == 0, WAIT)
            jobs = [computation.submit(600) for _number in range(2)]
            old = scheduler.token()
            node.wanted_port = node.port
            scheduler.stop_listening()
            node.kill()
            node.start()
            node.wait_log('2 jobs were lost', WAIT)
            self.assertEqual(
                sorted(scheduler.ask('PENDING_JOBS', computation.credentials(), token=old)['done']),
                sorted(job.uid for job in jobs))
            scheduler.listen()
            scheduler.ask('RESEND_JOB_RESULTS', computation.credentials(), token=old)
            for job in jobs:
                reply = job.wait(WAIT)
                self.assertEqual(reply.status, 9)
                self.assertIn('the node was killed', reply.exception)
            node.stop()
            node.start()
            self.assertNotIn('jobs were lost', node.log())
            self.assertEqual([len(job.replies) for job in [done] + jobs], [1, 1, 1])
            wait_until(lambda: len(node.processes()) <= 2, WAIT,
                       lambda: 'an end of %r' % node.processes())
            computation.closed = True

    def test_a_reply_that_was_kept_is_not_told_as_lost(self):
        with NodeProcess('-c', 1) as node, FakeScheduler(node, NATIVE) as scheduler:
            computation = scheduler.open(SLEEPER, 'job')
            scheduler.stop_listening()
            job = computation.submit(0)
            wait_until(lambda: computation.pending_jobs()['done'] == [job.uid], WAIT)
            old, node.wanted_port = scheduler.token(), node.port
            node.kill()
            scheduler.listen()
            node.start()
            scheduler.ask('RESEND_JOB_RESULTS', computation.credentials(), token=old)
            reply = job.wait(WAIT)
            self.assertEqual((reply.status, reply.value), (11, 0))
            self.assertNotIn('jobs were lost', node.log())
            computation.closed = True


class SecondNodeTest(unittest.TestCase):

    def test_a_second_node_leaves_the_first_one_and_its_jobs_alone(self):
        """With the same folder and port; the same port and another folder; the same folder, told to
        clean."""
        with NodeProcess('-c', 1) as node, FakeScheduler(node, NATIVE) as scheduler:
            computation = scheduler.open(
                'import os, time\ndef job(n, gate="."):\n    while not os.path.exists(gate): '
                'time.sleep(0.02)\n    open("file", "w").close()\n    return n * 2\n', 'job')
            gate = os.path.join(node.folder, 'gate')
            job = computation.submit(4, gate)
            before = sorted(all_files(node.folder))
            for settings, options, status in ((dict(folder=node.folder,
                                                    port=node.port), [], 75), (dict(
                                                        folder=node.folder, port=node.port), [
                                                            '--clean'
                                                        ], 75), (dict(port=node.port), [], 69)):
                with NodeProcess('-c', 1, *options, wait=False, **settings) as second:
                    self.assertEqual(second.wait_exit(WAIT), status)
                    self.assertEqual(len(second.log().splitlines()), 1, second.log())
            with NodeProcess('-c', 1, '--clean', folder=node.folder):
                self.assertLessEqual(set(before), set(all_files(node.folder)))
            open(gate, 'w').close()
            self.assertEqual(job.wait(WAIT).value, 8)
            assert_serves(self, computation)
            self.assertEqual(len(job.replies), 1)


class ClientTest(unittest.TestCase):

    def test_clients_that_do_not_take_replies(self):
        """Refusing, closing, silent, saying NAK: the reply is delivered later or kept, and nobody
        else waits."""
        with NodeProcess('-c', 2, '--msg_timeout', 1) as node, FakeScheduler(node,
                                                                             NATIVE) as scheduler:
            computation = scheduler.open(attacker.CODE, 'job')
            jobs = []
            for answer in (CLOSE, SILENT, b'what?'):
                scheduler.answers['JOB_REPLY'] = answer
                jobs.append(computation.submit(1))
                wait_until(
                    lambda: set(computation.pending_jobs()['done']) >= set(job.uid
                                                                           for job in jobs), WAIT)
            scheduler.answers['JOB_REPLY'] = b'NAK'
            refused = computation.submit(3)
            refused.wait(WAIT)
            scheduler.answers['JOB_REPLY'] = b'ACK'
            begun = clock()
            assert_serves(self, computation)
            self.assertLess(clock() - begun, 10)
            computation.resend()
            wait_until(lambda: computation.pending_jobs() == {'done': [], 'pending': 0}, WAIT)
            self.assertEqual(set(job.final().value for job in jobs), set([2]))
            self.assertEqual(computation.jobs(), [])

    def test_a_client_that_dies_at_each_step(self):
        """Each connection of a client breaks in its middle, and the client is gone; then it comes
        again, from another port."""
        with NodeProcess('-c', 1, '--msg_timeout', 1) as node:
            for step in ('PING', 'COMPUTE', 'SETUP', 'FILEXFER', 'JOB', 'JOB_REPLY', 'RETRIEVE_JOB',
                         'CLOSE'):
                scheduler = FakeScheduler(node, NATIVE)
                try:
                    wait_until(lambda: self.pinged(scheduler), WAIT)
                    record = self.die(scheduler, step)
                finally:
                    scheduler.close()
                again = FakeScheduler(node, NATIVE)
                again.node_sign, again.node_ip_addr = scheduler.node_sign, scheduler.node_ip_addr
                again.call(
                    'CLOSE', {
                        'compute_id': record.id, 'auth': record.auth, 'node_ip_addr': node.ip_addr,
                        'terminate_pending': True, 'close': True
                    })
                again.close()
            with FakeScheduler(node, NATIVE) as last:
                wait_until(lambda: self.pinged(last), WAIT)
                assert_serves(self, wait_until(lambda: self.opened(last), WAIT))
                wait_until(lambda: not [path for path in all_files(node.folder)
                                        if path.endswith('.part')], WAIT)
                self.assertNotIn('Traceback', node.log())

    def test_a_client_that_dies_before_compute_is_answered_keeps_the_node(self):
        with NodeProcess('-c', 1, '--msg_timeout', 1) as node:
            with FakeScheduler(node, NATIVE) as scheduler:
                wait_until(lambda: self.pinged(scheduler), WAIT)
                self.die(scheduler, 'COMPUTE')
            with FakeScheduler(node, NATIVE) as last:
                wait_until(lambda: self.pinged(last), WAIT)
                assert_serves(self, wait_until(lambda: self.opened(last), WAIT))

    @staticmethod
    def die(scheduler, step):
        """Go as far as `step` of a computation and break the connection there; return the record of
        COMPUTE."""
        record = scheduler.compute_record(SLEEPER, 'job')
        computation = Computation(scheduler, record)

        def breaks(opcode, value, data=b''):
            with scheduler.connection(opcode, value) as connection:
                connection.sendall(data)
                attacker.reset(connection)
        if step == 'PING':
            return record
        if step == 'COMPUTE':
            breaks('COMPUTE', record)
            return record
        wait_until(lambda: type(scheduler.ask('COMPUTE', record)) is int, WAIT)
        if step == 'SETUP':
            breaks('SETUP', NATIVE.setup(record.id, ()))
            return record
        computation.setup()
        if step == 'FILEXFER':
            breaks('FILEXFER', file_record(computation, 'file', size=100000), b'x' * 5000)
        elif step == 'JOB':
            breaks('JOB', computation.make_job(600).record)
        elif step == 'CLOSE':
            computation.submit(600)
            breaks(
                'CLOSE',
                computation.credentials(node_ip_addr=scheduler.node_ip_addr, terminate_pending=True,
                                        close=True))
        else:
            scheduler.stop_listening()
            job = computation.submit(0)
            if step == 'RETRIEVE_JOB':
                wait_until(lambda: computation.pending_jobs()['done'] == [job.uid], WAIT)
                breaks('RETRIEVE_JOB', computation.credentials(uid=job.uid, hash=job.hash))
        return record

    @staticmethod
    def opened(scheduler):
        """Return a computation; None while the node is busy: it may not have read yet what the dead
        have sent."""
        try:
            return scheduler.open(attacker.CODE, 'job')
        except Refused:
            return None

    @staticmethod
    def pinged(scheduler):
        """Return whether the node answers a PING within a moment."""
        scheduler.node_sign = None
        try:
            return scheduler.ping(timeout=0.5)
        except AssertionError:
            return None


class NodeStandsStillTest(unittest.TestCase):

    def test_stopped_and_continued(self):
        with served() as (node, _scheduler, computation):
            for _turn in range(3):
                for pid in node.processes():
                    os.kill(pid, signal.SIGSTOP)
                time.sleep(0.3)
                for pid in node.processes():
                    os.kill(pid, signal.SIGCONT)
                assert_serves(self, computation)
            self.assertNotIn('Traceback', node.log())
            self.assertNotIn('failed', node.log())

    def test_signals_from_outside_to_supervisors_and_jobs(self):
        with served() as (node, _scheduler, computation):
            for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM,
                           signal.SIGPIPE, signal.SIGTERM, signal.SIGKILL):
                for pid in node.processes():
                    if pid != node.pid:
                        try:
                            os.kill(pid, number)
                        except EnvironmentError:
                            continue
                # the signal may meet the very process that has it
                self.assertIn(computation.run(1).status, (9, 11))
                # nor do those end at once that are to
                wait_until(lambda: [computation.run(n).status for n in range(5)] == [11] * 5, WAIT)
            self.assertIsNone(node.status)

    def test_signals_that_mean_nothing_to_the_node_change_nothing(self):
        meaningless = [
            getattr(signal, name)
            for name in ('SIGALRM', 'SIGVTALRM', 'SIGPROF', 'SIGIO', 'SIGSTKFLT', 'SIGPIPE',
                         'SIGCHLD', 'SIGURG', 'SIGWINCH', 'SIGXFSZ', 'SIGCONT')
            if hasattr(signal, name)
        ] + list(range(signal.SIGRTMIN, signal.SIGRTMAX + 1))
        code = 'import signal, time\ndef job(n=1):\n    time.sleep(0.5)\n    return signal.getsignal(signal.SIGALRM) is signal.SIG_DFL\n'
        with NodeProcess('-c', 2) as node, FakeScheduler(node, NATIVE) as scheduler:
            computation = scheduler.open(code, 'job')
            jobs = [computation.submit() for _number in range(2)]
            for number in meaningless:
                os.kill(node.pid, number)
            # jobs have the usual signals
            self.assertEqual([job.wait(WAIT).value for job in jobs], [True, True])
            before = attacker.cpu_seconds(node.pid)
            time.sleep(1)
            self.assertLess(attacker.cpu_seconds(node.pid) - before, 0.2)
            self.assertEqual([len(job.replies) for job in jobs], [1, 1])

    def test_signals_that_end_a_program_end_the_node_in_order(self):
        for number in (signal.SIGQUIT, signal.SIGXCPU, signal.SIGPWR, signal.SIGTERM):
            with NodeProcess('-c', 1, '--stop_timeout',
                             WAIT) as node, FakeScheduler(node, NATIVE) as scheduler:
                computation = scheduler.open(SLEEPER, 'job')
                job = computation.submit()
                os.kill(node.pid, number)
                self.assertEqual((job.wait(WAIT).status, node.wait_exit()), (9, 0))
                computation.closed = True

    def test_idle_costs_nothing(self):
        with served() as (node, _scheduler, computation):
            assert_serves(self, computation)
            held = [attacker.connect(node) for _number in range(50)]
            before = attacker.cpu_seconds(node.pid)
            time.sleep(2)
            self.assertLess(attacker.cpu_seconds(node.pid) - before, 0.2)
            for sock in held:
                sock.close()
