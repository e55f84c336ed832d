"""node.computations.computation and node.requests.handlers: what becomes of a computation when a job of it does not come to be."""
from __future__ import absolute_import, division, print_function

import unittest

from dispynode_lib.errors import PeerGone
from dispynode_lib.node.computations.computation import Computation
from dispynode_lib.wire import asking, messages
from tests.support.fakeparts import FakeParts, Recorder, make_requests


def gone(_payload):
    """Take the place of Request.reply: the client has closed the connection."""
    raise PeerGone('it is gone')


class Message(object):
    """What a JOB says."""

    args, kwargs, code = b'a', b'k', u''


class FailedAckTest(unittest.TestCase):

    def setUp(self):
        self.parts = parts = FakeParts(cpus=1, reply_hold=0)
        parts.journal, parts.history, parts.computations = Recorder(), Recorder(), Recorder()
        compute = messages.read_compute(asking.compute_request(1, u'f', 7, u'', u'ab', u'10.0.0.9', 9700).partition(b':')[2])
        self.computation = Computation(parts, compute, b'', Recorder(), (u'10.0.0.9', 9700), u'10.0.0.1')
        self.computation.folder = Recorder()
        parts.state.open_computation(self.computation)

    def test_a_failed_ack_after_close_keeps_neither_node_nor_files(self):
        job, new = self.parts.state.admit_job(7, 1, u'cd', [u'a file'], 0.0, 0.0)
        job.slot = 'slot'
        self.computation.close(terminate=False)
        self.assertEqual(self.parts.computations.named('ended'), [])
        with self.assertRaises(PeerGone):
            make_requests(self.parts.common, journal=self.parts.journal)._start_job(
                Recorder(reply=gone), Message, job, new)
        self.assertEqual(self.computation.folder.named('release'), [([u'a file'],)])
        self.assertEqual(self.parts.computations.named('ended'), [(self.computation,)])
        self.assertEqual((self.parts.state.used_cpus(), self.parts.journal.named('remove')), (0, [('slot',)]))

    def test_a_job_that_was_stopped_before_its_ack_failed_is_given_up_once(self):
        job, new = self.parts.state.admit_job(7, 1, u'cd', [u'a file'], 0.0, 0.0)
        job.slot = 'slot'
        self.parts.state.finish_job(job)    # its reply is under way, and gives the slot back
        with self.assertRaises(PeerGone):
            make_requests(self.parts.common, journal=self.parts.journal)._start_job(
                Recorder(reply=gone), Message, job, new)
        self.assertEqual((self.parts.journal.named('remove'), self.computation.folder.named('release')), ([], []))


if __name__ == '__main__':
    unittest.main()
