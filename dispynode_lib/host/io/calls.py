"""Outgoing connections: connect, send one message, await one frame, without holding a thread."""
from __future__ import absolute_import, division, print_function

import errno
import os
import socket

from dispynode_lib.host.compat import PY2, monotonic, set_cloexec
from dispynode_lib.host.io.loop import READ, WRITE
from dispynode_lib.host.io.streams import close_quietly, reset_at_close, wanted, would_block
from dispynode_lib.host.network import connections
from dispynode_lib.log import Log
from dispynode_lib.wire.framing import LENGTH

log = Log('dispynode.calls')

NOT_CONNECTED = (errno.EAGAIN, errno.ENOTCONN, errno.EINPROGRESS)
NOT_BLOCKING = int(socket.SOCK_STREAM | getattr(socket, 'SOCK_NONBLOCK', 0))
TURN = 8  # pieces, of 1 MB at most, that are sent before others have their turn
REPLY_LIMIT = 4096                          # bytes of an answer; the longest known is `PULSE`


class Call(object):
    """One connection to (address, port) that sends `pieces` and may await a frame.

    address    text or native str: an IP address, not a name
    pieces     list: all that is sent, lengths included; bytes, or objects with send_to(sock) -> all
               sent
    await_reply  whether a frame is expected
    timeout    seconds that connecting, sending and the answer may each make no progress
    done       called once in the loop's thread: done(reply bytes or None, error text or None);
               after an error the system sends nothing of the message any more: it may come again on
               another connection
    tls        None or a function sock -> TLS socket (non-blocking, as client)
    Methods run in the loop's thread.
    """

    __slots__ = ('_loop', '_address', '_pieces', '_await_reply', '_timeout', '_done', '_sock',
                 '_timer', '_deadline', '_reply', '_step', '_tls', '_fd', '_watched')

    def __init__(self, loop, address, pieces, await_reply, timeout, done, tls=None):
        self._loop = loop
        self._address = address
        self._pieces = pieces
        self._await_reply = await_reply
        self._timeout = timeout
        self._done = done
        self._tls = tls
        self._sock = self._timer = self._fd = None
        self._reply = b''
        self._step = 'connecting to'
        self._watched = False

    def start(self):
        """Connect and go as far as possible without waiting."""
        host, port = self._address
        try:
            family = socket.AF_INET6 if ':' in host else socket.AF_INET
            self._sock = sock = socket.socket(family, NOT_BLOCKING)
            if PY2:
                set_cloexec(sock.fileno())
            if sock.gettimeout() != 0.0:    # 2.7
                sock.setblocking(False)
            # a node may want the port that it gets
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if len(self._pieces) > 1 or self._tls is not None:  # one is not held up by another
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            code = sock.connect_ex((str(host), port))
        except (EnvironmentError, ValueError, OverflowError) as error:
            self._finish(None, 'connecting to %s port %s: %s' % (host, port, error))
            return
        if code not in (0, errno.EINPROGRESS, errno.EALREADY, errno.EWOULDBLOCK):
            self._fail(socket.error(code, os.strerror(code)))
            return
        self._fd = sock.fileno()
        self._deadline = monotonic() + self._timeout
        if self._tls is not None:
            self._watch(self._on_connected, WRITE)
        else:
            self._send()                    # to a host nearby the connection is there already

    def _arm(self):
        if self._timer is None:
            self._timer = self._loop.call_at(self._deadline, self._check_deadline)

    def _check_deadline(self):
        self._timer = None
        if self._sock is None:
            return
        if monotonic() < self._deadline:
            self._arm()
            return
        self._finish(None, '%s %s port %s: no answer within %g s'
                     % ((self._step,) + self._address + (self._timeout,)))

    def _on_connected(self, _events):
        code = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._fail(socket.error(code, os.strerror(code)))
            return
        self._step = 'sending to'
        if self._tls is not None:
            try:
                self._sock = self._tls(self._sock)
            except EnvironmentError as error:
                self._fail(error)
                return
        self._send()

    def _send(self, _events=None):
        pieces, step, turns = self._pieces, self._step, TURN
        self._step = 'sending to'
        try:
            while pieces:
                if not turns:
                    self._watch(self._send, WRITE)
                    return
                turns, piece = turns - 1, pieces[0]
                if hasattr(piece, 'send_to'):
                    if piece.send_to(self._sock):
                        del pieces[0]
                    self._deadline = monotonic() + self._timeout
                    continue
                sent = self._sock.send(piece)
                self._deadline = monotonic() + self._timeout
                if sent == len(piece):
                    del pieces[0]
                else:
                    pieces[0] = memoryview(piece)[sent:]
        except EnvironmentError as error:
            if step == 'connecting to' and error.errno in NOT_CONNECTED:
                self._step = step
                self._watch(self._on_connected, WRITE)
            else:
                self._wait_or_fail(error, self._send, WRITE)
            return
        if not self._await_reply:
            self._finish(b'', None)
            return
        self._step = 'awaiting the answer of'
        self._watch(self._read, READ)

    def _read(self, _events=None):
        try:
            data = self._sock.recv(REPLY_LIMIT)
        except EnvironmentError as error:
            self._wait_or_fail(error, self._read, READ)
            return
        reply = self._reply = self._reply + data
        if len(reply) >= 4:
            size = LENGTH.unpack_from(reply)[0]
            if size <= REPLY_LIMIT and len(reply) >= 4 + size:
                self._finish(reply[4:4 + size], None)
                return
            if size > REPLY_LIMIT:
                self._finish(None, '%s port %s: an answer of %d bytes' % (self._address + (size,)))
                return
        if not data:
            self._finish(None, '%s port %s closed without an answer' % self._address)
            return
        self._deadline = monotonic() + self._timeout

    def _wait_or_fail(self, error, callback, events):
        if not would_block(error):
            self._fail(error)
        else:
            self._watch(callback, wanted(error, events))

    def _watch(self, callback, events):
        if self._watched:
            self._loop.change(self._fd, callback, events)
        else:
            self._loop.watch(self._fd, callback, events)
            self._watched = True
        self._arm()

    def _fail(self, error):
        self._finish(None, '%s %s port %s: %s' % ((self._step,) + self._address + (error,)))

    def _finish(self, reply, error):
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._sock is not None:
            if self._watched:
                self._loop.unwatch(self._fd)
            if error is not None:
                _drop_unsent(self._sock)
            close_quietly(self._sock)
            self._sock = None
        self._pieces = None
        done, self._done = self._done, None
        if done is not None:
            done(reply, error)


def _drop_unsent(sock):
    """Have the system drop at close() what the peer's has not acknowledged, not send it later.

    Where it has all: no reset, which clients would meet when they answer, and tell their users of.
    """
    try:
        if connections.unacknowledged(sock):
            reset_at_close(sock)
    except EnvironmentError as error:
        log.debug('what a connection has not sent: %s', error)
