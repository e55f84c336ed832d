"""Timed duties of the node, and the table of them."""
from __future__ import absolute_import, division, print_function

import errno
import os
import time

from dispynode_lib.host import proc
from dispynode_lib.host.wording import counted
from dispynode_lib.log import Log
from dispynode_lib.node.shared import state as states
from dispynode_lib.node.timed.watchdog import Duty
from dispynode_lib.wire import releases

log = Log('dispynode.duties')

DEFAULT_PULSE = 600.0                       # seconds (docs/protocol.rst, "Pulses")
SHORTEST_PULSE = 0.5
# intervals, and seconds more, after which a scheduler is called silent
SILENT_PULSES, SILENT = 1.5, 5.0
IDLE_CHILDREN = 30.0  # seconds between looks for job processes that wait in vain
# seconds: an address may come back; between looks whether the last job has ended
MOVED_PATIENCE, MOVED_AGAIN = 5.0, 0.5
REFUSED_LOOK = 3600.0  # seconds between looks whether refused replies are too old
MOVED_LIMIT = 60.0  # seconds for replies to be delivered from another address
ZOMBIE_AGAIN = 5.0  # seconds between looks whether a zombie's last job has ended
ORPHANS_INTERVAL = 5.0                      # seconds


def table(common, service, announcer, notices, delivery, spool, nursery, gone_for):
    """Return the list of Duty of these parts; `now` is monotonic seconds.

    gone_for   function(address, now) -> seconds since this node lost that address, None while it
               has it
    """
    state, pulses, zombies = common.state, Pulses(common, notices, delivery), Zombies(common)
    moved = Moved(common, notices, delivery, spool, gone_for)
    return [Duty('service hours', service.look, service.wait),
            Duty('pulses', pulses.send, pulses.wait),
            Duty('looking for silent schedulers', zombies.look, zombies.wait),
            Duty('looking for schedulers that know an address of before', moved.look, moved.wait),
            Duty('looking for schedulers', announcer.announce, announcer.wait),
            Duty('dismissing idle job processes', lambda now: dismiss_idle(state, now),
                 lambda _now: IDLE_CHILDREN if state.scheduler() is not None else None),
            Duty('removing replies that nobody wants',
                 lambda _now: common.workers.run(spool.expire, time.time()),
                 lambda _now: REFUSED_LOOK if spool.refused() else None),
            Duty('keeping the code', nursery.keep, nursery.keep_wait),
            Duty('reaping orphans', lambda _now: reap_orphans(nursery.pids()), _orphans_wait)]


class Pulses(object):
    """Pulses: signs of life to schedulers, with the resources free on this host."""

    def __init__(self, common, notices, delivery):
        self._options, self._state, self._workers = common.options, common.state, common.workers
        self._notices, self._delivery = notices, delivery

    def wait(self, _now):
        """Return seconds between pulses, None without an owner (docs/protocol.rst, "Pulses")."""
        computations = self._state.computations()
        return pulse_interval(self._options, computations) if computations else None

    def send(self, _now):
        """Send each scheduler a pulse; try again what could not be delivered."""
        for computation in states.one_for_each_scheduler(self._state.computations()):
            self._notices.pulse(
                computation, lambda reply, error, it=computation: self._answered(it, error))
        self._delivery.retry_all()

    def _answered(self, computation, error):
        if error is None:
            states.heard(self._state, computation.scheduler)
            self._delivery.heard(computation.scheduler)
            return
        computation.unanswered += 1
        self._notices.unreached(computation.scheduler[0], 'pulse: %s', error)
        if releases.pulses_by_datagram(computation.peer.version):
            self._workers.run(self._notices.pulse_by_datagram, computation)


class Zombies(object):
    """Zombies: schedulers that are silent are given up (docs/protocol.rst, "Zombies")."""

    def __init__(self, common):
        self._options, self._state = common.options, common.state

    def wait(self, now):
        """Return seconds until the scheduler may have been silent for too long."""
        interval = self._options.zombie_interval
        computations = self._state.computations()
        if not interval or not computations:
            return None
        if any(computation.zombie for computation in computations):
            return min(ZOMBIE_AGAIN, interval)
        return last_sign(computations) + interval - now

    def look(self, now):
        """Mark computations of a silent scheduler as zombies; close those that have no job."""
        state, interval = self._state, self._options.zombie_interval
        computations = state.computations()
        silence = now - last_sign(computations) if computations else 0.0
        for computation in computations:
            if silence < interval:
                if computation.zombie:
                    log.info('computation %d: its scheduler is back', computation.id)
                computation.zombie = False
                continue
            jobs = len(state.jobs(computation.id))
            if not computation.zombie:
                computation.zombie = True
                log.warning('computation %d: no sign of life of %s port %s for %.0f s; %s left to '
                            'finish', computation.id, computation.scheduler[0],
                            computation.scheduler[1], silence, counted(jobs, u'running job'))
            if not jobs:
                computation.close(terminate=False)


