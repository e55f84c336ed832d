"""The node's end of one supervisor: its control socket, and the channels of its job processes."""
from __future__ import absolute_import, division, print_function

import collections
import errno
import itertools
import os
import socket
import threading

from dispynode_lib.errors import PeerGone, ProtocolError
from dispynode_lib.host import files
from dispynode_lib.host.compat import PY2, WOULD_BLOCK, monotonic, set_cloexec, socket_of
from dispynode_lib.host.descriptors import is_readable, recv_fd_and, send_fd
from dispynode_lib.host.io.loop import READ, WRITE
from dispynode_lib.host.network import unixsocket
from dispynode_lib.host.io.streams import send_all, would_block
from dispynode_lib.log import Log
from dispynode_lib.node.shared.phases import Life, every
from dispynode_lib.wire import control

log = Log('dispynode.link')

READ_SIZE = 65536
LAST = (b'done', b'filedone')           # frames after which nothing of a job counts
NO_DESCRIPTOR = (errno.EPROTO, errno.EMFILE, errno.ENFILE)
FRAME_LIMIT = 0xFFFFFFFF - 64
CONTROL_LIMIT = 1 << 30
CONNECT_TIMEOUT = 2.0                       # seconds
SEND_TIMEOUT = 30.0
# bytes of a frame that a socket's buffer holds: the system keeps it until it is settled
PEEK_LIMIT = 180000
STUCK = 0.05  # seconds after which a frame that does not grow is no frame that is being written
# settled jobs that are told of with another frame; or in one of their own; seconds after which all
# are
SETTLE_ALONG, SETTLE_AT, SETTLE_AFTER = 6, 24, 0.2
LAST_GENERATION = 1 << 62                   # later than that of any node
LEFT = 64  # reads of what an ended job has left in its channel: more than that holds


# phases of a job process. While it waits, the loop's thread changes them; then the thread that
# gives it a job, to GIVEN; then the loop's thread again
IDLE = 'idle'                               # it waits for a job
GIVEN = 'given'                             # it has a job, or is just being sent one
SHUT = 'shut'  # its channel has ended with a job in it: how, is awaited
EXITED = 'exited'                           # it was reaped with a job in it
TOLD = 'told'                               # its job has got its reply
GONE = 'gone'                               # it has ended, or soon will, without a job
# events
GIVE, TELL, END = 'get a job', 'tell its result', 'end its channel'
EXIT, LOSE = 'exit', 'be given up'
DISMISS, TAKE_BACK = 'be dismissed', 'lose its job to another'

EDGES = {
    (IDLE, GIVE): GIVEN,
    (IDLE, END): GONE,
    (IDLE, DISMISS): GONE,
    (GIVEN, TELL): TOLD,
    (GIVEN, END): SHUT,
    (GIVEN, EXIT): EXITED,
    (GIVEN, LOSE): TOLD,
    (GIVEN, TAKE_BACK): GONE,               # the job could not be sent
    (SHUT, EXIT): EXITED,
    (SHUT, LOSE): TOLD,
    (SHUT, TAKE_BACK): GONE,
    (EXITED, TELL): TOLD,                   # that was still in its channel
    (EXITED, END): EXITED,
    (EXITED, LOSE): TOLD,
    (EXITED, TAKE_BACK): GONE,
}
IGNORED = every((TOLD, GONE), (TELL, END, EXIT, LOSE, DISMISS, TAKE_BACK)) + [
    (IDLE, TELL), (IDLE, EXIT), (IDLE, LOSE), (SHUT, TELL), (SHUT, END), (EXITED, EXIT)]
LIFE = Life(u'a job process', EDGES, IGNORED)


class Child(object):
    """The node's end of one job process."""

    __slots__ = ('number', 'pid', 'sock', 'link', 'job', 'phase', 'sent', 'exit_status', 'used',
                 'splitter', 'is_read', 'seen', 'seen_at')

    def __init__(self, number, sock=None, link=None):
        self.number = number                # the supervisor's for it
        self.pid = None  # of its process; None for a program: the supervisor knows
        # None once closed, and for a program: it speaks through the control socket
        self.sock = sock
        self.link = link
        self.job = None
        self.phase = IDLE
        self.sent = False  # the job is in its hands: the thread that sent it says so
        self.exit_status = None             # as os.waitpid gives it, once known
        self.used = None  # of usage.read_used(), if that is known before the job's end
        self.splitter = None  # of what was taken out of the channel; None: it is only looked at
        self.is_read = sock is not None     # until the end of its channel
        # bytes of an unfinished frame that were there, and since when (monotonic)
        self.seen, self.seen_at = 0, 0.0

    def send(self, data):
        """Send the job's frame; any thread, once. Raises PeerGone."""
        send_all(self.sock, data, monotonic() + SEND_TIMEOUT)


