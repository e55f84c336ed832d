"""Clients whose request was cut off by the death of the node before: histories with the clock
given."""
from __future__ import absolute_import, division, print_function

import unittest

from dispynode_lib.node.discovery.cutoff import AT_ONCE, DIP, LATER, CutOff
from dispynode_lib.node.shared import state as states
from dispynode_lib.wire.peers import Peer
from tests.support.fakes import FakeLoop, Recorder, make_common

SCHEDULER = (u'10.0.0.9', 9700)


class Computation(object):
    """What is asked of one that was taken over."""
    id, auth, node_ip_addr, scheduler, callers = 7, u'ab', u'10.0.0.1', SCHEDULER, ()
    closed_by_client, outcomes = False, ()

    class record(object):
        adopted, in_doubt, begun_again = True, True, False

    def __init__(self, release=u'4.15.2', **attributes):
        self.peer, self.closed = Peer(release), []
        self.__dict__.update(attributes)

    def close(self, terminate):
        self.closed.append(terminate)


class CutOffTest(unittest.TestCase):

    def make(self, computation, error=None):
        self.loop = FakeLoop()
        self.common = make_common()._replace(loop=self.loop)
        self.common.state.set_phase(states.SERVING)
        self.common.state.adopt_computation(computation, False)
        self.notices = Recorder(node_cpus=lambda _one, _cpus, done: done(None, error))
        self.cut_off = CutOff(self.common, self.notices, self.loop.clock)
        self.cut_off.come_back()
        return self.cut_off

    def pass_time(self, seconds):
        self.loop.settle()
        self.loop.pass_time(seconds)
        self.loop.settle()
        self.loop.pass_time(DIP)

    def told(self):
        return [cpus for _one, cpus, _done in self.notices.named('node_cpus')]

    def test_one_in_doubt_is_shown_a_number_of_cpus_that_rises(self):
        self.make(Computation())
        self.assertEqual(self.told(), [])   # a CLOSE may lie there
        self.pass_time(1.0)
        cpus = self.common.state.cpus()
        self.assertEqual(self.told(), [cpus - 1, cpus])

    def test_one_that_has_its_answers_or_a_job_is_only_pinged(self):
        class Settled(object):
            adopted, in_doubt, begun_again = True, False, False
        for computation in (Computation(record=Settled), Computation(outcomes={'finished': 1})):
            self.make(computation)
            self.pass_time(60)
            self.assertEqual(self.told(), [])
            self.assertTrue(self.notices.named('knock'))

    def test_one_that_begins_again_is_shown_them_though_jobs_of_before_run(self):
        class Again(object):
            adopted = in_doubt = begun_again = True
        self.make(Computation(record=Again, outcomes={'finished': 1}))
        self.pass_time(1.0)
        cpus = self.common.state.cpus()
        self.assertEqual(self.told(), [cpus - 1, cpus])

    def test_a_node_that_takes_nobody_tells_nothing(self):
        self.make(Computation())
        self.common.state.set_phase(states.DRAINING)
        self.pass_time(60)
        self.assertEqual(self.told(), [])

    def test_close_is_kept_back_only_at_once_and_of_releases_that_always_set_up(self):
        computation = Computation()
        self.assertTrue(self.make(computation).keeps(computation))
        self.loop.pass_time(AT_ONCE)
        self.assertFalse(self.cut_off.keeps(computation))
        old = Computation(u'4.8.7')
        self.assertFalse(self.make(old).keeps(old))

    def test_a_close_that_the_first_job_has_overtaken_is_kept_back_and_the_next_one_is_not(self):
        computation = Computation()
        cut_off = self.make(computation)
        self.common.state.adopt_job(computation, 1, u'hash', (), 0)
        self.assertEqual([cut_off.keeps(computation) for _turn in range(2)], [True, False])

    def test_one_kept_open_whose_client_has_gone_is_closed(self):
        computation = Computation()
        self.make(computation, 'refused').keeps(computation)
        self.pass_time(1.0)
        self.assertEqual(computation.closed, [True])

    def test_after_a_close_its_scheduler_is_shown_the_node_for_a_while(self):
        closed = Computation(closed_by_client=True, outcomes={'finished': 1})
        self.make(closed).ended(closed)
        self.cut_off.closed_unknown(SCHEDULER[0])
        self.cut_off.closed_unknown(u'10.0.0.8')            # somebody else
        self.assertEqual(len(self.told()), 2)
        self.loop.pass_time(LATER)
        self.cut_off.ended(closed)
        self.cut_off.closed_unknown(SCHEDULER[0])
        self.assertEqual(len(self.told()), 4)               # the two of before, which rise

    def test_a_client_whose_next_computation_opens_meanwhile_does_not_set_it_up_twice(self):
        class Settled(object):
            adopted, in_doubt, begun_again = True, False, False
        closed = Computation(closed_by_client=True, record=Settled)
        self.make(closed).ended(closed)
        self.pass_time(DIP)
        self.assertEqual(self.told(), [])


if __name__ == '__main__':
    unittest.main()
