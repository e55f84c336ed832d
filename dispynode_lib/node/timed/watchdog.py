"""Watchdog: the thread that does timed duties when they are due."""
from __future__ import absolute_import, division, print_function

import select

from dispynode_lib.host.compat import monotonic, start_thread
from dispynode_lib.host.io.wakeup import Wakeup
from dispynode_lib.log import Log

log = Log('dispynode.watchdog')

SHORTEST = 0.1                              # seconds between two times of one duty
AFTER_FAILURE = 60.0                        # seconds until a duty is asked again when it is due
LONGEST = 3600.0                            # seconds that the thread sleeps at most


class Duty(object):
    """A duty: something to do at certain times.

    name   for the log
    do     function(now), now in seconds of the watchdog's clock
    wait   function(now) -> seconds from `now` until the next time, or None: not at present
    """

    def __init__(self, name, do, wait):
        self.name, self.do, self.wait = name, do, wait
        self.due = None


class Watchdog(object):
    """Does duties when they are due; waits without waking up in between."""

    def __init__(self, duties=(), clock=monotonic):
        """`clock`: function -> seconds, not the host's clock, which may be set."""
        self._duties = list(duties)
        self._clock = clock
        self._wakeup, self._poll = None, None           # once it runs
        self._stopping = False

    def start(self, duties=()):
        """Start the thread, which does these duties as well."""
        self._duties.extend(duties)
        self._wakeup = Wakeup()
        self._poll = select.poll()
        self._poll.register(self._wakeup, select.POLLIN)
        return start_thread('watchdog', self._run)

    def stop(self):
        """Do no more duties."""
        self._stopping = True
        self.reschedule()

    def reschedule(self):
        """Ask each duty anew when it is due: something has changed."""
        if self._wakeup is not None:
            self._wakeup.wake()

    def run_due(self, now):
        """Do what is due at `now`; return the time of the next duty, or None."""
        done = []
        for duty in self._duties:
            if duty.due is not None and duty.due <= now:
                duty.due = None
                done.append(duty)
                try:
                    duty.do(now)
                except Exception:
                    log.exception('%s failed', duty.name)
        for duty in self._duties:           # what one has done may concern another
            self._plan(duty, now, SHORTEST if duty in done else 0.0)
        following = [duty.due for duty in self._duties if duty.due is not None]
        return min(following) if following else None

    @staticmethod
    def _plan(duty, now, least):
        try:
            wait = duty.wait(now)
        except Exception:
            log.exception('%s: when it is due', duty.name)
            wait = AFTER_FAILURE
        if wait is None:
            duty.due = None
            return
        due = now + max(wait, least)
        duty.due = due if duty.due is None else min(due, duty.due)

    def _run(self):
        while not self._stopping:
            following = self.run_due(self._clock())
            left = LONGEST if following is None else following - self._clock()
            self._sleep(min(max(0.0, left), LONGEST))

    def _sleep(self, seconds):
        """Wait to be woken. By poll: waits of threads go by the host's clock before 3.11."""
        try:
            if self._poll.poll(seconds * 1000.0 + 0.5):
                self._wakeup.drain()
        except (EnvironmentError, select.error):        # a signal (2.7)
            return
