"""Doubles of the node's parts; for histories, where only what the test lets happen does, by a clock that it sets."""
from __future__ import absolute_import, division, print_function

import select

from dispynode_lib.errors import PeerGone
from dispynode_lib.host.io.loop import READ, WRITE
from dispynode_lib.node.replies.records import Records
from dispynode_lib.node.computations.making import Computations, News, Uses
from dispynode_lib.node.computations.link import Child
from dispynode_lib.node.shared import state as states
from dispynode_lib.node.shared.common import Common
from dispynode_lib.node.shared.history import History
from dispynode_lib.node.shared.state import NodeState
from dispynode_lib.options.parser import Options
from dispynode_lib.wire import asking, messages
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


class FakeTimer(object):
    """A call that is due at `when`."""

    def __init__(self, when, function, args):
        self.when, self.function, self.args = when, function, args

    def cancel(self):
        """Forget the call."""
        self.function = None


class FakeLoop(object):
    """As host.io.loop.Loop: real descriptors are looked at in turn(), timers run in pass_time()."""

    def __init__(self, now=1000.0):
        self.now = now
        self.soon, self.timers, self.watched = [], [], {}       # watched: descriptor -> (callback, events)

    def clock(self):
        """Return the time."""
        return self.now

    def watch(self, fd, callback, events=READ):
        """As that of a Loop, which fails as well if `fd` is watched already."""
        assert fd not in self.watched, 'descriptor %d is watched already' % fd
        self.watched[fd] = callback, events

    def change(self, fd, callback, events):
        """As that of a Loop."""
        assert fd in self.watched, 'descriptor %d is not watched' % fd
        self.watched[fd] = callback, events

    def unwatch(self, fd):
        """As that of a Loop."""
        self.watched.pop(fd, None)

    def call_at(self, when, function, *args):
        """As that of a Loop."""
        self.timers.append(FakeTimer(when, function, args))
        return self.timers[-1]

    def call_later(self, delay, function, *args):
        """As that of a Loop."""
        return self.call_at(self.now + delay, function, *args)

    def call_soon(self, function, *args):
        """As that of a Loop."""
        self.soon.append((function, args))

    def turn(self):
        """Call back for each descriptor that is ready now, then what was to be called soon.

        Return whether there was anything.
        """
        readable, writable, _other = select.select(
            [fd for fd, (_callback, events) in self.watched.items() if events & READ],
            [fd for fd, (_callback, events) in self.watched.items() if events & WRITE], [], 0)
        for fd in sorted(set(readable + writable)):
            if fd in self.watched:
                ready = (READ if fd in readable else 0) | (WRITE if fd in writable else 0)
                self.watched[fd][0](ready)
        soon, self.soon = self.soon, []
        for function, args in soon:
            function(*args)
        return bool(readable or writable or soon)

    def settle(self, workers=None):
        """Take turns, and let the workers work, until there is nothing to do."""
        for _turn in range(1000):
            if not self.turn() and not (workers is not None and workers.work()):
                return
        raise AssertionError('there is always something to do: %r' % self.soon)

    def pass_time(self, seconds):
        """Let the clock go on; what falls due meanwhile is called at its time, earliest first."""
        end = self.now + seconds
        while True:
            due = [timer for timer in self.timers if timer.function and timer.when <= end]
            if not due:
                break
            timer = min(due, key=lambda timer: timer.when)
            self.timers.remove(timer)
            self.now = max(self.now, timer.when)
            timer.function(*timer.args)
        self.timers = [timer for timer in self.timers if timer.function is not None]
        self.now = end


class FakeWorkers(object):
    """As host.io.workers.Workers: tasks wait until work()."""

    def __init__(self, limit=None, loop=None):
        self.limit, self.loop, self.tasks = limit, loop, []

    def run(self, function, *args):
        """As that of Workers."""
        self.tasks.append((function, args))

    def work(self):
        """Do what has been handed in until now, in its order; return whether there was any."""
        tasks, self.tasks = self.tasks, []
        for function, args in tasks:
            function(*args)
        return bool(tasks)


class AtOnce(object):
    """Workers and loop that do everything at once."""

    def start_thread(self, _name, function, *args):
        """As that of Loop."""
        function(*args)

    def run(self, function, *args):
        """As that of Workers."""
        function(*args)

    call_soon = run

    def call_later(self, _delay, function, *args):
        """As that of a Loop, without the delay."""
        function(*args)


