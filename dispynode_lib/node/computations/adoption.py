"""The jobs of a node that has died, and their processes, until they are like any others."""
from __future__ import absolute_import, division, print_function

import time

from dispynode_lib.errors import PeerGone
from dispynode_lib.host.compat import monotonic
from dispynode_lib.host.descriptors import is_readable
from dispynode_lib.host.network import connections
from dispynode_lib.log import Log
from dispynode_lib.node.computations.link import Child
from dispynode_lib.node.replies import journal as journals
from dispynode_lib.wire import control
from dispynode_lib.wire.control import TERMINATED

log = Log('dispynode.computations')

LOST = (
    u'the node was killed, and the process of the job with it, while the job ran or before its '
    u'reply was delivered; the node has started again since')
NOT_NOTED = (
    u'the node was killed before the job ran, and what to run was too big to be noted; '
    u'the node has started again since')
HALF_GIVEN = (
    u'the node was killed while it gave the job to its process, and what to run was too big to be '
    u'noted; the node has started again since')
DORMANT = 10.0  # seconds in which a client may send a job again that was not acknowledged
DORMANT_AT_LEAST = 1.0  # of each node: they may follow each other quickly
ENDING = 10.0  # seconds for a process that has told its result, or waits for a job


def is_lost(noted, link):
    """Return whether a journal.Noted job's process is not below the supervisor at `link`."""
    return bool(noted.number) and (link is None or noted.key != link.key)


class Adopted(object):
    """Adopted jobs of one computation; the loop's thread."""

    def __init__(self, jobs, computation, supervision, journal, common):
        """`jobs`: node.computations.jobs.Jobs; the others are as there."""
        self._jobs, self._computation, self._supervision = jobs, computation, supervision
        self._loop, self._journal, self._options = common.loop, journal, common.options
        self._expected = {}                 # number of a job process -> (job, journal.Noted)
        self._held = {}  # number -> wait status, or LIVES, of those whose channels are to come
        self._dormant = {}  # job -> frame: its client may not know that it was accepted

    def adopt(self, noted_jobs):
        """Go on with jobs of a dead node: [(Job, journal.Noted)]. The loop's thread."""
        link = self._supervision.link
        for job, noted in noted_jobs:
            if is_lost(noted, link):
                self._give_up(job, LOST)
            elif noted.number:
                self._expected[noted.number] = job, noted
            elif noted.frame is None:
                self._give_up(job, NOT_NOTED)
            elif noted.flags & journals.ACCEPTED:
                self._jobs.wait(job, noted.frame)
            else:
                self._dormant[job] = noted.frame
                left = DORMANT - (time.time() - job.started)        # each node counts on
                self._loop.call_later(
                    min(DORMANT, max(DORMANT_AT_LEAST, left)), self.wake, job)
            if noted.flags & journals.STOPPING and not noted.number:
                self._jobs.stop(job)

    def _attach(self, child, job, noted):
        """A process has the job; one that was being stopped is stopped again."""
        self._jobs.attach(child, job)
        self._stop_again(job, noted)

    def _stop_again(self, job, noted):
        if noted.flags & journals.STOPPING:
            self._jobs.stop(job)

    def _give_up(self, job, why):
        self._computation.finish(job, TERMINATED, exception=why)

    def wake(self, job):
        """The client of a job has sent it again, or has had time for that. The loop's thread."""
        frame = self._dormant.pop(job, None)
        if frame is not None:
            self._journal.note_accepted(job)
            self._jobs.wait(job, frame)

    def on_held(self, link, held, programs):
        """A supervisor that was taken over tells what it has; the channels that it holds follow.

        held, programs   bytes: control.HELD of job processes, control.NUMBER of programs
        """
        self._held = dict(
            control.HELD.unpack_from(held, at) for at in range(0, len(held), control.HELD.size))
        self._jobs.expect(len(self._held))
        known = set(
            control.NUMBER.unpack_from(programs, at)[0]
            for at in range(0, len(programs), control.NUMBER.size))
        for number_ in known.difference(self._expected):
            self._supervision.tell(b'stop', b'%d' % number_)    # it could not be noted
            link.settle(number_)
        for number_, (job, noted) in list(self._expected.items()):
            if self._computation.program:
                del self._expected[number_]
                self._adopt_program(Child(number_, link=link), job, noted, number_ in known)
            elif number_ not in self._held:
                del self._expected[number_]
                self._give_up(job, LOST)
        link.begin_channels()

    def on_link_closed(self, link):
        """The supervisor is gone, and with it what it has not passed on."""
        expected, self._expected, self._held = self._expected, {}, {}
        for number_, (job, noted) in expected.items():
            self._attach(Child(number_, link=link), job, noted)

    def _adopt_program(self, child, job, noted, is_known):
        if not is_known and noted.frame is None:
            self._give_up(job, NOT_NOTED)
            return
        self._jobs.attach(child, job)
        if not is_known:                    # the frame has not reached the supervisor
            self._supervision.tell(b'program', b'%d' % child.number,
                                   *control.unpack(noted.frame[4:])[1:])
        self._stop_again(job, noted)
        self._go_on(job)

    def takes(self, child):
        """Take a job process that has come, if it is of a node that has died and does not just wait
        for a job; return whether so."""
        if not self._held and not self._expected:
            return False
        status = self._held.pop(child.number, None)
        job, noted = self._expected.pop(child.number, (None, None))
        if job is None and status is None:
            return False                    # it was forked for this node
        if job is None:
            self._end_unknown(child, status)
            return True
        self._attach(child, job, noted)
        if status != control.LIVES:
            self._jobs.on_exited(child.number, status)
            return True
        if noted.frame is not None and not is_readable(child.sock.fileno()):
            try:
                # it may not have had it; of two copies it looks at the first. One that is not read
                # is enough: else many nodes fill the channel, and the loop's thread waits for room
                if not connections.unacknowledged(child.sock):
                    child.send(noted.frame)
            except (EnvironmentError, PeerGone) as error:
                log.debug('job process %d of computation %d: %s', child.number,
                          self._computation.id, error)
        if noted.frame is None and not noted.flags & journals.GIVEN:
            self._jobs.stop(job, HALF_GIVEN)
        self._go_on(job)
        return True

    def _end_unknown(self, child, status):
        """End a process of which nothing is noted: it waits for a job, or its job was settled. It is
        not given another one, for it may have one that could not be noted."""
        if status == control.LIVES and not is_readable(child.sock.fileno()):
            self._loop.call_later(ENDING, self._supervision.tell, b'kill', b'%d' % child.number)
        self._jobs.dismiss(child)
        if not self._held:
            self._jobs.top_up()

    def _go_on(self, job):
        """A job of a node that has died runs: hold it to --job_time, from its start."""
        if self._options.job_time and job.is_live():
            ran = max(0.0, time.time() - job.started)
            left = max(0.1, self._options.job_time - ran)
            job.timer = self._loop.call_later(left, self._jobs.over_time, job, monotonic() - ran)
