"""The node's end of the nursery: the process from which supervisors are forked."""
from __future__ import absolute_import, division, print_function

import errno
import os
import select
import struct
import threading

from dispynode_lib.errors import PeerGone
from dispynode_lib.host import processes
from dispynode_lib.host.compat import signal, spawn, to_text
from dispynode_lib.host.descriptors import send_fd
from dispynode_lib.host.io.streams import Stream, wait_for, would_block
from dispynode_lib.host.wording import counted
from dispynode_lib.log import Log
from dispynode_lib.node.computations.link import Link, socket_pair
from dispynode_lib.wire.control import BIND_NOW, KEEPER, PIPE_SIZE

log = Log('dispynode.nursery')

PID = struct.Struct('>l')
FORK_TIMEOUT = 20.0                         # seconds
KEEP_AFTER, TRY_AGAIN = 0.3, 5.0            # seconds: after the start of the node, after a failure
# seconds without a client after which the process is not kept, once it was seen to run
REST_AFTER = 10.0
NAMED = 20  # processes that the log names, at most
ENDING = 1.0  # seconds from the end of a supervisor's connection until it is killed
PATIENCE = 10.0  # seconds in which what a dead node has left may end by itself


class Supervisors(object):
    """The supervisors that may live, and what those have left that died.

    All that the nursery starts has `mark` in its environment (processes.MARK). What bears it and is
    not below a living supervisor has lost its own.
    """

    # functions: the pids of the nursery, and of the one of the node before this one (sequences);
    # whether another node has taken over from this one
    nursery_pids = keeper_pids = is_replaced = staticmethod(lambda: ())
    mark = None

    def __init__(self, lock):
        """`lock`: held while one is made, and while what others have left is ended."""
        self._lock = lock
        self._living, self._look_at = {}, 16  # pid -> start time; how many are looked at again
        self._lost = set()                  # pids of those that died, until what they left is ended

    def note(self, pid):
        """Note a supervisor; at twice as many, forget those that have gone. Any thread."""
        started = processes.start_time(pid)
        if started is not None:
            self._living[pid] = started
        if len(self._living) > self._look_at:
            for gone in set(self._living).difference(self._pids()):
                self._living.pop(gone, None)
            self._look_at = 2 * len(self._living) + 16

    def lose(self, pid):
        """Note that a supervisor has died: end_left() follows."""
        self._lost.add(pid)

    def end_left(self, pid, groups=()):
        """End what a supervisor has left that has died. May wait.

        groups   process groups of its jobs, for a host that does not tell of its processes
        """
        started = self._living.get(pid)
        if started is not None:             # it may have closed its socket itself, and live on
            processes.wait_gone([(pid, started)], ENDING)
        if not self.is_replaced():
            with self._lock:
                if started is not None:
                    # a killed process lives on for a while: its jobs are not to be spared for that
                    self._living.pop(pid, None)
                    processes.kill(pid, started)
                    processes.wait_gone([(pid, started)], ENDING)
                processes.end_groups(groups)
                self._end([self.mark], 'a supervisor that had died')
        self._lost.discard(pid)

    def end_rest(self):
        """End what supervisors have left that died only now. May wait."""
        for pid in list(self._lost):
            self.end_left(pid)

    def end_before(self, identity, patience=PATIENCE):
        """End what a dead node has left. May wait.

        identity   processes.MARK of what it started itself, None if that is to stay
        patience   seconds in which that may end by itself
        """
        marks = [self.mark] if identity is None else [self.mark, identity]
        processes.wait_gone(self._left(marks), patience)
        with self._lock:
            self._end(marks, 'the node before this one')

    def _end(self, marks, who):
        killed = processes.end(lambda: self._left(marks))
        if killed:
            log.warning('killed %s, left by %s: %s', counted(len(killed), u'process'), who,
                        ', '.join('%d' % pid for pid in sorted(killed)[:NAMED]))

    def _left(self, marks):
        return processes.left(marks, self._pids(), list(self.nursery_pids()) + list(
            self.keeper_pids()))

    def _pids(self):
        return [pid for pid, started in list(self._living.items())
                if processes.start_time(pid) == started]


