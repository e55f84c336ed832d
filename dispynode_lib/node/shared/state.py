"""What the node's threads share: phase, owner, CPUs, computations and jobs, behind one lock."""
from __future__ import absolute_import, division, print_function

import threading

from dispynode_lib.errors import AlreadyOpen, Busy, NodeBusy, NotAvailable, Refused
from dispynode_lib.host.compat import compare_digest, monotonic, to_bytes
from dispynode_lib.node.shared import job as jobs
from dispynode_lib.node.shared.job import Job

STARTING, SERVING, PAUSED = 'STARTING', 'SERVING', 'PAUSED'
DRAINING, STOPPING = 'DRAINING', 'STOPPING'


class _Wait(object):
    """The JOB requests that wait for a CPU for one and the same job."""
    __slots__ = ('requests', 'job')

    def __init__(self):
        self.requests = 0
        self.job = None                     # the Job, once it has been admitted for one of them


class _Entry(object):
    __slots__ = ('computation', 'auth', 'jobs', 'waits', 'closing')

    def __init__(self, computation, auth):
        self.computation = computation
        self.auth = auth                    # bytes: the client's proof that it is its own
        self.jobs = {}                      # (uid, hash) -> Job
        self.waits = {}                     # (uid, hash) -> _Wait
        self.closing = False

    def known_job(self, key):
        """Return the Job that is live, or that requests still wait for; None if it is not known."""
        job, wait = self.jobs.get(key), self.waits.get(key)
        return wait.job if job is None and wait is not None else job

    def is_repeated_by(self, computation, auth):
        """Return whether a COMPUTE request is this one's again."""
        return (not self.closing and self.computation.node_ip_addr == computation.node_ip_addr
                and compare_digest(self.auth, auth))


