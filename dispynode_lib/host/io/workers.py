"""A bounded pool of threads for work that may block: requests, files."""
from __future__ import absolute_import, division, print_function

import collections
import threading
import time

from dispynode_lib.host.compat import monotonic, start_thread
from dispynode_lib.log import Log

log = Log('dispynode.workers')

IDLE_SECONDS = 10.0
GATHERED = 0.5  # seconds within which threads that became idle end together
END_LOOK = 0.001  # seconds between two looks, at the end of the node, whether all is done


class Worker(object):
    """An idle thread: `ready` is released with its next `task`, (function, arguments) or None."""

    __slots__ = ('ready', 'task', 'idle_since')

    def __init__(self):
        self.ready = threading.Lock()
        self.ready.acquire()
        self.task = self.idle_since = None

    def give(self, task):
        """Have it do the task, or end."""
        self.task = task
        self.ready.release()


class Workers(object):
    """Runs functions in threads: an idle one, a new one up to `limit`, else one after another.

    Idle threads wait without a timeout, for Python 2 looks 20 times a second whether one has
    passed. The one that became idle last goes on first, so that the others are idle for long, and
    end.
    """

    def __init__(self, limit, loop=None):
        """`limit`: threads at most; `loop`: its timers end idle threads; None: they stay."""
        self._limit = limit
        self._loop = loop
        self._look_planned = loop is None
        self._lock = threading.Lock()
        self._queue = collections.deque()
        self._threads = 0
        self._idle = collections.deque()    # Workers, the last one became idle last

    def run(self, function, *args):
        """Have a thread call `function(*args)`; returns at once."""
        task = function, args
        with self._lock:
            worker = self._idle.pop() if self._idle else None
            if worker is None:
                if self._threads >= self._limit:
                    self._queue.append(task)
                    return
                self._threads += 1
        if worker is not None:
            worker.give(task)
            return
        try:
            start_thread('worker', self._work, task)
        except Exception:                   # no more threads to be had: the others will do it
            self._carry_on(task)

    def _carry_on(self, task):
        """Leave the task to the present threads; raise what is being handled if there is none."""
        with self._lock:
            self._threads -= 1
            if not self._threads:
                raise
            worker = self._idle.pop() if self._idle else None
            if worker is None:
                self._queue.append(task)
        if worker is not None:
            worker.give(task)
        log.warning('cannot start another thread; %d carry on', self._threads)

    def finish(self, timeout):
        """Wait up to `timeout` seconds until nothing is queued or being done; return whether so."""
        deadline = monotonic() + timeout
        while self._is_busy():
            if monotonic() >= deadline:
                return False
            time.sleep(END_LOOK)
        return True

    def _is_busy(self):
        with self._lock:
            return bool(self._queue) or len(self._idle) < self._threads

    def _work(self, task):
        worker = Worker()
        while task is not None:
            try:
                task[0](*task[1])
            except Exception:
                log.exception('a worker failed in %r', task[0])
            task = None
            with self._lock:
                if self._queue:
                    task = self._queue.popleft()
                    continue
                worker.idle_since = monotonic()
                self._idle.append(worker)
                planning = not self._look_planned and len(self._idle) > 1
                self._look_planned = self._look_planned or planning
            if planning:
                self._loop.call_soon(self._plan_look)
            worker.ready.acquire()
            task, worker.task = worker.task, None

    def _plan_look(self):
        """Look again when the thread that is idle for longest is to end. The loop's thread."""
        with self._lock:
            since = self._idle[0].idle_since if self._idle else monotonic()
        self._loop.call_at(since + IDLE_SECONDS + GATHERED, self._look)

    def _look(self):
        """Let threads end that have been idle for long, but one. The loop's thread."""
        ended, long_ago = [], monotonic() - IDLE_SECONDS
        with self._lock:
            while len(self._idle) > 1 and self._idle[0].idle_since <= long_ago:
                ended.append(self._idle.popleft())
            self._threads -= len(ended)
            self._look_planned = len(self._idle) > 1
        for worker in ended:
            worker.give(None)
        if self._look_planned:
            self._plan_look()
