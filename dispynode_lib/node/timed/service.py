"""Service hours: the node takes jobs between certain times of day only."""
from __future__ import absolute_import, division, print_function

import time

from dispynode_lib.errors import OptionError
from dispynode_lib.host.wording import counted
from dispynode_lib.log import Log
from dispynode_lib.node.shared.state import SERVING

log = Log('dispynode.service')

OPEN, CLOSING = 'open', 'closing'           # as in host/hours, which few nodes import
LONGEST = 60.0  # seconds between looks: the host's clock may be set, or the host sleep
GRACE = 5.0  # seconds for jobs that were under way when service stopped
OVER = u'the service hours of the node ended (--service_end) before the job had ended'
CONTROLS = ('start_time', 'stop_time', 'end_time')


class Service(object):
    """Opens and closes the node by the time of day. `look` and `wait` are the watchdog's."""

    def __init__(self, common, notices, announcer, delivery, clock=time.time):
        """`clock`: function -> seconds since the epoch."""
        options = self._options = common.options
        self._state, self._loop = common.state, common.loop
        self._notices, self._announcer, self._delivery = notices, announcer, delivery
        self._clock = clock
        self._minutes = [options.service_start, options.service_stop, options.service_end]
        self._plan = plan_of(*self._minutes)
        self._phase = OPEN

    def wait(self, _now):
        """Return seconds until there is something to do, None without service hours."""
        now = self._clock()
        phase, change = self._plan.at(now)
        if phase != self._phase:
            return 0.0
        return None if change is None else min(change - now, LONGEST)

    def look(self, now):
        """Do what the time of day asks for; `now` monotonic."""
        phase, change = self._plan.at(self._clock())
        if phase == self._phase:
            return
        self._phase = phase
        if phase == OPEN:
            self._open(change)
        elif phase == CLOSING:
            self._stop(now, change)
        else:
            self._end(now, change)

    def is_open(self):
        """Return whether the node takes jobs, as far as the time of day goes."""
        return self._phase == OPEN

    def next_change(self):
        """Return the next change of service, epoch seconds; None without service hours."""
        return self._plan.at(self._clock())[1]

    def _open(self, change):
        log.info('service hours have begun%s', _until(change))
        self._state.set_hours(None)
        self._notices.cpus_to_all(self._state.cpus() if self._state.phase() == SERVING else 0)
        self._announcer.begin()

    def _stop(self, now, change):
        log.info('service has stopped%s: no new computations', _until(change))
        self._state.set_hours(u'outside service hours: service has stopped%s' % _until(change),
                              now + GRACE)
        self._notices.cpus_to_all(0)

    def _end(self, now, change):
        computations = self._state.computations()
        log.info('service hours have ended%s; closing %s', _until(change),
                 counted(len(computations), u'computation'))
        self._state.set_hours(u'outside service hours: closed%s' % _until(change), now)
        for computation in computations:
            computation.close(terminate=True, why=OVER)
        if computations:
            self._loop.start_thread('service-end', self._tell_terminated, computations)

    def _tell_terminated(self, computations):
        """Tell schedulers that the node is gone, once the replies of ended jobs are there."""
        self._delivery.wait_until_out(
            self._state.wait_until_empty, self._options.stop_timeout + self._options.msg_timeout)
        self._notices.node_ends(computations)

    # -- changes at run time

    def change(self, control, minutes):
        """Set a time of day, minutes since midnight; None clears it.

        control   start_time, stop_time or end_time
        Raises OptionError if the times do not fit together.
        """
        wanted = list(self._minutes)
        wanted[CONTROLS.index(control)] = minutes
        start, stop, end = wanted
        if start is None or (stop is None and end is None):
            self._plan = self._once(wanted)
        else:
            self._plan = plan_of(start, stop, end)
        self._minutes = wanted

    def replace(self, start, stop, end):
        """Set all times of day, minutes since midnight or None. Raises OptionError."""
        self._plan = plan_of(start, stop, end)
        self._minutes = [start, stop, end]

    def this_minute(self):
        """Return the time of day now, in minutes since midnight."""
        now = time.localtime(self._clock())
        return 60 * now.tm_hour + now.tm_min

    def times(self):
        """Return (start, stop, end) of the present or next service: epoch seconds or None."""
        return self._plan.times(self._clock())

    def describe(self):
        """Return one line (text) for an operator."""
        if self._minutes == [None, None, None]:
            return u'no service hours: always open'
        from dispynode_lib.host import hours
        names = [u'%s %s' % (name, hours.text(minutes))
                 for name, minutes in zip((u'start', u'stop', u'end'), self._minutes)
                 if minutes is not None]
        return u'service hours: %s; now %s' % (u', '.join(names), self._phase)

    def _once(self, wanted):
        from dispynode_lib.host import hours
        now = self._clock()
        start, stop, end = [None if minutes is None else hours.next_time(minutes, now)
                            for minutes in wanted]
        if stop is not None and end is not None and end < stop:
            raise OptionError(u'service would end before it stops')
        return hours.Once(start, stop, end)


class Always(object):
    """Service without hours; as host.hours.Hours."""

    @staticmethod
    def at(_now):
        """Return (phase, None): no change is to come."""
        return OPEN, None

    @staticmethod
    def times(_now):
        """Return (start, stop, end)."""
        return None, None, None


def plan_of(start, stop, end):
    """Return the plan for times of day, minutes or None. Raises OptionError."""
    if start is None:
        return Always
    from dispynode_lib.host import hours
    return hours.Hours(start, stop, end)


def _until(change):
    return u'' if change is None else u' until %s' % time.strftime('%H:%M', time.localtime(change))
