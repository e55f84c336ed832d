"""Small things that many parts of the node use."""
from __future__ import absolute_import, division, print_function

import collections

REMEMBERED = 1000                           # keys

# what nearly every part is given:
# options    as the command line and the config file give them; some change when that file is read
# again
# state      node.shared.state.NodeState
# loop       host.io.loop.Loop
# workers    host.io.workers.Workers, for what may wait
# identity   node.shared.identity.Identity
Common = collections.namedtuple('Common', 'options state loop workers identity')

# functions: what operators and administration programs have done to the node; all return soon
# set_cpus(number)   offer so many CPUs, from 0
# drain()            end when the open computations have been closed
# drain_jobs()       take no new job; end when the running ones have ended
# stop()             end now
# restart()          end, and be replaced by the program on disk; returns why that cannot be (text),
#                    None if it can
# reschedule()       duties are due at other times now
Orders = collections.namedtuple('Orders', 'set_cpus drain drain_jobs stop restart reschedule')


class Allowance(object):
    """An allowance (token bucket): so many times at once, so many a second afterwards. A budget for
    each key, such as an address; its owner has one thread use it at a time."""

    def __init__(self, burst, rate, remembered=REMEMBERED):
        """`burst`: times at once; `rate`: times a second that come back."""
        self._burst, self._rate, self._remembered = float(burst), float(rate), remembered
        self._budgets = collections.OrderedDict()       # key -> (left, time of the last look)

    def take(self, key, now):
        """Return whether it may be done once more for `key` at `now` (monotonic seconds)."""
        left, then = self._budgets.pop(key, (self._burst, now))
        left = min(self._burst, left + max(0.0, now - then) * self._rate)
        allowed = left >= 1.0
        self._budgets[key] = (left - 1.0 if allowed else left, now)
        if len(self._budgets) > self._remembered:
            self._budgets.popitem(last=False)
        return allowed

    def forget(self):
        """Begin anew, for all keys."""
        self._budgets.clear()
