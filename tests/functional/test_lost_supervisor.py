"""A supervisor is killed: its jobs are ended with all that is theirs, and no others."""
from __future__ import absolute_import, division, print_function

import os
import signal
import subprocess
import unittest

from tests.support import processes
from tests.support.computation import load_result
from tests.support.nodecase import NATIVE, TIMEOUT
from tests.support.nodeprocess import NodeProcess
from tests.support.scheduler import FakeScheduler
from tests.support.waiting import wait_until

MANY_CPUS = os.path.join(os.path.dirname(os.path.abspath(processes.__file__)), 'manycpus.py')
CODE = '''
import os, signal, subprocess, time

def setup(path):
    note(path, 'setup', subprocess.Popen(['sleep', '600']).pid)
    return 0

def note(path, *words):
    with open(path, 'a') as notes:
        notes.write(' '.join(map(str, words)) + '\\n')

def detach(path, name):
    if os.fork():
        return os.wait()
    os.setsid()
    if os.fork():
        os._exit(0)
    note(path, 'child', name + '-detached', os.getpid())
    os.execv('/bin/sleep', ['sleep', '600'])

def f(path, name, company=False):
    if company:
        note(path, 'child', name, subprocess.Popen(['sleep', '600'], env={}).pid)
        detach(path, name)
        while name + '-detached' not in open(path).read():
            time.sleep(0.01)
    note(path, 'begun', name, os.getpid(), os.getppid())
    while not os.path.exists(path + '.' + name):
        time.sleep(0.01)
    note(path, 'ended', name)
    return name

def stubborn(path, name):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    f(path, name)
'''
PROGRAM = '''#!/bin/sh
sleep 600 &
echo "child $2 $!" >> "$1"
echo "begun $2 $$ $PPID" >> "$1"
sleep 600
'''
ENDING = 8  # seconds, less than any patience of the node's or a job's
LOST = 'the supervisor of the computation ended, and the job with it'


class SupervisorCase(unittest.TestCase):

    def start(self, *options):
        """Start a node and a client of it."""
        self.node = node = NodeProcess('-c', '4', *options, program=MANY_CPUS)
        node.begin(self)
        self.path = os.path.join(node.folder, 'notes')
        self.scheduler = FakeScheduler(node, NATIVE)
        self.addCleanup(self.scheduler.close)

    def open(self, name='f', **settings):
        return self.scheduler.open(CODE, name, **settings)

    def notes(self, word):
        """Return {name of a job: rest of its note (list of int)} of the notes that begin with
        `word`; each is there once."""
        found = {}
        if os.path.exists(self.path):
            with open(self.path) as notes:
                lines = [line.split() for line in notes]
            for line in lines:
                if line[0] == word:
                    self.assertNotIn(line[1], found)
                    found[line[1]] = [int(item) for item in line[2:]]
        return found

    def running(self, computation, name, *more):
        """Submit a job; return it with its process and its supervisor once it runs."""
        job = computation.submit(self.path, name, *more)
        wait_until(lambda: len(self.notes('begun').get(name, ())) == 2, TIMEOUT)
        return (job,) + tuple(self.notes('begun')[name])

    def let_end(self, *names):
        for name in names:
            open('%s.%s' % (self.path, name), 'w').close()

    def assert_result(self, job, value):
        reply = job.wait(TIMEOUT)
        self.assertEqual((reply.status, len(job.replies)), (11, 1), reply)
        self.assertEqual(load_result(reply.result), value)

    def assert_lost(self, job, why=LOST):
        reply = job.wait(TIMEOUT)
        self.assertEqual((reply.status, len(job.replies)), (9, 1), reply)
        self.assertIn(why, reply.exception)

    def assert_ended(self, *pids):
        """Wait until processes have gone; their ends are told while they are still going."""
        wait_until(lambda: not any(processes.lives(pid) for pid in pids), ENDING,
                   lambda: 'the ends of %s; log:\n%s' % (pids, self.node.log_tail()))

    def programs(self):
        """Return the pids of living programs that jobs have started."""
        return [pid for pid, command in self.node.processes().items() if 'sleep' in command]


