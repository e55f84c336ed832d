"""A long run: python3 -m tests.soak [--scale 0.1] [--seconds 60]; tells what the node has before
and after."""
from __future__ import absolute_import, division, print_function

import argparse
import os
import socket
import sys
import threading

from tests.attack import attacker
from tests.attack.attacker import NATIVE
from tests.attack.test_clients import all_files
from tests.support.nodeprocess import NodeProcess
from tests.support.scheduler import DUMMY_TOKEN, FakeScheduler
from tests.support.waiting import clock, wait_until

MEMORY_LIMIT = 25 << 20  # bytes that the node may grow by after the first 500 jobs
WAIT = 60


class Soak(object):
    """One node, one client, and what is done to them; `faults` collects what was not as it should
    be."""

    def __init__(self, node, scheduler, scale, seconds):
        self.node, self.scheduler, self.scale, self.seconds = node, scheduler, scale, seconds
        self.faults = []
        self.replies = 0

    def measure(self):
        """Return what the node has now: memory (MB), descriptors, threads, processes, files."""
        pid = self.node.pid
        return {
            'memory': attacker.memory(pid) / 1e6, 'descriptors': attacker.descriptors(pid),
            'threads': attacker.threads(pid), 'processes': len(self.node.processes()), 'files': len(
                all_files(self.node.folder))
        }

    def step(self, name, function, *args):
        """Do one part; say how it went."""
        begun = clock()
        what = function(*args)
        print('%-44s %7.1f s  %s' % (name, clock() - begun, what))
        print('    ' + ', '.join('%s %s' % (key, '%.1f' % value if key == 'memory' else value)
                                 for key, value in sorted(self.measure().items())))
        sys.stdout.flush()

    def count(self, number):
        """Return `number` in the scale of this run, at least 1."""
        return max(1, int(number * self.scale))

    def jobs(self, count):
        """Run jobs one after another; each must give its result once."""
        computation = self.scheduler.open(attacker.CODE, 'job')
        for number in range(count):
            job = computation.submit(number)
            if job.wait(WAIT).value != 2 * number or len(job.replies) != 1:
                self.faults.append('job %d: %r' % (number, job.replies))
            self.forget()
        computation.close()
        self.scheduler.computations.remove(computation)
        return '%d jobs' % count

    def forget(self):
        """Have the client forget what it has received: its memory is not what is measured."""
        self.replies += len(self.scheduler.messages('JOB_REPLY'))
        del self.scheduler.received[:]
        self.scheduler.jobs.clear()

    def computations(self, count):
        """Open and close computations, each with one job."""
        for number in range(count):
            computation = self.scheduler.open(attacker.CODE, 'job')
            if computation.run(number).value != 2 * number:
                self.faults.append('computation %d' % number)
            computation.close()
            self.scheduler.computations.remove(computation)
            self.forget()
        return '%d computations' % count

    def many_open(self, count):
        """Have many computations open at once, a job in each."""
        opened = [self.scheduler.open(attacker.CODE, 'job') for _number in range(count)]
        most = self.measure()
        for computation in opened:
            if computation.run(7).value != 14:
                self.faults.append('a job of one of many computations')
        for computation in opened:
            computation.close()
            self.scheduler.computations.remove(computation)
        self.forget()
        return '%d open; then %d descriptors, %d threads' % (count, most['descriptors'],
                                                             most['threads'])

    def broken_connections(self, count):
        """Break connections at every length of their first message."""
        message = DUMMY_TOKEN + b'\0\0\1\0PING:' + b'\x80\x04}' * 60
        for number in range(count):
            sock = attacker.connect(self.node)
            sock.sendall(message[:number % len(message)])
            attacker.reset(sock) if number % 3 else sock.close()
        return '%d connections' % count

    def amid_abuse(self, seconds):
        """Run jobs while connections come, stay silent, lie and break."""
        end = clock() + seconds
        abusers = [threading.Thread(target=self.abuse, args=(end, number)) for number in range(3)]
        for thread in abusers:
            thread.start()
        computation, done = self.scheduler.open(attacker.CODE, 'job'), 0
        while clock() < end:
            if computation.run(done).value != 2 * done:
                self.faults.append('a job amid abuse')
            done += 1
            self.forget()
        for thread in abusers:
            thread.join()
        computation.close()
        self.scheduler.computations.remove(computation)
        return '%d jobs' % done

    def abuse(self, end, number):
        """Throw things at the node until `end`."""
        sender, held = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), []
        while clock() < end:
            try:
                sender.sendto(b'PING:' + os.urandom(200), (self.node.ip_addr, self.node.port))
                sock = attacker.connect(self.node)
                sock.sendall((DUMMY_TOKEN if number else self.scheduler.token()) + os.urandom(30))
                held.append(sock)
            except EnvironmentError:
                continue
            if len(held) > 100:
                for sock in held:
                    attacker.reset(sock)
                held = []
        sender.close()
        for sock in held:
            sock.close()

    def all(self):
        """Do everything; return the faults."""
        self.step('the first jobs', self.jobs, self.count(500))
        before = self.measure()
        self.step('jobs one after another', self.jobs, self.count(4500))
        self.step('computations opened and closed', self.computations, self.count(1000))
        self.step('computations open at once', self.many_open, self.count(200))
        self.step('broken connections', self.broken_connections, self.count(2000))
        self.step('jobs amid abuse', self.amid_abuse, self.seconds)
        self.check(before)
        return self.faults

    def check(self, before):
        """Compare with what there was after the first jobs, once the node has come to rest."""
        def at_rest():
            now = self.measure()
            return now['descriptors'] <= before['descriptors'] + 4 and now['threads'] <= before['threads'] + 4 \
                and now['processes'] <= before['processes'] + 2 and now['files'] <= before['files']
        try:
            wait_until(at_rest, WAIT, interval=0.5)
        except AssertionError:
            self.faults.append('not given back: %r, before it was %r' % (self.measure(), before))
        after = self.measure()
        grown = (after['memory'] - before['memory']) * 1e6
        if grown > MEMORY_LIMIT:
            self.faults.append('the node grew by %.1f MB' % (grown / 1e6))
        for name, value in (('before', before), ('after', after)):
            print(
                '%-8s %s' % (name, ', '.join('%s %s' % (key, '%.1f' % it if key == 'memory' else it)
                                             for key, it in sorted(value.items()))))


def run(scale, seconds):
    """Return the list of faults."""
    attacker.allow_descriptors(4096)
    with NodeProcess('-c', 2) as node, FakeScheduler(node, NATIVE) as scheduler:
        soak = Soak(node, scheduler, scale, seconds)
        faults = soak.all()
        if 'Traceback' in node.log():
            faults.append('a traceback in the log of the node')
        return faults


if __name__ == '__main__':
    parser = argparse.ArgumentParser(prog='python3 -m tests.soak')
    parser.add_argument('--scale', type=float, default=1.0)
    parser.add_argument('--seconds', type=float, default=60.0)
    chosen = parser.parse_args()
    found = run(chosen.scale, chosen.seconds)
    print('\n'.join(found) or 'no fault')
    sys.exit(1 if found else 0)
