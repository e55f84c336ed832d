"""Allowances (token buckets): so many times at once, so many times a second afterwards."""
from __future__ import absolute_import, division, print_function

import collections
import threading

REMEMBERED = 1000                           # keys


class Allowance(object):
    """A budget for each key, such as an address; any thread."""

    def __init__(self, burst, rate, remembered=REMEMBERED):
        """`burst`: times at once; `rate`: times a second that come back."""
        self._burst, self._rate, self._remembered = float(burst), float(rate), remembered
        self._lock = threading.Lock()
        self._budgets = collections.OrderedDict()       # key -> (left, time of the last look)

    def take(self, key, now):
        """Return whether it may be done once more for `key` at `now` (monotonic seconds)."""
        with self._lock:
            left, then = self._budgets.pop(key, (self._burst, now))
            left = min(self._burst, left + max(0.0, now - then) * self._rate)
            allowed = left >= 1.0
            self._budgets[key] = (left - 1.0 if allowed else left, now)
            if len(self._budgets) > self._remembered:
                self._budgets.popitem(last=False)
            return allowed

    def forget(self):
        """Begin anew, for all keys."""
        with self._lock:
            self._budgets.clear()
