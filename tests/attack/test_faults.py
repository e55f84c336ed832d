"""Faults: what dies, fills up, is cut off or stands still."""
from __future__ import absolute_import, division, print_function

import os
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

from tests.attack import attacker
from tests.attack.attacker import NATIVE, WAIT, assert_serves, served
from tests.support import processes
from tests.support.nodeprocess import NodeProcess
from tests.support.scheduler import CLOSE, SILENT, FakeScheduler
from tests.support.waiting import clock, wait_until

SLEEPER = 'import time\ndef job(n=600):\n    time.sleep(n)\n    return n\n'


class KilledNodeTest(unittest.TestCase):

    def test_each_job_of_a_killed_node_gets_one_final_reply(self):
        with NodeProcess('-c', 2) as node, FakeScheduler(node, NATIVE) as scheduler:
            computation = scheduler.open(SLEEPER, 'job')
            done = computation.submit(0)
            self.assertEqual(done.wait(WAIT).value, 0)
            jobs = [computation.submit(600) for _number in range(2)]
            old = scheduler.token()
            node.wanted_port = node.port
            scheduler.stop_listening()
            node.kill()
            node.start()
            node.wait_log('2 jobs were lost', WAIT)
            self.assertEqual(sorted(scheduler.ask('PENDING_JOBS', computation.credentials(), token=old)['done']),
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
            wait_until(lambda: len(node.processes()) <= 2, WAIT, lambda: 'an end of %r' % node.processes())
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
            reply = job.wait(WAIT) if job.replies else wait_until(
                lambda: job.final() or scheduler.ask('RESEND_JOB_RESULTS', computation.credentials(), token=old) and None,
                WAIT, interval=0.5)
            self.assertEqual((reply.status, reply.value), (11, 0))
            self.assertNotIn('jobs were lost', node.log())
            computation.closed = True


class ClientTest(unittest.TestCase):

    def test_clients_that_do_not_take_replies(self):
        """Refusing, closing, silent, saying NAK: the reply is delivered later or kept, and nobody else waits."""
        with NodeProcess('-c', 2, '--msg_timeout', 1) as node, FakeScheduler(node, NATIVE) as scheduler:
            computation = scheduler.open(attacker.CODE, 'job')
            jobs = []
            for answer in (CLOSE, SILENT, b'what?'):
                scheduler.answers['JOB_REPLY'] = answer
                jobs.append(computation.submit(1))
                wait_until(lambda: set(computation.pending_jobs()['done']) >= set(job.uid for job in jobs), WAIT)
            scheduler.answers['JOB_REPLY'] = b'NAK'
            refused = computation.submit(3)
            refused.wait(WAIT)
            scheduler.answers['JOB_REPLY'] = b'ACK'
            begun = clock()
            assert_serves(self, computation)
            self.assertLess(clock() - begun, 10)
            computation.resend()
            wait_until(lambda: not computation.pending_jobs()['done'], WAIT)
            self.assertEqual(set(job.final().value for job in jobs), set([2]))
            self.assertEqual(computation.jobs(), [])

    def test_a_client_that_dies_at_each_step(self):
        with NodeProcess('-c', 1, '--msg_timeout', 1) as node:
            for step in ('PING', 'COMPUTE', 'SETUP', 'JOB'):
                scheduler = FakeScheduler(node, NATIVE)
                try:
                    wait_until(lambda: self.pinged(scheduler), WAIT)
                    record = scheduler.compute_record(SLEEPER, 'job')
                    if step != 'PING':
                        with scheduler.connection('COMPUTE', record) as connection:
                            attacker.reset(connection)
                    if step in ('SETUP', 'JOB'):
                        wait_until(lambda: type(scheduler.ask('COMPUTE', record)) is int, WAIT)
                        with scheduler.connection('SETUP', NATIVE.setup(record.id, ())) as connection:
                            attacker.reset(connection)
                finally:
                    scheduler.close()
                # it comes back with another port: the node is let go by CLOSE of its old computation
                again = FakeScheduler(node, NATIVE)
                again.node_sign, again.node_ip_addr = scheduler.node_sign, scheduler.node_ip_addr
                again.call('CLOSE', {'compute_id': record.id, 'auth': record.auth, 'node_ip_addr': node.ip_addr,
                                     'terminate_pending': True, 'close': True})
                again.close()
            with FakeScheduler(node, NATIVE) as last:
                wait_until(lambda: self.pinged(last), WAIT)
                assert_serves(self, last.open(attacker.CODE, 'job'))

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
            for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGPIPE, signal.SIGTERM, signal.SIGKILL):
                for pid in node.processes():
                    if pid != node.pid:
                        try:
                            os.kill(pid, number)
                        except EnvironmentError:
                            continue
                self.assertIn(computation.run(1).status, (9, 11))   # the signal may meet the very process that has it
                wait_until(lambda: computation.run(1).status == 11, WAIT)
                assert_serves(self, computation)
            self.assertIsNone(node.status)

    def test_signals_that_mean_nothing_to_the_node_change_nothing(self):
        meaningless = [getattr(signal, name) for name in (
            'SIGALRM', 'SIGVTALRM', 'SIGPROF', 'SIGIO', 'SIGSTKFLT', 'SIGPIPE', 'SIGCHLD', 'SIGURG', 'SIGWINCH', 'SIGXFSZ', 'SIGCONT')
            if hasattr(signal, name)] + list(range(signal.SIGRTMIN, signal.SIGRTMAX + 1))
        code = 'import signal, time\ndef job(n=1):\n    time.sleep(0.5)\n    return signal.getsignal(signal.SIGALRM) is signal.SIG_DFL\n'
        with NodeProcess('-c', 2) as node, FakeScheduler(node, NATIVE) as scheduler:
            computation = scheduler.open(code, 'job')
            jobs = [computation.submit() for _number in range(2)]
            for number in meaningless:
                os.kill(node.pid, number)
            self.assertEqual([job.wait(WAIT).value for job in jobs], [True, True])      # jobs have the usual signals
            before = attacker.cpu_seconds(node.pid)
            time.sleep(1)
            self.assertLess(attacker.cpu_seconds(node.pid) - before, 0.2)
            self.assertEqual([len(job.replies) for job in jobs], [1, 1])

    def test_signals_that_end_a_program_end_the_node_in_order(self):
        for number in (signal.SIGQUIT, signal.SIGXCPU, signal.SIGPWR, signal.SIGTERM):
            with NodeProcess('-c', 1, '--stop_timeout', 1) as node, FakeScheduler(node, NATIVE) as scheduler:
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