_program_numbers = itertools.count(control.FIRST_PROGRAM)


def next_program():
    """Return a number for a program."""
    return next(_program_numbers)


def number_programs_after(number):
    """Give programs numbers above `number`, for one before this node has given that."""
    global _program_numbers
    if number >= control.FIRST_PROGRAM:
        _program_numbers = itertools.count(number + 1)


class Link(object):
    """Exchanges frames with one supervisor.

    Told in the loop's thread: `handler` of on_frame(parts) for frames of the supervisor and of
    on_link_closed(); `children` of on_child(child) for a new idle job process, on_lost_child(),
    on_child_frame(child, parts) and on_child_closed(child).
    key   16 bytes by which the supervisor is known, None if it does not outlive this node
    """

    key = None

    def __init__(self, loop, sock, channels, pid):
        """`sock`, `channels`: the node's ends of the two sockets; `pid` of the supervisor."""
        self._loop = loop
        self.handler = self.children = None
        # (descriptor, None if it was lost; its number or b''), until both have come
        self._passed = None
        # for the next one, and for closing; nobody waits while he holds it
        self._write_lock = threading.Lock()
        self._unsent = collections.deque()  # what the supervisor has had no room for
        self._splitter = control.Splitter(CONTROL_LIMIT)
        self._sock, self._channels = sock, channels
        self._sock.setblocking(False)
        self._channels.setblocking(False)
        self.pid = pid
        # numbers of job processes: the supervisor has not been told
        self._settled = collections.deque()
        self._settling = False              # it will be told in SETTLE_AFTER, or sooner
        self._open = True
        self._is_ending = False             # it was told to close
        self.is_taken_over = False  # from a node that has died: its job processes come after `here`

    def attach(self, handler, children):
        """Begin to read; any thread."""
        self.handler, self.children = handler, children
        self._loop.call_soon(self._watch)

    def _watch(self):
        if self._open:
            self._loop.watch(self._sock.fileno(), self._on_control)
            if not self.is_taken_over:
                self.begin_channels()

    def begin_channels(self):
        """Begin to take job processes; the loop's thread."""
        self._loop.watch(self._channels.fileno(), self._on_channels)

    def send(self, *parts):
        """Send one frame to the supervisor; any thread. Raises PeerGone if it has gone.

        Nobody waits: a supervisor that is busy with setup gets the rest when it reads.
        """
        data = control.pack(*parts)
        if parts[0] == b'close':
            self._is_ending = True
        elif parts[0] == b'fork' and len(self._settled) >= SETTLE_ALONG:
            data = self._settled_frame() + data
        self._send(data)

    def _send(self, data):
        with self._write_lock:
            if not self._open:
                raise PeerGone('the supervisor %d has ended' % self.pid)
            busy = bool(self._unsent)
            self._unsent.append(data)
            if not busy and not self._send_some():
                self._loop.call_soon(self._await_room)

    def _send_some(self):
        """Send what can be sent without waiting; return whether that was all."""
        unsent = self._unsent
        while unsent:
            try:
                count = self._sock.send(unsent[0])
            except EnvironmentError as error:
                if would_block(error):
                    return False
                unsent.clear()
                raise PeerGone('sending: %s' % error)
            if count == len(unsent[0]):
                unsent.popleft()
            else:
                unsent[0] = memoryview(unsent[0])[count:]
        return True

    def settle(self, number):
        """The reply of process `number` is with the client, or on disk. Any thread."""
        if self.key is None:
            return
        self._settled.append(number)
        count = len(self._settled)
        if count >= SETTLE_AT:
            self._tell_settled()
        elif not self._settling:
            self._settling = True
            self._loop.call_soon(self._loop.call_later, SETTLE_AFTER, self._tell_rest)

    def _tell_rest(self):
        self._settling = False
        self._tell_settled()

    def _tell_settled(self):
        if not self._settled or self._is_ending:    # a signal would tell cleanup of the frame
            return
        try:
            self._send(self._settled_frame())
        except PeerGone as gone:
            log.debug('supervisor %s: %s', self.pid, gone)

    def _settled_frame(self):
        """Return the frame that names them; they are the supervisor's from now on."""
        numbers = []
        while True:
            try:
                numbers.append(control.NUMBER.pack(self._settled.popleft()))
            except IndexError:
                return control.pack(b'settled', b''.join(numbers))

    def _await_room(self):
        if self._open:
            self._loop.change(self._sock.fileno(), self._on_ready, READ | WRITE)

    def _on_ready(self, events):
        if events & WRITE:
            self._send_rest()
        if events & ~WRITE:
            self._on_control(events)

    def _send_rest(self):
        with self._write_lock:
            try:
                done = self._send_some()
            except PeerGone as gone:        # reading will tell that it has gone
                log.debug('supervisor %d: %s', self.pid, gone)
                done = True
            if done:
                self._loop.change(self._sock.fileno(), self._on_control, READ)

    def close(self):
        """Close the sockets (the supervisor then ends by itself); the loop's thread."""
        with self._write_lock:
            if not self._open:
                return
            self._open = False
            if self.key is not None and not self._unsent:
                self._say_end()
        for sock in (self._sock, self._channels):
            self._loop.unwatch(sock.fileno())
            sock.close()
        self._take_passed(keep=False)

    def _say_end(self):
        """Say so: the supervisor would go on after the death of this node."""
        try:
            self._sock.send(control.pack(b'end'))
        except EnvironmentError as error:
            log.debug('supervisor %d: %s', self.pid, error)

    def abandon(self):
        """Close the sockets; nothing watches them."""
        self._open = False
        self._sock.close()
        self._channels.close()

    def signal(self, number):
        """Send a signal to the supervisor, unless its socket says that it has ended."""
        with self._write_lock:
            if not self._open:
                return
            try:
                os.kill(self.pid, number)
            except EnvironmentError as error:
                log.debug('signal %d to supervisor %d: %s', number, self.pid, error)

    def _on_control(self, _events):
        try:
            data = self._sock.recv(READ_SIZE)
        except EnvironmentError as error:
            if error.errno in WOULD_BLOCK:
                return
            data = b''
        if data:
            try:
                frames = self._splitter.feed(data)
            except ProtocolError as error:
                log.error('supervisor %d: %s', self.pid, error)
                frames, data = [], b''
            for parts in frames:
                self.handler.on_frame(parts)
        if not data:
            while self._on_channels(None):
                continue
            self.close()
            self.handler.on_link_closed()

    def _on_channels(self, _events):
        """Take a job process; return whether to try for another, as the loop does."""
        try:
            if self._passed is None:
                self._passed = self._receive_fd()
            number = self._passed[1] or self._channels.recv(control.CHILD_NUMBER.size)
        except EnvironmentError as error:
            if error.errno not in WOULD_BLOCK:
                self._loop.unwatch(self._channels.fileno())
            return False
        if len(number) < control.CHILD_NUMBER.size:             # the end
            self._loop.unwatch(self._channels.fileno())
            self._take_passed(keep=False)
            return False
        fd, (number, pid) = self._take_passed(), control.CHILD_NUMBER.unpack(number)
        if fd is None:                      # its channel is closed by that, so it ends
            log.error(
                'job process %d of supervisor %d is lost: this node may open no more descriptors',
                number, self.pid)
            self.settle(number)             # the supervisor holds it, too
            self.children.on_lost_child()
        else:
            self._add_child(fd, number, pid)
        return True

    def _receive_fd(self):
        """Return a passed descriptor, None if it was lost on its way or at the end of file, and the
        number that came with it, b'' if that has yet to be read."""
        try:
            fd, data = recv_fd_and(self._channels, control.CHILD_NUMBER.size)
            return fd, data[1:]
        except EnvironmentError as error:
            if error.errno not in NO_DESCRIPTOR:
                raise
            return None, b''

    def _take_passed(self, keep=True):
        """Return the descriptor whose number had not come, or None; closed unless kept."""
        passed, self._passed = self._passed, None
        fd = passed[0] if passed else None
        if fd is not None and not keep:
            os.close(fd)
        return fd

    def _add_child(self, fd, number, pid):
        sock = socket_of(fd)
        child = Child(number, sock, self)
        child.pid = pid
        if self.key is None:
            child.splitter = control.Splitter(FRAME_LIMIT)
        self._loop.watch(sock.fileno(), lambda events: self._on_child(child))
        self.children.on_child(child)

    def _on_child(self, child):
        """Take the frames in a child's channel.

        If the supervisor outlives this node its last one is only looked at: so the next node will
        find it, too.
        """
        try:
            frames = self._look(child) if child.splitter is None else self._read(child)
            for parts in frames or ():
                self.children.on_child_frame(child, parts)
            if frames is not None and not (child.splitter is None and frames
                                           and frames[0][0] in LAST):
                return
        except ProtocolError as error:
            log.warning('job process %d of supervisor %d: %s', child.number, self.pid, error)
        if child.is_read:
            child.is_read = False
            self._loop.unwatch(child.sock.fileno())
            self.children.on_child_closed(child)

    @staticmethod
    def _read(child):
        """Return the frames that have come (list), None at the end. Raises ProtocolError."""
        data = _receive(child.sock, READ_SIZE)
        return data if not data else child.splitter.feed(data)

    def _look(self, child):
        """Return the frames that are there (list), None at the end; what is the last of a job stays
        there. Raises ProtocolError."""
        data = _receive(child.sock, READ_SIZE, socket.MSG_PEEK)
        if not data:
            return data
        size = 4 + control.LENGTH.unpack_from(data)[0] if len(data) >= 4 else 0
        if len(data) < size <= PEEK_LIMIT:
            data = _receive(child.sock, size, socket.MSG_PEEK)
        if not size or len(data) < size:
            return self._look_again(child, len(data), size)
        child.seen = 0
        frame = control.unpack(data[4:size])
        if not frame or frame[0] not in LAST:
            _receive(child.sock, size)
        return [frame]

    def _look_again(self, child, count, size):
        """An unfinished frame: wait for the rest of it. What does not fit, or grow, is taken out as
        it comes."""
        now = monotonic()
        if count != child.seen:
            child.seen, child.seen_at = count, now
        if size > PEEK_LIMIT or now - child.seen_at > STUCK:
            child.splitter = control.Splitter(FRAME_LIMIT)
        return []

    def drain(self, child):
        """Read what a child that has exited left in its channel, if it has one; then close it."""
        for _ in range(LEFT):               # a program that the job has left may write on for ever
            if not child.is_read or not is_readable(child.sock.fileno()):
                break
            self._on_child(child)
        self.close_child(child)

    def close_child(self, child):
        """Close a child's channel; an idle one ends by that. The loop's thread."""
        sock, child.sock, child.splitter, child.is_read = child.sock, None, None, False
        if sock is None:
            return
        self._loop.unwatch(sock.fileno())
        if self.key is not None and child.job is None:
            self._let_go(child, sock)
        sock.close()

    def _let_go(self, child, sock):
        """Have a child end that waits for a job: the supervisor holds its channel, too."""
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except EnvironmentError as error:
            log.debug('job process %d of supervisor %d: %s', child.number, self.pid, error)
        self.settle(child.number)


