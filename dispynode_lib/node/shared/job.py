"""A job that was accepted, and its life cycle."""
from __future__ import absolute_import, division, print_function

import collections

from dispynode_lib.node.shared.phases import Life, every

# phases of a job. The thread that has admitted it changes them until it is given to a process or
# left to wait; then the loop's thread does. Who finishes it, makes the last change: one thread only
ADMITTED = 'admitted'                       # a thread has it in its hands: it holds a CPU
WAITING = 'waiting'                         # for a process
RUNNING = 'running'                         # a process has it, or is being sent it
STOPPING = 'stopping'                       # it was asked to stop
# its CPU is free, its reply is under way; STOPPED: it was asked to stop
FINISHED, STOPPED = 'finished', 'stopped'
# events
TAKE, WAIT, GIVE, STOP, FINISH = 'be taken', 'wait', 'be given', 'be stopped', 'finish'

EDGES = {
    (ADMITTED, TAKE): ADMITTED,
    (ADMITTED, WAIT): WAITING,
    (ADMITTED, GIVE): RUNNING,
    (ADMITTED, FINISH): FINISHED,  # its client did not get the ACK, or it could not be given
    (WAITING, TAKE): ADMITTED,              # a big one is handed over by a thread that may wait
    (WAITING, WAIT): WAITING,               # another one got the process
    (WAITING, GIVE): RUNNING,
    (WAITING, STOP): STOPPING,
    (WAITING, FINISH): FINISHED,            # there can be no process
    (RUNNING, TAKE): ADMITTED,
    (RUNNING, WAIT): WAITING,               # its process had gone before it was sent
    (RUNNING, STOP): STOPPING,
    (RUNNING, FINISH): FINISHED,
    (STOPPING, STOP): STOPPING,
    (STOPPING, FINISH): STOPPED,
}
LIFE = Life(u'a job', EDGES, every((FINISHED, STOPPED), (WAIT, STOP)))


# what a job went over: the option that says how much it may have, and a sentence for its author
Limit = collections.namedtuple('Limit', 'option sentence')


class Job(object):
    """One job that was accepted and not yet replied to."""

    __slots__ = ('computation', 'uid', 'hash', 'xfer_files', 'started', 'phase', 'child',
                 'reply_after', 'limit', 'timer', 'big', 'slot', 'why', 'result', 'repeated')

    def __init__(self, computation, uid, hash_, xfer_files, started):
        self.computation = computation      # node.computations.computation.Computation
        self.uid = uid                      # int, the client's; may be used again once replied to
        self.hash = hash_                   # text, the client's; tells two jobs of one uid apart
        self.xfer_files = xfer_files        # files that came for this job only
        self.started = started              # seconds since the epoch
        self.phase = ADMITTED
        self.repeated = False  # its client sent it more than once; belongs to NodeState
        self.slot = None                    # of node.replies.journal
        self.limit = None                   # Limit that it went over; the loop's thread only
        self.timer = None  # host.io.loop.Timer of --job_time; the loop's thread only
        self.why = None                     # sentence for its client, if not he asked it to stop
        self.big = None                     # bigfiles.Arguments, while its file is needed
        self.result = None                  # bigfiles.Result, if it came in a file
        self.reply_after = 0.0              # monotonic time before which no reply may be sent
        self.child = None                   # node.computations.link.Child that runs it

    @property
    def stopping(self):
        """Whether it was asked to stop."""
        return self.phase in (STOPPING, STOPPED)

    def is_live(self):
        """Return whether it has not been finished."""
        return self.phase not in (FINISHED, STOPPED)
