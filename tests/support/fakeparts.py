"""Doubles of the node's parts that note what they were told, and real parts made with them."""
from __future__ import absolute_import, division, print_function

from dispynode_lib.node.shared import state as states
from dispynode_lib.node.shared.common import Common
from dispynode_lib.node.shared.complaints import Complaints
from dispynode_lib.node.shared.state import NodeState
from dispynode_lib.node.discovery.announcer import Announcer
from dispynode_lib.node.discovery.answers import Answers
from dispynode_lib.node.discovery.visitors import Visitors
from dispynode_lib.node.timed import duties
from dispynode_lib.options.parser import Options
from dispynode_lib.wire.peers import Peer


class Recorder(object):
    """Notes the calls of any method: [(name, arguments)]."""

    def __init__(self, **answers):
        self.calls, self._answers = [], answers

    def __getattr__(self, name):
        if name.startswith('_'):
            raise AttributeError(name)

        def note(*args, **_settings):
            self.calls.append((name, args))
            answer = self._answers.get(name)
            return answer(*args) if callable(answer) else answer
        return note

    def named(self, name):
        """Return the arguments of the calls of one method."""
        return [args for called, args in self.calls if called == name]


class AtOnce(object):
    """Workers and loop that do everything at once."""

    def run(self, function, *args):
        function(*args)

    call_soon = run

    def call_later(self, _delay, function, *args):
        function(*args)


class FakeComputation(object):
    """What duties see of a computation."""

    def __init__(self, state, number=1, scheduler=(u'10.0.0.9', 9700), life=0.0,
                 pulse_interval=None):
        self.id, self.auth, self.scheduler, self.pulse_interval = number, u'aa', scheduler, pulse_interval
        self.unanswered = 0
        self.zombie, self.life, self.closed, self._state = False, life, None, state
        self.moved, self.node_ip_addr = False, u'10.0.0.1'
        self.peer = Recorder()
        self.peer.version = u'4.15.2'

    def last_sign_of_life(self):
        return self.life

    def heard(self):
        self.life, self.unanswered = self.clock(), 0

    def clock(self):
        return self.life

    def close(self, terminate, why=None):
        self.closed, self.why = terminate, why
        self._state.close_computation(self)
        self._state.forget_computation(self)


class FakeParts(object):
    """Parts with a real NodeState and real Complaints; `now` is the clock of all.

    pending   replies that are under way
    kept      [(uid, hash)] of replies that are kept
    """

    def __init__(self, cpus=2, **settings):
        self.now = 1000.0
        self.options = Options()
        for name, value in settings.items():
            setattr(self.options, name, value)
        self.state = NodeState(cpus, self.options.serve)
        self.state.set_phase(states.SERVING)
        self.complaints = Complaints()
        self.workers = self.loop = AtOnce()
        self.pending, self.kept = 0, []
        self.spool = Recorder(holds=False, to_send=lambda _key: self.kept)
        self.delivery = Recorder(pending=lambda: self.pending)
        self.notices = Recorder(peer_at=lambda *_where: Peer())
        self.announcer, self.nursery = Recorder(), Recorder()
        self.visitors = Visitors(self.clock)
        self.identity = Recorder(own_address=u'10.0.0.1')
        self.identity.addresses, self.identity.sign = [u'10.0.0.1'], u'ab' * 20

    @property
    def common(self):
        """node.shared.common.Common of what there is now."""
        return Common(self.options, self.state, self.loop, self.workers, self.identity)

    def clock(self):
        return self.now

    def make_pulses(self):
        """Return the duty that sends pulses."""
        return duties.Pulses(self.common, self.notices, self.delivery)

    def make_answers(self, random):
        """Return what answers pings."""
        return Answers(self.common, self.notices, self.visitors, self.announcer, self.nursery,
                       self.clock, random)

    def make_announcer(self, known, random):
        """Return an Announcer."""
        return Announcer(self.common, self.notices, self.visitors, self.complaints, known,
                         self.clock, random)

    def open(self, **settings):
        """Record a computation; return it."""
        computation = FakeComputation(self.state, **settings)
        self.state.open_computation(computation)
        self.state.note_served()
        return computation
