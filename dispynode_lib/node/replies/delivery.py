"""Delivery of final replies to clients; what cannot be delivered is kept and tried again."""
from __future__ import absolute_import, division, print_function

import collections
import time

from dispynode_lib.host.io.calls import Call
from dispynode_lib.host.compat import monotonic
from dispynode_lib.log import DEBUG, INFO, WARNING, Log
from dispynode_lib.node.replies.spool import LOST, REFUSED
from dispynode_lib.wire import replies
from dispynode_lib.wire.framing import LENGTH

log = Log('dispynode.delivery')

# seconds until kept replies are tried again; doubled at each attempt
FIRST_RETRY, LONGEST_RETRY = 5.0, 600.0
JOINED = 65536                              # bytes of a reply that are sent at once
IN_FLIGHT = 64                              # connections to one client at once
HELD = 1000                                 # replies in memory while the disk is full
HOLD = 10.0  # seconds in which clients of a killed node are to find the new one
ACK, NAK = b'ACK', b'NAK'
UNKNOWN = 'the client does not know the job'


class _Outbox(object):
    """Replies under way to one client."""

    __slots__ = ('flying', 'waiting')

    def __init__(self):
        self.flying = 0
        self.waiting = collections.deque()


class _Letter(object):
    """A reply under way: `computation` is a Computation or a spool.Owner."""

    __slots__ = ('computation', 'key', 'uid', 'hash', 'pieces', 'begun', 'accepted', 'held')

    def __init__(self, computation, uid, hash_, pieces):
        self.computation, self.key = computation, (computation.id, computation.auth)
        self.uid, self.hash, self.pieces = uid, hash_, pieces
        self.begun = 0.0                    # monotonic time of its last attempt
        self.accepted = None  # node.shared.state.Job, until this is settled; None for a kept one
        self.held = False  # it could neither be delivered nor kept, and that has been told

    @property
    def payload(self):
        """The JOB_REPLY in one piece, to be kept; a result in a file is read into memory."""
        return b''.join([piece.read() if hasattr(piece, 'send_to') else piece
                         for piece in self.pieces])

    def frame(self):
        """Return the pieces to send, the length first; small ones are joined."""
        size = sum(map(len, self.pieces))
        pieces = [LENGTH.pack(size)]
        pieces += self.pieces
        files = [piece for piece in pieces if hasattr(piece, 'send_to')]
        if size < JOINED and not files:
            return [b''.join(pieces)]
        for piece in files:
            piece.rewind()
        return pieces

    @property
    def job(self):
        return self.uid, self.hash


class _Round(object):
    """One attempt to deliver what is kept for one owner, one reply after the other."""

    __slots__ = ('owner', 'asked', 'left', 'tried', 'again')

    def __init__(self, owner, asked):
        self.owner = owner
        self.asked = asked                  # by its client: refused ones are sent as well
        self.left = collections.deque()     # jobs whose turn has not come
        self.tried = set()                  # all that were ever in `left`
        self.again = []                     # `asked` of each that was wanted meanwhile


