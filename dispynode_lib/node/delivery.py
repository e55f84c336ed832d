"""Bring each job's final reply to its client; keep the ones that cannot be brought."""
from __future__ import absolute_import, division, print_function

import collections
import logging

from dispynode_lib.host.calls import Call
from dispynode_lib.host.compat import monotonic
from dispynode_lib.wire import replies
from dispynode_lib.wire.framing import LENGTH

log = logging.getLogger('dispynode.delivery')

IN_FLIGHT = 64                              # connections to one client at once


class _Outbox(object):
    """What is under way to one client."""

    __slots__ = ('flying', 'waiting')

    def __init__(self):
        self.flying = 0
        self.waiting = collections.deque()


class Delivery(object):
    """Sends replies in the loop's thread; none holds up another client's."""

    def __init__(self, loop, workers, spool, timeout, tls=None):
        """`timeout`: seconds for each step of a connection; `spool`: keeps what could not be delivered."""
        self._loop = loop
        self._workers = workers
        self._spool = spool
        self._timeout = timeout
        self._tls = tls
        self._outboxes = {}                 # (address, port) -> _Outbox
        self._pending = 0                   # replies handed in and neither delivered nor kept

    def pending(self):
        """Return how many replies are neither delivered nor kept yet."""
        return self._pending

    def deliver(self, computation, job, status, result, stdout, stderr, exception, start, end):
        """Send the final reply of a job; the loop's thread.

        result   bytes of a pickle, or None for the pickle of None; times in seconds since the epoch
        """
        payload = replies.job_reply(
            computation.peer, job.uid, job.hash, computation.node_ip_addr, status, result,
            stdout, stderr, exception, start, end)
        self._pending += 1
        letter = _Letter(computation, job.uid, job.hash, payload)
        wait = job.reply_after - monotonic()
        if wait > 0:
            self._loop.call_later(wait, self._send, letter)
        else:
            self._send(letter)

    def redeliver(self, computation):
        """Try again what is kept for a computation; any thread."""
        for uid, hash_, payload in self._spool.take(computation):
            self._loop.call_soon(self._resend, _Letter(computation, uid, hash_, payload))

    def _resend(self, letter):
        self._pending += 1
        self._send(letter)

    def _send(self, letter):
        address = letter.computation.result_address
        outbox = self._outboxes.get(address)
        if outbox is None:
            outbox = self._outboxes[address] = _Outbox()
        if outbox.flying >= IN_FLIGHT:
            outbox.waiting.append(letter)
            return
        outbox.flying += 1
        payload = letter.payload
        pieces = [LENGTH.pack(len(payload)) + payload] if len(payload) < 65536 \
            else [LENGTH.pack(len(payload)), payload]
        Call(self._loop, address, pieces, True, self._timeout,
             lambda reply, error: self._sent(letter, address, reply, error), self._tls).start()

    def _sent(self, letter, address, reply, error):
        outbox = self._outboxes[address]
        outbox.flying -= 1
        if outbox.waiting:
            self._loop.call_soon(self._send, outbox.waiting.popleft())
        elif not outbox.flying:
            del self._outboxes[address]
        if error is not None:
            log.warning('the reply to job %d of computation %d cannot be delivered: %s; it is kept',
                        letter.uid, letter.computation.id, error)
            self._workers.run(self._keep, letter)
            return
        self._pending -= 1
        letter.computation.heard()
        if reply != b'ACK':
            log.info('job %d of computation %d: the client does not want the reply (%r)',
                     letter.uid, letter.computation.id, bytes(reply[:40]))
        if self._spool.holds(letter.computation):
            self._workers.run(self.redeliver, letter.computation)

    def _keep(self, letter):
        try:
            self._spool.keep(letter.computation, letter.uid, letter.hash, letter.payload)
        finally:
            self._loop.call_soon(self._kept)

    def _kept(self):
        self._pending -= 1


class _Letter(object):
    __slots__ = ('computation', 'uid', 'hash', 'payload')

    def __init__(self, computation, uid, hash_, payload):
        self.computation, self.uid, self.hash, self.payload = computation, uid, hash_, payload
