"""The supervisor of one computation, seen from the node: started, set up, closed, replaced."""
from __future__ import absolute_import, division, print_function


from dispynode_lib.errors import PeerGone, ProtocolError
from dispynode_lib.host.compat import signal, to_text
from dispynode_lib.log import Log
from dispynode_lib.node.computations.frames import ENDED, indented, text_of
from dispynode_lib.node.shared.complaints import printable
from dispynode_lib.node.shared.phases import Life, every
from dispynode_lib.wire.control import number

log = Log('dispynode.computations')

# signals to a setup that is to end before it is killed, seconds between two
PRESSES, PRESS_AGAIN = 10, 0.5
OPEN_TIMEOUT = 60.0                         # seconds to compile the code of a computation
ENDING_JOBS = 2.0  # seconds that job processes may take to end before cleanup begins
KILL_AFTER = 5.0  # seconds between SIGTERM and SIGKILL for a cleanup function

# phases; the loop's thread changes them
NONE = 'none'                               # there is no supervisor
STARTING = 'starting'                       # the nursery has been asked for one
COMPILING = 'compiling'                     # it has been sent the code
COMPILED = 'compiled'                       # it has not been set up
SETTING_UP = 'setting up'                   # it runs setup; what is sent meanwhile waits
READY = 'ready'                             # it forks job processes
CLOSING = 'closing'                         # it has been told to close while setup runs
CLEANING = 'cleaning'  # it has been told to close: it runs cleanup, then it ends
# events: what the node does
START, ATTACH, FAIL, SET_UP, CLOSE = 'start', 'attach', 'fail', 'set up', 'close'
# events: what the supervisor tells, or what becomes of it
OPENED, REFUSED = 'tell that it knows the code', 'refuse the code'
SETTLED, CLOSED, LOST = 'tell that setup has ended', 'tell that it is closed', 'be lost'

EDGES = {
    (NONE, START): STARTING,
    (NONE, ATTACH): COMPILING,              # the thread of COMPUTE has brought it
    (STARTING, ATTACH): COMPILING,
    (STARTING, FAIL): NONE,
    (COMPILING, OPENED): COMPILED,
    (COMPILING, REFUSED): NONE,
    (COMPILING, LOST): NONE,
    (COMPILED, SET_UP): SETTING_UP,
    (COMPILED, CLOSE): CLEANING,
    (COMPILED, LOST): NONE,
    (SETTING_UP, SETTLED): READY,
    (SETTING_UP, CLOSE): CLOSING,
    (SETTING_UP, LOST): NONE,
    (READY, CLOSE): CLEANING,
    (READY, LOST): NONE,
    (CLOSING, SETTLED): CLEANING,
    (CLOSING, CLOSED): NONE,
    (CLOSING, LOST): NONE,
    (CLEANING, CLOSED): NONE,
    (CLEANING, LOST): NONE,
}
# frames come late, and setup may send what it likes; only what the node does itself must fit
IGNORED = [pair for pair in every(set(EDGES.values()), (OPENED, REFUSED, SETTLED, CLOSED))
           if pair not in EDGES]
LIFE = Life(u'a supervisor', EDGES, IGNORED)
COMING, LEAVING = (STARTING, COMPILING), (CLOSING, CLEANING)


