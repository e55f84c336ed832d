"""Timers of a poll loop."""
from __future__ import absolute_import, division, print_function

import os
import time

monotonic = getattr(time, 'monotonic', lambda: os.times()[4])  # 2.7 has none; this one is coarse


class Timers(object):
    """Functions to be called at their times, in a list: there are few."""

    def __init__(self):
        self._waiting = []

    def add(self, delay, function, *args):
        """Call `function(*args)` in `delay` seconds."""
        self._waiting.append((monotonic() + delay, function, args))

    def next_wait(self):
        """Return the milliseconds until the first is due, None if there is none."""
        if not self._waiting:
            return None
        wait = min([entry[0] for entry in self._waiting]) - monotonic()
        return max(0, int(wait * 1000) + 1)

    def run_due(self):
        """Call what is due."""
        if not self._waiting:
            return
        now = monotonic()
        due = [entry for entry in self._waiting if entry[0] <= now]
        self._waiting = [entry for entry in self._waiting if entry[0] > now]
        for _deadline, function, args in due:
            function(*args)
