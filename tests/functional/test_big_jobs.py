"""Arguments and results of megabytes: they pass through files of the node's, and none is left."""
from __future__ import absolute_import, division, print_function

import glob
import os

from tests.support.dialects import Dialect
from tests.support.nodecase import TIMEOUT, NodeCase
from tests.support.scheduler import CLOSE
from tests.support.waiting import wait_until

CODE = '''
def turn(data, **more):
    for value in more.values():
        data += value
    return data[::-1]

def fail(data):
    raise ValueError(len(data))

def with_code(data):
    return len(data), function_3999()

def wait(data):
    import time
    time.sleep(600)
'''
BIG = bytes(bytearray(range(256))) * 12000                       # 3 MB


class BigJobs(NodeCase):
    def files(self):
        return glob.glob(os.path.join(self.node.folder, '.node-*', 'big', '*'))

    def held_files(self):
        """Return the files on their way that the node has open, with or without a name."""
        paths = []
        for link in glob.glob('/proc/%d/fd/*' % self.node.pid):
            try:
                paths.append(os.readlink(link))
            except EnvironmentError:        # closed meanwhile
                continue
        return [path for path in paths if '/big/' in path]

    def assert_no_files(self):
        wait_until(lambda: not self.files(), TIMEOUT, lambda: 'files to go: %s' % self.files())

    def test_big_arguments_and_results_come_back_the_same(self):
        computation = self.open(CODE, 'turn')
        for size in (200000, 262144, 1000000, len(BIG)):
            self.assertEqual(self.finished(computation.run(BIG[:size])), BIG[:size][::-1])
        self.assert_no_files()

    def test_a_delivered_result_takes_no_memory_any_more(self):
        computation = self.open(CODE, 'turn')
        for _ in range(3):
            self.assertEqual(self.finished(computation.run(BIG)), BIG[::-1])
        wait_until(lambda: not self.held_files(), TIMEOUT, lambda: 'held: %s' % self.held_files())

    def test_big_keyword_arguments(self):
        computation = self.open(CODE, 'turn')
        self.assertEqual(self.finished(computation.run(b'', more=BIG)), BIG[::-1])
        self.assert_no_files()

    def test_a_job_of_python_2_with_big_code_of_its_own_gets_random_bytes_as_its_code(self):
        dialect = Dialect('4.8.7', True, 2)
        computation = self.open(CODE, 'with_code', dialect)
        code = ''.join('def function_%d(): return %d\n' % (number, number)
                       for number in range(4000))
        for data in ('x' * 1000, 'x' * 1000000):
            job = computation.raw_job(dialect.arguments((data,)), code=code)
            self.assertEqual(self.finished(computation.send(job).wait()), (len(data), 3999))
        self.assert_no_files()

    def test_the_file_of_a_failed_job_goes(self):
        computation = self.open(CODE, 'fail')
        self.assertIn('ValueError: %d' % len(BIG), self.failed(computation.run(BIG)))
        self.assert_no_files()

    def test_the_file_of_a_stopped_job_goes(self):
        computation = self.open(CODE, 'wait')
        job = computation.submit(BIG)
        wait_until(self.files, TIMEOUT, 'the arguments')
        computation.terminate(job)
        job.wait()
        self.assert_no_files()

    def test_the_file_of_a_refused_job_goes(self):
        computation = self.open(CODE, 'turn')
        scheduler = computation.scheduler
        record = computation.make_job(BIG).record
        record.compute_id = 12345
        self.assertTrue(scheduler.call('JOB', record).startswith(b'NAK'))
        self.assert_no_files()

    def test_a_big_result_that_cannot_be_delivered_is_kept_and_brought_later(self):
        computation = self.open(CODE, 'turn')
        computation.scheduler.answers['JOB_REPLY'] = CLOSE
        job = computation.submit(BIG)
        wait_until(lambda: computation.pending_jobs()['done'] == [job.uid], TIMEOUT,
                   'the kept reply')
        self.assert_no_files()
        self.assertEqual(self.finished(computation.retrieve(job)), BIG[::-1])
        self.assert_no_files()

    def test_a_job_that_breaks_off_leaves_nothing(self):
        computation = self.open(CODE, 'turn')
        scheduler = computation.scheduler
        connection = scheduler.connection('JOB', computation.make_job(BIG).record)
        connection.data = connection.data[:1000000]
        with connection:
            wait_until(self.files, TIMEOUT, 'the arguments')
        self.assert_no_files()
        self.assertEqual(self.finished(computation.run(b'abc')), b'cba')
