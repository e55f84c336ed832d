"""Threads for work that may wait: how many there are, and when they end."""
from __future__ import absolute_import, division, print_function

import threading
import unittest

from dispynode_lib.host.io import workers
from dispynode_lib.host.io.workers import GATHERED, IDLE_SECONDS, Workers
from tests.support.waiting import wait_until


class FakeLoop(object):
    """Notes what is to be called soon, and when."""

    def __init__(self):
        self.soon, self.timers = [], []

    def call_soon(self, function, *args):
        """As Loop's."""
        self.soon.append((function, args))

    def call_at(self, when, function, *args):
        """As Loop's."""
        self.timers.append((when, function, args))


class IdleThreadsTest(unittest.TestCase):

    def setUp(self):
        self.now = 100.0
        self.addCleanup(setattr, workers, 'monotonic', workers.monotonic)
        workers.monotonic = lambda: self.now
        self.loop = FakeLoop()
        self.workers = Workers(8, self.loop)

    def count(self):
        """Return how many threads there are."""
        return self.workers._threads

    def do_at_once(self, count):
        """Have so many threads do something at the same time."""
        go_on, began = threading.Event(), []
        for _ in range(count):
            self.workers.run(lambda: began.append(1) or go_on.wait(20))
        wait_until(lambda: len(began) == count)
        go_on.set()
        wait_until(lambda: len(self.workers._idle) == self.count())

    def test_threads_that_became_idle_together_end_after_ten_seconds_not_twenty(self):
        self.do_at_once(1)
        self.now += 0.2  # the look was planned by the first two, the others are a little younger
        self.do_at_once(6)
        for function, args in self.loop.soon:
            function(*args)
        self.assertEqual(len(self.loop.timers), 1)
        when, function, args = self.loop.timers[0]
        self.assertLessEqual(when, self.now + IDLE_SECONDS + GATHERED)
        self.now = when
        function(*args)
        self.assertEqual(self.count(), 1)   # threads may not always be had
        self.assertEqual(len(self.loop.timers), 1)

    def test_one_that_is_younger_ends_when_its_time_has_come(self):
        self.do_at_once(3)
        for function, args in self.loop.soon:
            function(*args)
        first = self.loop.timers[0]
        self.now += 5.0
        go_on = threading.Event()
        self.workers.run(go_on.wait, 20)    # by the one that became idle last
        go_on.set()
        wait_until(lambda: len(self.workers._idle) == 3)
        self.now = first[0]
        first[1]()
        self.assertEqual(self.count(), 1)


class FinishTest(unittest.TestCase):

    def setUp(self):
        self.workers, self.go_on = Workers(2), threading.Event()
        self.addCleanup(self.go_on.set)

    def finish_in_thread(self):
        """Call finish() in a thread; return the list that its result will be in."""
        results = []
        thread = threading.Thread(target=lambda: results.append(self.workers.finish(60)))
        thread.daemon = True
        thread.start()
        return results

    def test_finish_waits_for_what_a_thread_does_and_for_what_is_queued(self):
        done = []
        for number in range(5):
            self.workers.run(lambda number=number: self.go_on.wait(20) and done.append(number))
        results = self.finish_in_thread()
        self.assertEqual((results, done), ([], []))
        self.go_on.set()
        wait_until(lambda: results)
        self.assertEqual(results, [True])
        self.assertEqual(sorted(done), [0, 1, 2, 3, 4])

    def test_finish_waits_for_what_a_task_hands_on_to_another_thread(self):
        done = []
        self.workers.run(lambda: self.workers.run(lambda: self.go_on.wait(20) and done.append(1)))
        results = self.finish_in_thread()
        self.go_on.set()
        wait_until(lambda: results)
        self.assertEqual((results, done), ([True], [1]))

    def test_finish_gives_up_when_its_time_is_over(self):
        self.workers.run(self.go_on.wait, 20)
        self.assertFalse(self.workers.finish(0.05))

    def test_finish_of_workers_without_work_returns_at_once(self):
        self.assertTrue(self.workers.finish(60))
