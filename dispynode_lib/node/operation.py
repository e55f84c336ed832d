"""What the node does for its operator: state folder, commands, ends by the clock, manager."""
from __future__ import absolute_import, division, print_function

import os
import time

from dispynode_lib.errors import StartError
from dispynode_lib.host.compat import start_thread
from dispynode_lib.host.process.lockfile import Held
from dispynode_lib.host.wording import counted
from dispynode_lib.log import Log
from dispynode_lib.node.operator.control_socket import ControlSocket
from dispynode_lib.node.shared.history import SAMPLE_INTERVAL
from dispynode_lib.node.operator.statefolder import LOOK_INTERVAL, SOCKET
from dispynode_lib.node.timed.watchdog import Duty

log = Log('dispynode.operation')

LAST_JOBS = 300.0  # seconds at most before the end of a lifetime without new jobs
FIRST_SAMPLE = 5.0                          # seconds after the start
WATCHDOG_INTERVAL = 60.0  # seconds between two signs of life for a service manager that wants none
STATUS_INTERVAL = 1.0  # seconds at least between two status lines for the service manager
STOP_MARGIN = 30.0                          # seconds that a stop may take besides its timeouts
HOURS = 'service_start', 'service_stop', 'service_end'
APART = HOURS + ('cpus', 'debug')           # options that are followed by more than a new value


