"""What grows: for each number of something, the figures of a node that has so many."""
from __future__ import absolute_import, division, print_function

import os

from tests.attack import attacker
from tests.attack.attacker import NATIVE
from tests.growth.meter import CODE, Load, held_by, idle_milliseconds, memory_of_all
from tests.support.computation import Computation
from tests.support.nodeprocess import PROGRAM, NodeProcess
from tests.support.scheduler import DUMMY_TOKEN, FakeScheduler
from tests.support.waiting import clock, wait_until

WARM_UP = 50
SAMPLE = 1000                           # of kept replies, to be asked for one by one
LONG = 3600


class Plan(object):
    """How to measure: jobs (per figure), idle (seconds), most (largest number), python and program
    of the node."""

    def __init__(self, jobs, idle, most, python=None, program=None):
        self.jobs, self.idle, self.most = jobs, idle, most
        self.python, self.program = python, program

    def node(self, *options, **settings):
        """Return a NodeProcess (a context manager)."""
        settings.setdefault('program', self.program)
        cpus = settings.pop('cpus', 2)
        return NodeProcess('-c', cpus, '--reply_hold', 0, *options, python=self.python, flags=(),
                           **settings)

    def numbers(self, *wanted):
        """Return those up to the largest allowed."""
        return [number for number in wanted if number <= self.most]


def computations(plan):
    """Yield (number, figures) for so many open computations."""
    with plan.node() as node, FakeScheduler(node, NATIVE) as scheduler:
        load = Load(node, scheduler.open(CODE, 'no_op'))
        load.run(WARM_UP)
        for number in plan.numbers(1, 10, 100, 1000):
            while len(scheduler.computations) < number:
                scheduler.open(CODE, 'no_op')
            yield number, dict(load.figures(plan.jobs), **_resting(node, plan))


def _resting(node, plan):
    return dict(held_by(node), **{'idle CPU, ms/10 s': idle_milliseconds(node, plan.idle)})


def connections(plan):
    """Yield (number, figures) for so many connections on which nothing comes, half of them within
    the token."""
    held = []
    with plan.node('--msg_timeout', LONG) as node, FakeScheduler(node, NATIVE) as scheduler:
        load = Load(node, scheduler.open(CODE, 'no_op'))
        load.run(WARM_UP)
        first = attacker.memory(node.pid)
        for number in plan.numbers(0, 1, 10, 100, 500):
            while len(held) < number:
                held.append(attacker.connect(node))
                if len(held) % 2:
                    held[-1].sendall(DUMMY_TOKEN[:20])
            figures = load.figures(plan.jobs)
            if number:
                figures['KB/connection'] = (attacker.memory(node.pid) - first) / 1024 / number
            figures['dropped'] = sum(attacker.closed_by_peer(sock, 0.001) for sock in held)
            yield number, figures
        for sock in held:
            sock.close()


def jobs_done(plan):
    """Yield (number, figures) after so many jobs, in a node that has done all of them."""
    with plan.node() as node, FakeScheduler(node, NATIVE) as scheduler:
        load, done = Load(node, scheduler.open(CODE, 'no_op')), 0
        for number in plan.numbers(100, 1000, 10000, 100000):
            rest = number - done - min(plan.jobs, number // 2)
            load.run(rest, 2)
            figures = load.figures(number - done - rest)
            done = number
            yield number, dict(figures, **held_by(node))


def undelivered(plan):
    """Yield (number, figures) with so many results kept for a client that does not answer; each in
    a new node."""
    for number in plan.numbers(1, 10, 100, 1000, 10000):
        figures = {}
        with plan.node() as node, FakeScheduler(node, NATIVE) as scheduler:
            deaf = FakeScheduler(node, NATIVE)
            lost = scheduler.open(CODE, 'no_op', job_result_port=deaf.port)
            live = scheduler.open(CODE, 'no_op')
            keeping = Load(node, lost, deaf, answered=False)
            keeping.run(number, 2, keep=True)
            wait_until(lambda: len(_kept(node)) >= number, 60, 'replies to be kept')
            deaf.stop_listening()
            load = Load(node, live)
            load.run(WARM_UP)
            figures.update(load.figures(plan.jobs), **_resting(node, plan))
            figures['restart, s'] = _restart(node)
            _ask_again(node, keeping, deaf, number, figures)
            deaf.close()
            del scheduler.computations[:]           # the node that knew them has ended
        yield number, figures


def _kept(node):
    """Return the files of kept replies."""
    found = []
    for folder, _folders, names in os.walk(node.folder):
        if '/undelivered/' in folder + '/':
            found += [name for name in names if '-' in name and not name.endswith('.part')]
    return found


def _restart(node):
    """Stop the node and start it again, in the same folder and at the same port; return the seconds
    until it serves."""
    node.stop()
    node.wanted_port = node.port
    begun = clock()
    node.start()
    return clock() - begun


def _ask_again(node, keeping, deaf, number, figures):
    """Retrieve a part of the kept replies one by one, have the rest resent; note seconds per
    1,000."""
    computation = Computation(keeping.scheduler, keeping.computation.record)
    part = keeping.sent[:min(SAMPLE, number // 2)]
    begun = clock()
    for job in part:
        if computation.retrieve(job) is None:
            raise AssertionError('a kept reply is not there')
    if part:
        figures['retrieve, s/1000'] = (clock() - begun) * 1000 / len(part)
    left = keeping.sent[len(part):]
    wait_until(lambda: len(_kept(node)) == len(left), 60,
               'replies that were asked for to be removed')
    del deaf.received[:]
    keeping.answer = b'ACK'
    deaf.listen()
    begun = clock()
    computation.resend()                    # the node's own attempt may have begun since it listens
    wait_until(lambda: not _kept(node), 600, 'kept replies to be sent', interval=0.05)
    figures['resend, s/1000'] = (clock() - begun) * 1000 / len(left)
    came = set(message.value.uid for message in deaf.messages('JOB_REPLY'))
    if came != set(job.uid for job in left):
        raise AssertionError('%d of %d kept replies came' % (len(came), len(left)))


def cpus(plan):
    """Yield (number, figures) for so many CPUs claimed, with as many jobs in flight; each in a new
    node."""
    program = os.path.join(os.path.dirname(os.path.abspath(plan.program or PROGRAM)), 'tests',
                           'support', 'manycpus.py')
    for number in plan.numbers(1, 2, 8, 64):
        env = {'DISPYNODE_TEST_CPUS': str(number)}
        with plan.node(cpus=number, program=program,
                       env=env) as node, FakeScheduler(node, NATIVE) as scheduler:
            load = Load(node, scheduler.open(CODE, 'no_op'))
            load.run(WARM_UP + 2 * number, number)
            alone = load.figures(plan.jobs)
            figures = {
                'one by one p50, ms': alone['p50, ms'],
                'one by one CPU, ms': alone['CPU per job, ms']
            }
            taken, seconds, used = load.run(2 * plan.jobs, number)
            figures.update({
                'jobs/s': len(taken) / seconds, 'CPU per job, ms': used * 1000 / len(taken),
                'all PSS, MB': memory_of_all(node), 'processes': len(node.processes())
            })
        yield number, figures


ALL = (('computations', computations), ('connections', connections), ('jobs', jobs_done),
       ('undelivered', undelivered), ('cpus', cpus))
