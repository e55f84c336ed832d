"""Kept replies: written, found again after a restart, noticed when somebody else has changed
them."""
from __future__ import absolute_import, division, print_function

import os
import shutil
import tempfile
import threading
import unittest

from dispynode_lib.node.replies import spool as spools
from dispynode_lib.node.replies.spool import LOST, REFUSED, Spool

PAYLOAD = b'JOB_REPLY:\x80\x02N.'
KEY, JOB = (7, u'ab12'), (5, u'cd34')


class FakeComputation(object):
    id, auth = KEY
    result_address = (u'10.0.0.1', 9700)


class SpoolTest(unittest.TestCase):

    def setUp(self):
        self.top = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.top, True)
        self.folder = os.path.join(self.top, 'undelivered')
        self.spool = Spool(self.folder, b'token')

    def keep(self, uid=JOB[0], payload=PAYLOAD):
        self.assertTrue(self.spool.keep(FakeComputation(), uid, JOB[1], payload))

    def files(self):
        return sorted(os.path.relpath(os.path.join(where, name), self.folder)
                      for where, _folders, names in os.walk(self.folder) for name in names)

    def test_nothing_is_made_before_something_is_kept(self):
        self.assertEqual(os.listdir(self.top), [])
        self.assertEqual((self.spool.total(), self.spool.owner(*KEY)), (0, None))

    def test_a_reply_is_there_after_a_restart_with_its_owner(self):
        self.keep()
        again = Spool(self.folder, b'another')
        self.assertEqual(again.jobs(KEY), [JOB])
        self.assertEqual(again.find(KEY, JOB), PAYLOAD)
        owner = again.owner(*KEY)
        self.assertEqual((owner.key, owner.result_address), (KEY, (u'10.0.0.1', 9700)))
        self.assertTrue(again.knows_token(b'token'))
        self.assertFalse(again.knows_token(b'another'))

    def test_many_threads_may_keep_replies_at_once(self):
        threads = [threading.Thread(target=self.keep, args=(uid,)) for uid in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        again = Spool(self.folder)
        self.assertEqual([again.find(KEY, job) for job in again.jobs(KEY)], [PAYLOAD] * 20)

    def test_nobody_else_can_read_them(self):
        self.keep()
        for name in self.files():
            self.assertEqual(os.stat(os.path.join(self.folder, name)).st_mode & 0o777, 0o600)
        self.assertEqual(os.stat(self.folder).st_mode & 0o777, 0o700)

    def test_the_last_one_removed_takes_the_folder_with_it(self):
        self.keep(1)
        self.keep(2)
        self.spool.remove(KEY, (1, JOB[1]))
        self.assertIn('7-ab12/2-cd34', self.files())
        self.spool.remove(KEY, (2, JOB[1]))
        self.assertEqual((self.files(), self.spool.total(), self.spool.owners()), ([], 0, []))

    def test_counts_and_addresses_follow_what_is_kept_and_removed(self):
        self.keep(1)
        self.keep(1)
        self.keep(2)
        for spool in (self.spool, Spool(self.folder)):
            self.assertEqual(spool.total(), 2)
            self.assertEqual([owner.key for owner in spool.owners_at((u'10.0.0.1', 9700))], [KEY])
            self.assertEqual(spool.owners_at((u'10.0.0.1', 9701)), [])
        self.spool.remove(KEY, (1, JOB[1]))
        self.spool.remove(KEY, (1, JOB[1]))
        self.assertEqual(self.spool.total(), 1)
        self.spool.remove(KEY, (2, JOB[1]))
        self.assertEqual((self.spool.total(), self.spool.owners_at((u'10.0.0.1', 9700))), (0, []))

    def test_replies_removed_by_many_threads_leave_no_folder(self):
        for uid in range(40):
            self.keep(uid)
        threads = [
            threading.Thread(target=self.spool.remove, args=(KEY, (uid, JOB[1])))
            for uid in range(40)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(os.listdir(self.folder), [])

    def test_no_secret_lies_beside_what_is_kept(self):
        self.keep()
        self.assertEqual(self.files(), ['7-ab12/5-cd34', '7-ab12/computation'])

    def refused(self, count):
        for uid in range(count):
            self.keep(uid)
            self.spool.refuse(KEY, (uid, JOB[1]))
            path = os.path.join(self.folder, '7-ab12', '%d-cd34.refused' % uid)
            os.utime(path, (1000 + uid, 1000 + uid))
        return os.stat(path[:-len('.refused')]).st_size

    def test_refused_replies_are_removed_when_they_are_too_old(self):
        self.refused(3)
        self.keep(9)
        self.assertEqual((self.spool.refused(), self.spool.to_send(KEY)), (3, [(9, JOB[1])]))
        self.spool.expire(1000.5 + spools.REFUSED_AGE)
        self.assertEqual([uid for uid, _hash in self.spool.jobs(KEY)], [1, 2, 9])
        self.assertEqual(Spool(self.folder).jobs(KEY), [(9, JOB[1])])  # today they are all too old
        self.assertEqual(self.files(), ['7-ab12/9-cd34', '7-ab12/computation'])

    def test_a_reply_that_is_refused_while_its_owner_closes_does_not_stay(self):
        computation = FakeComputation()
        computation.closed_by_client = True             # while it was written
        self.spool.keep(computation, 1, JOB[1], PAYLOAD, REFUSED)
        for mark in (None, LOST):                       # while it was under way once more
            self.spool.keep(FakeComputation(), 2, JOB[1], PAYLOAD, mark)
            self.spool.close(KEY)
            self.spool.refuse(KEY, (2, JOB[1]))
            self.assertEqual((self.files(), self.spool.total(), self.spool.refused()), ([], 0, 0))

    def test_the_oldest_refused_replies_make_room(self):
        size = self.refused(4)
        before, spools.REFUSED_SIZE = spools.REFUSED_SIZE, 2.5 * size
        try:
            self.spool.expire(1000)
            self.assertEqual([uid for uid, _hash in self.spool.jobs(KEY)], [2, 3])
            self.spool.keep(FakeComputation(), 9, JOB[1], PAYLOAD, REFUSED)
            self.assertNotIn((2, JOB[1]), self.spool.jobs(KEY))
        finally:
            spools.REFUSED_SIZE = before

    def test_another_hash_or_auth_finds_nothing(self):
        self.keep()
        self.assertIsNone(self.spool.find(KEY, (JOB[0], u'ffff')))
        self.assertIsNone(self.spool.find((KEY[0], u'ffff'), JOB))

    def change(self, name, change):
        path = os.path.join(self.folder, name)
        with open(path, 'rb') as stream:
            data = stream.read()
        with open(path, 'wb') as stream:
            stream.write(change(data))

    def test_a_changed_reply_is_noticed_and_not_used(self):
        self.keep()
        self.change('7-ab12/5-cd34', lambda data: data[:-1] + b'x')
        self.assertIsNone(self.spool.find(KEY, JOB))
        self.assertEqual(self.spool.jobs(KEY), [])

    def test_a_reply_put_in_the_place_of_another_is_noticed(self):
        self.keep(1, PAYLOAD + b'1')
        self.keep(2, PAYLOAD + b'2')
        os.rename(os.path.join(self.folder, '7-ab12', '1-cd34'),
                  os.path.join(self.folder, '7-ab12', '2-cd34'))
        self.assertIsNone(self.spool.find(KEY, (2, JOB[1])))

    def test_a_changed_owner_is_noticed_at_the_next_start(self):
        self.keep()
        self.change('7-ab12/computation', lambda data: data.replace(b'10.0.0.1', b'10.9.9.9'))
        self.assertEqual(Spool(self.folder).owners(), [])

    def test_a_reply_cut_short_by_a_full_disk_is_noticed(self):
        self.keep()
        self.change('7-ab12/5-cd34', lambda data: data[:20])
        self.assertIsNone(Spool(self.folder).find(KEY, JOB))

    def test_a_folder_that_cannot_be_written_loses_the_reply_with_a_line_in_the_log(self):
        with open(self.folder, 'w') as stream:
            stream.write('a file')
        self.assertFalse(Spool(self.folder).keep(FakeComputation(), 1, u'aa', PAYLOAD))

    def test_replies_that_are_the_first_ones_at_the_same_time_are_all_kept(self):
        for number in range(20):
            spool = Spool(os.path.join(self.top, '%d' % number))
            barrier = threading.Event()

            def keep(uid):
                barrier.wait(20)
                spool.keep(FakeComputation(), uid, JOB[1], PAYLOAD)
            threads = [threading.Thread(target=keep, args=(uid,)) for uid in range(8)]
            for thread in threads:
                thread.start()
            barrier.set()
            for thread in threads:
                thread.join()
            self.assertEqual([spool.find(KEY, (uid, JOB[1])) for uid in range(8)], [PAYLOAD] * 8)


if __name__ == '__main__':
    unittest.main()
