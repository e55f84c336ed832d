"""node.replies.journal: what of an accepted job the next node reads."""
from __future__ import absolute_import, division, print_function

import os
import shutil
import tempfile
import unittest

from dispynode_lib.errors import ProtocolError
from dispynode_lib.node.replies import journal
from dispynode_lib.node.replies.journal import ACCEPTED, STOPPING, Journal, SentFile, settle
from dispynode_lib.node.shared.state import Job
from dispynode_lib.wire.peers import Peer
from tests.support.fakes import Recorder


class Computation(object):
    """What a slot tells of a computation."""

    id, auth, result_address, node_ip_addr, peer = 7, u'ab', (u'10.0.0.9', 9700), u'10.0.0.1', Peer(
        None, False, 4)
    noted = None


class JournalTest(unittest.TestCase):

    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        self.path = os.path.join(self.folder, 'journal')
        self.journal = Journal(self.path, b'token')

    def add(self, uid, frame, xfer_files=()):
        job = Job(Computation, uid, u'cd', xfer_files, 1234.5)
        self.journal.add(job, frame)
        return job

    def next(self):
        """Return (the Journal of the next node, the jobs that it finds)."""
        after = Journal(self.path, b'token')
        return after, sorted(after.take_over(), key=lambda noted: noted.uid)

    def test_the_next_node_knows_each_job_and_how_far_it_was(self):
        first, second, third = self.add(1, b'one'), self.add(2, b'two'), self.add(3, b'three')
        self.journal.note_accepted(second)
        self.journal.note_process(second, b'k' * 16, 5)
        self.journal.note_stopping(third)
        self.journal.remove(first.slot)
        after, jobs = self.next()
        self.assertEqual([(noted.uid, noted.frame, noted.flags, noted.number, noted.key)
                          for noted in jobs], [(2, b'two', ACCEPTED, 5, b'k' * 16),
                                               (3, b'three', ACCEPTED | STOPPING, 0, b'\0' * 16)])
        self.assertEqual((jobs[0].computation_id, jobs[0].auth, jobs[0].hash, jobs[0].started),
                         (7, u'ab', u'cd', 1234.5))
        after.remove(jobs[0].slot)
        self.assertEqual([noted.uid for noted in self.next()[1]], [3])

    def test_a_long_job_is_noted_as_a_whole(self):
        for uid, size in enumerate((journal.SLOT, 70000, journal.BODY)):
            self.add(uid, b'x' * size)
        self.assertEqual([len(noted.frame)
                          for noted in self.next()[1]], [journal.SLOT, 70000, journal.BODY])

    def test_one_that_is_too_long_is_noted_without_what_to_run(self):
        self.add(1, b'x' * (journal.BODY + 1))
        self.assertEqual([noted.frame for noted in self.next()[1]], [None])

    def test_files_that_came_for_a_job_are_known(self):
        self.add(1, b'', [SentFile(u'', u'a', u'/'), SentFile(u'b', u'\xe9', u'\\')])
        self.assertEqual(self.next()[1][0].xfer_files, [(u'', u'a', u'/'), (u'b', u'\xe9', u'\\')])

    def test_slots_that_are_in_use_are_not_given_again(self):
        for uid in range(journal.SLOTS + 3):
            self.add(uid, b'')
        after, jobs = self.next()
        self.assertEqual([noted.uid for noted in jobs], list(range(journal.SLOTS + 3)))
        self.journal = after
        for uid in range(100, 100 + journal.SLOTS):
            self.add(uid, b'')
        self.assertEqual(len(self.next()[1]), 2 * journal.SLOTS + 3)

    def test_a_damaged_slot_is_not_misread(self):
        self.add(1, b'one')
        with open(self.path, 'r+b') as target:
            target.seek(4 - journal.SLOT, os.SEEK_END)
            target.write(b'none')
        self.assertRaises(ProtocolError, Journal(self.path, b'token').take_over)

    def test_jobs_are_noted_as_soon_as_there_is_room(self):
        times = [100.0]
        self.addCleanup(setattr, journal, 'monotonic', journal.monotonic)
        journal.monotonic = lambda: times[0]
        self.journal = Journal(os.path.join(self.folder, 'later', 'journal'), b'token')
        self.assertIsNone(self.add(1, b'').slot)
        os.mkdir(os.path.join(self.folder, 'later'))
        self.assertIsNone(self.add(2, b'').slot)        # it is not tried for each
        times[0] += journal.RETRY
        self.assertIsNotNone(self.add(3, b'').slot)

    def test_jobs_that_nobody_goes_on_with_are_told_as_lost(self):
        kept = []
        spool = Recorder(
            jobs=(), keep=lambda owner, uid, hash_, payload, mark: kept.append(
                (owner.key, uid, mark)) or True)
        self.add(5, b'frame')
        self.add(6, b'x' * 5000)
        with open(self.path, 'ab') as target:       # and one that cannot be read
            target.write(journal.HEAD.pack(9, b'none', 0, 0, b'').ljust(journal.SLOT, b'\0'))
        self.assertEqual(settle(self.path, spool), 2)
        self.assertEqual(kept, [((7, u'ab'), 6, u'lost'), ((7, u'ab'), 5, u'lost')])
        self.assertEqual(os.listdir(self.folder), [])


if __name__ == '__main__':
    unittest.main()