class FakeComputation(object):
    """What duties see of a computation."""

    def __init__(self, state, number=1, scheduler=(u'10.0.0.9', 9700), life=0.0,
                 pulse_interval=None):
        self.id, self.auth, self.scheduler = number, u'aa', scheduler
        self.pulse_interval, self.unanswered = pulse_interval, 0
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


def make_options(**settings):
    """Return Options with their usual values but for `settings`."""
    options = Options()
    for name, value in settings.items():
        setattr(options, name, value)
    return options


def make_common(cpus=2, loop=None, **settings):
    """Return a Common with a real NodeState that serves; its workers, and loop, do all at once."""
    options = make_options(**settings)
    state = NodeState(cpus, options.serve)
    state.set_phase(states.SERVING)
    identity = Recorder(own_address=u'10.0.0.1')
    identity.addresses, identity.sign = [u'10.0.0.1'], u'ab' * 20
    return Common(options, state, loop or AtOnce(), AtOnce(), identity)


def open_computation(state, **settings):
    """Have a NodeState record a FakeComputation, and its client count; return it."""
    computation = FakeComputation(state, **settings)
    state.open_computation(computation)
    state.note_served()
    return computation


class FakeClock(object):
    """A clock that shows `now`."""

    def __init__(self, now=1000.0):
        self.now = now

    def __call__(self):
        return self.now


class FakeChild(Child):
    """As node.computations.link.Child: what it is sent is kept in `frames`, unless it is `broken`."""

    def __init__(self, number, link):
        Child.__init__(self, number, object(), link)
        self.pid, self.frames, self.broken, self.left = 1000 + number, [], False, ()

    def send(self, data):
        """As that of a Child."""
        if self.broken:
            raise PeerGone('it is gone')
        self.frames.append(data)

    def tell(self, status=11, result=b'result'):
        """Tell the result of its job."""
        self.link.children.on_child_frame(self, done(status, result))

    def end(self):
        """Close its channel."""
        self.link.children.on_child_closed(self)


def done(status=11, result=b'result'):
    """Return the parts of a frame with the result of a job."""
    return [b'done', b'%d' % status, result, b'', b'', None, b'1.0', b'2.0']


class FakeLink(object):
    """As node.computations.link.Link: `sent` are the frames for the supervisor; the test tells what that does."""

    key, is_taken_over = None, False

    def __init__(self, pid=4000):
        self.pid, self.sent, self.signals, self.is_open = pid, [], [], True
        self.handler = self.children = None
        self.settled, self._count = [], 0

    def begin_channels(self):
        """As that of a Link."""

    def attach(self, handler, children):
        """As that of a Link."""
        self.handler, self.children = handler, children

    def send(self, *parts):
        """As that of a Link."""
        if not self.is_open:
            raise PeerGone('the supervisor has ended')
        self.sent.append(parts)

    def close(self):
        """As that of a Link."""
        self.is_open = False

    def signal(self, number):
        """As that of a Link."""
        self.signals.append(number)

    def settle(self, number):
        """As that of a Link."""
        self.settled.append(number)

    @staticmethod
    def close_child(child):
        """As that of a Link."""
        child.sock = None

    def drain(self, child):
        """As that of a Link; `left` of a FakeChild are the frames in its channel."""
        for parts in child.left if child.sock is not None else ():
            self.children.on_child_frame(child, parts)
        if child.sock is not None:
            self.children.on_child_closed(child)
        self.close_child(child)

    def kinds(self):
        """Return the names of the frames that were sent."""
        return [parts[0] for parts in self.sent]

    def says(self, *parts):
        """Let the supervisor send a frame."""
        self.handler.on_frame(list(parts))

    def dies(self):
        """Let the supervisor end."""
        self.is_open = False
        self.handler.on_link_closed()

    def fork(self):
        """Let the supervisor fork a job process; return it."""
        self._count += 1
        child = FakeChild(self._count, self)
        self.children.on_child(child)
        return child


