"""NodeState: histories of events and the state at their end."""
from __future__ import absolute_import, division, print_function

import threading
import unittest

from dispynode_lib.errors import Refused
from dispynode_lib.node.shared import state as states
from dispynode_lib.node.shared.state import NodeState
from tests.support.waiting import wait_until

HOST_A, HOST_B = (u'10.0.0.1', 51347), (u'10.0.0.2', 51347)


class FakeComputation(object):
    def __init__(self, computation_id, scheduler=HOST_A, auth=u'aa'):
        self.id, self.scheduler, self.auth = computation_id, scheduler, auth
        self.node_ip_addr = u'10.0.0.3'


def make_state(cpus=2):
    state = NodeState(cpus)
    state.set_phase(states.SERVING)
    return state


class OwnershipTest(unittest.TestCase):
    def test_second_scheduler_is_refused_until_the_last_computation_is_gone(self):
        state = make_state()
        first, second = FakeComputation(1), FakeComputation(2)
        state.open_computation(first)
        state.open_computation(second)
        with self.assertRaises(Refused) as caught:
            state.open_computation(FakeComputation(3, HOST_B))
        self.assertEqual(str(caught.exception), 'Node busy')
        self.assertFalse(state.forget_computation(first))
        self.assertEqual(state.scheduler(), HOST_A)
        self.assertTrue(state.forget_computation(second))
        self.assertIsNone(state.scheduler())
        self.assertIsNone(state.open_computation(FakeComputation(3, HOST_B)))

    def test_another_port_of_the_same_host_is_another_scheduler(self):
        state = make_state()
        state.open_computation(FakeComputation(1))
        with self.assertRaises(Refused):
            state.open_computation(FakeComputation(2, (HOST_A[0], 51350)))

    def test_repeated_compute_gives_the_known_computation(self):
        state = make_state()
        first = FakeComputation(1)
        state.open_computation(first)
        self.assertIs(state.open_computation(FakeComputation(1)), first)
        self.assertEqual(state.counts()['computations'], 1)

    def test_same_id_with_another_auth_is_refused(self):
        state = make_state()
        state.open_computation(FakeComputation(1))
        with self.assertRaises(Refused):
            state.open_computation(FakeComputation(1, auth=u'bb'))

    def test_no_computation_is_opened_while_draining(self):
        state = make_state()
        state.set_phase(states.DRAINING)
        with self.assertRaises(Refused):
            state.open_computation(FakeComputation(1))

    def test_stopping_is_never_left_and_draining_only_for_stopping(self):
        state = make_state()
        self.assertTrue(state.set_phase(states.DRAINING))
        self.assertFalse(state.set_phase(states.SERVING))
        self.assertTrue(state.set_phase(states.STOPPING))
        self.assertFalse(state.set_phase(states.DRAINING))
        self.assertEqual(state.phase(), states.STOPPING)

    def test_a_refusal_names_the_owner(self):
        state = make_state()
        self.assertIsNone(state.refusal())
        state.open_computation(FakeComputation(1))
        self.assertIn('10.0.0.1', state.refusal()[1])

    def test_wait_until_empty_ends_with_the_last_computation(self):
        state = make_state()
        computation = FakeComputation(1)
        state.open_computation(computation)
        self.assertFalse(state.wait_until_empty(0.001))
        state.forget_computation(computation)
        self.assertTrue(state.wait_until_empty(0.001))


