"""Timers of a poll loop."""
from __future__ import absolute_import, division, print_function

import os
import time

monotonic = getattr(time, 'monotonic', lambda: os.times()[4])  # 2.7 has none; this one is coarse


class Timers(object):
    """Functions to be called at their times, in a list sorted by time: there are few."""

    def __init__(self):
        self._waiting = []

    def add(self, delay, function, *args):
        """Call `function(*args)` in `delay` seconds; return what cancel() takes."""
        entry = monotonic() + delay, function, args
        at = len(self._waiting)
        while at and self._waiting[at - 1][0] > entry[0]:
            at -= 1
        self._waiting.insert(at, entry)
        return entry

    def cancel(self, entry):
        """Forget what add() has returned, if it is not due yet."""
        if entry in self._waiting:
            self._waiting.remove(entry)

    def next_wait(self):
        """Return the milliseconds until the first is due, None if there is none."""
        if not self._waiting:
            return None
        return max(0, int((self._waiting[0][0] - monotonic()) * 1000) + 1)

    def run_due(self):
        """Call what is due."""
        if not self._waiting:
            return
        now = monotonic()
        if self._waiting[0][0] > now:
            return
        due = [entry for entry in self._waiting if entry[0] <= now]
        del self._waiting[:len(due)]
        for _when, function, args in due:
            function(*args)