class Operation(object):
    """Operation of the node, besides its work: begin() when the node serves, close() at the end."""

    def __init__(self, common, orders, folder, history, ledger, status, service, began,
                 run_command):
        """Work by `common` and `orders`, a Common and Orders of node.shared.common.

        folder        StateFolder, which is open
        ledger        node.shared.ledger.Ledger or None
        status        function -> node.operator.status.Status
        began         monotonic seconds from which --lifetime counts
        run_command   function(list of text) -> Answer: does an operator's command
        """
        self._common, self._options, self._state = common, common.options, common.state
        self._folder, self._history, self._ledger, self._status = folder, history, ledger, status
        self._service, self._orders = service, orders
        self._socket = ControlSocket(common, run_command, folder.file(SOCKET))
        self._notifier = None
        self._began = began
        self._end = None  # monotonic times: of the end by --lifetime, and of the last new job
        self._last_job = None
        self._sampled = self._told = None
        self._kept = True                   # the state folder is as it should be

    def begin(self):
        """The node serves."""
        self._socket.open()
        leftovers = self._folder.leftovers()
        if leftovers is not None:
            start_thread('leftovers', leftovers)
        if self._options.lifetime:
            self._plan_end(self._options.lifetime)
        if os.environ.get('NOTIFY_SOCKET'):
            from dispynode_lib.host.process.notify import Notifier
            self._notifier = Notifier()
            self._notify('READY=1')

    def _plan_end(self, lifetime):
        options = self._options
        window = options.drain_timeout or min(LAST_JOBS, lifetime / 10.0)
        self._end = self._began + max(0.0, lifetime - options.stop_timeout)
        self._last_job = self._end - window

    def stopping(self, replaced=False):
        """The node is being stopped; `replaced`: this process will be the next one."""
        if not replaced:
            self._notify('STOPPING=1')
        elif self._notifier is not None:
            os.environ.update(self._notifier.environment)

    def close(self):
        """The node has ended."""
        self._socket.close()
        self._folder.close()
        if self._ledger is not None:
            self._ledger.finish()

    def opened(self, computation):
        """A computation has been opened."""
        self._history.opened(computation.id)
        computation.record.open()

    def ended(self, computation):
        """A computation has gone with its files."""
        if self._ledger is not None:
            self._ledger.computation(computation, self._history.opened_at(computation.id))
        self._history.ended(computation.id)
        computation.record.remove()
        self._orders.reschedule()

    # -- duties

    def duties(self):
        """Return the list of Duty, once begin() has been called."""
        found = [Duty('looking at what is free', self._sample, self._sample_wait),
                 Duty('keeping the state folder', self._keep_folder, lambda _now: LOOK_INTERVAL)]
        options = self._options
        if options.lifetime:
            found.append(Duty('ending in time', self._end_in_time, self._end_wait))
        if options.idle_timeout:
            found.append(Duty('ending when idle', self._end_idle, self._idle_wait))
        if self._notifier is not None:
            interval = min(WATCHDOG_INTERVAL, self._notifier.watchdog_interval or 1e9)
            found.append(Duty('telling the service manager', self._tell, lambda _now: interval))
            found.append(Duty('telling the service manager the status', self._tell_status,
                              self._status_wait))
        return found

    def _sample_wait(self, now):
        if self._sampled is None:
            return FIRST_SAMPLE
        interval = FIRST_SAMPLE if now - self._began < SAMPLE_INTERVAL else SAMPLE_INTERVAL
        return max(0.0, self._sampled + interval - now)

    def _sample(self, now):
        self._sampled = now
        self._history.add_sample(time.time(), self._common.identity.meter.read(),
                                 self._state.used_cpus(), self._state.cpus())

    def _keep_folder(self, _now):
        try:
            self._folder.renew()
            self._socket.renew()
            self._kept = True
        except (EnvironmentError, StartError, Held) as error:
            if self._kept:
                log.warning('the state folder %s has been tidied up and cannot be made anew: %s',
                            self._folder.path, error)
            self._kept = False

    def _end_wait(self, now):
        if self._end is None:
            return None
        return max(0.0, (self._last_job if self._last_job is not None else self._end) - now)

    def _end_in_time(self, now):
        if self._last_job is not None and now >= self._last_job:
            self._last_job = None
            log.info('the lifetime ends in %.0f s: no new jobs', max(0.0, self._end - now))
            self._orders.drain_jobs()
        if now >= self._end:
            log.info('the lifetime is over')
            self._end = None
            self._orders.stop()

    def _idle_wait(self, _now):
        if self._state.scheduler() is not None:
            return None
        now = time.time()
        return max(0.0, self._options.idle_timeout - (now - self._history.idle_since(now)))

    def _end_idle(self, now):
        if self._state.scheduler() is None and self._idle_wait(now) <= 0.0:
            log.info('no computation for %g s', self._options.idle_timeout)
            self._orders.stop()

    def _tell(self, _now):
        # the loop's thread has to live, too
        self._common.loop.call_soon(self._notify, 'WATCHDOG=1')

    def _status_wait(self, _now):
        busy = self._state.scheduler() is not None
        return STATUS_INTERVAL if busy or self._status_line() != self._told else None

    def _tell_status(self, _now):
        if self._status_line() != self._told:
            self._notify()

    def _status_line(self):
        state, trouble = self._state, self._status().trouble()
        return 'STATUS=%s: %d of %s busy, %s%s' % (
            state.phase().lower(), state.used_cpus(), counted(state.cpus(), u'CPU'),
            counted(len(state.computations()), u'computation'), '; %s' % trouble if trouble else '')

    def _notify(self, *words):
        if self._notifier is not None:
            self._told = self._status_line()
            self._notifier.send(*(words + (self._told,)))

    def draining(self, limit):
        """The node stops in `limit` seconds at most: the service manager is to wait."""
        self._notify(
            'EXTEND_TIMEOUT_USEC=%d' % ((limit + self._options.stop_timeout + STOP_MARGIN) * 1e6))

    def network_changed(self):
        """There is a network, or none any more: tell the service manager."""
        self._notify('READY=1')

    # -- for the log

    def dump(self):
        """Write state and the stacks of all threads to the log."""
        import sys
        import threading
        import traceback
        from dispynode_lib.host import plainjson
        names = dict((thread.ident, thread.name) for thread in threading.enumerate())
        lines = ['the state: ' + plainjson.dumps(self._status().gather())]
        for ident, frame in sorted(sys._current_frames().items()):
            lines.append('thread %s:\n%s' %
                         (names.get(ident, ident), ''.join(traceback.format_stack(frame)).rstrip()))
        log.warning('asked for by SIGUSR2:\n%s', '\n'.join(lines))

    # -- the configuration read again

    def change(self, new):
        """Take over from the options read again what differs and can change while the node runs."""
        options = self._options
        from dispynode_lib.options import table
        restart = new.need_restart(options)
        for name in [row.name for row in table.ROWS if row.live and row.name not in APART]:
            if getattr(options, name) != getattr(new, name):
                setattr(options, name, getattr(new, name))
                log.info('%s is %s now', name, getattr(new, name))
        if self._last_job is not None:
            self._plan_end(options.lifetime)
        if options.cpus != new.cpus:
            options.cpus = new.cpus
            self._orders.set_cpus(new.cpus)
            log.info('%s offered now', counted(new.cpus, u'CPU'))
        hours = [getattr(new, name) for name in HOURS]
        if hours != [getattr(options, name) for name in HOURS]:
            for name, minutes in zip(HOURS, hours):
                setattr(options, name, minutes)
            self._service.replace(*hours)
            log.info('%s', self._service.describe())
        self._orders.reschedule()
        if restart:
            log.warning(
                'SIGHUP: what is given now for %s needs a restart; until then the old values count',
                ', '.join(restart))
