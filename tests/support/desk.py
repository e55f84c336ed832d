"""Real handlers of requests, NodeState, computations and Spool with fakes around them, for
histories of what clients ask."""
from __future__ import absolute_import, division, print_function

import os
import shutil
import tempfile
import unittest

from dispynode_lib.errors import PeerGone, ProtocolError
from dispynode_lib.log import CRITICAL, output
from dispynode_lib.node.access.penalties import Penalties
from dispynode_lib.node.computations.making import Computations
from dispynode_lib.node.discovery.cutoff import CutOff
from dispynode_lib.node.replies.spool import Spool
from dispynode_lib.node.requests.callers import Callers
from dispynode_lib.node.requests.dispatcher import Dispatcher
from dispynode_lib.node.requests.jobs import JobRequests
from dispynode_lib.node.requests.opening import Opening
from dispynode_lib.node.shared.complaints import Complaints
from dispynode_lib.wire import asking, messages, replies
from dispynode_lib.wire.peers import Peer
from dispynode_lib.wire.pickle.pickles import dump
from tests.support.fakes import FakeRoom, Recorder

NODE, CLIENT, STRANGER = u'10.0.0.1', u'10.0.0.9', u'192.0.2.7'
TOKEN, WRONG, EARLIER = b't' * 40, b'w' * 40, b'e' * 40
PORT = 9700                                 # of the client's scheduler
ID, AUTH, HASH = 7, u'ab', u'cd'            # of its computation and of its jobs
ACK = b'ACK'


class FakeIdentity(object):
    """What requests ask of node.shared.identity.Identity."""

    name = u'node'

    @staticmethod
    def is_ours(address):
        """As that of an Identity."""
        return address == NODE

    @staticmethod
    def announced(_own_address):
        """As that of an Identity."""
        return NODE

    @staticmethod
    def is_earlier(token):
        """As that of an Identity."""
        return token == EARLIER


class FakeRequest(object):
    """As node.requests.reception.Request: `answers` are the frames that its peer gets.

    error       ProtocolError or PeerGone that its handler ended with
    is_closed   whether the connection has been closed
    """

    def __init__(self, payload, address=CLIENT, token=TOKEN, reads=(), big=None):
        opcode, _colon, self.argument = payload.partition(b':')
        self.opcode, self.address, self.token = opcode.decode('ascii'), (address, 4711), token
        self.authorised = token == TOKEN
        self.big, self.stream = big, self
        self.answers, self.error, self.is_closed = [], None, False
        # function: what happens while it is being answered
        self.is_gone, self.has_closed, self.meanwhile = False, False, None
        self._reads = list(reads)

    @staticmethod
    def local_address():
        """As that of a Request."""
        return NODE

    def reply(self, payload):
        """As that of a Request; PeerGone once its peer `is_gone`."""
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        if self.is_gone:
            raise PeerGone('the client has gone')
        assert not self.is_closed, 'it is closed: %r' % payload
        self.answers.append(payload)

    def need_peer(self):
        """As that of a Request; it `has_closed` before."""
        if self.has_closed:
            raise PeerGone('the client has gone')

    def read_frame(self, _limit):
        """Return what the peer says next."""
        if not self._reads:
            raise PeerGone('the client has gone')
        return self._reads.pop(0)

    def close(self):
        """As that of a Request."""
        self.is_closed = True

    @property
    def value(self):
        """What the only answer says, one that is a pickle."""
        payload, = self.answers
        return messages.read_value(payload)


class Begun(object):
    """In place of a computation's Event `begun`: who waits for it has something happen
    meanwhile."""

    def __init__(self, meanwhile):
        self._meanwhile, self.is_done = meanwhile, False

    def is_set(self):
        """As that of an Event."""
        return self.is_done

    def set(self):
        """As that of an Event."""
        self.is_done = True

    def wait(self, _timeout):
        """As that of an Event."""
        self._meanwhile()


