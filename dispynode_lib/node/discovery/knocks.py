"""Pings to named schedulers of unknown release: one release after the other, each on a connection.

A scheduler logs a line for each ping of another release, and answers none; so the whole list comes
twice at most while it listens. A connection that fails speaks for all releases of its port.
"""
from __future__ import absolute_import, division, print_function

from dispynode_lib.host.compat import fraction, monotonic

GAP = 0.1  # seconds from the end of one ping to the next: time for the answer
SLOWER = 4  # times as long again as the connection took: many nodes may knock at once
TIMES = 2                                   # the whole list


class Knocks(object):
    """Pings to one (address, port), one release after the other. But for begin(): the loop's."""

    def __init__(self, common, notices, is_wanted, clock=monotonic, random=fraction):
        """`is_wanted`: function(name) -> whether the scheduler of that name is still looked for."""
        self._state, self._loop = common.state, common.loop
        self._notices = notices
        self._is_wanted = is_wanted
        self._clock, self._random = clock, random
        self._running = set()               # (address, port)
        self._unheard = {}  # (address, port) -> how often all releases have been tried

    def begin(self, name, own, target, likely, others):
        """Try the `likely` releases at `target`, then perhaps the others. Any thread."""
        self._loop.call_soon(self._begin, name, own, target, likely, others)

    def _begin(self, name, own, target, likely, others):
        if target not in self._running:
            self._running.add(target)
            whole = self._unheard.get(target, 0) < TIMES
            self._next(name, own, target, likely + (others if whole else []))

    def _next(self, name, own, target, versions):
        if not versions or self._state.refusal() is not None or not self._is_wanted(name):
            self._running.discard(target)
            if not versions:
                self._unheard[target] = self._unheard.get(target, 0) + 1
            return
        began = self._clock()

        def tried(_reply, error):
            if error is None:
                gap = (GAP + SLOWER * (self._clock() - began)) * (0.5 + self._random())
                self._loop.call_later(gap, self._next, name, own, target, versions[1:])
                return
            self._running.discard(target)
            self._unheard.pop(target, None)     # who listens there later may be of another release
            self._notices.forget(*target)
        self._notices.knock(own, target, versions[0], tried)
