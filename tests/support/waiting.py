"""Waiting for a condition, with an end."""
from __future__ import absolute_import, division, print_function

import time

clock = getattr(time, 'monotonic', time.time)
TIMEOUT = 30                                # seconds that anything may take on a busy machine


def wait_until(check, timeout=TIMEOUT, what=None, interval=0.01):
    """Call `check` until it returns something true; return that.

    timeout   seconds after which AssertionError is raised
    what      text of that error: what was waited for (or a function that tells it)
    interval  seconds between two calls
    """
    deadline = clock() + timeout
    while True:
        found = check()
        if found:
            return found
        if clock() >= deadline:
            if callable(what):
                what = what()
            raise AssertionError('waited %s s for %s' % (timeout, what or check))
        time.sleep(interval)
