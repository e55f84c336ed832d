"""Service hours through days, midnights and changes of daylight saving."""
from __future__ import absolute_import, division, print_function

import os
import time
import unittest

from dispynode_lib.errors import OptionError
from dispynode_lib.host.hours import CLOSED, CLOSING, OPEN, Hours
from dispynode_lib.node.timed.service import plan_of

BERLIN = 'CET-1CEST,M3.5.0,M10.5.0/3'  # forward 29 March 2026 at 2:00, back 25 October 2026 at 3:00


def minutes(text):
    hour, minute = text.split(':')
    return 60 * int(hour) + int(minute)


def hours(*times):
    return Hours(*[time_ and minutes(time_) for time_ in times])


class InAZone(unittest.TestCase):
    zone = 'UTC0'

    def setUp(self):
        self._zone = os.environ.get('TZ')
        self.set_zone(self.zone)

    def tearDown(self):
        self.set_zone(self._zone)

    def set_zone(self, zone):
        if zone is None:
            os.environ.pop('TZ', None)
        else:
            os.environ['TZ'] = zone
        time.tzset()

    def at(self, text, daylight=-1):
        """Return seconds since the epoch of local time 'YYYY-MM-DD HH:MM'."""
        fields = time.strptime(text, '%Y-%m-%d %H:%M')
        return int(time.mktime(fields[:8] + (daylight,)))

    def changes(self, plan, begin, end):
        """Follow the plan's own times of change; return ['DD HH:MM phase', ...] with the phase at
        `begin` first."""
        now, last = self.at(begin), self.at(end)
        history = []
        while now is not None and now < last:
            phase, following = plan.at(now)
            self.assertTrue(following is None or following > now)
            history.append(time.strftime('%d %H:%M ', time.localtime(now)) + phase)
            now = following
        return history

    def sampled(self, plan, begin, end):
        """The same, found by asking every quarter of an hour."""
        history = []
        for now in range(self.at(begin), self.at(end), 900):
            phase = plan.at(now)[0]
            if not history or not history[-1].endswith(' ' + phase):
                history.append(time.strftime('%d %H:%M ', time.localtime(now)) + phase)
        return history

    def check(self, plan, begin, end, expected):
        self.assertEqual(self.changes(plan, begin, end), expected)
        self.assertEqual(self.sampled(plan, begin, end), expected)


class TwoDays(InAZone):

    def test_no_hours_is_always_open(self):
        self.assertEqual(plan_of(None, None, None).at(0), (OPEN, None))

    def test_the_example_of_the_manual(self):
        self.check(hours('17:00', '7:00', '8:00'), '2026-06-01 12:00', '2026-06-03 12:00', [
            '01 12:00 closed', '01 17:00 open', '02 07:00 closing', '02 08:00 closed',
            '02 17:00 open', '03 07:00 closing', '03 08:00 closed'])

    def test_within_a_day(self):
        self.check(hours('9:00', '16:30', '17:00'), '2026-06-01 10:00', '2026-06-02 10:00', [
            '01 10:00 open', '01 16:30 closing', '01 17:00 closed', '02 09:00 open'])

    def test_stop_before_midnight_and_end_after(self):
        self.check(hours('17:00', '23:30', '0:15'), '2026-12-31 20:00', '2027-01-01 12:00', [
            '31 20:00 open', '31 23:30 closing', '01 00:15 closed'])

    def test_without_stop(self):
        self.check(hours('17:00', None, '8:00'), '2026-06-01 12:00', '2026-06-02 12:00', [
            '01 12:00 closed', '01 17:00 open', '02 08:00 closed'])

    def test_without_end_jobs_are_left_to_finish(self):
        self.check(hours('17:00', '7:00', None), '2026-06-01 12:00', '2026-06-02 18:00', [
            '01 12:00 closing', '01 17:00 open', '02 07:00 closing', '02 17:00 open'])

    def test_stop_and_end_together(self):
        self.check(hours('17:00', '8:00', '8:00'), '2026-06-01 12:00', '2026-06-02 12:00', [
            '01 12:00 closed', '01 17:00 open', '02 08:00 closed'])

    def test_from_midnight_to_midnight(self):
        self.check(hours('0:00', None, '23:45'), '2026-06-01 12:00', '2026-06-02 12:00', [
            '01 12:00 open', '01 23:45 closed', '02 00:00 open'])

    def test_changes_come_at_whole_minutes(self):
        plan = hours('17:00', '7:00', '8:00')
        for second in (0, 1, 32, 59):
            self.assertEqual(plan.at(self.at('2026-06-01 16:59') + second),
                             (CLOSED, self.at('2026-06-01 17:00')))
        self.assertEqual(plan.at(self.at('2026-06-01 17:00') + 0.5),
                         (OPEN, self.at('2026-06-02 07:00')))


class DaylightSaving(InAZone):
    zone = BERLIN

    def test_spring_night_is_an_hour_shorter(self):
        plan = hours('17:00', '7:00', '8:00')
        self.check(plan, '2026-03-28 12:00', '2026-03-29 20:00', [
            '28 12:00 closed', '28 17:00 open', '29 07:00 closing', '29 08:00 closed',
            '29 17:00 open'
        ])
        now = self.at('2026-03-28 17:00')
        self.assertEqual(plan.at(now)[1] - now, 13 * 3600)

    def test_autumn_night_is_an_hour_longer(self):
        plan = hours('17:00', '7:00', '8:00')
        self.check(plan, '2026-10-24 12:00', '2026-10-25 20:00', [
            '24 12:00 closed', '24 17:00 open', '25 07:00 closing', '25 08:00 closed',
            '25 17:00 open'
        ])
        now = self.at('2026-10-24 17:00')
        self.assertEqual(plan.at(now)[1] - now, 15 * 3600)

    def test_time_that_is_skipped_counts_when_the_clock_is_put_forward(self):
        self.check(hours('1:00', '2:15', '2:45'), '2026-03-29 00:30', '2026-03-29 12:00', [
            '29 00:30 closed', '29 01:00 open', '29 03:00 closed'])
        self.check(hours('2:30', None, '4:00'), '2026-03-29 00:30', '2026-03-29 12:00', [
            '29 00:30 closed', '29 03:00 open', '29 04:00 closed'])

    def test_time_that_comes_twice_counts_the_first_time(self):
        plan = hours('1:00', None, '2:30')
        first = self.at('2026-10-25 02:30', 1)
        self.assertEqual(plan.at(first - 60), (OPEN, first))
        self.assertEqual(plan.at(first)[0], CLOSED)
        self.assertEqual(plan.at(first + 3600)[0], CLOSED)

    def test_half_hours_of_lord_howe_island(self):
        self.set_zone('LHST-10:30LHDT-11,M10.1.0,M4.1.0')       # 4 October 2026: 2:00 becomes 2:30
        self.check(hours('1:00', None, '2:15'), '2026-10-04 00:30', '2026-10-04 12:00', [
            '04 00:30 closed', '04 01:00 open', '04 02:30 closed'])


class Refused(unittest.TestCase):

    def test_times_that_make_no_sense(self):
        for times in (('8:00', None, None), ('8:00', '8:00', '9:00'), ('8:00', '9:00', '8:00'),
                      ('17:00', '9:00', '8:00'), ('8:00', '18:00', '17:00'),
                      ('8:00', None, '8:00')):
            with self.assertRaises(OptionError) as caught:
                hours(*times)
            self.assertIn('--service_', caught.exception.args[0])

    def test_closing_is_told_from_closed(self):
        self.assertEqual(len(set((OPEN, CLOSING, CLOSED))), 3)


if __name__ == '__main__':
    unittest.main()
