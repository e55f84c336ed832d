"""A bounded set of threads for work that may wait: requests and files."""
from __future__ import absolute_import, division, print_function

import collections
import threading
import time

from dispynode_lib.host.compat import monotonic, start_thread
from dispynode_lib.log import Log

log = Log('dispynode.workers')

IDLE_SECONDS = 10.0


class Workers(object):
    """Runs functions in threads: in an idle one, in a new one up to `limit`, else one after another."""

    def __init__(self, limit):
        """`limit`: threads at most."""
        self._limit = limit
        self._condition = threading.Condition(threading.Lock())
        self._queue = collections.deque()
        self._threads = 0
        self._idle = 0

    def run(self, function, *args):
        """Have a thread call `function(*args)`; returns at once."""
        with self._condition:
            self._queue.append((function, args))
            if self._idle >= len(self._queue):
                self._condition.notify()
                return
            if self._threads >= self._limit:
                return
            self._threads += 1
        try:
            start_thread('worker', self._work)
        except Exception:                   # no more threads to be had: the others will do it
            with self._condition:
                self._threads -= 1
                alone = self._threads == 0
                if alone:
                    self._queue.remove((function, args))
            if alone:
                raise
            log.warning('cannot start another thread; %d carry on', self._threads)

    def finish(self, timeout):
        """Wait up to `timeout` seconds until nothing is queued or being done; return whether so."""
        deadline = monotonic() + timeout
        while monotonic() < deadline:
            with self._condition:
                if not self._queue and self._idle == self._threads:
                    return True
            time.sleep(0.005)
        return False

    def _work(self):
        while True:
            with self._condition:
                if not self._queue:
                    self._idle += 1
                    self._condition.wait(None if self._threads == 1 else IDLE_SECONDS)
                    self._idle -= 1
                if not self._queue:
                    if self._threads == 1:
                        continue            # one stays: threads may not always be had
                    self._threads -= 1
                    return
                function, args = self._queue.popleft()
            try:
                function(*args)
            except Exception:
                log.exception('a worker failed in %r', function)
            function = args = None