class Delivery(object):
    """Delivery in the loop's thread, non-blocking; clients do not wait for each other.

    Methods named _* run in the loop's thread, the others in any.
    """

    def __init__(self, common, spool, on_settled, on_unreached, tls=None):
        """Deliver by `common`, a node.shared.common.Common; `spool` keeps what cannot be delivered.

        on_settled(job)   a node.shared.state.Job: the client has the reply, or the disk
        on_unreached(address, text, *args)   a kept reply has not been taken
        """
        self._loop, self._workers, self._options = common.loop, common.workers, common.options
        self._spool, self._tls = spool, tls
        self._outboxes = {}                 # (address, port) -> _Outbox
        self._letters = set()               # replies handed in and neither delivered nor kept
        self._under_way = {}                # computation key -> number of its _letters
        self._asked = {}  # computation key -> monotonic time of RESEND_JOB_RESULTS
        self._rounds = {}                   # computation key -> _Round
        self._held_back = set()             # computation keys: see hold_back()
        self._timer = None
        self._retry = FIRST_RETRY
        self._on_settled, self._on_unreached = on_settled, on_unreached

    def pending(self):
        """Return how many replies are neither delivered nor kept yet."""
        return len(self._letters)

    def wait_until_out(self, no_more, timeout):
        """Wait until there are no more replies and all are out; return whether so. May wait.

        no_more   function(seconds or None): waits so long, returns whether no more will come
        timeout   seconds, or None
        """
        deadline = None if timeout is None else monotonic() + timeout
        while deadline is None or monotonic() < deadline:
            left = None if deadline is None else deadline - monotonic()
            if no_more(left) and not self.pending():
                return True
            time.sleep(0.01)
        return False

    def deliver(self, computation, job, status, result, stdout, stderr, exception, start, end):
        """Send the final reply of a job; the loop's thread.

        result   bytes of a pickle, or None for the pickle of None; times in seconds since the epoch
        """
        pieces = replies.job_reply_parts(
            computation.peer, job.uid, job.hash, computation.node_ip_addr, status, result,
            stdout, stderr, exception, start, end)
        letter = _Letter(computation, job.uid, job.hash, pieces)
        letter.accepted = job
        self._letters.add(letter)
        self._under_way[letter.key] = self._under_way.get(letter.key, 0) + 1
        wait = job.reply_after - monotonic()
        if wait > 0:
            self._loop.call_later(wait, self._send, letter)
        else:
            self._send(letter)

    def keep_rest(self):
        """Write to disk what is still under way: the node stops."""
        for letter in list(self._letters):
            if self._spool.keep(letter.computation, letter.uid, letter.hash, letter.payload):
                self._settle(letter)

    def _settle(self, letter):
        job, letter.accepted = letter.accepted, None
        if job is not None:
            self._on_settled(job)

    def _send(self, letter):
        address = letter.computation.result_address
        outbox = self._outboxes.get(address)
        if outbox is None:
            outbox = self._outboxes[address] = _Outbox()
        if outbox.flying >= IN_FLIGHT:
            outbox.waiting.append(letter)
            return
        outbox.flying += 1
        letter.begun = monotonic()
        self._call(letter, lambda reply, error: self._sent(letter, address, reply, error))

    def _call(self, letter, done):
        Call(self._loop, letter.computation.result_address, letter.frame(), True,
             self._options.msg_timeout, done, self._tls).start()

    def _sent(self, letter, address, reply, error):
        outbox = self._outboxes[address]
        outbox.flying -= 1
        if outbox.waiting:
            self._loop.call_soon(self._send, outbox.waiting.popleft())
        elif not outbox.flying:
            del self._outboxes[address]
        error = self._judge(letter, reply, error)
        if error is None:
            self._forget(letter)
            if self._spool.total():
                self._retry_at(address)
            return
        log.log(DEBUG if letter.held else INFO if error is UNKNOWN else WARNING,
                'the reply to job %d of computation %d cannot be delivered: %s; it is kept',
                letter.uid, letter.computation.id, error)
        self._workers.run(self._keep, letter, REFUSED if error is UNKNOWN else None)

    @staticmethod
    def _judge(letter, reply, error):
        """Return None if the client has the reply, or has closed the computation, else the reason.

        UNKNOWN: there is somebody who does not know the job, perhaps another program at the address
        of the client.
        """
        if error is not None:
            return error
        if reply == ACK:
            log.debug('job %d of computation %d: the client has the reply', letter.uid,
                      letter.computation.id)
            letter.computation.heard()
            return None
        if reply.startswith(NAK):
            return None if letter.computation.closed_by_client else UNKNOWN
        return 'the client answered %r' % bytes(reply[:40])

    def _keep(self, letter, mark):
        kept = True
        try:
            kept = self._spool.keep(letter.computation, letter.uid, letter.hash, letter.payload,
                                    mark)
        finally:
            self._loop.call_soon(self._kept if kept or mark else self._hold, letter)

    def _hold(self, letter):
        """Try again with a reply neither delivered nor kept; there is room for HELD."""
        if len(self._letters) > HELD:
            log.error('the reply to job %d of computation %d is lost: %d others are held in memory '
                      'already', letter.uid, letter.computation.id, HELD)
            self._kept(letter)
            return
        log.log(DEBUG if letter.held else WARNING,
                'the reply to job %d of computation %d is held in memory', letter.uid,
                letter.computation.id)
        letter.held = True
        self._loop.call_later(FIRST_RETRY, self._send, letter)

    def _kept(self, letter):
        asked = self._asked.get(letter.key)
        self._forget(letter)
        if asked is not None and asked >= letter.begun:
            self._begin_round(letter.key, True)
        self._set_timer()

    def _forget(self, letter):
        self._letters.discard(letter)
        self._settle(letter)
        key = letter.key
        self._under_way[key] -= 1
        if not self._under_way[key]:
            del self._under_way[key]
            self._asked.pop(key, None)

    # -- kept ones

    def hold_back(self):
        """Hold kept replies back, for HOLD at most, until clients know the node after a crash.

        A reply would have a client send its next job with the token of before. Called before the
        loop runs.
        """
        self._held_back = set(owner.key for owner in self._spool.owners())

    def serving(self):
        """Note that the node serves: HOLD begins. Any thread."""
        if self._held_back:
            self._loop.call_soon(self._loop.call_later, HOLD, self._hold_back_no_more, None)

    def _hold_back_no_more(self, key):
        self._held_back = set() if key is None else self._held_back - set([key])
        self._retry_all()

    def opened(self, computation):
        """Note that a client has opened a computation: it knows this node. A worker's thread."""
        key = computation.id, computation.auth
        if self._spool.owner(*key) is None:
            return
        if computation.request.reentrant:   # the client runs again what it had here
            self._spool.remove_marked(key, LOST)
        self._loop.call_soon(self._hold_back_no_more, key)

    def retry_all(self):
        """Try again what is kept, except for clients that were silent for too long."""
        self._loop.call_soon(self._retry_all)

    def _retry_all(self):
        now, patience = monotonic(), self._options.zombie_interval
        for owner in self._spool.owners():
            if not patience or now - owner.last_heard < patience:
                self._begin_round(owner.key)
        self._set_timer()

    def _retry_at(self, address):
        for owner in self._spool.owners_at(address):
            owner.heard()
            self._begin_round(owner.key)

    def heard(self, address):
        """Note a sign of life of the client at `address`, (address, port); the loop's thread."""
        for owner in self._spool.owners_at(address):
            owner.heard()

    def _set_timer(self):
        if self._spool.total() == self._spool.refused():
            self._retry = FIRST_RETRY
        elif self._timer is None:
            self._timer = self._loop.call_later(self._retry, self._on_timer)

    def _on_timer(self):
        self._timer = None
        self._retry = min(2 * self._retry, LONGEST_RETRY)
        self._retry_all()

    def resend(self, key, running, done):
        """Deliver what is kept for the computation `key`, (id, auth), again.

        running   function -> list of (uid, hash) of its jobs that run
        done      called in the loop's thread with the number of replies that will come, each job
                  counted once
        """
        self._loop.call_soon(self._resend, key, running, done)

    def _resend(self, key, running, done):
        jobs = set(running())
        jobs.update(letter.job for letter in self._letters if letter.key == key)
        if jobs:                            # else no reply will come that could have to be kept
            self._asked[key] = monotonic()
        jobs.update(self._spool.jobs(key))
        done(len(jobs))
        owner = self._spool.owner(*key)
        if owner is not None:
            owner.heard()
            self._held_back.discard(key)
            self._begin_round(key, True)

    def _begin_round(self, key, asked=False):
        owner = self._spool.owner(*key)
        if key in self._held_back:
            return
        if key in self._rounds:
            self._rounds[key].again.append(asked)
        elif owner is not None:
            self._rounds[key] = round_ = _Round(owner, asked)
            self._workers.run(self._read_next, round_)

    def _read_next(self, round_):
        """Have the next kept reply sent. A worker's thread: it reads a file."""
        key = round_.owner.key
        while round_.left or self._look_again(round_):
            job = round_.left.popleft()
            payload = self._spool.find(key, job)
            if payload is not None:
                letter = _Letter(round_.owner, job[0], job[1], [payload])
                self._loop.call_soon(self._call, letter, lambda reply, error: self._kept_sent(
                    round_, letter, reply, error))
                return
        self._loop.call_soon(self._end_round, round_)

    def _look_again(self, round_):
        """Put what is kept and was not tried into `left`; return whether there is some."""
        jobs = self._spool.jobs if round_.asked else self._spool.to_send
        fresh = [job for job in jobs(round_.owner.key) if job not in round_.tried]
        round_.left.extend(fresh)
        round_.tried.update(fresh)
        return bool(fresh)

    def _kept_sent(self, round_, letter, reply, error):
        error = self._judge(letter, reply, error)
        if error in (None, UNKNOWN):
            self._workers.run(self._settle_sent, round_, letter, error)
            return
        self._on_unreached(letter.computation.result_address[0],
                           'the kept reply to job %d of computation %d cannot '
                           'be delivered yet: %s', letter.uid, letter.computation.id, error)
        self._end_round(round_)

    def _settle_sent(self, round_, letter, error):
        if error is None:
            self._spool.remove(letter.key, letter.job)
        else:
            self._spool.refuse(letter.key, letter.job)
        self._read_next(round_)

    def _end_round(self, round_):
        key = round_.owner.key
        del self._rounds[key]
        if round_.again:
            self._begin_round(key, any(round_.again))
        self._set_timer()
