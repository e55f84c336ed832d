"""Hand-over of a supervisor to the next node: its socket, and what no node has settled.

Until the node says that a job is settled (its reply is with the client, or on disk), a duplicate of
the node's end of its channel is held here. The node only peeks at a result, so that the system
keeps it for the next node.
"""
from __future__ import absolute_import, division, print_function

import _socket
import errno
import os
import select
import struct

from dispynode_lib.errors import ProtocolError
from dispynode_lib.host.descriptors import is_readable, recv_fd, set_blocking, set_cloexec
from dispynode_lib.supervisor.processes.descriptors import (
    accept, close_runs, listen, move_away, write_pieces)
from dispynode_lib.supervisor.processes.lean import PYTHON2
from dispynode_lib.supervisor.processes.timers import monotonic
from dispynode_lib.wire import control

TIMEOUT = 2.0                               # seconds that a node may take to say who it is
FRAME_LIMIT = 4096
LOOK = 1.0                                  # seconds between looks for the socket, without a node
NO_ANSWER = b''


class HandOver(object):
    """Hand-over of one supervisor; does nothing until open()."""

    def __init__(self, control_fd, channels):
        """`control_fd`, `channels` (descriptors.Channels): another node gets the same numbers."""
        self._control_fd, self._channels = control_fd, channels
        self._sock = self._path = None      # where another node connects
        self.fd = None                      # to be polled
        self.timeout = 0.0                  # seconds that this supervisor goes on without a node
        self._generation = 0
        self._held = {}  # number of a job process -> duplicate of the node's end of its channel
        self._ended = {}                    # number of one of those -> its wait status
        self._reports = {}  # number of a program -> pieces of the frames that told its end
        self._limits = {}                   # number -> frame `limit`
        self.setup = NO_ANSWER, None        # status and text of the last setup

    @property
    def is_open(self):
        """Return whether another node can take over."""
        return self.fd is not None

    def open(self, computation, poll):
        """Listen if wanted, and have `poll` look for other nodes; return an error text or None.

        computation   has socket (path), orphan_timeout, generation, as they stood in the `open`
                      frame
        """
        self.timeout = float(computation.orphan_timeout or 0)
        self._generation = int(computation.generation or 0)
        if not computation.socket or not self.timeout:
            return None
        try:
            sock = listen(computation.socket)
            if not PYTHON2:                 # there a socket cannot be made of a descriptor
                sock = _socket.socket(fileno=move_away(sock.detach()))
        except EnvironmentError as error:
            return 'its jobs would end with this node: listening at %s: %s' % (
                computation.socket, error)
        self._path, self._sock, self.fd = computation.socket, sock, sock.fileno()
        poll.register(self.fd, select.POLLIN)
        return None

    # what is held

    def hold(self, number, fd):
        """Take the node's end of a channel; return whether it is held here from now on."""
        if self.fd is not None:
            self._held[number] = fd
        return self.fd is not None

    def give_back(self, number):
        """Hold the channel of job process `number` no more, which stays open."""
        self._held.pop(number, None)

    def note_ended(self, number, status):
        """Note that job process `number` was reaped with wait status `status`."""
        if number in self._held:
            self._ended[number] = status

    def note_report(self, number, pieces):
        """Note the frames (list of bytes) that tell the end of program `number`."""
        if self.fd is not None:
            self._reports[number] = pieces

    def note_limit(self, number, frame):
        """Note a `limit` frame about a job that runs."""
        if self.fd is not None:
            self._limits[number] = frame

    def settle(self, data):
        """Release what a `settled` frame names: `data`, control.NUMBER of each job process."""
        numbers = struct.unpack('>%dL' % (len(data) // control.NUMBER.size), data)
        for known in (self._ended, self._reports, self._limits):
            if known:
                for number in numbers:
                    known.pop(number, None)
        held = self._held
        close_runs([held.pop(number) for number in numbers if number in held])

    def descriptors(self):
        """Return those that a job process does not need: the channels of others, and the socket."""
        return [] if self.fd is None else [self.fd] + list(self._held.values())

    def note_cleanup(self):
        """Cleanup begins: should this supervisor be killed, no other one runs it again."""
        if self.fd is not None:
            try:
                os.close(os.open(self._path + control.CLEANED, os.O_WRONLY | os.O_CREAT, 0o600))
            except EnvironmentError:
                return                      # a full disk, or the folder was tidied up

    def close(self):
        """Remove the socket: this supervisor ends."""
        if self.fd is not None:
            try:
                os.unlink(self._path)
            except EnvironmentError:
                return                      # the folder was tidied up

    # another node

    def wait(self, timers, give_up):
        """Wait for another node; call `give_up()` if none has come in time, or could find us."""
        alone_since, deadline = self._generation, monotonic() + self.timeout

        def look():
            if alone_since == self._generation:
                left = deadline - monotonic()
                if left > 0 and self._can_be_found():
                    timers.add(min(LOOK, left), look)
                else:
                    give_up()

        look()

    def _can_be_found(self):
        """Return whether the socket has its name: the state folder may have been removed."""
        try:
            os.lstat(self._path)
        except EnvironmentError as error:
            return error.errno not in (errno.ENOENT, errno.ENOTDIR)
        return True

    def is_asked_for(self):
        """Return whether a node waits to be let in."""
        return self.fd is not None and is_readable(self.fd)

    def let_in(self, processes, programs, opened, ending):
        """Accept the node that has connected as ours, if it may be; return whether it is.

        processes     {number: pid} of those that run
        programs      numbers of programs that run, or are to
        opened        whether the code of a computation was compiled
        ending        whether this supervisor is about to end
        """
        sock = accept(self._sock)
        try:
            sock.settimeout(TIMEOUT)
            # asked first: what takes a descriptor on Python 2 knows no time limit
            channels_fd = recv_fd(sock) if is_readable(sock.fileno(), TIMEOUT) else None
            if channels_fd is None:
                return False
            try:
                generation = self._read_node(sock)
                if generation is None:
                    return False
                self._replace(sock.fileno(), channels_fd, generation)
            finally:
                os.close(channels_fd)
        except (EnvironmentError, ProtocolError):
            return False                    # it has gone again, or is none
        finally:
            sock.close()
        self._introduce(processes, programs, opened, ending)
        return True

    def _read_node(self, sock):
        """Read `node VERSION GENERATION`; return the generation or None. Raises ProtocolError."""
        splitter, frames = control.Splitter(FRAME_LIMIT), []
        while not frames:
            data = sock.recv(1)             # what comes after the frame is for later
            if not data:
                return None
            frames = splitter.feed(data)
        kind, version, generation = (frames[0] + [None, None])[:3]
        if kind != b'node':
            raise ProtocolError('a frame %r' % kind)
        if control.number(version) != control.HAND_OVER:
            reason = b'version'
        elif control.number(generation) <= self._generation:
            reason = b'generation'
        else:
            return control.number(generation)
        sock.sendall(control.pack(b'refused', b'%d' % control.HAND_OVER, reason))
        return None

    def _replace(self, control_fd, channels_fd, generation):
        """Put another node in the place of the present one, which is told if it still lives."""
        self._generation = generation
        set_blocking(self._control_fd, False)
        try:
            os.write(self._control_fd,
                     control.pack(b'taken', b'%d' % control.HAND_OVER, b'%d' % generation))
        except EnvironmentError:
            pass                            # it has gone, as nearly always
        for new, number in ((control_fd, self._control_fd), (channels_fd, self._channels.fd)):
            set_blocking(new, True)
            os.dup2(new, number)
            set_cloexec(number)

    def _introduce(self, processes, programs, opened, ending):
        """Send the new node the state of this supervisor, and the channels."""
        held = b''.join([
            control.HELD.pack(number, self._ended.get(number, control.LIVES))
            for number in sorted(self._held)
        ])
        programs = b''.join([
            control.NUMBER.pack(number) for number in set(programs).union(self._reports)
        ])
        fields = [(b'pid', b'%d' % os.getpid()), (b'opened', b'%d' % opened),
                  (b'ending', b'%d' % ending), (b'setup', self.setup[0]),
                  (b'setup_text', self.setup[1]), (b'held', held), (b'programs', programs)]
        frame = [b'here', b'%d' % control.HAND_OVER]
        for pair in fields:
            frame += pair
        pieces = [control.pack(*frame)] + list(self._limits.values())
        for report in self._reports.values():
            pieces += report
        try:
            write_pieces(self._control_fd, pieces)
            for number in sorted(self._held):
                self._channels.send_fd(self._held[number], number, processes.get(number, 0))
        except EnvironmentError:
            return                          # it has gone again: reading tells