class Meanwhile(object):
    """In place of the Condition of a NodeState: who waits for it has something happen meanwhile,
    without its lock."""

    def __init__(self, state, act):
        self._lock, self._act = state._lock, act
        state._changed = self

    def wait(self, _timeout):
        """As that of a Condition."""
        self._lock.release()
        try:
            self._act()
        finally:
            self._lock.acquire()

    def notify_all(self):
        """As that of a Condition."""


class Desk(FakeRoom):
    """A node's requests; the computation of a FakeRoom is opened by a COMPUTE here.

    computation   the one made last
    """

    def __init__(self, spool_folder, cpus=2, **options):
        super(Desk, self).__init__(cpus=cpus, **options)
        self.journal._answers['add'] = lambda job, _frame: setattr(job, 'slot', 'slot %d' % job.uid)
        self.state.forget_computation(self.computation)
        self._computations = Computations(self.common, self.computation._uses,
                                          self.computation._news)
        self.common = self.common._replace(identity=FakeIdentity)
        self.complaints, self.penalties = Complaints(), Penalties(clock=self.loop.clock)
        self.spool = Spool(spool_folder, EARLIER)
        self.folders = Recorder(open=lambda *_asked: self.folder)
        self.told, self.announcer, self.delivery = Recorder(), Recorder(), Recorder(
            resend=self._resend)
        self.notices = Recorder(peer_at=lambda *_where: Peer(), addresses_at=lambda *_where: [])
        callers = Callers(self.common, self.complaints)
        self.opening = Opening(
            self.common, callers, self._make, self.folders, self.delivery, self.spool, self.notices,
            self.announcer, CutOff(self.common, self.notices), self.complaints,
            self.told.on_opened, self.told.on_freed)
        self.job_requests = JobRequests(
            self.common, callers, self.journal, self.spool, self.delivery)
        self.dispatcher = Dispatcher(
            FakeIdentity, {'PING': self.told.ping}, None,
            dict(self.opening.table(), **self.job_requests.table()), self.job_requests.at_once,
            self.spool.knows_token, self.complaints, self.penalties)

    def _make(self, *asked):
        self.computation = self._computations.make(*asked)
        return self.computation

    def _resend(self, key, running, done):
        self.loop.call_soon(lambda: done(len(set(running()) | set(self.spool.jobs(key)))))

    # -- what clients do

    def begin(self, payload, meanwhile=None, is_gone=False, **request):
        """Have a request handled as the reception does; what follows has not happened yet."""
        request = FakeRequest(payload, **request)
        request.meanwhile, request.is_gone = meanwhile, is_gone
        self._handle(request, self.dispatcher.handle)
        return request

    def ask(self, payload, **request):
        """Have a request handled, and what follows happen; return the FakeRequest."""
        request = self.begin(payload, **request)
        self.settle()
        return request

    def at_once(self, payload, meanwhile=None, is_gone=False, **request):
        """Have a JOB done at once; return (whether it was, FakeRequest)."""
        request, done = FakeRequest(payload, **request), []
        request.meanwhile, request.is_gone = meanwhile, is_gone
        self._handle(request, lambda request: done.append(self.dispatcher.job_at_once(request)))
        return done != [False], request

    @staticmethod
    def _handle(request, handle):
        try:
            keep = handle(request)
        except (PeerGone, ProtocolError) as error:
            request.error, keep = error, False
        if not keep:
            request.close()

    def compute(self, **more):
        """Return a COMPUTE."""
        fields = dict(dict(id=ID, auth=AUTH, scheduler_ip_addr=CLIENT, scheduler_port=PORT), **more)
        return asking.compute_request(1, u'f', fields.pop('id'), u'', fields.pop('auth'),
                                      fields.pop('scheduler_ip_addr'), fields.pop('scheduler_port'),
                                      **fields)

    def open_by(self, **more):
        """Have a computation opened by a COMPUTE and its code compiled; return the FakeRequest."""
        request = self.ask(self.compute(**more))
        self.says(b'opened', None)
        return request

    def set_up_by(self, **more):
        """Have one opened, and set up."""
        self.open_by(**more)
        request = self.ask(asking.setup_request(ID))
        self.says(b'setup', b'ok', None)
        return request

    def jobs(self):
        """Return [(uid, phase)] of the jobs of the computation."""
        return sorted((job.uid, job.phase) for job in self.state.jobs(ID))


