"""Service hours: when the node takes jobs, told from the time of day."""
from __future__ import absolute_import, division, print_function

import time

from dispynode_lib.errors import OptionError

OPEN, CLOSING, CLOSED = 'open', 'closing', 'closed'     # OPEN and CLOSING: as in node/timed/service
DAY = 24 * 60                               # minutes


def text(minutes):
    """Return minutes since midnight as HH:MM."""
    return u'%02d:%02d' % divmod(minutes, 60)


def check(start, stop, end):
    """Raise OptionError unless the times (minutes since midnight, or None) make sense.

    They follow each other from start on, over midnight if need be: start, stop, end.
    """
    if stop is None and end is None:
        raise OptionError(
            u'--service_start %s: give --service_end, or --service_stop, as well' % text(start))
    if start in (stop, end):
        raise OptionError(
            u'--service_start %s: it must differ from --service_stop and --service_end' %
            text(start))
    if stop is None or end is None:
        return
    if (stop - start) % DAY > (end - start) % DAY:
        raise OptionError(
            u'--service_stop %s: it must lie between --service_start %s and --service_end %s' %
            (text(stop), text(start), text(end)))


class Hours(object):
    """The service hours of one node; times in minutes since midnight, local time.

    From start the node is OPEN, from stop CLOSING (running jobs go on, nothing new is taken), from
    end CLOSED. Without stop it is OPEN until end; without end it is CLOSING until the next start.
    """

    def __init__(self, start, stop, end):
        """Raise OptionError as check() does."""
        check(start, stop, end)
        self.stop, self.end = stop, end
        changes = [(start, OPEN), (stop, CLOSING), (end, CLOSED)]
        if stop == end:
            changes.pop(1)
        self._changes = sorted(change for change in changes if change[0] is not None)

    def at(self, now):
        """Return (OPEN, CLOSING or CLOSED, seconds since the epoch of the next change or None).

        now   seconds since the epoch
        A time of day that a change of daylight saving skips counts as passed when the clock is put
        forward; one that comes twice counts the first time.
        """
        last = following = None
        for when, phase in self._around(now):
            if when <= now:
                last = phase
            elif following is None:
                following = when
        return last, following

    def times(self, now):
        """Return (start, stop, end), epoch seconds or None, of the present or next service."""
        last = CLOSED if self.end is not None else CLOSING
        changes = self._around(now)
        until = min(when for when, phase in changes if phase == last and when > now)
        start = max(when for when, phase in changes if phase == OPEN and when < until)
        stops = [when for when, phase in changes if phase == CLOSING and start < when <= until]
        stop = max(stops) if stops else (until if self.stop is not None else None)
        return start, stop, until if self.end is not None else None

    def _around(self, now):
        """Return [(epoch seconds, phase)] of yesterday, today and the next two days, in order.

        Two, since a change of daylight saving can skip a time of day.
        """
        today = time.localtime(now)
        found = []
        for day in (-1, 0, 1, 2):
            for minutes, phase in self._changes:
                found.append((_moment(today, day, minutes), phase))
        found.sort(key=lambda entry: entry[0])  # stable: equal moments stay in order of the day
        return found


def _moment(today, day, minutes):
    """Return when a time of day comes `day` days after `today` (seconds since the epoch)."""
    hour, minute = divmod(minutes, 60)
    noon = time.mktime((today.tm_year, today.tm_mon, today.tm_mday, 12, 0, 0, 0, 0, -1))
    date = time.localtime(noon + day * 86400)  # not today.tm_mday + day: PyPy takes day 0 for 1
    moments = []
    for daylight in (0, 1, -1):
        try:
            moments.append(int(time.mktime((date.tm_year, date.tm_mon, date.tm_mday, hour, minute,
                                            0, 0, 0, daylight))))
        # some systems refuse daylight saving where there is none
        except (OverflowError, ValueError):
            continue
    right = [moment for moment in moments if time.localtime(moment)[3:5] == (hour, minute)]
    return min(right) if right else _gap_end(min(moments), max(moments))


def _gap_end(before, after):
    """Return the first second after the clock was put forward, somewhere between two moments."""
    offset = _offset(before)
    while after - before > 1:
        middle = (before + after) // 2
        if _offset(middle) == offset:
            before = middle
        else:
            after = middle
    return after


def _offset(now):
    """Return how far local time is ahead of UTC at `now`, in minutes modulo a day."""
    local, universal = time.localtime(now), time.gmtime(now)
    return (60 * (local.tm_hour - universal.tm_hour) + local.tm_min - universal.tm_min) % DAY


class Once(object):
    """Service that begins, stops, ends once: seconds since the epoch, or None."""

    def __init__(self, start, stop, end):
        self._times = start, stop, end
        self._changes = sorted((when, rank, phase) for rank, (when, phase) in enumerate(
            zip(self._times, (OPEN, CLOSING, CLOSED))) if when is not None)

    def at(self, now):
        """Return (phase, seconds since the epoch of the next change or None), as Hours.at()."""
        phase = CLOSED if self._changes and self._changes[0][2] == OPEN else OPEN
        for when, _rank, following in self._changes:
            if when > now:
                return phase, when
            phase = following
        return phase, None

    def times(self, _now):
        """Return (start, stop, end)."""
        return self._times


def next_time(minutes, now):
    """Return when the time of day `minutes` comes next, this minute too (epoch seconds)."""
    today = time.localtime(now)
    moments = [_moment(today, day, minutes) for day in (0, 1, 2)]
    return min(moment for moment in moments if moment > now - 60)
