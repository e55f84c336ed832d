"""What a node costs: jobs through it with their latency, CPU time of all its processes, memory."""
from __future__ import absolute_import, division, print_function

import os
import threading
import time

from tests.attack import attacker
from tests.support.computation import FINISHED
from tests.support.processes import stat_fields
from tests.support.scheduler import CLOSE
from tests.support.waiting import clock

TICKS = os.sysconf('SC_CLK_TCK')
WAIT = 30
FORGET = 200                            # the client forgets what it received each so many replies
CODE = 'def no_op(number):\n    return number\n'


def cpu_seconds(node):
    """Return the CPU seconds used so far by the node's processes, those it has reaped included."""
    total = 0
    for pid in node.processes():
        # none: it ended meanwhile; its parent's figures hold it the next time
        fields = stat_fields(pid)
        total += sum(int(field) for field in fields[11:15])
    return total / TICKS


def idle_milliseconds(node, seconds):
    """Return the CPU milliseconds the node uses per 10 s while nothing is asked of it."""
    before, begun = cpu_seconds(node), clock()
    time.sleep(seconds)                 # this is what is measured, nothing is waited for
    return (cpu_seconds(node) - before) * 1000 * 10 / (clock() - begun)


def memory_of_all(node):
    """Return the proportional share of memory (PSS, MB) of all the node's processes."""
    total = 0
    for pid in node.processes():
        try:
            with open('/proc/%d/smaps_rollup' % pid) as source:
                total += sum(int(line.split()[1]) for line in source if line.startswith('Pss:'))
        except EnvironmentError:
            continue
    return total / 1024


def held_by(node):
    """Return the figures of the node process: memory (MB), descriptors, threads."""
    return {
        'main RSS, MB': attacker.memory(node.pid) / 1e6,
        'descriptors': attacker.descriptors(node.pid), 'threads': attacker.threads(node.pid)
    }


def percentile(values, share):
    """Return the value below which `share` of all lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


class _Awaited(object):
    """A job under way: when its reply came, and with which status."""

    def __init__(self):
        self.came = threading.Event()
        self.at = self.status = None


class Load(object):
    """Sends no-op jobs of one computation and notes how long each takes.

    receiver   the FakeScheduler at which replies arrive (default: the computation's)
    answered   False: the receiver takes the reply and closes, so that the node keeps it
    """

    def __init__(self, node, computation, receiver=None, answered=True):
        self.node, self.computation = node, computation
        self.scheduler = computation.scheduler
        self.receiver = receiver or self.scheduler
        self.answer = b'ACK' if answered else CLOSE
        self.awaited, self.sent = {}, []
        self.receiver.answers['JOB_REPLY'] = self._arrived

    def _arrived(self, message):
        job = self.awaited.get(message.value.uid)
        if job is not None:
            job.at, job.status = message.at, message.value.status
            job.came.set()
        return self.answer

    def one(self, keep=False):
        """Send one job, wait for its reply; return the seconds between."""
        job, awaited = self.computation.make_job(7), _Awaited()
        self.awaited[job.uid] = awaited
        begun = clock()
        answer = self.scheduler.call('JOB', job.record, timeout=WAIT)
        if answer != b'ACK' or not awaited.came.wait(WAIT) or awaited.status != FINISHED:
            raise AssertionError('a job: the node answered %r, status %r; its log:\n%s'
                                 % (answer, awaited.status, self.node.log_tail()))
        del self.awaited[job.uid]
        if keep:
            self.sent.append(job)
        return awaited.at - begun

    def run(self, count, in_flight=1, keep=False):
        """Run `count` jobs; return (list of their seconds, wall seconds, CPU seconds of the
        node)."""
        left, taken, faults = iter(range(count)), [], []
        lock = threading.Lock()

        def work():
            try:
                while not faults:
                    with lock:
                        number = next(left, None)
                    if number is None:
                        return
                    taken.append(self.one(keep))
                    if number % FORGET == 0:
                        del self.receiver.received[:]
            except Exception as error:
                faults.append(error)

        before, begun = cpu_seconds(self.node), clock()
        threads = [threading.Thread(target=work) for _number in range(in_flight)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if faults:
            raise faults[0]
        return taken, clock() - begun, cpu_seconds(self.node) - before

    def figures(self, count, in_flight=1):
        """Run `count` jobs; return their figures."""
        taken, seconds, used = self.run(count, in_flight)
        found = {'p50, ms': percentile(taken, 0.5) * 1000, 'CPU per job, ms': used * 1000 / count}
        if in_flight > 1:
            found['jobs/s'] = count / seconds
        return found
