"""The watchdog's table, with a clock given."""
from __future__ import absolute_import, division, print_function

import unittest

from dispynode_lib.log import output
from dispynode_lib.node.timed.watchdog import SHORTEST, Duty, Watchdog


class Recorder(object):
    """A duty that notes when it was done."""

    def __init__(self, wait):
        self.times, self._wait = [], wait

    def do(self, now):
        self.times.append(now)

    def wait(self, now):
        return self._wait(now) if callable(self._wait) else self._wait

    def duty(self):
        return Duty('a test', self.do, self.wait)


class WatchdogTest(unittest.TestCase):

    def test_a_duty_comes_again_after_its_interval(self):
        recorder = Recorder(10)
        watchdog = Watchdog([recorder.duty()])
        now = 100.0
        for _ in range(4):
            now = watchdog.run_due(now)
        self.assertEqual(recorder.times, [110, 120, 130])

    def test_there_is_nothing_to_wait_for_without_duties(self):
        self.assertIsNone(Watchdog([Recorder(None).duty()]).run_due(1.0))

    def test_a_shorter_interval_counts_from_now_a_longer_one_does_not_delay(self):
        recorder = Recorder(100)
        watchdog = Watchdog([recorder.duty()])
        self.assertEqual(watchdog.run_due(0.0), 100)
        recorder._wait = 10
        self.assertEqual(watchdog.run_due(5.0), 15)
        recorder._wait = 100
        self.assertEqual(watchdog.run_due(6.0), 15)

    def test_a_duty_that_is_not_wanted_any_more_is_not_done(self):
        recorder = Recorder(10)
        watchdog = Watchdog([recorder.duty()])
        watchdog.run_due(0.0)
        recorder._wait = None
        self.assertIsNone(watchdog.run_due(1.0))
        watchdog.run_due(20.0)
        self.assertEqual(recorder.times, [])

    def test_a_duty_that_cannot_tell_when_it_is_due_ends_no_other(self):
        def failing(_now):
            raise ValueError('when?')
        told, other = [], Recorder(10)
        self.addCleanup(setattr, output, 'handler', output.handler)
        output.handler = told.append
        broken = Recorder(failing)
        watchdog = Watchdog([broken.duty(), other.duty()])
        self.assertEqual(watchdog.run_due(0.0), 10)
        watchdog.run_due(10.0)
        self.assertEqual(other.times, [10])
        self.assertIn('a test: when it is due', told[0].message)

    def test_a_moment_that_has_passed_does_not_spin(self):
        recorder = Recorder(lambda now: -5.0)
        watchdog = Watchdog([recorder.duty()])
        self.assertEqual(watchdog.run_due(10.0), 10.0)
        self.assertEqual(watchdog.run_due(10.0), 10.0 + SHORTEST)

    def test_a_duty_that_fails_does_not_end_the_others(self):
        good = Recorder(10)

        def fail(_now):
            raise ValueError('a test')
        watchdog = Watchdog([Duty('bad', fail, lambda now: 10), good.duty()])
        watchdog.run_due(0.0)
        records, handler = [], output.handler
        output.handler = records.append
        try:
            watchdog.run_due(10.0)
        finally:
            output.handler = handler
        self.assertEqual([record.message for record in records], ['bad failed'])
        self.assertEqual(good.times, [10])