@unittest.skipUnless(os.geteuid() == 0 and os.path.exists('/proc/self/ns/mnt'), 'mounting a small disk takes root')
class DiskFullTest(unittest.TestCase):

    def test_a_full_disk_loses_no_reply(self):
        folder = tempfile.mkdtemp(prefix='dispynode-disk-')
        self.addCleanup(shutil.rmtree, folder, True)
        subprocess.check_call(['mount', '-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', folder])
        self.addCleanup(subprocess.call, ['umount', '-l', folder])
        with NodeProcess('-c', 1, '--msg_timeout', 1, folder=folder) as node, FakeScheduler(node, NATIVE) as scheduler:
            code = ('import os\ndef job(what):\n    if what == "fill":\n        out = os.open("fill", os.O_WRONLY | os.O_CREAT)\n'
                    '        try:\n            while os.write(out, b"x" * 1000): pass\n        except OSError: return "full"\n'
                    '    elif what == "clear": os.unlink("fill")\n    return what * 1000\n')
            computation = scheduler.open(code, 'job')
            self.assertEqual(computation.run('fill').value, 'full')
            self.assertEqual(computation.run('a').value, 'a' * 1000)      # running and replying need no disk
            scheduler.answers['JOB_REPLY'] = CLOSE
            job = computation.submit('b')
            node.wait_log('held in memory', WAIT)
            self.assertEqual(scheduler.send_file(os.path.abspath(__file__).replace('.pyc', '.py'), '', computation.id), -1) \
                if os.path.getsize(os.path.abspath(__file__).replace('.pyc', '.py')) > 4096 else None
            scheduler.answers['JOB_REPLY'] = b'ACK'
            self.assertEqual(job.wait(WAIT).value, 'b' * 1000)
            self.assertEqual(computation.run('clear').value, 'clear' * 1000)
            self.assertNotIn('Traceback', node.log())


class FolderTest(unittest.TestCase):

    def test_jobs_run_when_somebody_has_removed_the_folders(self):
        """As those who tidy up /tmp do: the computation's folder, then the node's with its state."""
        with NodeProcess('-c', 1, '--msg_timeout', 1) as node, FakeScheduler(node, NATIVE) as scheduler:
            computation = scheduler.open('def job(n):\n    open("file-%d" % n, "w").close()\n    return n * 2\n', 'job')
            number = 0
            for folder in (os.path.join(node.folder, '127.0.0.1'), node.folder):
                shutil.rmtree(folder)
                for _turn in range(3):
                    number += 1
                    reply = computation.run(number)
                    self.assertEqual((reply.status, reply.exception, reply.value), (11, None, 2 * number))
            scheduler.answers['JOB_REPLY'] = CLOSE
            job = computation.submit(50)
            node.wait_log('the reply to job %d of' % job.uid, WAIT)
            scheduler.answers['JOB_REPLY'] = b'ACK'
            wait_until(lambda: len(job.replies) > 1 or computation.resend() < 0, WAIT, interval=0.3)
            self.assertEqual(computation.run(51).value, 102)
            computation.close()
            assert_serves(self, scheduler.open(attacker.CODE, 'job'))
            self.assertNotIn('Traceback', node.log())


class CrowdedHostTest(unittest.TestCase):

    def test_computations_when_no_process_can_be_had(self):
        """The nursery is killed again and again: each computation is served, or told why not."""
        with NodeProcess('-c', 2) as node, FakeScheduler(node, NATIVE) as scheduler:
            for _turn in range(4):
                for pid, command in node.processes().items():
                    if '--supervise' in command:
                        processes.send(pid, signal.SIGKILL)
                computation = scheduler.open(attacker.CODE, 'job')
                assert_serves(self, computation)
                computation.close()
