"""Pulses and zombies: histories with the clock given."""
from __future__ import absolute_import, division, print_function

import unittest

from dispynode_lib.node.timed import duties
from tests.support.fakes import Recorder, make_common, open_computation

OTHER = (u'10.0.0.8', 9700)


class PulseIntervalTest(unittest.TestCase):

    def make(self, **settings):
        self.common, self.notices = make_common(**settings), Recorder()
        self.delivery = Recorder(pending=0)
        return duties.Pulses(self.common, self.notices, self.delivery)

    def wait(self, *intervals, **settings):
        pulses = self.make(**settings)
        for number, interval in enumerate(intervals):
            open_computation(self.common.state, number=number, pulse_interval=interval)
        return pulses.wait(0.0)

    def test_the_rule_of_the_protocol(self):
        for expected, intervals, settings in (
                (None, (), {}),
                (600, (None,), {}),
                (10, (10.0,), {}),
                (5, (10.0, 5.0, None), {}),
                (30, (None,), {'ping_interval': 30.0}),
                (12, (None,), {'zombie_interval': 60.0}),
                (600, (None,), {'zombie_interval': 0.0})):
            self.assertEqual(self.wait(*intervals, **settings), expected, (intervals, settings))

    def test_one_pulse_for_all_computations_of_a_scheduler(self):
        pulses = self.make()
        for number in range(3):
            open_computation(self.common.state, number=number)
        pulses.send(0.0)
        self.assertEqual(len(self.notices.named('pulse')), 1)

    def test_an_answered_pulse_is_a_sign_of_life_of_all_computations_of_the_scheduler(self):
        pulses = self.make()
        computations = [open_computation(self.common.state, number=number) for number in range(2)]
        for computation in computations:
            computation.clock = lambda: 77.0
        pulses.send(0.0)
        _computation, done = self.notices.named('pulse')[0]
        done(b'PULSE', None)
        self.assertEqual([computation.life for computation in computations], [77.0, 77.0])

    def test_only_old_schedulers_are_pulsed_by_datagram(self):
        for release, times in ((u'4.6.17', 1), (u'4.7.0', 1), (None, 1), (u'4.7.3', 0),
                               (u'4.15.2', 0)):
            pulses = self.make()
            open_computation(self.common.state).peer.version = release
            pulses.send(0.0)
            self.notices.named('pulse')[0][1](None, 'closed without an answer')
            self.assertEqual(len(self.notices.named('pulse_by_datagram')), times, release)

    def test_kept_replies_are_tried_again_with_each_pulse(self):
        pulses = self.make()
        open_computation(self.common.state)
        pulses.send(0.0)
        self.assertEqual(len(self.delivery.named('retry_all')), 1)


class MovedTest(unittest.TestCase):
    """The scheduler knows the node by an address that the host has lost."""

    def setUp(self):
        self.gone = None                    # seconds
        self.common, self.notices = make_common(), Recorder()
        self.pending, self.kept = 0, []     # replies under way; (uid, hash) of those kept
        self.delivery = Recorder(pending=lambda: self.pending)
        self.computation = open_computation(self.common.state)
        self.moved = duties.Moved(
            self.common, self.notices, self.delivery, Recorder(to_send=lambda _key: self.kept),
            lambda _address, _now: self.gone)

    def look(self, gone):
        self.gone = gone
        self.moved.look(0.0)
        return self.moved.wait(0.0)

    def told(self):
        return [cpus for _computation, cpus in self.notices.named('node_cpus')]

    def test_no_job_is_lost_when_the_address_of_the_node_changes(self):
        job, _is_new = self.common.state.admit_job(1, 7, u'h', (), 0.0, 0.0)
        self.assertEqual(self.look(0.0), duties.MOVED_PATIENCE)
        self.assertEqual(self.look(7.0), duties.MOVED_AGAIN)
        # no more jobs; the running one may end
        self.assertEqual((self.told(), self.computation.closed), ([0], None))
        self.common.state.finish_job(job)
        self.pending = 1
        self.look(8.0)
        self.assertIsNone(self.computation.closed)      # its reply is on its way
        self.pending, self.kept = 0, [(7, u'h')]
        self.look(8.5)
        # it was sent from the address that is gone, and kept: again
        self.assertIsNone(self.computation.closed)
        self.assertEqual(len(self.delivery.named('retry_all')), 1)
        self.kept = []
        self.assertIsNone(self.look(9.0))
        self.assertIs(self.computation.closed, False)

    def test_a_reply_that_cannot_be_delivered_does_not_keep_the_node(self):
        self.kept = [(7, u'h')]
        self.look(duties.MOVED_LIMIT - 1)
        self.assertIsNone(self.computation.closed)
        self.look(duties.MOVED_LIMIT)
        self.assertIs(self.computation.closed, False)

    def test_the_address_comes_back(self):
        self.look(2.0)
        self.assertTrue(self.computation.moved)
        self.gone = None
        self.assertEqual(self.moved.wait(0.0), 0.0)
        self.assertIsNone(self.look(None))
        self.assertEqual((self.told(), self.computation.closed, self.computation.moved),
                         ([0, 2], None, False))


class ZombieTest(unittest.TestCase):

    def setUp(self):
        self.common = make_common(zombie_interval=60.0)
        self.zombies = duties.Zombies(self.common)

    def test_nothing_to_wait_for_without_scheduler_or_interval(self):
        self.assertIsNone(self.zombies.wait(0.0))
        open_computation(self.common.state)
        self.common.options.zombie_interval = 0.0
        self.assertIsNone(self.zombies.wait(0.0))

    def test_the_latest_sign_of_life_of_any_of_its_computations_counts(self):
        open_computation(self.common.state, number=1, life=0.0)
        open_computation(self.common.state, number=2, life=50.0)
        self.assertEqual(self.zombies.wait(55.0), 55.0)
        self.zombies.look(70.0)
        self.assertEqual(len(self.common.state.computations()), 2)

    def test_a_zombie_without_jobs_is_closed_and_the_node_is_free(self):
        computation = open_computation(self.common.state)
        self.zombies.look(60.0)
        self.assertIs(computation.closed, False)
        self.assertIsNone(self.common.state.scheduler())

    def test_running_jobs_of_a_zombie_are_left_to_finish(self):
        computation = open_computation(self.common.state)
        job = self.common.state.admit_job(1, 5, u'h', [], 0.0, 0)[0]
        self.zombies.look(61.0)
        self.assertTrue(computation.zombie)
        self.assertIsNone(computation.closed)
        self.assertEqual(self.zombies.wait(61.0), duties.ZOMBIE_AGAIN)
        self.common.state.finish_job(job)
        self.zombies.look(66.0)
        self.assertIs(computation.closed, False)

    def test_a_scheduler_that_is_back_in_time_keeps_its_computation(self):
        computation = open_computation(self.common.state)
        self.common.state.admit_job(1, 5, u'h', [], 0.0, 0)
        self.zombies.look(61.0)
        computation.life = 63.0
        self.zombies.look(66.0)
        self.assertFalse(computation.zombie)
        self.assertEqual(self.zombies.wait(66.0), 57.0)
