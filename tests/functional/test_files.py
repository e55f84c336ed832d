"""Files: the dialogue, the "same file" rule, use counts, dest_path, what is left behind, files that
jobs send."""
from __future__ import absolute_import, division, print_function

import os
import shutil
import stat
import unittest

from tests.support.computation import Refused
from tests.support.dialects import DIALECTS
from tests.support.nodecase import NATIVE, TIMEOUT, NodeCase
from tests.support.waiting import wait_until

CODE = '''
import os, time

def f(what, *args):
    return globals()[what](*args)

def ls():
    return sorted(os.path.relpath(os.path.join(where, name)) for where, _folders, names in os.walk('.') for name in names)

def read(path):
    with open(path, 'rb') as stream:
        return stream.read()

def make(path, size=1):
    if os.path.dirname(path) and not os.path.isdir(os.path.dirname(path)):
        os.makedirs(os.path.dirname(path))
    with open(path, 'wb') as stream:
        for _ in range(size >> 20):
            stream.write(b'm' * (1 << 20))
        stream.write(b'm' * (size & ((1 << 20) - 1)))

def made(path, mode):
    make(path)
    os.chmod(path, mode)
    os.utime(path, (1000000000, 1000000000))

def send(path, size):
    import resource
    make(path, size)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    status = dispy_send_file(path)
    return status, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before

def send_both(path):
    make(path)
    return dispy_send_file(path, timeout=5, relay=True), dispy_send_file(path)

def send_missing():
    return dispy_send_file('not there')

def wait_for(path):
    while not os.path.exists(path):
        time.sleep(0.01)

def path_of():
    return os.getcwd()
'''