class LostSupervisorTest(SupervisorCase):

    def test_only_its_jobs_end_with_status_9_and_the_next_job_gets_another_one(self):
        self.start()
        hit, other = self.open(), self.open()
        jobs = [self.running(hit, name, True) for name in ('one', 'two')]
        spared, _pid, _supervisor = self.running(other, 'three')
        os.kill(jobs[0][2], signal.SIGKILL)
        for job, _pid, _supervisor in jobs:
            self.assert_lost(job)
        self.assert_ended(*[pid for _job, pid, _supervisor in jobs])
        self.assert_ended(*[pid for pids in self.notes('child').values() for pid in pids])
        self.let_end('three', 'four')
        self.assert_result(spared, 'three')
        self.assert_result(self.running(hit, 'four')[0], 'four')
        self.assertEqual(sorted(self.notes('ended')), ['four', 'three'])

    def test_setup_runs_again_what_it_had_started_ends_and_files_stay(self):
        self.start()
        computation = self.open(setup='setup', setup_args=('notes',), cleanup=False)
        path = os.path.join(self.node.folder, 'sent')
        with open(path, 'w') as target:
            target.write('content')
        computation.send_file(path)
        _job, _pid, supervisor = self.running(computation, 'one')
        sleeping = self.programs()
        self.assertEqual(len(sleeping), 1)
        os.kill(supervisor, signal.SIGKILL)
        self.assert_ended(*sleeping)
        self.let_end('two')
        self.assert_result(self.running(computation, 'two')[0], 'two')
        self.assertEqual(len(self.programs()), 1)
        found = [os.path.join(where, name) for where, _folders, names in os.walk(self.node.folder)
                 for name in names if name == 'sent']
        self.assertEqual(len(found), 2, found)

    def test_a_result_that_was_told_before_is_delivered(self):
        self.start()
        job, pid, supervisor = self.running(self.open(), 'one')
        self.node.signal(signal.SIGSTOP)
        self.let_end('one')
        self.assert_ended(pid)
        os.kill(supervisor, signal.SIGKILL)
        self.node.signal(signal.SIGCONT)
        self.assert_result(job, 'one')

    def test_programs(self):
        self.start()
        path = os.path.join(self.node.folder, 'program.sh')
        with open(path, 'w') as target:
            target.write(PROGRAM)
        os.chmod(path, 0o755)
        computation = self.scheduler.open_program(path)
        job, pid, supervisor = self.running(computation, 'one')
        os.kill(supervisor, signal.SIGKILL)
        self.assert_lost(job)
        self.assert_ended(pid, *self.notes('child')['one'])
        wait_until(lambda: not self.programs(), ENDING)
        job, pid, _supervisor = self.running(computation, 'two')
        computation.terminate(job)
        self.assertEqual(job.wait(TIMEOUT).status, 9)

    def test_while_a_job_is_being_stopped(self):
        self.start()
        computation = self.open('stubborn')
        job, pid, supervisor = self.running(computation, 'one')
        computation.terminate(job)
        os.kill(supervisor, signal.SIGKILL)
        reply = job.wait(TIMEOUT)
        self.assertEqual((reply.status, len(job.replies)), (9, 1))
        self.assert_ended(pid)

    def test_again_and_again_each_job_has_one_reply(self):
        self.start()
        hit, other = self.open(), self.open()
        spared = [self.running(other, 'spared')[0]]
        for turn in range(4):
            lost = [self.running(hit, 'lost-%d-%d' % (turn, number)) for number in range(2)]
            told = self.running(hit, 'told-%d' % turn)
            self.let_end('told-%d' % turn)
            self.assert_result(told[0], 'told-%d' % turn)
            os.kill(lost[0][2], signal.SIGKILL)
            for job, pid, _supervisor in lost:
                self.assert_lost(job)
                self.assert_ended(pid)
        self.let_end('spared')
        self.assert_result(spared[0], 'spared')
        self.assertEqual(len(self.notes('ended')), 5)