class FakeNursery(object):
    """As node.computations.nursery.Nursery: gives FakeLinks, kept in `links`, but EnvironmentError while it is `broken`."""

    def __init__(self):
        self.links, self.broken = [], False
        self.supervisors = Recorder()

    def take(self):
        """As that of a Nursery."""
        if self.broken:
            raise EnvironmentError('no memory')
        self.links.append(FakeLink(4000 + len(self.links)))
        return self.links[-1]

    def prepare(self):
        """As that of a Nursery."""


class FakeRoom(object):
    """A real Computation and a real NodeState with fakes around them.

    replies   [(uid, status, exception)] of jobs, in their order
    news      Recorder of what node.computations.computation.News are told
    """

    def __init__(self, program=False, setup=u'', cleanup=u'', cpus=2, **options):
        self.loop, self.workers, self.nursery = FakeLoop(), FakeWorkers(), FakeNursery()
        self.replies, self.opened, self.set_ups = [], [], []
        self.news, self.folder, self.journal = Recorder(), Recorder(), Recorder()
        self.folder.path = '/nowhere'
        self.common = make_common(cpus, self.loop, **options)._replace(workers=self.workers)
        self.state, self.options = self.common.state, self.common.options
        self.common.identity.name = u'node'
        uses = Uses(self.nursery, Recorder(), Recorder(deliver=self._deliver), self.journal, History(), None,
                    '/nowhere', 0, Records('/nowhere', 0, 1))
        news = News(self._on_ending, self.news.on_ended, self.news.on_renewed, self.news.on_client_shutdown,
                    self.news.on_replaced)
        message = asking.compute_request(1, u'f', 7, u'', u'ab', u'10.0.0.9', 9700).partition(b':')[2]
        request = messages.read_compute(message)
        request.setup, request.cleanup = setup, cleanup
        request.type = 2 if program else 1
        self.computations = Computations(self.common, uses, news)
        self.computation = self.computations.make(
            request, b'', Peer(), (u'10.0.0.9', 9700), u'10.0.0.1')
        self.computation.folder = self.folder
        self.state.open_computation(self.computation)

    def _deliver(self, _computation, job, status, _result, _stdout, _stderr, exception, *_times):
        self.replies.append((job.uid, status, exception))

    def _on_ending(self, computation):
        self.state.begin_cleanup(computation)
        self.news.on_ending(computation)

    @property
    def link(self):
        """The link to the last supervisor."""
        return self.nursery.links[-1]

    def settle(self):
        """Let happen what can."""
        self.loop.settle(self.workers)

    def start(self):
        """Have the supervisor started; it is sent the code."""
        self.computation.start(self.opened.append)
        self.settle()

    def open(self):
        """Have the code compiled."""
        self.start()
        self.says(b'opened', None)

    def says(self, *parts):
        """Let the supervisor send a frame, and what follows happen."""
        self.link.says(*parts)
        self.settle()

    def ask_setup(self, argument=None):
        """Let the client ask for setup; `set_ups` gets (error, whether it was the first to ask)."""
        self.computation.set_up(argument, lambda *answer: self.set_ups.append(answer))
        self.settle()

    def set_up(self):
        """Open it and run setup."""
        self.open()
        self.ask_setup()
        self.says(b'setup', b'ok', None)

    def admit(self, uid=1):
        """Admit a job; return it."""
        return self.state.admit_job(7, uid, u'cd', [], 0.0, 0.0)[0]

    def start_job(self, uid=1):
        """Admit a job and give it to a process, if one is there; return it."""
        job = self.admit(uid)
        self.give(job)
        self.settle()
        return job

    def give(self, job, record=None):
        """Give an admitted job to a process; what follows has not happened yet."""
        self.computation.start_job(job, self.computation.job_frame(job, record or Record()))

    def fork(self):
        """Let the supervisor fork a job process, and what follows happen; return it."""
        child = self.link.fork()
        self.settle()
        return child

    def run_job(self, uid=1):
        """Return (job, its process), running."""
        child = self.fork()
        return self.start_job(uid), child

    def close(self, terminate=False):
        """Close it."""
        self.computation.close(terminate)
        self.settle()

    def renew(self, terminate=False):
        """CLOSE with close False."""
        self.computation.renew(terminate)
        self.settle()


class Record(object):
    """What of a JOB record is looked at when a job is given to a process."""

    args, kwargs, code = b'args', b'kwargs', u''
