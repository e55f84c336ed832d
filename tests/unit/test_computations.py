"""node.requests.handlers: what becomes of a computation when a job of it does not come to be."""
from __future__ import absolute_import, division, print_function

import unittest

from dispynode_lib.errors import PeerGone
from tests.support.fakeparts import Recorder, make_requests
from tests.support.fakes import FakeRoom, Record


def gone(_payload):
    """Take the place of Request.reply: the client has closed the connection."""
    raise PeerGone('it is gone')


class Message(object):
    """What a JOB says."""

    args, kwargs, code = b'a', b'k', u''


class FailedAckTest(unittest.TestCase):

    def setUp(self):
        self.room = FakeRoom(cpus=1, reply_hold=0)
        self.room.set_up()
        self.requests = make_requests(self.room.common, journal=self.room.journal)

    def admit(self):
        job, new = self.room.state.admit_job(7, 1, u'cd', [u'a file'], 0.0, 0.0)
        job.slot = 'slot'
        return job, new

    def fail_ack(self, job, new):
        with self.assertRaises(PeerGone):
            self.requests._start_job(Recorder(reply=gone), Record(), job, new)
        self.room.settle()

    def test_a_failed_ack_after_close_keeps_neither_node_nor_files(self):
        job, new = self.admit()
        self.room.close()
        self.assertEqual(self.room.news.named('on_ending'), [])
        self.fail_ack(job, new)
        self.assertEqual(self.room.folder.named('release'), [([u'a file'],)])
        self.assertEqual(self.room.news.named('on_ending'), [(self.room.computation,)])
        self.assertEqual((self.room.state.used_cpus(), self.room.journal.named('remove')), (0, [('slot',)]))

    def test_a_job_that_was_stopped_before_its_ack_failed_is_given_up_once(self):
        job, new = self.admit()
        self.room.state.finish_job(job)     # its reply is under way, and gives the slot back
        self.fail_ack(job, new)
        self.assertEqual((self.room.journal.named('remove'), self.room.folder.named('release')), ([], []))


if __name__ == '__main__':
    unittest.main()
