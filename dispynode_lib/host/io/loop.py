"""The event loop: one thread that waits for descriptors and timers, and calls back."""
from __future__ import absolute_import, division, print_function

import collections
import errno
import functools
import itertools
import threading

from dispynode_lib.host.compat import (
    Poller, get_thread_id, heapify, heappop, heappush, monotonic, start_thread)
from dispynode_lib.host.io.wakeup import Wakeup
from dispynode_lib.log import Log

log = Log('dispynode.loop')

READ, WRITE = Poller.READ, Poller.WRITE
THREAD_AGAIN = 1.0                          # seconds until a thread is tried again


class Timer(object):
    """A call that is due at a point in time; cancel() forgets it."""

    __slots__ = ('function', 'args', '_loop')

    def __init__(self, loop, function, args):
        self._loop, self.function, self.args = loop, function, args

    def cancel(self):
        """Forget the call; the loop's thread."""
        if self.function is not None:
            self.function = self.args = None
            self._loop.forget_cancelled()


class Loop(object):
    """Watches descriptors and keeps timers; every callback runs in the thread that runs the loop.

    Only call_soon(), start_thread() and stop() may be called from other threads; all else from
    callbacks.
    """

    def __init__(self):
        self._poller = Poller()
        self._callbacks = {}
        self._timers = []
        self._cancelled = 0
        self._serial = itertools.count()
        self._soon = collections.deque()
        self._waiting = False
        self._stopping = False
        self._thread = None
        self._wakeup = Wakeup()
        self.watch(self._wakeup.fileno(), lambda _events: self._wakeup.drain())

    def watch(self, fd, callback, events=READ):
        """Call `callback(events)` whenever `fd` is ready for `events` (READ, WRITE or both)."""
        self._poller.add(fd, events)
        self._callbacks[fd] = callback

    def change(self, fd, callback, events):
        """Watch an already watched `fd` for other events or with another callback."""
        self._poller.change(fd, events)
        self._callbacks[fd] = callback

    def unwatch(self, fd):
        """Forget `fd`; call it before the descriptor is closed."""
        if self._callbacks.pop(fd, None) is not None:
            self._poller.remove(fd)

    def call_at(self, when, function, *args):
        """Call `function(*args)` at monotonic time `when`; return a Timer that can be cancelled."""
        timer = Timer(self, function, args)
        heappush(self._timers, (when, next(self._serial), timer))
        return timer

    def call_later(self, delay, function, *args):
        """Call `function(*args)` in `delay` seconds; return a Timer."""
        return self.call_at(monotonic() + delay, function, *args)

    def forget_cancelled(self):
        """Count a cancelled timer; drop them all when they are the larger part."""
        self._cancelled += 1
        if self._cancelled > 100 and self._cancelled * 2 > len(self._timers):
            self._timers = [entry for entry in self._timers if entry[2].function is not None]
            heapify(self._timers)
            self._cancelled = 0

    def call_soon(self, function, *args):
        """Have the loop's thread call `function(*args)` as soon as it can. Safe from any thread."""
        self._soon.append((function, args))
        if self._waiting and get_thread_id() != self._thread:
            self._waiting = False  # one wake-up is enough for all who call until it is awake
            self._wakeup.wake()

    def start_thread(self, name, function, *args):
        """Start a thread as soon as one can be had. Safe from any thread."""
        try:
            start_thread(name, function, *args)
        except threading.ThreadError as error:
            log.warning('the thread "%s": %s; trying again', name, error)
            self.call_soon(self._try_thread, name, function, args)

    def _try_thread(self, name, function, args):
        try:
            start_thread(name, function, *args)
        except threading.ThreadError:
            self.call_later(THREAD_AGAIN, self._try_thread, name, function, args)

    def stop(self):
        """Make run() return after the callbacks of its current turn. Safe from any thread."""
        self._stopping = True
        self._wakeup.wake()

    def run(self):
        """Wait and call back until stop()."""
        self._thread = get_thread_id()
        while not self._stopping:
            self._turn()
        self._poller.close()

    def _turn(self):
        soon = self._soon
        self._waiting = True                # before the look at `soon`: see call_soon
        timeout = 0 if soon else self._seconds_to_next_timer()
        try:
            ready = self._poller.wait(timeout)
        except EnvironmentError as error:   # a signal (2.7); anything else must not spin silently
            if error.args[:1] != (errno.EINTR,):
                log.warning('waiting for descriptors failed: %s', error)
            ready = ()
        self._waiting = False
        now = monotonic() if self._timers else None
        callbacks = self._callbacks
        for fd, events in ready:
            callback = callbacks.get(fd)
            if callback is not None:
                self._call(callback, (events,))
        for _ in range(len(soon)):
            function, args = soon.popleft()
            self._call(function, args)
        # what fell due during the callbacks: after the next look at descriptors
        if now is not None:
            self._run_timers(now)

    def _seconds_to_next_timer(self):
        timers = self._timers
        while timers and timers[0][2].function is None:
            heappop(timers)
            self._cancelled -= 1
        if not timers:
            return None
        return max(0, timers[0][0] - monotonic())

    def _run_timers(self, now):
        while self._timers and self._timers[0][0] <= now:
            timer = heappop(self._timers)[2]
            if timer.function is None:
                self._cancelled -= 1
                continue
            function, args = timer.function, timer.args
            timer.function = timer.args = None
            self._call(function, args)

    def _call(self, function, args):
        try:
            function(*args)
        except Exception:
            log.exception('a callback of the loop failed: %r', function)


def gather(questions, timeout):
    """Ask several at once and wait for their answers; not in the loop's thread.

    questions   {key: function that takes `done`}; the loop's thread calls done(*answer)
    timeout     seconds to wait for all of them
    Return {key: answer (tuple)} of those that answered in time.
    """
    answers = {}
    all_there = threading.Event()

    def take(key, *answer):
        answers[key] = answer
        if len(answers) == len(questions):
            all_there.set()
    for key, ask in questions.items():
        ask(functools.partial(take, key))
    if questions:
        all_there.wait(timeout)
    return dict(answers)