class JobsTest(unittest.TestCase):
    def setUp(self):
        self.state = make_state(cpus=1)
        self.computation = FakeComputation(7)
        self.state.open_computation(self.computation)

    def admit(self, uid, hash_=u'ab', timeout=0.0):
        return self.state.admit_job(7, uid, hash_, (), 100.0, timeout)

    def test_a_job_holds_one_cpu_until_it_is_finished(self):
        job, new = self.admit(1)
        self.assertTrue(new)
        self.assertEqual(self.state.free_cpus(), 0)
        self.assertTrue(self.state.finish_job(job))
        self.assertEqual(self.state.free_cpus(), 1)
        self.assertEqual(self.state.counts()['jobs_done'], 1)

    def test_only_one_caller_may_send_the_final_reply(self):
        job, _new = self.admit(1)
        self.assertTrue(self.state.finish_job(job))
        self.assertFalse(self.state.finish_job(job))
        self.assertEqual(self.state.used_cpus(), 0)

    def test_a_job_that_never_began_is_counted_as_done(self):
        job, _new = self.admit(1)
        self.state.finish_job(job, None)  # its client was gone before it had the ACK
        self.assertEqual((self.state.counts()['jobs_done'], self.state.used_cpus()), (0, 0))

    def test_a_uid_may_be_used_again_at_once(self):
        first, _new = self.admit(1, u'aa')
        self.state.finish_job(first)
        second, new = self.admit(1, u'bb')
        self.assertTrue(new)
        self.assertFalse(self.state.finish_job(first))
        self.assertTrue(self.state.finish_job(second))

    def test_the_same_job_sent_twice_runs_once(self):
        job, _new = self.admit(1)
        again, new = self.admit(1)
        self.assertIs(again, job)
        self.assertFalse(new)
        self.assertEqual(self.state.used_cpus(), 1)

    def test_a_job_without_a_free_cpu_is_refused_after_the_wait(self):
        self.admit(1)
        with self.assertRaises(Refused):
            self.admit(2, timeout=0.001)

    def test_a_job_that_waits_gets_the_cpu_that_becomes_free(self):
        first, _new = self.admit(1)
        got = []
        waiter = threading.Thread(target=lambda: got.append(self.admit(2, timeout=10.0)))
        waiter.start()
        self.state.finish_job(first)
        waiter.join(10.0)
        self.assertEqual([job.uid for job, _new in got], [2])

    def test_unknown_or_closing_computation_takes_no_job(self):
        with self.assertRaises(Refused):
            self.state.admit_job(8, 1, u'ab', (), 100.0, 0.0)
        self.state.close_computation(self.computation)
        with self.assertRaises(Refused):
            self.admit(1)

    def test_closing_twice_is_first_only_once(self):
        job, _new = self.admit(1)
        self.assertEqual(self.state.close_computation(self.computation), (True, [job]))
        self.assertEqual(self.state.close_computation(self.computation), (False, [job]))
        self.assertFalse(self.state.is_drained(self.computation))
        self.state.finish_job(job)
        self.assertTrue(self.state.is_drained(self.computation))

    def test_forgetting_a_computation_gives_back_the_cpus_of_its_jobs(self):
        self.admit(1)
        self.state.forget_computation(self.computation)
        self.assertEqual(self.state.free_cpus(), 1)

    def test_find_job_compares_uid_and_hash(self):
        job, _new = self.admit(1, u'aa')
        self.assertIs(self.state.find_job(7, 1, u'aa'), job)
        self.assertIsNone(self.state.find_job(7, 1, u'bb'))
        self.assertIsNone(self.state.find_job(9, 1, u'aa'))

    def test_fewer_cpus_let_running_jobs_go_on(self):
        self.admit(1)
        self.state.set_cpus(0)
        self.assertEqual(self.state.free_cpus(), 0)
        self.assertEqual(self.state.used_cpus(), 1)


class RepeatedJobTest(unittest.TestCase):
    """The same JOB more than once while all CPUs are busy."""

    def setUp(self):
        self.state = make_state(cpus=2)
        self.state.open_computation(FakeComputation(7))
        self.running = [self.state.admit_job(7, uid, u'ab', (), 100.0, 0.0)[0] for uid in (1, 2)]
        self.waits = []
        wait = self.state._changed.wait
        self.state._changed.wait = lambda left: self.waits.append(left) or wait(left)

    def ask(self, count, then=lambda job: None):
        """Ask for job 3 `count` times at once, and wait until all of them wait for a CPU.

        then   function(Job): what the thread does to whom it is a new one
        Return (threads, what they got: Job and whether it is a new one).
        """
        got = []

        def admit():
            job, new = self.state.admit_job(7, 3, u'cd', (), 100.0, 10.0)
            if new:
                then(job)
            got.append((job, new))

        threads = [threading.Thread(target=admit) for _ in range(count)]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(self.waits) >= count, 10)
        return threads, got

    def assert_one_job(self, threads, got):
        for thread in threads:
            thread.join(10.0)
        self.assertEqual(sorted(new for _job, new in got), [False] * (len(threads) - 1) + [True])
        self.assertEqual(len(set(job for job, _new in got)), 1)
        return got[0][0]

    def test_the_same_job_sent_twice_while_all_cpus_are_busy_takes_one_cpu(self):
        threads, got = self.ask(2)
        for job in self.running:
            self.state.finish_job(job)
        job = self.assert_one_job(threads, got)
        self.assertEqual(self.state.used_cpus(), 1)
        self.assertTrue(self.state.finish_job(job))
        self.assertEqual(self.state.used_cpus(), 0)

    def test_a_job_that_ended_while_its_repetition_waited_does_not_run_again(self):
        threads, got = self.ask(3, then=self.state.finish_job)
        self.state.finish_job(self.running[0])
        self.assert_one_job(threads, got)
        self.assertEqual((self.state.used_cpus(), self.state.counts()['jobs_done']), (1, 2))

    def test_a_repetition_that_waits_is_answered_though_no_other_cpu_is_free(self):
        threads, got = self.ask(2)
        self.state.finish_job(self.running[0])
        self.assert_one_job(threads, got)
        self.assertEqual(self.state.used_cpus(), 2)

    def test_a_job_whose_first_request_has_lost_its_client_goes_on_for_the_one_that_waited(self):
        kept = []
        threads, got = self.ask(2, then=lambda job: kept.append(self.state.finish_job(job, None)))
        self.state.finish_job(self.running[0])
        self.assert_one_job(threads, got)
        self.assertEqual((kept, self.state.used_cpus()), ([False], 2))

    def test_a_job_that_has_waited_in_vain_may_be_sent_again(self):
        with self.assertRaises(Refused):
            self.state.admit_job(7, 3, u'cd', (), 100.0, 0.001)
        for job in self.running:
            self.state.finish_job(job)
        for _turn in range(2):
            job, new = self.state.admit_job(7, 3, u'cd', (), 100.0, 0.001)
            self.assertTrue(new)
            self.assertTrue(self.state.finish_job(job))


if __name__ == '__main__':
    unittest.main()
