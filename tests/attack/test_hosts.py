"""Faults of the host: no disk, no folder, no processes, a clock that jumps."""
from __future__ import absolute_import, division, print_function

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

from tests.attack import attacker
from tests.attack.attacker import NATIVE, WAIT, assert_serves, python_for_everybody
from tests.support import processes
from tests.support.falseclock import FalseClock
from tests.support.nodeprocess import NodeProcess
from tests.support.scheduler import CLOSE, FakeScheduler
from tests.support.waiting import clock, wait_until


@unittest.skipUnless(os.geteuid() == 0 and os.path.exists('/proc/self/ns/mnt'),
                     'mounting a small disk takes root')
class DiskFullTest(unittest.TestCase):

    def disk(self):
        """Return a folder on a disk of 2 MB of its own."""
        folder = tempfile.mkdtemp(prefix='dispynode-disk-')
        self.addCleanup(shutil.rmtree, folder, True)
        subprocess.check_call(['mount', '-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', folder])
        self.addCleanup(subprocess.call, ['umount', '-l', folder])
        return folder

    def test_a_start_on_a_full_disk_is_refused_in_one_line(self):
        folder = self.disk()
        with open(os.path.join(folder, 'fill'), 'wb',
                  0) as target, self.assertRaises(EnvironmentError):
            while True:
                target.write(b'x' * 4096)
        with NodeProcess(folder=folder, wait=False) as node:
            self.assertEqual(node.wait_exit(), 73)
            self.assertEqual(len(node.log().splitlines()), 1, node.log())
            node.wait_log('pid cannot be written: No space left on device; make room')
            node.wait_log('with --dest_path_prefix')

    def test_a_full_disk_loses_no_reply(self):
        folder = self.disk()
        with NodeProcess('-c', 1, '--msg_timeout', 1, folder=folder) as node, FakeScheduler(
                node, NATIVE) as scheduler:
            code = (
                'import os\ndef job(what):\n    if what == "fill":\n        out = os.open("fill", '
                'os.O_WRONLY | os.O_CREAT)\n'
                '        try:\n            while os.write(out, b"x" * 1000): pass\n        except '
                'OSError: return "full"\n'
                '    elif what == "clear": os.unlink("fill")\n    return what * 1000\n')
            computation = scheduler.open(code, 'job')
            self.assertEqual(computation.run('fill').value, 'full')
            # running and replying need no disk
            self.assertEqual(computation.run('a').value, 'a' * 1000)
            scheduler.answers['JOB_REPLY'] = CLOSE
            job = computation.submit('b')
            node.wait_log('held in memory', WAIT)
            self.assertEqual(
                scheduler.send_file(
                    os.path.abspath(__file__).replace('.pyc', '.py'), '', computation.id), -1)
            scheduler.answers['JOB_REPLY'] = b'ACK'
            self.assertEqual(job.wait(WAIT).value, 'b' * 1000)
            self.assertEqual(computation.run('clear').value, 'clear' * 1000)
            self.assertNotIn('Traceback', node.log())


class ClockTest(unittest.TestCase):
    """The host's clock is set while the node runs: only what is told about times changes."""

    DAYS = 86400.0

    def setUp(self):
        try:
            self.clock = FalseClock().__enter__()
        except EnvironmentError as error:
            self.skipTest('no clock can be set for one program: %s' % error)
        self.addCleanup(self.clock.__exit__)

    def test_jumps_by_two_days_lose_no_job_and_end_nothing(self):
        options = [
            '-c', 2, '--msg_timeout', 1, '--job_time', 60, '--zombie_interval', 10, '--lifetime',
            3600, '--idle_timeout', 600
        ]
        with NodeProcess(*options, env=self.clock.env) as node, FakeScheduler(node,
                                                                              NATIVE) as scheduler:
            code = 'import time\ndef job(n, seconds=0.0):\n    time.sleep(seconds)\n    return n * 2, time.time()\n'
            computation = scheduler.open(code, 'job', pulse_interval=1.0)
            for number, days in enumerate((0, 2, -2, 0, 400)):
                scheduler.answers['JOB_REPLY'] = CLOSE if number == 1 else b'ACK'
                jobs = [computation.submit(number, 0.4) for _number in range(2)]
                cpu, begun = attacker.cpu_seconds(node.pid), clock()
                self.clock.set(days * self.DAYS)                # while they run
                if number == 1:  # their replies are kept, and tried again by and by
                    wait_until(lambda: len(computation.pending_jobs()['done']) == 2, WAIT)
                    scheduler.answers['JOB_REPLY'] = b'ACK'
                    computation.resend()
                for job in jobs:
                    self.assertEqual((job.wait(WAIT).status, job.final().value[0]),
                                     (11, 2 * number))
                told = computation.run(number).value[1] - time.time()
                self.assertLess(abs(told - days * self.DAYS), 100)  # it did believe the false clock
                self.assertLess(attacker.cpu_seconds(node.pid) - cpu, 0.5 + 0.5 * (clock() - begun))
            wait_until(lambda: computation.pending_jobs() == {'done': [], 'pending': 0}, WAIT)
            known = len(scheduler.messages('PULSE'))
            wait_until(lambda: len(scheduler.messages('PULSE')) > known, WAIT)  # pulses go on
            self.assertIsNone(node.status)
            self.assertNotIn('Traceback', node.log())
            self.assertNotIn('ending', node.log())


