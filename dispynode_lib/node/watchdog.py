"""The table of timed duties, and the thread that does them."""
from __future__ import absolute_import, division, print_function

import logging
import threading
import time

from dispynode_lib.host.compat import start_thread

log = logging.getLogger('dispynode.watchdog')


class Duty(object):
    """Something to do at certain times.

    name      for the log
    do        function(now), now in seconds since the epoch
    interval  function() -> seconds until the next time, or None: not at present
    """

    def __init__(self, name, do, interval):
        self.name, self.do, self.interval = name, do, interval
        self.due = None


class Watchdog(object):
    """Does duties when they are due; waits without waking up in between."""

    def __init__(self, duties, clock=time.time):
        self._duties = duties
        self._clock = clock
        self._condition = threading.Condition()
        self._stopping = False

    def start(self):
        """Start the thread."""
        return start_thread('watchdog', self._run)

    def stop(self):
        """Do no more duties."""
        with self._condition:
            self._stopping = True
            self._condition.notify_all()

    def reschedule(self):
        """Look at the intervals anew: one of them may have changed."""
        with self._condition:
            for duty in self._duties:
                duty.due = None
            self._condition.notify_all()

    def run_due(self, now):
        """Do what is due at `now`; return the time of the next duty, or None."""
        following = []
        for duty in self._duties:
            if duty.due is not None and duty.due <= now:
                duty.due = None
                try:
                    duty.do(now)
                except Exception:
                    log.exception('%s failed', duty.name)
            if duty.due is None:
                interval = duty.interval()
                duty.due = None if interval is None else now + interval
            if duty.due is not None:
                following.append(duty.due)
        return min(following) if following else None

    def _run(self):
        while True:
            following = self.run_due(self._clock())
            with self._condition:
                if self._stopping:
                    return
                timeout = None if following is None else min(max(0.0, following - self._clock()), 3600.0)
                self._condition.wait(timeout)
                if self._stopping:
                    return
