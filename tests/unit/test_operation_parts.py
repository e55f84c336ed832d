"""Small parts of what the operator uses: JSON, networks, locks, processes, words for times."""
from __future__ import absolute_import, division, print_function

import json
import os
import shutil
import tempfile
import unittest

from dispynode_lib.host import plainjson, processes
from dispynode_lib.host.network import net
from dispynode_lib.host.process import lockfile
from dispynode_lib.node.operator import metrics, status
from dispynode_lib.node.shared.history import History


class PlainJson(unittest.TestCase):

    def test_it_says_what_the_module_json_reads(self):
        for value in (None, True, False, 0, -7, 1 << 70, 1.5, -0.25, u'', u'a "b" \\ \n\t\r',
                      u'\x00\x1f\x7f\xe9\u20ac', u'\U0001f600', [], [1, [u'x', {}]], {}, {
                          u'a': {u'b': [None]}, u'"': 1
                      }):
            self.assertEqual(json.loads(plainjson.dumps(value)), value)

    def test_bytes_tuples_and_what_json_does_not_know(self):
        self.assertEqual(plainjson.dumps((b'a', (1,))), u'["a", [1]]')
        self.assertEqual(plainjson.dumps(float('nan')), u'null')
        with self.assertRaises(TypeError):
            plainjson.dumps(object())


class Networks(unittest.TestCase):

    def test_who_is_in(self):
        for text, inside, outside in (('127.0.0.0/8', ('127.0.0.1', '127.255.0.1',
                                                       '::ffff:127.0.0.1'), ('128.0.0.1', '::1')),
                                      ('10.1.2.3', ('10.1.2.3', ),
                                       ('10.1.2.4', )), ('0.0.0.0/0', ('1.2.3.4', ), ('::1', )),
                                      ('fe80::/10', ('fe80::1%eth0', 'febf::1'),
                                       ('fec0::1', '10.0.0.1')), ('::1', ('::1', ), ('::2', ))):
            network = net.Network(text)
            self.assertEqual([network.holds(address)
                              for address in inside], [True] * len(inside), text)
            self.assertEqual([network.holds(address)
                              for address in outside], [False] * len(outside), text)

    def test_what_is_none(self):
        for text in ('', 'host', '10.0.0.0/33', '10.0.0.0/', '10.0.0/8', '::/129', '1.2.3.4/-1',
                     '1.2.3.4/8/8'):
            with self.assertRaises(ValueError):
                net.Network(text)


class Locks(unittest.TestCase):

    def setUp(self):
        folder = tempfile.mkdtemp(prefix='dispynode-test-')
        self.addCleanup(shutil.rmtree, folder)
        self.path = os.path.join(folder, 'pid')

    def test_one_owner_at_a_time(self):
        first, second = lockfile.LockFile(self.path), lockfile.LockFile(self.path)
        first.acquire()
        self.assertEqual(lockfile.owner(self.path), os.getpid())
        with self.assertRaises(lockfile.Held) as caught:
            second.acquire()
        self.assertEqual(caught.exception.pid, os.getpid())
        first.release()
        self.assertFalse(os.path.exists(self.path))
        second.acquire()
        second.release()

    def test_what_a_dead_owner_left_is_no_obstacle(self):
        for content in (b'', b'1\n', b'nonsense', b'9' * 1000):
            with open(self.path, 'wb') as target:
                target.write(content)
            self.assertIsNone(lockfile.owner(self.path))
            lock = lockfile.LockFile(self.path)
            lock.acquire()
            with open(self.path) as source:
                self.assertEqual(source.read(), '%d\n' % os.getpid())
            lock.release()

    def test_a_file_that_somebody_replaced_is_left_alone(self):
        lock = lockfile.LockFile(self.path)
        lock.acquire()
        os.unlink(self.path)
        open(self.path, 'w').close()
        lock.release()
        self.assertTrue(os.path.exists(self.path))


class ProcessIdentity(unittest.TestCase):

    def test_a_process_is_more_than_its_number(self):
        started = processes.start_time(os.getpid())
        self.assertGreater(started, 0)
        self.assertIn('-%d-%d' % (os.getpid(), started), processes.identity(os.getpid()))
        self.assertFalse(processes.kill(os.getpid(), started + 1))
        self.assertIsNone(processes.identity(0))


class EndedJob(object):
    uid, stopping, limit = 1, False, None

    class computation(object):
        id, name = 7, u'f'


class Words(unittest.TestCase):

    def test_durations(self):
        for seconds, text in ((0, '0.0 s'), (59.94, '59.9 s'), (60, '1 min 0 s'),
                              (3599, '59 min 59 s'), (3600, '1 h 0 min'), (86399, '23 h 59 min'),
                              (86400, '1 d 0 h'), (1e6, '11 d 13 h')):
            self.assertEqual(status.duration(seconds), text)

    def test_labels_of_metrics_are_escaped(self):
        self.assertEqual(metrics._labels({'a': u'x"\\\n', 'b': 1}), u'{a="x\\"\\\\\\n",b="1"}')

    def test_a_computation_that_is_just_ending_is_no_idle_time(self):
        history = History()
        self.assertEqual(history.idle_since(history.began + 100), history.began)
        history.opened(1)
        self.assertEqual(history.idle_since(history.began + 100), history.began + 100)
        history.ended(1)
        self.assertEqual(history.idle_since(history.began + 100), history.last_busy)

    def test_an_error_that_reads_like_a_limit_is_a_failure(self):
        past = History().job_ended(EndedJob, 9, 0.0, 1.0,
                                   u'the job was stopped: it ran for 9 s, --job_time allows 2')
        self.assertEqual((past.outcome, past.limit), ('failed', None))

    def test_history_is_bounded(self):
        history, job = History(), EndedJob
        for number in range(200):
            history.job_ended(job, 11 if number % 2 else 9, 0.0, 1.0,
                              u'Traceback\n  ...\nValueError: x\n')
            history.add_sample(float(number), None, 0, 1)
        self.assertEqual((len(history.jobs()), history.outcomes()),
                         (50, {'finished': 100, 'failed': 100}))
        self.assertEqual((history.jobs()[0].reason, history.samples()), (u'ValueError: x', []))


if __name__ == '__main__':
    unittest.main()
