"""History for the operator: recent jobs, and samples of free resources of the last hour."""
from __future__ import absolute_import, division, print_function

import bisect
import collections
import threading
import time

from dispynode_lib.wire.control import FINISHED

OUTCOMES = ('finished', 'failed', 'stopped')
CPU_BOUNDS = (0.01, 0.1, 1, 10, 100, 1000, 10000)           # seconds
MEMORY_BOUNDS = tuple(16 * 4 ** step << 20 for step in range(8))        # bytes: 16 MiB to 256 GiB
RECENT_JOBS = 50
SAMPLE_INTERVAL = 60.0                      # seconds between two looks at what is free
SAMPLES = 73                                # one hour, and more of them in the first minute


class PastJob(object):
    """A job that has ended: id and name of its computation, uid, outcome, when, after how long, why
    it failed, the option of the limit that it went over (None: it was within its limits).

    Also what its process used: cpu_seconds, peak_memory (bytes), exit_status or signal (a name);
    None: not known, or not yet.
    """

    __slots__ = ('computation', 'name', 'uid', 'outcome', 'ended', 'seconds', 'reason', 'limit',
                 'cpu_seconds', 'peak_memory', 'exit_status', 'signal')

    def __init__(self, computation, name, uid, outcome, ended, seconds, reason, limit=None):
        self.computation, self.name, self.uid, self.outcome = computation, name, uid, outcome
        self.ended, self.seconds, self.reason, self.limit = ended, seconds, reason, limit
        self.cpu_seconds = self.peak_memory = self.exit_status = self.signal = None

    def fields(self):
        """Return all as a dict."""
        return dict((name, getattr(self, name)) for name in self.__slots__)


class Sums(object):
    """What jobs of one outcome used: sums, and how many used up to each bound or more."""

    def __init__(self):
        self.jobs, self.cpu_seconds, self.peak_memory = 0, 0.0, 0
        self.cpu_counts = [0] * (len(CPU_BOUNDS) + 1)
        self.memory_counts = [0] * (len(MEMORY_BOUNDS) + 1)

    def add(self, seconds, memory):
        """Count one more job."""
        self.jobs += 1
        self.cpu_seconds = round(self.cpu_seconds + seconds, 6)
        self.peak_memory += memory
        self.cpu_counts[bisect.bisect_left(CPU_BOUNDS, seconds)] += 1
        self.memory_counts[bisect.bisect_left(MEMORY_BOUNDS, memory)] += 1

    def fields(self):
        """Return all as a dict."""
        return {'jobs': self.jobs, 'cpu_seconds': self.cpu_seconds, 'peak_memory': self.peak_memory,
                'cpu_counts': list(self.cpu_counts), 'memory_counts': list(self.memory_counts)}


# resources free at one moment, CPUs busy, of how many
Sample = collections.namedtuple('Sample', 'when cpu memory disk swap busy cpus')


class History(object):
    """History of jobs and computations; any thread. Times are seconds since the epoch."""

    def __init__(self):
        self.began = time.time()
        self.last_busy = self.began         # when the last computation ended, or the node began
        self._lock = threading.Lock()
        self._opened = {}                   # computation id -> time
        self._outcomes = {}                 # outcome -> number of jobs
        self._usage = {}                    # outcome -> Sums
        self._jobs = collections.deque(maxlen=RECENT_JOBS)
        self._samples = collections.deque(maxlen=SAMPLES)

    def opened(self, computation_id):
        """Note that a computation has been opened."""
        with self._lock:
            self._opened[computation_id] = time.time()

    def ended(self, computation_id):
        """Note that a computation has gone."""
        with self._lock:
            self._opened.pop(computation_id, None)
            self.last_busy = time.time()

    def idle_since(self, now):
        """Return when the last computation ended; `now` while one is open or being ended."""
        with self._lock:
            return now if self._opened else self.last_busy

    def opened_at(self, computation_id):
        """Return when a computation was opened; now, if that is not known."""
        with self._lock:
            return self._opened.get(computation_id) or time.time()

    def job_ended(self, job, status, start, end, reason=None):
        """Note a job's end; return the PastJob.

        status   FINISHED or another
        reason   the client's text, its last line is kept
        """
        outcome = outcome_of(job, status)
        past = PastJob(job.computation.id, job.computation.name, job.uid, outcome, end,
                       max(0.0, end - start),
                       reason.strip().rpartition(u'\n')[2][:200] if reason else None,
                       job.limit.option if job.limit is not None else None)
        with self._lock:
            self._jobs.append(past)
            self._outcomes[outcome] = self._outcomes.get(outcome, 0) + 1
        return past

    def job_used(self, past):
        """Count what a PastJob used, now that it is known."""
        with self._lock:
            self._usage.setdefault(past.outcome, Sums()).add(past.cpu_seconds, past.peak_memory)

    def usage(self):
        """Return {outcome: fields of Sums}."""
        with self._lock:
            return dict((outcome, sums.fields()) for outcome, sums in self._usage.items())

    def jobs(self):
        """Return the last jobs (list of PastJob), newest first."""
        with self._lock:
            return list(self._jobs)[::-1]

    def outcomes(self):
        """Return {outcome: number of jobs}."""
        with self._lock:
            return dict(self._outcomes)

    def add_sample(self, now, info, busy, cpus):
        """Note what is free (AvailInfo or None) and how many CPUs are busy, of how many."""
        if info is None:
            return
        with self._lock:
            self._samples.append(
                Sample(now, info.cpu, info.memory, info.disk, info.swap, busy, cpus))

    def samples(self):
        """Return the samples of the last hour (list of Sample), oldest first."""
        with self._lock:
            return list(self._samples)


def outcome_of(job, status):
    """Return one of OUTCOMES, or 'stopped by --job_time' and the like."""
    if job.limit is not None:
        return 'stopped by %s' % job.limit.option
    if status == FINISHED:
        return 'finished'
    return 'stopped' if job.stopping else 'failed'


def in_words(outcomes):
    """Return '3 finished, 1 stopped by --job_time' for {outcome: number of jobs}."""
    names = list(OUTCOMES) + sorted(set(outcomes) - set(OUTCOMES))
    return u', '.join([u'%d %s' % (outcomes[name], name) for name in names if name in outcomes])