class WithTheNodeTest(SupervisorCase):

    def kill_together(self, restarts, with_nursery=False):
        """Have a supervisor started by the first of nodes of which `restarts` are killed, another
        one by the last; kill both with that node. The next one starts."""
        self.start()
        early = self.open()
        jobs = [self.running(early, 'one')]
        for _turn in range(restarts):
            self.node.kill()
            self.node.start()
        jobs += [self.running(early, 'two', True), self.running(self.open(), 'three', True)]
        pids = [jobs[0][2], jobs[2][2]]
        if with_nursery:
            pids.append(int(processes.stat_fields(pids[1])[1]))
        for pid in [self.node.pid] + pids:              # none of them sees the end of another
            os.kill(pid, signal.SIGSTOP)
        for pid in [self.node.pid] + pids:
            processes.send(pid, signal.SIGKILL)         # the nursery may end with the node
        self.node.wait_exit()
        self.node.start()
        self.assert_all_lost(early, jobs)

    def assert_all_lost(self, computation, jobs):
        for job, _pid, _supervisor in jobs:
            self.assert_lost(job, 'the node was killed, and the process of the job with it')
        for _job, pid, _supervisor in jobs:             # before that was told
            self.assertFalse(processes.lives(pid))
        self.assert_ended(*[pid for pids in self.notes('child').values() for pid in pids])
        wait_until(lambda: not self.programs(), ENDING)
        self.let_end('one', 'two', 'three', 'four')
        self.assert_result(self.running(computation, 'four')[0], 'four')
        self.assertEqual(sorted(self.notes('ended')), ['four'])

    def test_killed_with_the_first_node(self):
        self.kill_together(0)

    def test_killed_with_a_node_that_has_taken_it_over(self):
        self.kill_together(1)

    def test_killed_with_the_third_node_that_has_taken_it_over(self):
        self.kill_together(3)

    def test_killed_with_node_and_nursery(self):
        self.kill_together(0, with_nursery=True)
        self.kill_together(3, with_nursery=True)

    def test_killed_after_the_node(self):
        self.start()
        computation = self.open()
        jobs = [self.running(computation, 'one', True)]
        self.node.kill()
        os.kill(jobs[0][2], signal.SIGKILL)
        self.assert_ended(jobs[0][1], *self.notes('child')['one'])      # the nursery sees to that
        self.node.start()
        self.assert_all_lost(computation, jobs)

    def test_killed_after_a_node_that_has_taken_it_over(self):
        for with_late in (False, True):     # a supervisor of the second node's own
            self.start()
            computation = self.open()
            jobs = [self.running(computation, 'one', True)]
            running, pid, _supervisor = self.running(self.open(), 'three')
            self.node.kill()
            self.node.start()
            if with_late:
                jobs.append(self.running(self.open(), 'two', True))
            self.node.kill()
            for _job, _pid, supervisor in jobs:
                os.kill(supervisor, signal.SIGKILL)
            for name, (_job, job_pid, _supervisor) in zip(('one', 'two'), jobs):
                self.assert_ended(job_pid, *self.notes('child')[name])      # while there is no node
            self.assertTrue(processes.lives(pid))
            self.node.start()
            for job, _pid, _supervisor in jobs:
                self.assert_lost(job, 'the node was killed')
            self.let_end('three', 'four')
            self.assert_result(running, 'three')
            self.assert_result(self.running(computation, 'four')[0], 'four')

    def test_killed_alone_when_another_node_has_taken_it_over(self):
        self.start()
        computation = self.open()
        jobs = [self.running(computation, 'one', True)]
        self.node.kill()
        self.node.start()
        os.kill(jobs[0][2], signal.SIGKILL)
        self.assert_lost(jobs[0][0])
        self.assert_ended(jobs[0][1], *self.notes('child')['one'])

    def test_killed_alone_when_the_node_has_replaced_itself(self):
        self.start()
        computation = self.open()
        job, pid, supervisor = self.running(computation, 'one', True)
        spared = self.running(self.open(), 'two')
        for turn in range(2, 4):
            command = self.node.command()
            subprocess.check_call(command[:command.index('--daemon')] + [
                '--ctl', 'restart', '-p', '%d' % self.node.port, '--dest_path_prefix', self.node.folder])
            wait_until(lambda: self.node.log().count('serves at') == turn, TIMEOUT)
        os.kill(supervisor, signal.SIGKILL)
        self.assert_lost(job)
        self.assert_ended(pid)
        self.assert_ended(*[pid for pids in self.notes('child').values() for pid in pids])
        self.let_end('two')
        self.assert_result(spared[0], 'two')


if __name__ == '__main__':
    unittest.main()