def job(uid=1, **more):
    """Return a JOB."""
    return asking.job_request(uid, HASH, more.pop('compute_id', ID), b'args', b'kwargs', **more)


def terminate(uid=1, hash_=HASH, compute_id=ID):
    """Return a TERMINATE_JOB."""
    return asking.job_request(uid, hash_, compute_id, b'', b'', opcode=b'TERMINATE_JOB')


def close(terminate_pending=True, auth=AUTH, address=NODE, **more):
    """Return a CLOSE."""
    return asking.close_request(more.pop('compute_id', ID), auth, address, terminate_pending,
                                **more)


def question(opcode, auth=AUTH, compute_id=ID, **more):
    """Return a JOBS, PENDING_JOBS, RETRIEVE_JOB or RESEND_JOB_RESULTS."""
    return opcode + b':' + dump(dict(more, compute_id=compute_id, auth=auth), False)


def record(name, dest_path=u'', compute_id=ID, size=0):
    """Return the wire record of a file."""
    class Stat(object):
        st_mode, st_size, st_atime, st_mtime = 0o100600, size, 1e9, 1e9
    return replies.file_record(name, dest_path, Stat, u'/', compute_id)


def file_transfer(*args, **more):
    """Return a FILEXFER."""
    return b'FILEXFER:' + dump(record(*args, **more), False)


FAULT = b'the node failed: UnicodeError('


def fail(*_args, **_settings):
    """Fail as no part should."""
    raise UnicodeError(u'\xf6')


def lack_room(*_args, **_settings):
    """Fail as a full disk does."""
    raise EnvironmentError(28, 'No space left on device')


class DeskCase(unittest.TestCase):

    def setUp(self):
        output.level, level = CRITICAL + 1, output.level
        self.addCleanup(setattr, output, 'level', level)
        self.scratch = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.scratch)
        self.desk = self.make_desk()

    def make_desk(self, **options):
        return Desk(os.path.join(self.scratch, 'spool'), **options)

    def assert_free(self):
        """The node has no scheduler, no computation and no job, and has told so once."""
        state = self.desk.state
        self.assertEqual((state.scheduler(), state.computations(), state.used_cpus()),
                         (None, [], 0))
        freed = self.desk.told.named('on_freed') + self.desk.news.named('on_ending')
        self.assertEqual(len(freed), 1)

    def assert_open(self, computation=None):
        """The node is its client's, and takes jobs."""
        computation = computation or self.desk.computation
        self.assertEqual(self.desk.state.computations(), [computation])
        self.assertFalse(self.desk.state.is_closing(computation))
        self.assertEqual(self.desk.state.scheduler(), (CLIENT, PORT))

    def assert_refused(self, request, cause):
        """It is counted, and the connection is not left open."""
        self.assertEqual((request.is_closed, self.desk.complaints.counts()), (True, {cause: 1}))


class JobCase(DeskCase):

    def setUp(self):
        super(JobCase, self).setUp()
        self.desk.set_up_by()

    def assert_no_job(self):
        """No CPU is held, no slot of the journal, and nothing is to be replied to."""
        self.desk.settle()
        self.assertEqual((self.desk.jobs(), self.desk.state.used_cpus(), self.desk.replies),
                         ([], 0, []))
        self.assertEqual(len(self.desk.journal.named('add')),
                         len(self.desk.journal.named('remove')))
