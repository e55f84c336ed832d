"""node.replies.delivery: histories of replies, until the client or the disk has them, once."""
from __future__ import absolute_import, division, print_function

import shutil
import tempfile
import unittest

from dispynode_lib.log import CRITICAL, output
from dispynode_lib.node.shared.common import Common
from dispynode_lib.node.replies import delivery as deliveries
from dispynode_lib.node.replies.delivery import FIRST_RETRY, IN_FLIGHT, Delivery
from dispynode_lib.node.replies.spool import Spool
from dispynode_lib.options.parser import Options
from dispynode_lib.wire.peers import Peer
from tests.support.fakes import FakeLoop, FakeWorkers

CLIENT = (u'192.0.2.9', 51347)
FINISHED = 8
LOST_LINK = 'connecting: no answer'


class Computation(object):
    """What a delivery knows of a computation."""

    def __init__(self, number=1, address=CLIENT):
        self.id, self.auth, self.result_address = number, u'ab', address
        self.peer, self.node_ip_addr, self.closed_by_client = Peer(), u'192.0.2.1', False

    def heard(self):
        """The client lives."""


class Job(object):
    """A job that ended."""

    def __init__(self, uid):
        self.uid, self.hash, self.slot, self.reply_after = uid, u'cd', None, 0.0