class Moved(object):
    """Gives up computations whose scheduler knows this node by an address that is gone.

    It would send jobs there for ever. It is told to send none, and when the last job has ended,
    that the node is gone: then the node's announcement at its new address is that of another node.
    """

    def __init__(self, common, notices, delivery, spool, gone_for):
        """`gone_for`: see table()."""
        self._state = common.state
        self._notices, self._delivery, self._spool = notices, delivery, spool
        self._gone_for = gone_for

    def wait(self, now):
        """Return seconds until something may be due, None: all know the right address."""
        waits = []
        for computation in self._state.computations():
            gone = self._gone_for(computation.node_ip_addr, now)
            if (gone is not None) != computation.moved:
                return 0.0
            if gone is not None:
                waits.append(max(MOVED_AGAIN, MOVED_PATIENCE - gone))
        return min(waits) if waits else None

    def look(self, now):
        """Tell schedulers, and close what has no job any more."""
        for computation in self._state.computations():
            gone = self._gone_for(computation.node_ip_addr, now)
            if (gone is not None) != computation.moved:
                self._tell(computation, gone is not None)
            if gone is not None and gone >= MOVED_PATIENCE and not self._has_work(
                    computation, gone):
                computation.close(terminate=False)

    def _has_work(self, computation, gone):
        """Return whether replies are still to come, or have not reached the scheduler: some were
        sent from the address that is gone."""
        if self._state.jobs(computation.id):
            return True
        if gone >= MOVED_LIMIT:
            return False
        kept = self._spool.to_send((computation.id, computation.auth))
        if kept:
            self._delivery.retry_all()
        return bool(kept or self._delivery.pending())

    def _tell(self, computation, moved):
        computation.moved = moved
        if moved:
            log.warning(
                'computation %d: its scheduler knows this node by %s, which is gone: it gets the '
                'results of running jobs and is to find the node anew', computation.id,
                computation.node_ip_addr)
        else:
            log.info('computation %d: %s, by which its scheduler knows this node, is back',
                     computation.id, computation.node_ip_addr)
        self._notices.node_cpus(computation, 0 if moved else self._state.cpus())


def dismiss_idle(state, now):
    """End job processes that were forked ahead in computations without jobs."""
    for computation in state.computations():
        if computation.idle_since(now) > IDLE_CHILDREN:
            computation.dismiss_idle()


def pulse_interval(options, computations):
    """Return seconds between pulses to the scheduler of these computations."""
    intervals = [computation.pulse_interval for computation in computations]
    intervals += [options.ping_interval, options.zombie_interval / 5.0]
    return max(SHORTEST_PULSE,
               min([interval for interval in intervals if interval] + [DEFAULT_PULSE]))


def silence(state, options, now):
    """Return (seconds of silence, seconds until it is given up or None); None: not silent.

    It is when a pulse was not answered, or is long overdue; `now`: monotonic seconds.
    """
    computations = state.computations()
    if not computations:
        return None
    silent, interval = now - last_sign(computations), options.zombie_interval
    if not any(computation.unanswered for computation in computations) and \
            silent < SILENT_PULSES * pulse_interval(options, computations) + SILENT:
        return None
    return silent, max(0.0, interval - silent) if interval else None


def last_sign(computations):
    """Return the monotonic time of the last sign of life of their scheduler."""
    return max(computation.last_sign_of_life() for computation in computations)


def _orphans_wait(_now):
    """Return seconds between looks, None for a node that is not process 1 of a container."""
    return ORPHANS_INTERVAL if os.getpid() == 1 and proc.is_there() else None


def reap_orphans(own):
    """Reap exited children inherited from others, not `own` (pids). Return how many."""
    reaped = 0
    for pid in proc.pids():
        if pid not in own and _is_exited_child(pid):
            try:
                reaped += os.waitpid(pid, os.WNOHANG)[0] != 0
            except EnvironmentError as error:
                if error.errno != errno.ECHILD:         # somebody else was sooner
                    raise
    if reaped:
        log.debug('reaped %s without a parent', counted(reaped, u'process'))
    return reaped


def _is_exited_child(pid):
    return [b'Z', b'%d' % os.getpid()] == proc.stat_fields(pid)[:2]         # state and parent