class Supervision(object):
    """Supervision of one computation: one supervisor after the other.

    Methods named on_* and _* run in the loop's thread, others where it is said.

    phase   see above
    link    node.computations.link.Link; None without a supervisor
    """

    def __init__(self, common, nursery, owner):
        """Begin without a supervisor.

        nursery   node.computations.nursery.Nursery
        owner     node.computations.computation.Computation; gets on_opened(error or None),
                  on_set_up(error or None), on_closed(), on_lost(), on_told(kind, parts); its
                  open_frame() is what a supervisor has to know, its `jobs` gets the job processes
        """
        self._loop, self._workers, self._options = common.loop, common.workers, common.options
        self._nursery, self._owner = nursery, owner
        self.phase, self.link = NONE, None
        self._pids_wanted = []              # callbacks
        self._was_set_up = False  # a supervisor that was taken over has been, as far as is known
        self._bound = None                  # Timer of what it is to have done by then

    # -- its start; the loop's thread

    def start(self):
        """Have a supervisor started; on_opened() of the owner tells how that went."""
        LIFE.change(self, START)
        self._workers.run(self._take_link)

    def _take_link(self):
        try:
            link, error = self._nursery.take(), None
        except EnvironmentError as reason:
            link, error = None, u'no supervisor can be started: %s' % reason
        self._loop.call_soon(self._taken, link, error)

    def _taken(self, link, error):
        if link is not None:
            self.attach(link)
        elif LIFE.change(self, FAIL):
            self._owner.on_opened(error)

    def attach(self, link):
        """Give the code to a supervisor that has just been started."""
        if LIFE.change(self, ATTACH):
            link.key = self._owner.new_key()
            self._use(link)
            self._bind(OPEN_TIMEOUT, self._over_open)
            self.tell(*self._owner.open_frame())        # if it fails the loop sees it, too
        else:
            link.close()

    def adopt(self, link, phase):
        """Go on with one of a dead node: COMPILED, or SETTING_UP until it has told more."""
        self.phase = phase
        self._was_set_up = phase == SETTING_UP
        self._use(link)

    def _on_here(self, fields):
        """A supervisor that was taken over tells where it stands."""
        told = dict(zip(fields[1::2], fields[2::2]))
        self.link.pid = number(told[b'pid'])
        self._nursery.supervisors.note(self.link.pid)   # where the socket does not tell its pid
        status = told[b'setup']
        self._owner.jobs.adopted.on_held(self.link, told[b'held'], told[b'programs'])
        if told[b'ending'] == b'1' and self._owner.is_cleaning_up():
            self.phase = CLEANING           # it has been told to close by the node before this one
        elif status:
            if self.phase == COMPILED:      # for a job, without SETUP
                self._owner.setup_frame()
                LIFE.change(self, SET_UP)
            self._on_settled([status, told[b'setup_text']])
        elif self._was_set_up:              # the frame has not reached it
            self.tell(*self._owner.setup_frame())

    def _on_refused(self, fields):
        log.error(
            'computation %d: its supervisor %d does not take this node for its own (%s); its '
            'running jobs are lost',
            self._owner.id, self.link.pid, indented(fields[1] if len(fields) > 1 else b''))
        self.on_link_closed()

    def _use(self, link):
        self.link = link
        link.attach(self, self._owner.jobs)

    def _over_open(self):
        """The compiler takes too long: that cannot be interrupted."""
        text = u'its code could not be compiled within %g s' % OPEN_TIMEOUT
        log.warning('computation %d (%s): %s', self._owner.id, printable(self._owner.name), text)
        self.link.signal(signal.SIGKILL)
        self._on_opened([text])

    def _on_opened(self, fields):
        error = text_of(fields[-1])
        if not LIFE.change(self, OPENED if error is None else REFUSED):
            return
        self._unbind()
        if error is not None:
            self._drop()
        self._owner.on_opened(error)

    # -- setup

    def set_up(self, frame):
        """Run setup: `frame`: parts of the frame. on_set_up() of the owner tells the end."""
        if LIFE.change(self, SET_UP):
            self.tell(*frame)

    def _on_settled(self, fields):
        error = None
        if fields[0] == b'error':
            error = text_of(fields[1] if len(fields) > 1 else None) or u'"setup" failed'
        if LIFE.change(self, SETTLED):
            self._owner.on_set_up(error)

    def press(self):
        """Have a setup end that runs: nobody needs it any more."""
        self._press(self.link, PRESSES)

    def _press(self, link, left):
        """Signal the supervisor until its setup has ended: user code may catch a signal."""
        if self.phase in (SETTING_UP, CLOSING) and link is self.link:
            link.signal(signal.SIGTERM if left else signal.SIGKILL)
            self._loop.call_later(PRESS_AGAIN, self._press, link, left - 1)

    # -- its end

    def close(self, with_cleanup, remember=None):
        """Have it run cleanup, if wanted, and end: on_closed() of the owner follows.

        remember   parts of the setup frame, for one that has not been set up: what cleanup gets
        """
        if with_cleanup and self.phase == COMPILED:
            self.tell(b'remember', *remember[1:])
        if LIFE.change(self, CLOSE):
            self.tell(b'close', b'1' if with_cleanup else b'0')
            if self._options.cleanup_timeout:
                self._bind_cleanup(self._options.cleanup_timeout)

    def _bind_cleanup(self, limit):
        self._bind(limit + ENDING_JOBS, self._over_cleanup, limit)

    def _over_cleanup(self, limit):
        """End a cleanup, or a setup before it, that takes more than `limit` seconds."""
        if self.phase == CLOSING:
            self._warn_over('setup', limit, 'SIGTERM')
            self.press()
            self._bind_cleanup(limit)
        else:
            self._warn_over('cleanup', limit, 'SIGTERM')
            self.link.signal(signal.SIGTERM)
            self._bind(KILL_AFTER, self._kill_cleanup, limit)

    def _kill_cleanup(self, limit):
        self._warn_over('cleanup', limit + KILL_AFTER, 'SIGKILL')
        self.link.signal(signal.SIGKILL)

    def _warn_over(self, what, seconds, name):
        log.warning(
            'computation %d (%s): its %s still runs %g s after its end (--cleanup_timeout); '
            'its supervisor gets %s', self._owner.id, printable(self._owner.name), what, seconds,
            name)

    def _on_closed(self, fields):
        before, error = self.phase, fields[0]
        if not LIFE.change(self, CLOSED):
            if self.link is not None and self.link.is_taken_over:
                self._owner.cleaned = True      # it was told to end by the node before this one
            return
        if error is not None:
            log.warning('computation %d: cleanup failed: %s', self._owner.id, indented(error))
        self._drop()
        if before == CLOSING:               # it was interrupted before it came to setup
            self._owner.on_set_up(ENDED)
        self._owner.on_closed()

    def on_link_closed(self):
        """The supervisor is gone: as wished after close, or by a fault."""
        before, pid = self.phase, self.link.pid
        LIFE.change(self, LOST)
        self._nursery.supervisors.lose(pid)
        self._workers.run(self._end_left, pid, self._drop())
        if before not in LEAVING:
            log.error('computation %d: supervisor %d ended unexpectedly', self._owner.id, pid)
        if before == COMPILING:
            self._owner.on_opened(ENDED)
            return
        if before in (SETTING_UP, CLOSING):
            self._owner.on_set_up(ENDED)
        if before in LEAVING:
            self._owner.on_closed()
        else:
            self._owner.on_lost()

    def _end_left(self, pid, children):
        """End what supervisor `pid` had started; `children` had jobs. A worker's thread."""
        try:
            self._nursery.supervisors.end_left(pid, [
                child.pid for child in children if child.sock is not None])
        finally:
            for child in children:
                self._loop.call_soon(self._owner.jobs.on_left_ended, child)

    def _drop(self):
        """Let go of it; return the job processes (Child) that it had."""
        self._unbind()
        link, self.link = self.link, None
        link.close()
        jobs = self._owner.jobs
        if jobs.adopted is not None:
            jobs.adopted.on_link_closed(link)
        children = jobs.on_link_closed(link)
        self._answer_pids({})
        return children

    def _bind(self, seconds, function, *args):
        """Call `function(*args)` in `seconds` unless what it does now, or it, has ended."""
        self._unbind()
        self._bound = self._loop.call_later(seconds, function, *args)

    def _unbind(self):
        bound, self._bound = self._bound, None
        if bound is not None:
            bound.cancel()

    # -- frames

    def send(self, *parts):
        """Send a frame to the supervisor; any thread. Raises PeerGone."""
        link = self.link
        if link is None:
            raise PeerGone('there is no supervisor')
        link.send(*parts)

    def tell(self, *parts):
        """Send a frame to the supervisor if it is there; return whether so. Any thread."""
        try:
            self.send(*parts)
        except PeerGone as error:
            log.debug('computation %d: telling its supervisor to %s: %s',
                      self._owner.id, to_text(parts[0]), error)
            return False
        return True

    def signal(self, number):
        """Send a signal to the supervisor if it is there; the loop's thread."""
        if self.link is not None:
            self.link.signal(number)

    def ask_pids(self, done):
        """Ask which processes run; `done({number of a job process: pid})`, the loop's."""
        self._loop.call_soon(self._ask_pids, done)

    def _ask_pids(self, done):
        """Ask, unless an answer is under way already: it is for all that wait for it."""
        self._pids_wanted.append(done)
        if len(self._pids_wanted) == 1 and not self.tell(b'pids'):
            self._answer_pids({})

    def _answer_pids(self, pids):
        wanted, self._pids_wanted = self._pids_wanted, []
        for done in wanted:
            done(pids)

    def _on_pids(self, fields):
        pids = {}
        try:
            pids = dict(zip(map(number, fields[::2]), map(number, fields[1::2])))
        finally:
            self._answer_pids(pids)

    def on_frame(self, parts):
        """Take one frame of the supervisor."""
        kind = parts[0] if parts else b''
        take = FRAMES.get(kind)
        try:
            if take is not None:
                take(self, parts[1:])
            else:
                self._owner.on_told(kind, parts)
        except (ProtocolError, IndexError, ValueError) as error:
            log.error('computation %d: its supervisor sent %r: %s', self._owner.id, kind, error)


FRAMES = {
    b'opened': Supervision._on_opened, b'setup': Supervision._on_settled,
    b'closed': Supervision._on_closed, b'pids': Supervision._on_pids, b'here': Supervision._on_here,
    b'refused': Supervision._on_refused
}