class NodeState(object):
    """The one locked object. Methods take and release the lock themselves, and do no I/O."""

    def __init__(self, cpus, serve=-1):
        """`cpus`: that jobs may use at once, from 0; `serve`: clients, -1 for no limit."""
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._cpus = cpus
        self._phase = STARTING
        self._scheduler = None              # (address, port) of the owner
        self._entries = {}                  # computation id -> _Entry
        self._ending = []  # computations that take no more jobs and are being cleaned up
        self._used = 0
        self._counts = {'jobs_done': 0, 'cpu_time': 0.0, 'clients_done': 0, 'computations': 0}
        self._serve = serve
        self._served = False                # the owner has opened a computation
        self._adopted = False               # that was at a node before this one
        self._outside_hours = None          # why nothing new is taken now (text)
        self._jobs_until = None             # monotonic time until which jobs are taken all the same
        self._ends = False                  # it is being stopped, or left to the next node
        self._waiting = 0                   # threads that wait for a change

    def _wait_locked(self, is_so, timeout):
        """Wait until is_so(), `timeout` seconds at most (None: no limit); return whether so."""
        deadline = None if timeout is None else monotonic() + timeout
        while not is_so():
            left = None if deadline is None else deadline - monotonic()
            if left is not None and left <= 0:
                return False
            self._waiting += 1
            try:
                self._changed.wait(left)
            finally:
                self._waiting -= 1
        return True

    def _notify_locked(self):
        if self._waiting:                   # hardly ever
            self._changed.notify_all()

    # -- the node as a whole

    def phase(self):
        """Return STARTING, SERVING, PAUSED, DRAINING or STOPPING."""
        with self._lock:
            return self._phase

    def set_phase(self, phase):
        """Enter a phase. STOPPING is never left, DRAINING only for it. Return if it changed."""
        with self._lock:
            if self._phase == phase or self._phase == STOPPING:
                return False
            if self._phase == DRAINING and phase != STOPPING:
                return False
            self._phase = phase
            self._notify_locked()
            return True

    def begin_end(self, phase=None):
        """Enter `phase`, unless somebody has begun to end the node before; return whether not."""
        with self._lock:
            first, self._ends = not self._ends, True
            if first and phase is not None:
                self._phase = phase
                self._notify_locked()
            return first

    def refusal(self):
        """Return None if a client may have the node, else (cause, reason in words)."""
        with self._lock:
            if self._scheduler is not None:
                return 'busy', 'busy with the scheduler at %s port %s' % self._scheduler
            return self._closed_locked()

    def refusal_of(self, ping, source):
        """Return refusal() for a client that pings from `source`.

        The owner of a node that has taken over from another one may have lost sight of it, and gets
        an answer.
        """
        with self._lock:
            if self._adopted and self._scheduler is not None and ping.port == self._scheduler[
                    1] and (self._scheduler[0] == source or self._scheduler[0] in ping.ip_addrs):
                return self._closed_locked()
        return self.refusal()

    def closed(self):
        """Return None if the node takes clients, busy or not; else (cause, reason)."""
        with self._lock:
            return self._closed_locked()

    def _closed_locked(self):
        if self._phase != SERVING:
            return self._phase.lower(), 'the node is %s' % self._phase.lower()
        if self._outside_hours is not None:
            return 'service hours', self._outside_hours
        if self._serve == 0:
            return 'served enough', 'it has served as many clients as it was to'
        if self._cpus < 1:
            return 'no CPU', 'no CPU is offered'
        return None

    def set_hours(self, outside, jobs_until=None):
        """Take computations, or for the reason `outside` none; jobs until a monotonic time."""
        with self._lock:
            self._outside_hours, self._jobs_until = outside, jobs_until
            self._notify_locked()

    def cpus(self):
        """Return the number of CPUs offered now."""
        with self._lock:
            return self._cpus

    def set_cpus(self, cpus):
        """Offer `cpus` CPUs from now on; running jobs go on."""
        with self._lock:
            self._cpus = cpus
            self._notify_locked()

    def free_cpus(self):
        """Return how many more jobs could start now."""
        with self._lock:
            return max(0, self._cpus - self._used)

    def used_cpus(self):
        """Return how many jobs hold a CPU."""
        with self._lock:
            return self._used

    def scheduler(self):
        """Return (address, port) of the owner, or None."""
        with self._lock:
            return self._scheduler

    def counts(self):
        """Return {jobs_done, cpu_time (s), clients_done, computations (ever), serve, busy}."""
        with self._lock:
            return dict(self._counts, serve=self._serve, busy=self._used)

    def set_serve(self, serve):
        """Serve `serve` more clients, the present one included; -1 for no limit."""
        with self._lock:
            self._serve = serve

    # -- computations

    def open_computation(self, computation):
        """Record a computation and make its scheduler the owner.

        computation   object with id, auth, node_ip_addr, scheduler (address, port)
        Return the computation known from an earlier request with the same id, auth and
        node_ip_addr, else None. Raises Refused with the text for the client.
        """
        auth = to_bytes(computation.auth)
        with self._lock:
            entry = self._entries.get(computation.id)
            if entry is not None and entry.is_repeated_by(computation, auth):
                return entry.computation
            if self._scheduler is not None and self._scheduler != computation.scheduler:
                raise NodeBusy('Node busy')
            if self._scheduler is None or self._phase != SERVING or self._outside_hours is not None:
                closed = self._closed_locked()
                if closed is not None:
                    raise NotAvailable('Node not available: %s' % closed[1])
            if entry is not None:
                raise AlreadyOpen('computation %d is already open' % computation.id)
            self._scheduler = computation.scheduler
            self._entries[computation.id] = _Entry(computation, auth)
            self._counts['computations'] += 1
            return None

    def adopt_computation(self, computation, closing):
        """Record a computation that another node has opened, in any phase."""
        with self._lock:
            self._scheduler, self._served, self._adopted = computation.scheduler, True, True
            entry = self._entries[computation.id] = _Entry(computation, to_bytes(computation.auth))
            entry.closing = closing

    def adopt_job(self, computation, uid, hash_, xfer_files, started):
        """Return a Job that another node has admitted; it holds a CPU."""
        with self._lock:
            self._used += 1
            job = self._entries[computation.id].jobs[(uid, hash_)] = Job(
                computation, uid, hash_, xfer_files, started)
            return job

    def computation(self, computation_id):
        """Return the open computation with that id, or None."""
        with self._lock:
            entry = self._entries.get(computation_id)
            return entry.computation if entry is not None else None

    def computations(self):
        """Return a list of all that are recorded, closing ones included."""
        with self._lock:
            return [entry.computation for entry in self._entries.values()]

    def _entry_locked(self, computation):
        """Return the entry of this very computation, None if there is none any more."""
        entry = self._entries.get(computation.id)
        return entry if entry is not None and entry.computation is computation else None

    def is_closing(self, computation):
        """Return whether a computation takes no more jobs."""
        with self._lock:
            entry = self._entry_locked(computation)
            return entry is None or entry.closing

    def close_computation(self, computation):
        """Take no more jobs for it; return (whether it was open until now, its live jobs)."""
        with self._lock:
            entry = self._entry_locked(computation)
            if entry is None:
                return False, []
            first, entry.closing = not entry.closing, True
            return first, list(entry.jobs.values())

    def forget_computation(self, computation):
        """Drop a computation that ended; return True if its scheduler has the node no more."""
        with self._lock:
            entry = self._entry_locked(computation)
            if entry is None:
                return False
            del self._entries[computation.id]
            self._used -= len(entry.jobs)
            self._notify_locked()
            if self._entries:
                return False
            self._scheduler = None
            if self._served:
                self._served = False
                self._counts['clients_done'] += 1
                self._serve -= self._serve > 0
            return True

    def note_served(self):
        """The owner got what it asked for: it counts as a client."""
        with self._lock:
            self._served = self._scheduler is not None

    def begin_cleanup(self, computation):
        """Drop one without jobs, but remember it until end_cleanup(). As forget_computation."""
        with self._lock:
            self._ending.append(computation)
        return self.forget_computation(computation)

    def end_cleanup(self, computation):
        """Nothing of a computation is left any more."""
        with self._lock:
            if computation in self._ending:
                self._ending.remove(computation)
            self._notify_locked()

    def ending(self):
        """Return the computations that are being cleaned up (list)."""
        with self._lock:
            return list(self._ending)

    def wait_until_empty(self, timeout):
        """Wait until no computation is left, `timeout` seconds or None; return whether so."""
        with self._lock:
            return self._wait_locked(lambda: not (self._entries or self._ending), timeout)

    def wait_until_no_jobs(self, timeout):
        """Wait until no job runs, `timeout` seconds or None; return whether so."""
        with self._lock:
            return self._wait_locked(lambda: not self._used, timeout)

    # -- jobs

    def admit_job(self, computation_id, uid, hash_, xfer_files, now, timeout):
        """Reserve one CPU for a job, waiting up to `timeout` seconds for one.

        uid, hash_     the client's names for the job: int, text
        now            seconds since the epoch
        Return (Job, True), or (Job, False) if the very job is running already, or has been admitted
        for another request while this one waited: by now it may have ended.
        Raises Refused: unknown computation, node stopping, no CPU free.
        """
        key = (uid, hash_)
        with self._lock:
            entry = self._entry_for_job_locked(computation_id)
            job = entry.known_job(key)
            if job is None and self._used >= self._cpus and timeout > 0:
                job = self._wait_for_cpu_locked(entry, key, timeout)
                entry = self._entry_for_job_locked(computation_id)
                job = job or entry.known_job(key)
            if job is not None:
                job.repeated = True
                return job, False
            if self._used >= self._cpus:
                raise Busy('NAK (all cpus busy)')
            self._used += 1
            job = entry.jobs[key] = Job(entry.computation, uid, hash_, xfer_files, now)
            if key in entry.waits:
                entry.waits[key].job, job.repeated = job, True
                self._notify_locked()
            return job, True

    def _entry_for_job_locked(self, computation_id):
        entry = self._entries.get(computation_id)
        if entry is None or entry.closing:
            raise Refused('NAK (invalid computation ID)')
        if self._phase == STOPPING:
            raise Refused('NAK (node is stopping)')
        if self._jobs_until is not None and monotonic() > self._jobs_until:
            raise Refused('NAK (outside service hours)')
        return entry

    def _wait_for_cpu_locked(self, entry, key, timeout):
        """Wait for a CPU; return the Job if it has been admitted for another request meanwhile."""
        wait = entry.waits.setdefault(key, _Wait())
        wait.requests += 1
        self._wait_locked(lambda: self._used < self._cpus or wait.job is not None, timeout)
        wait.requests -= 1
        if not wait.requests:
            del entry.waits[key]
        return wait.job

    def finish_job(self, job, seconds=0.0):
        """Free the CPU of a job after `seconds`; None: it never began, and does not count.

        One that never began goes on if its client has sent it again.
        Return True for the one caller who is to send the final reply.
        """
        with self._lock:
            entry = self._entries.get(job.computation.id)
            key = (job.uid, job.hash)
            if entry is None or entry.jobs.get(key) is not job or seconds is None and job.repeated:
                return False
            del entry.jobs[key]
            self._used -= 1
            if seconds is not None:
                self._counts['jobs_done'] += 1
                self._counts['cpu_time'] += seconds
            self._notify_locked()
        jobs.LIFE.change(job, jobs.FINISH)
        return True

    def find_job(self, computation_id, uid, hash_):
        """Return the live Job with that uid and hash, or None."""
        with self._lock:
            entry = self._entries.get(computation_id)
            return entry.jobs.get((uid, hash_)) if entry is not None else None

    def jobs(self, computation_id):
        """Return the live jobs of a computation (list)."""
        with self._lock:
            entry = self._entries.get(computation_id)
            return list(entry.jobs.values()) if entry is not None else []

    def is_drained(self, computation):
        """Return whether a closing computation has no job left."""
        with self._lock:
            entry = self._entry_locked(computation)
            return entry is not None and entry.closing and not entry.jobs


def one_for_each_scheduler(computations):
    """Return a list with one computation of each scheduler."""
    found = {}
    for computation in computations:
        found.setdefault(computation.scheduler, computation)
    return list(found.values())


def heard(state, scheduler):
    """Note a sign of life of a scheduler, (address, port)."""
    for computation in state.computations():
        if computation.scheduler == scheduler:
            computation.heard()