class Nursery(object):
    """Gives supervisors; starts its process when a client comes, again if it has died. Any thread.

    It is also started soon after the node's start, to see that it can be, and ended if no client
    comes then: an idle node is as small as it can be.
    """

    # function: the sockets (list) that it is to keep for the next node
    listeners = staticmethod(lambda: ())
    on_shared = staticmethod(lambda: None)  # is called when it has them

    def __init__(self, loop, workers, folder, output, on_news):
        """Begin without a process; the node before this one may hand on what it is to keep.

        folder      where the code of supervisors may be put away (code/image.Store)
        output      their descriptors 1 and 2
        on_news()   there is another answer of trouble()
        """
        self._output, self._on_news = output, on_news
        self._folder = folder
        self._loop = loop
        self._workers = workers
        self._lock = threading.Lock()       # held while a supervisor is made, and for its code
        self.supervisors = Supervisors(self._lock)
        self.supervisors.nursery_pids = self.pids
        self._process = self._sock = None
        self._closed = False
        self._kept = False
        self._is_on_trial = False           # the process was started only to see that it runs
        self._trouble = None                # why the process cannot be started
        self._shared = []                   # sockets that the process keeps
        self.keeper = None  # seconds, and where it keeps them when this node has died (text)
        # names of modules: that the process loads, that it is to load, and that may have ended the
        # one before it
        self._names = self._wanted = self._left_out = ()

    def prepare(self):
        """Start the process in the background if it does not run: it will be needed."""
        self._is_on_trial = False
        if self._process is None and not self._closed:
            self._workers.run(self._prepare)

    def _prepare(self):
        with self._lock:
            self._prepare_locked()

    def _prepare_locked(self):
        try:
            self._start()
        except EnvironmentError:
            return                          # trouble() tells

    def share(self):
        """Have the process keep the node's listeners: there are computations. May wait."""
        self._is_on_trial = False
        with self._lock:
            try:
                self._start()
                self._share()
            except EnvironmentError as error:
                log.debug('the nursery of supervisors: %s', error)

    def _share(self):
        if self._sock is None or self.keeper is None:
            return
        for sock in self.listeners():
            if sock not in self._shared:
                self._pass(sock.fileno())
                self._shared.append(sock)
        self.on_shared()

    def trouble(self):
        """Return why no job can run (text), None if all is well as far as is known."""
        return self._trouble

    def _note(self, trouble):
        if trouble == self._trouble:
            return
        self._trouble = trouble
        if trouble is not None:
            log.error('%s', trouble)
        else:
            log.info('supervisors can be started again')
        self._on_news()

    def preload(self, names):
        """Have modules (list of text) loaded before supervisors are forked: from refresh() on."""
        self._wanted = tuple(names)

    def refresh(self, is_needed):
        """Have the process load what it lacks; replace it if it has what is not wanted any more.

        is_needed   there are computations: it is not to be replaced, nor put at risk
        """
        with self._lock:
            if not is_needed:
                self._left_out = ()
                if not set(self._names).issubset(self._wanted):
                    self._end()
                    self._prepare_locked()
                    return
            if self._sock is not None:
                self._load()

    def _load(self):
        """Tell the process which modules it lacks; it loads them while nobody waits for it."""
        lacking = [name for name in self._wanted
                   if name not in self._names and name not in self._left_out]
        self._names += tuple(lacking)
        try:
            for piece in in_pieces([name.encode('utf-8') for name in lacking], PIPE_SIZE):
                self._pass_text(piece)
        except EnvironmentError as error:
            log.debug('the nursery of supervisors: %s', error)

    def _pass_text(self, data):
        """Pass a pipe with `data`, which fits into it."""
        read_end, write_end = os.pipe()
        try:
            try:
                os.write(write_end, data)
            finally:
                os.close(write_end)
            self._pass(read_end)
        finally:
            os.close(read_end)

    def take(self):
        """Return a Link to a new supervisor. Raises EnvironmentError if none can be had."""
        self._is_on_trial = False
        with self._lock:
            try:
                return self._fork()
            except (EnvironmentError, PeerGone) as error:
                log.warning('the nursery of supervisors does not answer (%s); starting another%s',
                            error, ' without modules loaded ahead, one of which may have ended it '
                            '(--preload): %s' % ', '.join(self._names) if self._names else '')
                self._left_out = self._names                    # until refresh()
                self._end()
                try:
                    return self._fork()
                except PeerGone as gone:
                    raise EnvironmentError(errno.EPIPE, 'the nursery of supervisors: %s' % gone)

    def keep(self, _now=None):
        """Take the code of supervisors, before its files are replaced; see whether it runs."""
        if self._is_on_trial and self._trouble is None:
            self._workers.run(self._rest)
            return
        with self._lock:
            self._image()
        self._kept = True
        on_trial = self._process is None and not self._wanted
        self.prepare()
        self._is_on_trial = on_trial

    def _rest(self):
        with self._lock:
            if self._is_on_trial:
                self._is_on_trial = False
                self._end()

    def keep_wait(self, _now):
        """Return seconds until keep() is due: soon after the start, not to lengthen it."""
        if not self._kept:
            return KEEP_AFTER
        if self._closed:
            return None
        return TRY_AGAIN if self._trouble is not None else REST_AFTER if self._is_on_trial else None

    def pids(self):
        """Return the numbers of the processes that this object itself waits for."""
        process = self._process
        return () if process is None else (process.pid,)

    def close(self):
        """End the process; supervisors go on."""
        with self._lock:
            self._closed = True
            self._end()

    def _start(self):
        if self._process is not None or self._closed:
            return
        try:
            self._start_process()
        except EnvironmentError as error:
            self._note(u'no job can run: the nursery of supervisors cannot be started: %s' %
                       to_text(str(error)))
            if self._process is not None:
                # as long as nobody waits for it this is its number
                os.kill(self._process.pid, signal.SIGKILL)
            self._end()
            raise
        self._note(None)
        self._load()

    def _image(self):
        from dispynode_lib.code import image        # not before the node serves
        return image.supervisor_image(self._folder)

    def _start_process(self):
        sock, far = socket_pair()
        sock.setblocking(False)
        image = self._image()
        try:
            self._process = spawn(image.command, far.fileno(), self._environment(), self._output)
            far.close()                     # or its end would not be seen here
            stream = Stream(sock, FORK_TIMEOUT)
            for piece in image.pieces():
                stream.send(piece)
            stream.read_exact(PID.size)     # it has imported all it needs
            self._sock = sock
        except PeerGone as error:
            raise EnvironmentError(errno.EPIPE,
                                   'it did not begin (%s); what it said is in the log' % error)
        finally:
            far.close()
            if self._sock is None:
                sock.close()

    def _environment(self):
        environment = dict([BIND_NOW], **os.environ)
        if self.supervisors.mark is not None:
            environment[processes.MARK] = self.supervisors.mark
        if self.keeper is not None:
            environment[KEEPER] = self.keeper
        return environment

    def _end(self):
        process, sock, self._process, self._sock = self._process, self._sock, None, None
        self._shared, self._names = [], ()
        if sock is not None:
            sock.close()
        if process is not None:
            self._workers.run(process.wait)

    def _pass(self, fd):
        """Pass a descriptor; a process that has just been started may still be reading its code."""
        while True:
            try:
                return send_fd(self._sock, fd)
            except EnvironmentError as error:
                if not would_block(error):
                    raise
                wait_for(self._sock, select.POLLOUT, FORK_TIMEOUT)

    def _fork(self):
        self._start()
        if self._sock is None:
            raise EnvironmentError(errno.ESHUTDOWN, 'the node is stopping')
        self._share()
        control, control_far = socket_pair()
        channels, channels_far = socket_pair()
        try:
            for far in (control_far, channels_far):
                self._pass(far.fileno())
            pid = PID.unpack(bytes(Stream(self._sock, FORK_TIMEOUT).read_exact(PID.size)))[0]
            if not pid:
                raise EnvironmentError(errno.EAGAIN, 'no more processes')
            self.supervisors.note(pid)
        except (EnvironmentError, PeerGone):
            control.close()
            channels.close()
            raise
        finally:
            control_far.close()
            channels_far.close()
        return Link(self._loop, control, channels, pid)


def in_pieces(words, size):
    """Return `words` (bytes) joined with commas, in as few pieces of at most `size` bytes as they
    fit in, each word shorter than that."""
    pieces = []
    for word in words:
        if pieces and len(pieces[-1]) + 1 + len(word) <= size:
            pieces[-1] += b',' + word
        else:
            pieces.append(word)
    return pieces