def _receive(sock, size, how=0):
    """Return what is there, up to `size` bytes; [] if there is nothing yet, None at the end."""
    try:
        return sock.recv(size, how) or None
    except EnvironmentError as error:
        return [] if error.errno in WOULD_BLOCK else None


def take_over(loop, path, key, generation):
    """Return a Link to the supervisor at `path`. Raises EnvironmentError: there is none."""
    sock = unixsocket.connect(path, CONNECT_TIMEOUT)
    channels, channels_far = socket_pair()
    try:
        send_fd(sock, channels_far.fileno())
        sock.sendall(control.pack(b'node', b'%d' % control.HAND_OVER, b'%d' % generation))
    except EnvironmentError:
        sock.close()
        channels.close()
        raise
    finally:
        channels_far.close()
    link = Link(loop, sock, channels, unixsocket.peer_pid(sock))
    link.key, link.is_taken_over = key, True
    return link


def end_supervisor(path):
    """Have the supervisor at `path` end: no node goes on with it. Return its pid, None: no such."""
    try:
        link = take_over(None, path, None, LAST_GENERATION)
    except EnvironmentError as error:
        log.debug('no supervisor at %s: %s', path, error)
        files.remove(path)
        return None
    try:
        link.send(b'end')
        return link.pid
    finally:
        link.abandon()


def socket_pair():
    """Return two connected AF_UNIX stream sockets that programs do not inherit."""
    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    if PY2:
        for sock in pair:
            set_cloexec(sock.fileno())
    return pair
