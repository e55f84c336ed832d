"""What jobs used: figures that come before a job's end, after it, or never."""
from __future__ import absolute_import, division, print_function

import json
import os
import subprocess
import sys
import unittest

from dispynode_lib.errors import ProtocolError
from dispynode_lib.node.shared.history import History, PastJob
from dispynode_lib.node.computations.link import Child
from dispynode_lib.node.computations.usage import MOST_UNSETTLED, NOTHING_KNOWN, Usage, read_used
from dispynode_lib.supervisor.processes.processes import Processes
from dispynode_lib.supervisor.processes.timers import Timers
from dispynode_lib.wire import control
from tests.support.fakes import Recorder


def packed(*rows):
    return b''.join(control.USED.pack(*row) for row in rows)


class UsageTest(unittest.TestCase):

    def setUp(self):
        self.history, self.ledger, self.supervision = History(), Recorder(), Recorder()
        self.supervision.link = 'link'
        self.usage = Usage(Recorder(), self.supervision, self.history, self.ledger)

    def child(self, number, link='link'):
        child = Child(number)
        child.link = link
        return child

    def past(self, number):
        return PastJob(7, u'f', number, 'finished', 2.0, 1.0, None)

    def told(self):
        """Return [(uid, CPU time, peak memory)] as the ledger got them."""
        return [(past.uid, past.cpu_seconds, past.peak_memory)
                for _computation, past in self.ledger.named('job')]

    def test_figures_that_come_after_the_job_ended_and_before_it(self):
        late, early = self.child(1), self.child(2)
        self.usage.job_ended(late, self.past(1))
        self.assertEqual(self.told(), [])
        self.usage.on_used(packed((1, 0, 1.5, 100.0), (2, 9, 0.5, 300.0), (3, 0, 9.0, 900.0)),
                           {2: early})
        self.assertEqual(self.told(), [(1, 1.5, 100)])
        self.usage.job_ended(early, self.past(2))
        self.assertEqual(self.told(), [(1, 1.5, 100), (2, 0.5, 300)])
        self.assertEqual((self.usage.cpu_seconds, self.usage.peak_memory), (2.0, 300))
        self.assertEqual(self.history.usage()['finished']['jobs'], 2)

    def test_sums_are_told_in_microseconds(self):
        for number, seconds in ((1, 0.001387), (2, 0.001186)):      # not 0.0025729999999999998
            child = self.child(number)
            self.usage.on_used(packed((number, 0, seconds, 1.0)), {number: child})
            self.usage.job_ended(child, self.past(number))
        self.assertEqual(json.dumps([self.usage.cpu_seconds,
                                     self.history.usage()['finished']['cpu_seconds']]),
                         '[0.002573, 0.002573]')

    def test_jobs_of_which_nobody_will_tell_are_settled_at_once(self):
        self.usage.job_ended(None, self.past(1))                            # it never had a process
        self.usage.job_ended(self.child(2, 'an older supervisor'), self.past(2))
        self.usage.job_ended(self.child(3, None), self.past(3))             # a program
        self.assertEqual(self.told(), [(1, None, None), (2, None, None)])
        self.usage.expect_nothing()
        self.supervision.link = None
        self.usage.job_ended(self.child(4), self.past(4))
        self.assertEqual(self.told()[2:], [(3, None, None), (4, None, None)])
        self.assertEqual((self.history.usage(), self.usage.peak_memory), ({}, None))

    def test_a_supervisor_that_never_tells_fills_no_memory(self):
        for number in range(MOST_UNSETTLED + 1):
            self.usage.job_ended(self.child(number), self.past(number))
        self.assertEqual(len(self.told()), MOST_UNSETTLED)

    def test_read_used(self):
        program = control.FIRST_PROGRAM
        self.assertEqual([
            used[2:] for _number, used in read_used(
                packed((1, 113 << 8, 0.0, 0.0), (2, 3 << 8, 0.0, 0.0),
                       (program, 113 << 8, 0.0, 0.0), (3, 9, 0.0, 0.0)))
        ], [(None, None), (3, None), (113, None), (None, 'SIGKILL')])
        nan = float('nan')
        for seconds, peak in (control.NOT_KNOWN, (nan, 1.0), (1.0, nan), (1e300, 1.0),
                              (1.0, float('inf'))):
            self.assertEqual(read_used(packed((1, control.LOST, seconds, peak))),
                             [(1, NOTHING_KNOWN)])
        with self.assertRaises(ProtocolError):
            read_used(b'1')


class ReapTest(unittest.TestCase):

    def start(self):
        """Return the pid of a process that ends with 5; not by a fork, for other tests have left
        threads."""
        process = subprocess.Popen([sys.executable, '-c', 'import os; os._exit(5)'])
        process.returncode = 5              # it need not look for it
        return process.pid

    def test_what_a_process_used_and_one_that_somebody_else_has_reaped(self):
        for count in (1, 4):                # by number, and whatever comes
            processes = Processes(Timers())
            processes.live = dict((number, self.start()) for number in range(count))
            gone = processes.live[99] = self.start()
            os.waitpid(gone, 0)
            found = {}
            while processes.live:
                found.update((row[0], row[1:]) for row in processes.reap())
            self.assertEqual(found.pop(99), (0, None, False))
            for status, used, _stopped in found.values():
                self.assertEqual(status, 5 << 8)
                self.assertTrue(0 <= used[0] < 5 and used[1] > 1 << 20, used)


if __name__ == '__main__':
    unittest.main()