def _be_nobody():
    """Become the user whose node it is: only that one may limit it."""
    nobody = pwd.getpwnam('nobody')
    os.setgid(nobody.pw_gid)
    os.setuid(nobody.pw_uid)


def nobody_node(case, *options):
    """Return a NodeProcess that runs as the user nobody, in a folder of that user, and the reason
    if it cannot be had."""
    python = python_for_everybody()
    folder = tempfile.mkdtemp(prefix='dispynode-user-', dir='/tmp')
    case.addCleanup(shutil.rmtree, folder, True)
    nobody = pwd.getpwnam('nobody')
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    return NodeProcess('--user', 'nobody', *options, folder=folder,
                       python=python) if python else None


@unittest.skipUnless(
    os.geteuid() == 0,
    'limits of processes do not hold for root: the node has to run as another user')
class NoProcessesTest(unittest.TestCase):

    def test_jobs_wait_when_no_process_can_be_made_and_run_when_one_can(self):
        node = nobody_node(self, '-c', 2, '--msg_timeout', 2)
        if node is None:
            self.skipTest('no Python here that every user may run')
        with node, FakeScheduler(node, NATIVE) as scheduler:
            computation = scheduler.open(attacker.CODE, 'job')
            assert_serves(self, computation)
            for turn in range(2):
                self.limit(node, '1')
                jobs = []
                while not jobs or jobs[-1].final():             # those forked ahead do their work
                    jobs.append(computation.submit(len(jobs)))
                    wait_until(
                        lambda: jobs[-1].final() or node.log().count('cannot start a job process') >
                        turn, WAIT)
                    self.assertLess(len(jobs), 20)
                answer = scheduler.call(
                    'COMPUTE', scheduler.compute_record(attacker.CODE, 'job', exclusive=False))
                self.assertIn(b'no supervisor can be started', answer)
                cpu = attacker.cpu_seconds(node.pid)
                time.sleep(1)
                self.assertLess(attacker.cpu_seconds(node.pid) - cpu, 0.2)
                self.limit(node, None)
                self.assertEqual([job.wait(WAIT).value
                                  for job in jobs], [2 * number for number in range(len(jobs))])
                for number in range(4):
                    assert_serves(self, computation, number)    # both CPUs are back
                wait_until(lambda: not computation.jobs(), WAIT)
            self.assertLess(node.log().count('cannot start a job process'), 5)

    @staticmethod
    def limit(node, number):
        """Let the processes of the node, and those they make, be no more than `number` of their
        user; None: as many as may be."""
        for pid in node.processes():
            with open('/proc/%d/limits' % pid) as limits:
                hard = [line.split()[3] for line in limits if line.startswith('Max processes')][0]
            subprocess.call(
                ['prlimit', '--pid', str(pid),
                 '--nproc=%s:' % (number or hard)], preexec_fn=_be_nobody)


class FolderTest(unittest.TestCase):

    def test_jobs_run_when_somebody_has_removed_the_folders(self):
        """As those who tidy up /tmp do: the computation's folder, then the node's with its
        state."""
        with NodeProcess('-c', 1, '--msg_timeout', 1) as node, FakeScheduler(node,
                                                                             NATIVE) as scheduler:
            computation = scheduler.open(
                'def job(n):\n    open("file-%d" % n, "w").close()\n    return n * 2\n', 'job')
            number = 0
            for folder in (os.path.join(node.folder, '127.0.0.1'), node.folder):
                wait_until(lambda: self.removed(folder), WAIT)
                for _turn in range(3):
                    number += 1
                    reply = computation.run(number)
                    self.assertEqual((reply.status, reply.exception, reply.value),
                                     (11, None, 2 * number))
            scheduler.answers['JOB_REPLY'] = CLOSE
            job = computation.submit(50)
            node.wait_log('the reply to job %d of' % job.uid, WAIT)
            scheduler.answers['JOB_REPLY'] = b'ACK'
            wait_until(lambda: len(job.replies) > 1 or computation.resend() < 0, WAIT, interval=0.3)
            self.assertEqual(computation.run(51).value, 102)
            computation.close()
            assert_serves(self, scheduler.open(attacker.CODE, 'job'))
            self.assertNotIn('Traceback', node.log())

    @staticmethod
    def removed(folder):
        """Remove a folder in which the node may write meanwhile; return whether it was done."""
        try:
            shutil.rmtree(folder)
        except EnvironmentError:
            return not os.path.exists(folder)
        return True


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
