"""A state machine on NodeState, by hypothesis: python3 -m unittest tests.fuzz.state_machine; needs
hypothesis."""
from __future__ import absolute_import, division, print_function

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from dispynode_lib.errors import Refused
from dispynode_lib.node.shared.state import SERVING, NodeState

CPUS = 3
NUMBERS = st.integers(min_value=1, max_value=4)


class Opened(object):
    """What a state machine knows of a computation."""

    def __init__(self, number, scheduler):
        self.id, self.scheduler = number, (u'10.0.0.%d' % scheduler, 9700)
        self.auth = u'auth-%d' % number
        self.node_ip_addr = u'10.0.0.1'


class Machine(RuleBasedStateMachine):
    """Opens, closes and forgets computations, admits and finishes jobs in any order; slots must
    always add up."""

    jobs = Bundle('jobs')

    def __init__(self):
        super(Machine, self).__init__()
        self.state = NodeState(CPUS)
        self.state.set_phase(SERVING)
        self.open, self.closing, self.live = {}, {}, []

    @rule(number=NUMBERS, scheduler=st.integers(min_value=1, max_value=2))
    def open_computation(self, number, scheduler):
        computation = Opened(number, scheduler)
        try:
            known = self.state.open_computation(computation)
        except Refused:
            assert self.open or self.closing
            return
        if known is None:
            assert all(other.scheduler == computation.scheduler
                       for other in list(self.open.values()) + list(self.closing.values()))
            self.open[number] = computation
        else:
            assert known is self.open[number]

    @rule(target=jobs, number=NUMBERS, uid=NUMBERS, word=st.sampled_from([u'a', u'b']))
    def admit(self, number, uid, word):
        try:
            job, new = self.state.admit_job(number, uid, word, (), 1.0, 0.0)
        except Refused:
            assert number not in self.open or len(self.live) >= CPUS
            return None
        assert number in self.open and new == (job not in self.live)
        if new:
            self.live.append(job)
        return job

    @rule(job=jobs)
    def finish(self, job):
        if job is not None:
            assert self.state.finish_job(job, 0.5) == (job in self.live)
            self.live = [other for other in self.live if other is not job]

    @rule(number=NUMBERS)
    def close(self, number):
        computation = self.open.pop(number, None)
        if computation is not None:
            first, jobs = self.state.close_computation(computation)
            assert first and set(jobs) == set(job for job in self.live
                                              if job.computation is computation)
            self.closing[number] = computation

    @rule(number=NUMBERS)
    def forget(self, number):
        computation = self.closing.get(number)
        if computation is not None and self.state.is_drained(computation):
            self.closing.pop(number)
            assert self.state.forget_computation(computation) == (not self.open
                                                                  and not self.closing)

    @invariant()
    def slots_add_up(self):
        assert self.state.used_cpus() == len(self.live) <= CPUS
        assert self.state.free_cpus() == CPUS - len(self.live)
        assert (self.state.scheduler() is None) == (not self.open and not self.closing)


StateMachineTest = Machine.TestCase
StateMachineTest.settings = settings(max_examples=400, stateful_step_count=60, deadline=None)
