"""Service hours through days, with the clock given: what the node does at each change."""
from __future__ import absolute_import, division, print_function

import time

from dispynode_lib.errors import OptionError
from dispynode_lib.node.timed import service
from dispynode_lib.node.shared.state import one_for_each_scheduler
from dispynode_lib.node.timed.service import Service
from dispynode_lib.node.timed.watchdog import Duty, Watchdog
from tests.support.fakes import FakeClock, Recorder, make_common, open_computation
from tests.support.waiting import wait_until
from tests.unit.test_hours import BERLIN, InAZone, minutes


class WithService(InAZone):
    zone = BERLIN

    def setUp(self):
        super(WithService, self).setUp()
        # 60 s would take long through days
        self._longest, service.LONGEST = service.LONGEST, 1800.0

    def tearDown(self):
        service.LONGEST = self._longest
        super(WithService, self).tearDown()

    def make(self, begin, *times):
        self.common, self.clock = make_common(), FakeClock(float(self.at(begin)))
        self.notices, self.announcer, self.delivery = Recorder(), Recorder(), Recorder(pending=0)
        for name, text in zip(('service_start', 'service_stop', 'service_end'), times):
            setattr(self.common.options, name, text and minutes(text))
        self.service = Service(
            self.common, self.notices, self.announcer, self.delivery, self.clock)
        self.watchdog = Watchdog([Duty('service hours', self.service.look, self.service.wait)])
        self.service.look(self.clock.now)
        return self.service

    def follow(self, end):
        """Let the clock run; return ['DD HH:MM taken|refused', ...]: the first and each change."""
        history, last, until = [], None, self.at(end)
        while self.clock.now < until:
            following = self.watchdog.run_due(self.clock.now) or until
            refusal = self.common.state.refusal()
            now = 'open' if refusal is None else refusal[1]
            if now != last:
                history.append(time.strftime('%d %H:%M:%S ', time.localtime(self.clock.now)) + now)
                last = now
            self.clock.now = following
        return history


class ServiceTest(WithService):

    def test_the_manuals_example_through_two_days_without_a_scheduler(self):
        self.make('2026-06-01 12:00', '17:00', '07:00', '08:00')
        self.assertEqual(self.follow('2026-06-03 18:00'), [
            '01 12:00:00 outside service hours: closed until 17:00',
            '01 17:00:00 open',
            '02 07:00:00 outside service hours: service has stopped until 08:00',
            '02 08:00:00 outside service hours: closed until 17:00',
            '02 17:00:00 open',
            '03 07:00:00 outside service hours: service has stopped until 08:00',
            '03 08:00:00 outside service hours: closed until 17:00',
            '03 17:00:00 open'])
        self.assertEqual(len(self.announcer.named('begin')), 3)

    def test_the_manuals_example_over_both_changes_of_daylight_saving(self):
        for day in ('2026-03-28', '2026-10-24'):
            self.make(day + ' 16:00', '17:00', '07:00', '08:00')
            first = int(day[-2:])
            self.assertEqual([
                line.split(' ')[:2] for line in self.follow('%s%02d 18:00' % (day[:8], first + 1))
            ], [['%02d' % first, '16:00:00'], ['%02d' % first, '17:00:00'],
                ['%02d' % (first + 1), '07:00:00'], ['%02d' % (first + 1), '08:00:00'],
                ['%02d' % (first + 1), '17:00:00']])

    def test_what_the_scheduler_is_told(self):
        self.make('2026-06-01 17:00', '17:00', '07:00', '08:00')
        computation = open_computation(self.common.state)
        self.follow('2026-06-02 07:30')
        self.assertEqual([cpus for cpus, in self.notices.named('cpus_to_all')], [0])
        self.assertIsNone(computation.closed)
        self.follow('2026-06-02 08:01')
        self.assertIs(computation.closed, True)
        self.assertIn('--service_end', computation.why)
        wait_until(lambda: self.notices.named('node_ends') == [([computation],)], 20)
        self.assertIsNone(self.common.state.scheduler())

    def test_without_end_running_computations_go_on_until_the_next_start(self):
        self.make('2026-06-01 17:00', '17:00', '07:00', None)
        computation = open_computation(self.common.state)
        self.follow('2026-06-02 17:10')
        self.assertIsNone(computation.closed)
        self.assertEqual([cpus for cpus, in self.notices.named('cpus_to_all')], [0, 2])

    def test_a_clock_that_is_set_is_noticed_within_a_minute(self):
        self.make('2026-06-01 12:00', '17:00', None, '20:00')
        service.LONGEST = self._longest
        self.assertLessEqual(self.service.wait(0.0), 60)
        self.clock.now = float(self.at('2026-06-01 18:00'))
        self.assertEqual(self.service.wait(0.0), 0.0)

    def test_without_service_hours_there_is_nothing_to_wait_for(self):
        self.assertIsNone(self.make('2026-06-01 12:00').wait(0.0))

    def test_jobs_under_way_when_service_stops_are_taken_later_ones_not(self):
        until = []
        self.make('2026-06-01 17:00', '17:00', '07:00', '08:00')
        self.common.state.set_hours = lambda outside, jobs_until=None: until.append(jobs_until)
        self.clock.now = float(self.at('2026-06-02 07:00'))
        self.service.look(5.0)
        self.assertEqual(until, [5.0 + service.GRACE])


class ChangesTest(WithService):
    """What an administration program changes at run time."""

    def test_an_end_alone_counts_once(self):
        self.make('2026-06-01 12:00').change('end_time', minutes('13:00'))
        self.assertEqual([line[:9]
                          for line in self.follow('2026-06-03 12:00')], ['01 12:00:', '01 13:00:'])

    def test_all_three_one_after_the_other_count_daily(self):
        made = self.make('2026-06-01 12:00')
        for control, text in (('start_time', '17:00'), ('stop_time', '07:00'),
                              ('end_time', '08:00')):
            made.change(control, minutes(text))
        self.assertEqual(made.times(), tuple(float(self.at(text)) for text in (
            '2026-06-01 17:00', '2026-06-02 07:00', '2026-06-02 08:00')))
        self.assertEqual(len(self.follow('2026-06-03 12:00')), 8)

    def test_cleared_times_open_the_node(self):
        made = self.make('2026-06-01 12:00', '17:00', None, '20:00')
        self.assertIsNotNone(self.common.state.refusal())
        made.change('end_time', None)
        made.change('start_time', None)
        self.watchdog.run_due(self.clock.now)
        self.watchdog.run_due(self.clock.now)
        self.assertIsNone(self.common.state.refusal())

    def test_times_that_do_not_fit_change_nothing(self):
        made = self.make('2026-06-01 12:00', '10:00', '14:00', '20:00')
        self.assertRaises(OptionError, made.change, 'stop_time', minutes('21:00'))
        self.assertEqual(made.describe(),
                         'service hours: start 10:00, stop 14:00, end 20:00; now open')

    def test_now_is_this_minute(self):
        made = self.make('2026-06-01 12:34')
        self.assertEqual(made.this_minute(), minutes('12:34'))
        made.change('end_time', made.this_minute())
        self.watchdog.run_due(self.clock.now)
        self.watchdog.run_due(self.clock.now)
        self.assertIsNotNone(self.common.state.refusal())


class SchedulersTest(WithService):

    def test_each_scheduler_is_told_once(self):
        self.make('2026-06-01 12:00')
        open_computation(self.common.state, number=1)
        open_computation(self.common.state, number=2)
        self.assertEqual(len(one_for_each_scheduler(self.common.state.computations())), 1)
