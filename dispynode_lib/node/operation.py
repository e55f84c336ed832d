"""What the node does for its operator: state folder, commands, health pages, ends by the clock, service manager."""
from __future__ import absolute_import, division, print_function

import os
import time

from dispynode_lib.errors import StartError
from dispynode_lib.host.compat import monotonic, start_thread, to_native
from dispynode_lib.host.process.lockfile import Held
from dispynode_lib.host.wording import counted
from dispynode_lib.log import Log
from dispynode_lib.node.shared import faults
from dispynode_lib.node.shared import state as states
from dispynode_lib.node.operator.control_socket import ControlSocket
from dispynode_lib.node.operator.history import SAMPLE_INTERVAL, History
from dispynode_lib.node.operator.statefolder import SOCKET, StateFolder
from dispynode_lib.node.timed.watchdog import Duty

log = Log('dispynode.operation')

LAST_JOBS = 300.0                           # seconds at most before the end of a lifetime without new jobs
FOLDER_INTERVAL = 5.0                       # seconds between looks whether somebody tidied up the state folder
FIRST_SAMPLE = 5.0                          # seconds after the start
WATCHDOG_INTERVAL = 60.0                    # seconds between two signs of life for a service manager that wants none
STATUS_INTERVAL = 1.0                       # seconds at least between two status lines for the service manager
STOP_MARGIN = 30.0                          # seconds that a stop may take besides its timeouts