class DeliveryHistories(unittest.TestCase):

    def setUp(self):
        self.addCleanup(setattr, output, 'level', output.level)
        output.level = CRITICAL + 1
        self.addCleanup(setattr, deliveries, 'Call', deliveries.Call)
        deliveries.Call = self.new_call
        folder = tempfile.mkdtemp(prefix='dispynode-test-')
        self.addCleanup(shutil.rmtree, folder)
        self.loop, self.workers, self.spool = FakeLoop(), FakeWorkers(), Spool(folder, b'token')
        self.calls, self.settled, self.unreached = [], [], []
        self.delivery = Delivery(
            Common(Options(), None, self.loop, self.workers, None), self.spool,
            on_settled=lambda job: self.settled.append('job %d' % job.uid),
            on_unreached=lambda *args: self.unreached.append(args))
        self.computation = Computation()

    def new_call(self, _loop, address, _pieces, _has_reply, _timeout, done, _tls):
        """In place of host.io.calls.Call: the test says how it ends."""
        self.calls.append((address, done))
        return self

    def start(self):
        """As that of a Call."""

    def deliver(self, *uids):
        for uid in uids:
            self.delivery.deliver(
                self.computation, Job(uid), FINISHED, None, u'', u'', None, 1.0, 2.0)

    def end(self, reply, error=None):
        """End the oldest call, and do what follows at once."""
        self.calls.pop(0)[1](reply, error)
        self.loop.settle(self.workers)

    def kept(self):
        return [uid for uid, _hash in self.spool.jobs((1, u'ab'))]

    def check_end(self, *uids):
        """All is delivered; each job was settled once; no call, nothing kept, no timer."""
        self.assertEqual(sorted(self.settled), ['job %d' % uid for uid in uids])
        self.assertEqual((self.calls, self.kept(), self.delivery.pending()), ([], [], 0))
        self.loop.pass_time(10000)
        self.loop.settle(self.workers)
        self.assertEqual(self.calls, [])

    def test_a_client_that_takes_it(self):
        self.deliver(1)
        self.assertEqual((self.settled, self.delivery.pending()), ([], 1))
        self.end(b'ACK')
        self.check_end(1)

    def test_an_ack_that_is_lost_has_it_kept_and_sent_again(self):
        self.deliver(1)
        self.end(None, LOST_LINK)
        self.assertEqual((self.settled, self.kept(), self.delivery.pending()), (['job 1'], [1], 0))
        self.loop.pass_time(FIRST_RETRY - 0.1)
        self.loop.settle(self.workers)
        self.assertEqual(self.calls, [])
        self.loop.pass_time(0.1)
        self.loop.settle(self.workers)
        self.end(b'ACK')
        self.check_end(1)

    def test_attempts_become_rarer(self):
        self.deliver(1)
        self.end(None, LOST_LINK)
        for times in (1, 2, 4, 8):
            self.loop.pass_time(times * FIRST_RETRY - 0.1)
            self.loop.settle(self.workers)
            self.assertEqual(self.calls, [], times)
            self.loop.pass_time(0.1)
            self.loop.settle(self.workers)
            self.end(None, LOST_LINK)
        self.assertEqual((len(self.unreached), self.kept()), (4, [1]))

    def test_the_first_that_is_kept_and_fails_ends_the_round(self):
        self.deliver(1, 2, 3)
        for _ in range(3):
            self.end(None, LOST_LINK)
        self.loop.pass_time(FIRST_RETRY)
        self.loop.settle(self.workers)
        self.end(None, LOST_LINK)
        self.assertEqual((self.calls, self.kept()), ([], [1, 2, 3]))

    def test_what_is_kept_comes_as_soon_as_the_client_takes_another(self):
        self.deliver(1)
        self.end(None, LOST_LINK)
        self.deliver(2)
        self.end(b'ACK')
        self.assertEqual(len(self.calls), 1)
        self.end(b'ACK')
        self.check_end(1, 2)

    def test_one_that_the_client_refuses_is_sent_only_when_it_asks(self):
        self.deliver(1)
        self.end(b'NAK (invalid job)')
        self.assertEqual((self.settled, self.kept()), (['job 1'], [1]))
        self.loop.pass_time(10000)
        self.loop.settle(self.workers)
        self.assertEqual(self.calls, [])
        told = []
        self.delivery.resend((1, u'ab'), lambda: [], told.append)
        self.loop.settle(self.workers)
        self.assertEqual(told, [1])
        self.end(b'ACK')
        self.check_end(1)

    def test_one_that_the_client_refuses_since_it_has_closed_is_done_with(self):
        self.deliver(1)
        self.computation.closed_by_client = True
        self.end(b'NAK')
        self.check_end(1)

    def test_nonsense_is_no_ack(self):
        self.deliver(1)
        self.end(b'yes')
        self.assertEqual(self.kept(), [1])

    def test_a_job_that_runs_is_counted_when_the_client_asks_and_comes_once(self):
        told = []
        self.deliver(1)
        self.delivery.resend((1, u'ab'), lambda: [(1, u'cd'), (2, u'cd')], told.append)
        self.loop.settle(self.workers)
        self.assertEqual((told, len(self.calls)), ([2], 1))
        self.end(b'ACK')
        self.check_end(1)

    def test_what_is_under_way_when_the_node_stops_is_on_disk_and_settled_once(self):
        self.deliver(1)
        self.delivery.keep_rest()
        self.assertEqual((self.settled, self.kept()), (['job 1'], [1]))
        self.end(None, LOST_LINK)
        self.assertEqual((self.settled, self.kept()), (['job 1'], [1]))

    def test_a_full_disk_settles_nothing_until_the_client_takes_it(self):
        keep, self.spool.keep = self.spool.keep, lambda *_args: False
        self.deliver(1)
        self.end(None, LOST_LINK)
        self.assertEqual((self.settled, self.delivery.pending()), ([], 1))
        self.loop.pass_time(FIRST_RETRY)
        self.end(None, LOST_LINK)
        self.spool.keep = keep
        self.loop.pass_time(FIRST_RETRY)
        self.end(b'ACK')
        self.check_end(1)

    def test_only_so_many_connections_go_to_one_client_and_none_is_held_up_by_it(self):
        self.deliver(*range(IN_FLIGHT + 2))
        self.assertEqual(len(self.calls), IN_FLIGHT)
        self.computation = Computation(2, (u'192.0.2.10', 51347))
        self.deliver(1000)
        self.assertEqual(len(self.calls), IN_FLIGHT + 1)
        while self.calls:
            self.end(b'ACK')
        self.assertEqual((len(self.settled), self.delivery.pending()), (IN_FLIGHT + 3, 0))


if __name__ == '__main__':
    unittest.main()