class Files(NodeCase):

    options = ('-c', '2', '--max_file_size', '4m')

    def setUp(self):
        self.computation = self.open(CODE, 'f')

    def run_it(self, *args):
        return self.finished(self.computation.run(*args))

    def again(self, **settings):
        """Return another computation of the same scheduler."""
        return self.computation.scheduler.open(CODE, 'f', **settings)

    def test_a_file_arrives_with_content_time_and_mode(self):
        for size in (0, 1, 1024000, 2500000):
            content = b'x' * size
            path = self.file('data%d' % size, content, 0o640, 1234567890)
            self.assertEqual(self.computation.send_file(path), size)
            self.assertEqual(len(self.run_it('read', os.path.basename(path))), size)
            found = os.stat(os.path.join(self.run_it('path_of'), os.path.basename(path)))
            self.assertEqual((found.st_mtime, stat.S_IMODE(found.st_mode)), (1234567890, 0o640))

    def test_files_of_all_dialects(self):
        path = self.file('data', b'abc')
        for dialect in DIALECTS:
            self.let_go(self.computation.scheduler)
            self.computation = self.open('def f(): return 1', 'f', dialect, files=[path])

    def test_dest_path_of_a_file_is_made_below_the_folder(self):
        path = self.file('data', b'abc')
        self.computation.send_file(path, 'one/two')
        self.assertEqual(self.run_it('ls'), ['one/two/data'])

    def test_the_same_file_is_not_sent_again_another_is(self):
        path = self.file('data', b'abc', mtime=1000)
        for _turn in range(2):
            self.computation.send_file(path)
        self.assertEqual(self.run_it('read', 'data'), b'abc')
        self.file('data', b'xyz', mtime=2000, folder=os.path.dirname(path))
        self.computation.send_file(path)
        self.assertEqual(self.run_it('read', 'data'), b'xyz')
        self.addCleanup(shutil.rmtree, self.cwd())                  # what is used twice stays

    def job_with(self, files, *args):
        """Send files, then a job that lists them; return the Job."""
        computation = self.computation
        records = [computation.scheduler.file_record(path, '', computation.id) for path in files]
        for path, record in zip(files, records):
            self.assertGreaterEqual(computation.scheduler.send_file(path, record=record), 0)
        dumps = computation.scheduler.dialect.arguments
        return computation.send(computation.raw_job(dumps(args), files=records))

    def test_a_file_for_one_job_goes_with_it_however_it_ends(self):
        path = self.file('for_job', b'abc')
        self.assertEqual(self.finished(self.job_with([path], 'ls').wait()), ['for_job'])
        self.wait_folder([])
        self.assertIn('KeyError', self.failed(self.job_with([path], 'no_such').wait()))
        self.wait_folder([])
        job = self.job_with([path], 'wait_for', 'never')
        self.computation.terminate(job)
        job.wait(TIMEOUT)
        self.wait_folder([])

    def wait_folder(self, expected):
        wait_until(lambda: self.run_it('ls') == expected, TIMEOUT, lambda: 'files %r' % expected)

    def test_a_file_of_a_job_that_was_refused_goes(self):
        path = self.file('for_job', b'abc')
        blockers = [self.computation.submit('wait_for', 'go') for _ in range(2)]
        with self.assertRaises(Refused):
            self.job_with([path], 'ls')
        self.computation.send_file(self.file('go'))
        for job in blockers:
            self.finished(job.wait(TIMEOUT))
        self.wait_folder(['go'])

    def test_a_file_of_two_jobs_stays_until_the_second_ends(self):
        path = self.file('for_jobs', b'abc')
        first = self.job_with([path], 'wait_for', 'go1')
        second = self.job_with([path], 'wait_for', 'go2')
        self.computation.send_file(self.file('go1'))
        self.finished(first.wait(TIMEOUT))
        self.assertEqual(os.listdir(self.cwd()).count('for_jobs'), 1)
        self.computation.send_file(self.file('go2'))
        self.finished(second.wait(TIMEOUT))
        self.wait_folder(['go1', 'go2'])

    def cwd(self):
        """Return the only folder of a computation."""
        top = os.path.join(self.node.folder, '127.0.0.1')
        return os.path.join(top, os.listdir(top)[0])

    def test_the_end_removes_files_and_what_jobs_made_and_the_folder(self):
        self.computation.send_file(self.file('data', b'abc'))
        self.run_it('make', 'deep/er/made')
        self.computation.close()
        self.wait_files([])

    def test_d21_dest_path_of_several_levels(self):
        computation = self.again(dest_path='one/two/three')
        self.assertTrue(
            self.finished(computation.run('path_of')).endswith('/127.0.0.1/one/two/three'))
        self.computation.close()
        computation.close()
        self.wait_files([])

    def test_with_cleanup_false_everything_stays(self):
        self.computation.close()
        computation = self.again(dest_path='kept', cleanup=False, files=[self.file('data', b'abc')])
        self.finished(computation.run('make', 'made'))
        computation.close()
        wait_until(lambda: 'computation %d (f) ended' % computation.id in self.node.log(), TIMEOUT)
        self.wait_files([
            '127.0.0.1', '127.0.0.1/kept', '127.0.0.1/kept/data', '127.0.0.1/kept/made'
        ])
        # files that are there already are counted twice and survive, what is not counted goes
        computation = self.again(dest_path='kept')
        self.assertEqual(self.finished(computation.run('ls')), ['data', 'made'])
        found = os.stat(os.path.join(self.node.folder, '127.0.0.1', 'kept', 'data'))
        computation.send_file(self.file('data', b'abc', stat.S_IMODE(found.st_mode),
                                        found.st_mtime))
        computation.close()
        self.wait_files(['127.0.0.1', '127.0.0.1/kept', '127.0.0.1/kept/data'])
        self.again(dest_path='kept').close()
        self.wait_files([])

    def test_a_new_computation_in_the_folder_of_one_just_closed(self):
        path = self.file('data', b'abc')
        for number in range(10):
            computation = self.again(dest_path='same', files=[path])
            self.finished(computation.run('make', 'made%d' % number))
            self.assertEqual(self.finished(computation.run('ls')), ['data', 'made%d' % number])
            computation.close()
        self.computation.close()
        self.wait_files([])

    def test_two_computations_in_one_folder(self):
        path = self.file('data', b'abc')
        one, two = self.again(dest_path='same'), self.again(dest_path='same')
        one.send_file(path)
        two.send_file(self.file('other'))
        one.close()
        wait_until(lambda: 'computation %d (f) ended' % one.id in self.node.log(), TIMEOUT)
        self.assertEqual(self.finished(two.run('ls')), ['other'])
        two.close()
        self.computation.close()
        self.wait_files([])

    def test_files_above_the_limit_are_refused_not_cut(self):
        path = self.file('big', b'x' * (4 * 1024 * 1024 + 1))
        self.assertEqual(self.computation.send_file(path), -1)
        self.assertIn(b'--max_file_size', self.refusal(self.computation.scheduler, files=[path]))
        self.assertEqual(self.run_it('ls'), [])
        self.assertEqual(self.run_it('send', 'big', 4 * 1024 * 1024 + 1)[0], -1)
        self.assertEqual(self.computation.scheduler.messages('FILEXFER'), [])
        self.node.wait_log('--max_file_size', TIMEOUT)

    def test_d3_no_path_leads_outside(self):
        scheduler, computation = self.computation.scheduler, self.computation
        path = self.file('data', b'abc')
        for dest_path in ('..', '../..', 'a/../../b', '/etc/../..', '../' * 20 + 'tmp'):
            self.assertEqual(computation.send_file(path, dest_path), -1, dest_path)
            self.assertIn(b'dest_path', self.refusal(scheduler, dest_path=dest_path), dest_path)
        self.assertEqual(computation.send_file(path, '/etc'), 3)
        record = scheduler.file_record(path, '', computation.id)
        for name in ('/a/..', '/a/.', '/a/', ''):
            record.name = name
            self.assertEqual(scheduler.send_file(path, record=record), -1, name)
        self.assertEqual(self.run_it('ls'), ['etc/data'])
        self.finished(self.computation.run('make', 'x'))
        os.symlink('/tmp', os.path.join(self.run_it('path_of'), 'link'))
        self.assertEqual(computation.send_file(path, 'link'), -1)

    def test_a_file_for_an_unknown_computation_is_refused(self):
        self.assertEqual(self.computation.scheduler.send_file(self.file('x', b'1'), '', 4711), -1)

    def test_files_from_jobs_arrive_whole_in_constant_memory(self):
        status, grown = self.run_it('send', 'out/made', 3 * 1024 * 1024)
        self.assertEqual(status, 0)
        self.assertLess(grown, 2048)
        # noted behind the last offset
        message = self.computation.scheduler.wait_for('FILEXFER', timeout=TIMEOUT)
        self.assertEqual((len(message.data), set(message.data)), (3 * 1024 * 1024, set(b'm' * 1)))
        self.assertEqual((os.path.basename(message.value.name), message.value.dest_path),
                         ('made', 'out'))
        self.assertTrue(message.value.name.startswith('/'))
        self.assertIsNone(message.value.compute_id)
        self.assertEqual(message.reply.kind if hasattr(message.reply, 'kind') else '_JobReply',
                         '_JobReply')

    def test_files_that_the_client_refuses_or_that_are_missing(self):
        self.computation.scheduler.files_refused = True
        self.assertEqual(self.run_it('send', 'made', 10)[0], -1)
        self.assertEqual(self.run_it('send_missing'), -1)

    def test_the_default_target_of_files_is_the_shared_client(self):
        shared = self.scheduler_beside()
        computation = self.again(client_reply_addr=('127.0.0.1', shared.port))
        self.assertEqual(self.finished(computation.run('send_both', 'made')), (0, 0))
        for scheduler in (shared, computation.scheduler):
            scheduler.wait_for('FILEXFER', timeout=TIMEOUT)
            self.assertEqual(len(scheduler.messages('FILEXFER')), 1)

    def scheduler_beside(self):
        from tests.support.scheduler import FakeScheduler
        shared = FakeScheduler(self.node, NATIVE)
        self.addCleanup(shared.close)
        return shared

    def test_a_shared_client_sends_files_itself(self):
        shared = self.scheduler_beside()
        shared.node_sign, shared.node_port = self.computation.scheduler.node_sign, self.computation.scheduler.node_port
        self.assertEqual(shared.send_file(self.file('data', b'abc'), '', self.computation.id), 3)
        self.assertEqual(self.run_it('ls'), ['data'])

    def test_a_broken_transfer_leaves_nothing(self):
        scheduler = self.computation.scheduler
        record = scheduler.file_record(self.file('data', b'x' * 2000000), '', self.computation.id)
        with scheduler.connection('FILEXFER', record) as connection:
            connection.recv(100)
            connection.sendall(b'x' * 100000)
        self.wait_folder([])


class ForcedCleanup(NodeCase):

    options = ('-c', '1', '--force_cleanup')

    def test_the_node_removes_files_even_when_clients_want_to_keep_them(self):
        computation = self.open(CODE, 'f', dest_path='kept', cleanup=False, files=[
            self.file('data', b'abc')
        ])
        self.finished(computation.run('make', 'made'))
        computation.close()
        self.wait_files([])


if __name__ == '__main__':
    unittest.main()