class Operation(object):
    """Made before the node starts; open(), begin() when it serves, close() at the end."""

    def __init__(self, parts):
        self._parts = parts
        self.folder = StateFolder(parts.options)
        parts.history, parts.ledger = History(), None
        self._commands = self._socket = self._pages = self._notifier = None
        self._began = monotonic()
        self._end = None                    # monotonic times: of the end by --lifetime, and of the last new job
        self._last_job = None
        self._sampled = self._told = None
        self._kept = True                   # the state folder is as it should be

    def run_command(self, words):
        """Do the operator's command `words` (list of text); return its Answer. It may take its time."""
        if self._commands is None:
            from dispynode_lib.node.operator.commands import Commands
            self._commands = Commands(self._parts)
        try:
            return self._commands.run(words)
        except Exception as error:
            log.exception('command %s', words[0])
            from dispynode_lib.node.operator.commands import Answer
            return Answer(u'%s: %s; its log says more\n' % (words[0], faults.text(error)), status=os.EX_SOFTWARE)

    def open(self):
        """Take the state folder. Raises StartError."""
        if self._parts.options.ledger:
            from dispynode_lib.node.computations.ledger import Ledger
            self._parts.ledger = Ledger(to_native(self._parts.options.ledger))
        self.folder.open()
        self._parts.root, self._parts.state_folder = self.folder.root, self.folder.path

    def begin(self):
        """The node serves. Raises StartError."""
        parts, options = self._parts, self._parts.options
        self.folder.begin()
        self._socket = ControlSocket(parts, self.run_command, self.folder.file(SOCKET))
        self._socket.open()
        leftovers = self.folder.leftovers()
        if leftovers is not None:
            start_thread('leftovers', leftovers)
        if options.lifetime:
            self._plan_end(options.lifetime)
        if self._wants_watchdog():
            from dispynode_lib.host.process import notify
            self._notifier = notify.from_environment()
            self._notify('READY=1')

    def _plan_end(self, lifetime):
        options = self._parts.options
        window = options.drain_timeout or min(LAST_JOBS, lifetime / 10.0)
        self._end = self._began + max(0.0, lifetime - options.stop_timeout)
        self._last_job = self._end - window

    def failed(self):
        """The node could not start: give the state folder back as it was."""
        self.folder.close(clean=False)

    def stopping(self):
        """The node is being stopped."""
        self._notify('STOPPING=1')

    def close(self):
        """The node has ended."""
        if self._socket is not None:
            self._socket.close()
        self.folder.close()
        if self._parts.ledger is not None:
            self._parts.ledger.finish()

    def opened(self, computation):
        """A computation has been opened."""
        self._parts.history.opened(computation.id)
        self.folder.note(computation)

    def ended(self, computation):
        """A computation has gone with its files."""
        history, ledger = self._parts.history, self._parts.ledger
        if ledger is not None:
            ledger.computation(computation, history.opened_at(computation.id))
        history.ended(computation.id)
        self.folder.forget(computation)
        self._parts.watchdog.reschedule()

    # -- health pages

    def serve_http(self, connection):
        """Answer a connection that began with GET; a worker's thread."""
        if self._pages is None:
            from dispynode_lib.node.operator.health import Pages
            self._pages = Pages(self._parts)
        address = connection.address[0]
        if not self._pages.allows(address):
            self._parts.complaints.note(address, 'HTTP refused', 'allow it by --http_allow %s' % address)
            return
        try:
            connection.sock.settimeout(self._parts.options.msg_timeout)
            connection.sock.sendall(self._pages.answer(connection.data))
        except EnvironmentError as error:
            log.debug('answering HTTP of %s: %s', address, error)
        except Exception:
            log.exception('answering HTTP of %s', address)
            connection.sock.sendall(b'HTTP/1.0 500 Internal Server Error\r\n\r\n')

    # -- duties

    def duties(self):
        """Return the list of Duty."""
        found = [Duty('looking at what is free', self._sample, self._sample_wait),
                 Duty('keeping the state folder', self._keep_folder, lambda _now: FOLDER_INTERVAL)]
        options = self._parts.options
        if options.lifetime:
            found.append(Duty('ending in time', self._end_in_time, self._end_wait))
        if options.idle_timeout:
            found.append(Duty('ending when idle', self._end_idle, self._idle_wait))
        if self._wants_watchdog():
            found.append(Duty('telling the service manager', self._tell, self._tell_wait))
            found.append(Duty('telling the service manager the status', self._tell_status, self._status_wait))
        return found

    @staticmethod
    def _wants_watchdog():
        return bool(os.environ.get('NOTIFY_SOCKET'))

    def _sample_wait(self, now):
        if self._sampled is None:
            return FIRST_SAMPLE
        interval = FIRST_SAMPLE if now - self._began < SAMPLE_INTERVAL else SAMPLE_INTERVAL
        return max(0.0, self._sampled + interval - now)

    def _sample(self, now):
        state = self._parts.state
        self._sampled = now
        self._parts.history.add_sample(time.time(), self._parts.identity.meter.read(), state.used_cpus(), state.cpus())

    def _keep_folder(self, _now):
        try:
            self.folder.renew()
            self._socket.renew()
            self._kept = True
        except (EnvironmentError, StartError, Held) as error:
            if self._kept:
                log.warning('the state folder %s has been tidied up and cannot be made anew: %s', self.folder.path, error)
            self._kept = False

    def _end_wait(self, now):
        if self._end is None:
            return None
        return max(0.0, (self._last_job if self._last_job is not None else self._end) - now)

    def _end_in_time(self, now):
        node = self._parts.node
        if self._last_job is not None and now >= self._last_job:
            self._last_job = None
            log.info('the lifetime ends in %.0f s: no new jobs', self._end - now)
            node.drain_jobs()
        if now >= self._end:
            log.info('the lifetime is over')
            self._end = None
            node.stop()

    def _idle_wait(self, _now):
        if self._parts.state.scheduler() is not None:
            return None
        now = time.time()
        return max(0.0, self._parts.options.idle_timeout - (now - self._parts.history.idle_since(now)))

    def _end_idle(self, now):
        if self._parts.state.scheduler() is None and self._idle_wait(now) <= 0.0:
            log.info('no computation for %g s', self._parts.options.idle_timeout)
            self._parts.node.stop()

    def _tell_wait(self, _now):
        return None if self._notifier is None else min(WATCHDOG_INTERVAL, self._notifier.watchdog_interval or 1e9)

    def _tell(self, _now):
        self._parts.loop.call_soon(self._notify, 'WATCHDOG=1')      # the loop's thread has to live, too

    def _status_wait(self, _now):
        busy = self._parts.state.scheduler() is not None
        return STATUS_INTERVAL if self._notifier is not None and (busy or self._status() != self._told) else None

    def _tell_status(self, _now):
        if self._status() != self._told:
            self._notify()

    def _status(self):
        state, trouble = self._parts.state, self._parts.addresses.trouble() or self._parts.nursery.trouble()
        return 'STATUS=%s: %d of %s busy, %s%s' % (
            state.phase().lower(), state.used_cpus(), counted(state.cpus(), u'CPU'),
            counted(len(state.computations()), u'computation'),
            '; %s' % trouble if trouble else '')

    def _notify(self, *words):
        if self._notifier is not None:
            self._told = self._status()
            self._notifier.send(*(words + (self._told,)))

    def draining(self, limit):
        """The node is to stop in `limit` seconds at the latest: the service manager is to wait for that."""
        self._notify('EXTEND_TIMEOUT_USEC=%d' % ((limit + self._parts.options.stop_timeout + STOP_MARGIN) * 1e6))

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
        from dispynode_lib.node.operator import status
        names = dict((thread.ident, thread.name) for thread in threading.enumerate())
        lines = ['the state: ' + plainjson.dumps(status.gather(self._parts))]
        for ident, frame in sorted(sys._current_frames().items()):
            lines.append('thread %s:\n%s' % (names.get(ident, ident), ''.join(traceback.format_stack(frame)).rstrip()))
        log.warning('asked for by SIGUSR2:\n%s', '\n'.join(lines))

    # -- the configuration read again

    def change(self, new):
        """Take over from the options read again what differs and can change while the node runs."""
        parts, options = self._parts, self._parts.options
        restart = options.need_restart(new)
        for name in ('ping_interval', 'zombie_interval', 'drain_timeout', 'grace', 'stop_timeout', 'msg_timeout'):
            if getattr(options, name) != getattr(new, name):
                setattr(options, name, getattr(new, name))
                log.info('%s is %s now', name, getattr(new, name))
        if self._last_job is not None:
            self._plan_end(options.lifetime)
        if options.cpus != new.cpus:
            options.cpus = new.cpus
            parts.node.set_cpus(new.cpus)
            log.info('%s offered now', counted(new.cpus, u'CPU'))
        names = ('service_start', 'service_stop', 'service_end')
        hours = [getattr(new, name) for name in names]
        if hours != [getattr(options, name) for name in names]:
            for name, minutes in zip(names, hours):
                setattr(options, name, minutes)
            parts.service.replace(*hours)
            log.info('%s', parts.service.describe())
        parts.watchdog.reschedule()
        if restart:
            log.warning('SIGHUP: what is given now for %s needs a restart; until then the old values count',
                        ', '.join(restart))


def drain_jobs(node, parts, limit):
    """Take no more jobs, wait for the running ones and their replies, stop `node`. Returns soon.

    limit   longest wait in seconds, or None
    """
    parts.state.set_phase(states.DRAINING)
    if parts.state.phase() != states.DRAINING:
        return
    node.set_cpus(0)
    log.info('draining: no new jobs, waiting for %s%s', counted(parts.state.used_cpus(), u'running job'),
             u'' if limit is None else u', at most %g s' % limit)
    if limit is not None:
        parts.operation.draining(limit)
    start_thread('drain-jobs', _stop_without_jobs, node, parts, limit)


def _stop_without_jobs(node, parts, limit):
    deadline = None if limit is None else monotonic() + limit
    while deadline is None or monotonic() < deadline:
        left = None if deadline is None else deadline - monotonic()
        if parts.state.wait_until_no_jobs(left) and not parts.delivery.pending():
            break
        time.sleep(0.02)
    else:
        log.warning('draining has taken %g s: running jobs are stopped', limit)
    node.stop()
