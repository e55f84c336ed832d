"""Clients whose request was cut off by the death of the node before this one.

One that got no answer to COMPUTE or FILEXFER gives this node up, and tells so by CLOSE; one that
got none to SETUP goes on with JOBs, and mostly sends a CLOSE all the same. As long as the sign
stays, neither takes notice of a ping: only of a number of CPUs that rises.

Source: docs/protocol.rst, "Flows", "A node that dies in the middle of a request".
"""
from __future__ import absolute_import, division, print_function

from dispynode_lib.host.compat import monotonic
from dispynode_lib.log import Log
from dispynode_lib.node.shared.state import one_for_each_scheduler

log = Log('dispynode.announcer')

COME_BACK = (1.0, 3.0, 10.0, 30.0)  # seconds between looks at schedulers of a node that has died
AT_ONCE = 3.0  # seconds from the start, in which what clients sent without a node has been read
LATER = 60.0  # in which a computation that is closed may be one that was given up
DIP = 0.1                                   # seconds with a CPU less


class CutOff(object):
    """Has schedulers of computations that were taken over look at this node again; any thread."""

    def __init__(self, common, notices, clock=monotonic):
        """`clock`: as the watchdog's."""
        self._state, self._loop = common.state, common.loop
        self._notices, self._clock = notices, clock
        self._began = None                  # when the node began to serve
        self._kept = set()                  # computations whose CLOSE was not done

    def come_back(self, times=COME_BACK):
        """The node serves: ping the schedulers of what was taken over, some times, for one that has
        forgotten this node; the others take no notice."""
        self._began = self._began or self._clock()
        found = self._state.computations()
        for computation in one_for_each_scheduler(found):
            if computation.peer.version is not None:
                self._notices.knock(computation.node_ip_addr, computation.scheduler,
                                    computation.peer.version, _ignore)
        if times != COME_BACK:              # not at once: a CLOSE may come first
            # one that is set up again was about to be used anew: jobs of before may run
            self._show([one for one in found if self._is_in_doubt(one) or (
                one.record.begun_again and not self._state.is_closing(one))])
        for later in times[:1]:
            self._loop.call_soon(self._loop.call_later, later, self.come_back, times[1:])

    def keeps(self, computation):
        """Return whether a computation is to stay open though CLOSE has come for it: its scheduler
        has sent that for want of an answer, and may use the computation.

        The first CLOSE was sent before the first JOB, which may have overtaken it.
        """
        is_first = computation not in self._kept
        kept = (self._is_within(AT_ONCE) and self._is_in_doubt(computation, with_jobs=is_first)
                and computation.peer.always_sets_up())
        if kept:
            self._kept.add(computation)
        return kept

    def ended(self, computation):
        """A computation has ended; its client may have given it up, unless SETUP was answered: it
        may be opening the next one, and would open that twice. A worker's thread."""
        self._kept.discard(computation)
        if computation.record.in_doubt and computation.closed_by_client and self._is_within(LATER):
            self._show([computation])

    def closed_unknown(self, address):
        """A CLOSE came for an unknown computation: its COMPUTE may have been cut off."""
        if self._is_within(LATER):
            found = [one for one in self._state.computations() if one.record.adopted]
            self._show([
                one for one in found if address == one.scheduler[0] or address in one.callers])

    def _is_within(self, seconds):
        return self._began is None or self._clock() < self._began + seconds

    def _is_in_doubt(self, computation, with_jobs=False):
        """Return whether the scheduler may not have the answers that it needs to use it."""
        return computation.record.in_doubt and not computation.outcomes and not (
            self._state.is_closing(computation)
            or not with_jobs and self._state.jobs(computation.id))

    def _show(self, computations):
        """Have their schedulers send COMPUTE where they miss this node."""
        cpus = self._state.cpus()
        if self._state.closed() is not None:
            return
        for computation in one_for_each_scheduler(computations):
            self._notices.node_cpus(computation, cpus - 1, self._then_all(computation))

    def _then_all(self, computation):
        def told(_reply, error):
            if error is None:
                self._loop.call_later(DIP, self._offer_all, computation)
                return
            log.debug('%s', error)
            for one in list(self._kept):
                if one.scheduler == computation.scheduler:
                    log.info('computation %d is closed: its client has gone', one.id)
                    self._kept.discard(one)
                    one.close(terminate=True)
        return told

    def _offer_all(self, computation):
        if self._state.closed() is None:
            self._notices.node_cpus(computation, self._state.cpus(), _ignore)


def _ignore(_reply, _error):
    """Nothing depends on it."""
