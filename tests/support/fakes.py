"""A loop and workers for histories: only what the test lets happen does, by a clock that it sets."""
from __future__ import absolute_import, division, print_function

import select

from dispynode_lib.host.io.loop import READ, WRITE


class FakeTimer(object):
    """A call that is due at `when`."""

    def __init__(self, when, function, args):
        self.when, self.function, self.args = when, function, args

    def cancel(self):
        """Forget the call."""
        self.function = None


class FakeLoop(object):
    """As host.io.loop.Loop: real descriptors are looked at in turn(), timers run in pass_time()."""

    def __init__(self, now=1000.0):
        self.now = now
        self.soon, self.timers, self.watched = [], [], {}       # watched: descriptor -> (callback, events)

    def clock(self):
        """Return the time."""
        return self.now

    def watch(self, fd, callback, events=READ):
        """As that of a Loop, which fails as well if `fd` is watched already."""
        assert fd not in self.watched, 'descriptor %d is watched already' % fd
        self.watched[fd] = callback, events

    def change(self, fd, callback, events):
        """As that of a Loop."""
        assert fd in self.watched, 'descriptor %d is not watched' % fd
        self.watched[fd] = callback, events

    def unwatch(self, fd):
        """As that of a Loop."""
        self.watched.pop(fd, None)

    def call_at(self, when, function, *args):
        """As that of a Loop."""
        self.timers.append(FakeTimer(when, function, args))
        return self.timers[-1]

    def call_later(self, delay, function, *args):
        """As that of a Loop."""
        return self.call_at(self.now + delay, function, *args)

    def call_soon(self, function, *args):
        """As that of a Loop."""
        self.soon.append((function, args))

    @staticmethod
    def in_loop():
        """A history has one thread: the loop's."""
        return True

    def turn(self):
        """Call back for each descriptor that is ready now, then what was to be called soon.

        Return whether there was anything.
        """
        readable, writable, _other = select.select(
            [fd for fd, (_callback, events) in self.watched.items() if events & READ],
            [fd for fd, (_callback, events) in self.watched.items() if events & WRITE], [], 0)
        for fd in sorted(set(readable + writable)):
            if fd in self.watched:
                ready = (READ if fd in readable else 0) | (WRITE if fd in writable else 0)
                self.watched[fd][0](ready)
        soon, self.soon = self.soon, []
        for function, args in soon:
            function(*args)
        return bool(readable or writable or soon)

    def settle(self, workers=None):
        """Take turns, and let the workers work, until there is nothing to do."""
        for _turn in range(1000):
            if not self.turn() and not (workers is not None and workers.work()):
                return
        raise AssertionError('there is always something to do: %r' % self.soon)

    def pass_time(self, seconds):
        """Let the clock go on; what falls due meanwhile is called at its time, earliest first."""
        end = self.now + seconds
        while True:
            due = [timer for timer in self.timers if timer.function and timer.when <= end]
            if not due:
                break
            timer = min(due, key=lambda timer: timer.when)
            self.timers.remove(timer)
            self.now = max(self.now, timer.when)
            timer.function(*timer.args)
        self.timers = [timer for timer in self.timers if timer.function is not None]
        self.now = end


class FakeWorkers(object):
    """As host.io.workers.Workers: tasks wait until work()."""

    def __init__(self, limit=None, loop=None):
        self.limit, self.loop, self.tasks = limit, loop, []

    def run(self, function, *args):
        """As that of Workers."""
        self.tasks.append((function, args))

    def work(self):
        """Do what has been handed in until now, in its order; return whether there was any."""
        tasks, self.tasks = self.tasks, []
        for function, args in tasks:
            function(*args)
        return bool(tasks)
