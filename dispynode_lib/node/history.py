"""What the node remembers of itself for its operator: recent jobs, since when, what was free in the last hour."""
from __future__ import absolute_import, division, print_function

import collections
import threading
import time

FINISHED = 11                               # a job status (docs/protocol.rst, "Status numbers")
OUTCOMES = ('finished', 'failed', 'stopped')
OVER_LIMIT = u'the job was stopped: '       # so begins what is said of a job that was stopped by one of LIMITS
LIMITS = ('--job_time', '--job_memory', '--job_output', '--job_processes')
RECENT_JOBS = 50
SAMPLE_INTERVAL = 60.0                      # seconds between two looks at what is free
SAMPLES = 61                                # one hour


class PastJob(object):
    """A job that has ended: id and name of its computation, uid, outcome, when, after how long, why it failed."""

    __slots__ = ('computation', 'name', 'uid', 'outcome', 'ended', 'seconds', 'reason')

    def __init__(self, *values):
        for name, value in zip(self.__slots__, values):
            setattr(self, name, value)

    def fields(self):
        """Return all as a dict."""
        return dict((name, getattr(self, name)) for name in self.__slots__)


class Sample(object):
    """What was free at one moment, and how many processors were busy, of how many."""

    __slots__ = ('when', 'cpu', 'memory', 'disk', 'swap', 'busy', 'cpus')

    def __init__(self, *values):
        for name, value in zip(self.__slots__, values):
            setattr(self, name, value)


class History(object):
    """Any thread. Times are seconds since the epoch."""

    def __init__(self):
        self.began = time.time()
        self.last_busy = self.began         # when the last computation ended, or the node began
        self._lock = threading.Lock()
        self._opened = {}                   # computation id -> time
        self._outcomes = {}                 # outcome -> number of jobs
        self._jobs = collections.deque(maxlen=RECENT_JOBS)
        self._samples = collections.deque(maxlen=SAMPLES)

    def opened(self, computation_id):
        """A computation has been opened."""
        with self._lock:
            self._opened[computation_id] = time.time()

    def ended(self, computation_id):
        """A computation has gone."""
        with self._lock:
            self._opened.pop(computation_id, None)
            self.last_busy = time.time()

    def opened_at(self, computation_id):
        """Return when a computation was opened; now, if that is not known."""
        with self._lock:
            return self._opened.get(computation_id) or time.time()

    def job_ended(self, job, status, start, end, reason=None):
        """Note a job's end; return its outcome in words.

        status   FINISHED or another
        reason   the client's text, its last line is kept
        """
        outcome = outcome_of(job, status, reason)
        past = PastJob(job.computation.id, job.computation.name, job.uid, outcome, end, max(0.0, end - start),
                       reason.strip().rpartition(u'\n')[2][:200] if reason else None)
        with self._lock:
            self._jobs.append(past)
            self._outcomes[outcome] = self._outcomes.get(outcome, 0) + 1
        return outcome

    def jobs(self):
        """Return the last jobs (list of PastJob), newest first."""
        with self._lock:
            return list(self._jobs)[::-1]

    def outcomes(self):
        """Return {outcome: number of jobs}."""
        with self._lock:
            return dict(self._outcomes)

    def add_sample(self, now, info, busy, cpus):
        """Note what is free (AvailInfo or None) and how many processors are busy, of how many."""
        if info is None:
            return
        with self._lock:
            self._samples.append(Sample(now, info.cpu, info.memory, info.disk, info.swap, busy, cpus))

    def samples(self):
        """Return the samples of the last hour (list of Sample), oldest first."""
        with self._lock:
            return list(self._samples)


def outcome_of(job, status, reason):
    """Return one of OUTCOMES, or 'stopped by --job_time' and so on for a job that went over a limit."""
    if status == FINISHED:
        return 'finished'
    if reason and reason.startswith(OVER_LIMIT):
        for limit in LIMITS:
            if limit in reason:
                return 'stopped by ' + limit
    return 'stopped' if job.stopping else 'failed'


def in_words(outcomes):
    """Return '3 finished, 1 stopped by --job_time' for {outcome: number of jobs}."""
    names = list(OUTCOMES) + sorted(set(outcomes) - set(OUTCOMES))
    return u', '.join([u'%d %s' % (outcomes[name], name) for name in names if name in outcomes])
