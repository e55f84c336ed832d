"""The state folder, or the folder for files, has no room or cannot be written while clients are
served."""
from __future__ import absolute_import, division, print_function

import io
import os
import shutil
import subprocess
import tempfile
import unittest

from tests.support.nodecase import NATIVE, TIMEOUT
from tests.support.nodeprocess import NodeProcess, free_port
from tests.support.scheduler import FakeScheduler
from tests.support.waiting import wait_until

CODE = '''
import os, time
def setup(text):
    global length
    length = len(text)
    return 0
def f(name, more=b'', path=None):
    while path and not os.path.exists(path):
        time.sleep(0.01)
    return name, globals().get('length')
'''
NO_RECORD, AGAIN = 'its record cannot be written', 'records of computations can be written again'


@unittest.skipUnless(os.geteuid() == 0, 'mounting a small disk takes root')
class FullDiskTest(unittest.TestCase):

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix='dispynode-disk-')
        self.addCleanup(shutil.rmtree, self.folder, True)
        self.port = free_port()
        self.state = os.path.join(self.folder, '.node-%d' % self.port)

    def disk(self, place):
        """Put a disk of 2 MB of its own at a folder."""
        if not os.path.isdir(place):
            os.mkdir(place, 0o700)
        self.mount(place, '-t', 'tmpfs', '-o', 'size=2m,mode=700', 'tmpfs')
        self.fill_path = os.path.join(place, 'fill')

    def mount(self, place, *how):
        subprocess.check_call(('mount',) + how + (place,))
        self.addCleanup(subprocess.call, ['umount', '-l', place], stderr=subprocess.STDOUT,
                        stdout=subprocess.PIPE)

    def fill(self):
        """Take all the room of the disk, to the last byte."""
        with io.open(self.fill_path, 'ab', 0) as target:
            for size in (65536, 512, 1):
                try:
                    while target.write(b'x' * size):
                        continue
                except EnvironmentError:
                    continue

    def start(self, *options):
        """Start a node and a client; return both, with a computation that is set up."""
        self.node = node = NodeProcess('-c', '2', *options, folder=self.folder, port=self.port)
        node.__enter__()
        self.addCleanup(node.__exit__, None, None, None)
        self.scheduler = FakeScheduler(node, NATIVE)
        self.addCleanup(self.scheduler.close)
        return node, self.open('ab')

    def open(self, text):
        return self.scheduler.open(CODE, 'f', setup='setup', setup_args=(text,))

    def file(self, size):
        """Return the path of a file of `size` bytes elsewhere."""
        handle, path = tempfile.mkstemp()
        self.addCleanup(os.unlink, path)
        os.write(handle, b'y' * size)
        os.close(handle)
        return path

    def check_served(self, computation):
        """Have jobs of each size done, and another computation opened and closed."""
        for size in (0, 5000, 70000, 400000):
            self.assertEqual(computation.run('x', b'm' * size).value, ('x', 2))
        other = self.open('cde')
        self.assertEqual(other.run('y').value, ('y', 3))
        self.assertEqual(other.close(), b'ACK')

    def check_log(self):
        """Check that the log tells once what does not hold, and nothing is a fault."""
        self.node.wait_log('should this node die, what was opened meanwhile is lost')
        log = self.node.log()
        self.assertEqual(log.count(NO_RECORD), 1, log)
        self.assertNotIn('Traceback', log)

    def check_taken_over(self, computation, text):
        """Have the node killed: the next one knows a computation that was opened with room."""
        wait_until(lambda: AGAIN in self.node.log(), TIMEOUT)
        self.node.kill()
        self.node.start()
        self.assertEqual(computation.run('z').value, ('z', len(text)))

    def test_clients_are_served_while_the_state_folder_has_no_room(self):
        self.disk(self.state)
        _node, computation = self.start()
        self.fill()
        self.check_served(computation)
        self.assertEqual(computation.send_file(self.file(100000)), 100000)
        self.check_log()
        os.unlink(self.fill_path)
        self.check_taken_over(self.open('long'), 'long')
        self.check_served(computation)

    def test_clients_are_served_while_the_state_folder_cannot_be_written(self):
        _node, computation = self.start()
        self.mount(self.state, '--bind', self.state)
        subprocess.check_call(['mount', '-o', 'remount,bind,ro', self.state])
        self.check_served(computation)
        self.assertEqual(computation.send_file(self.file(100000)), 100000)
        self.check_log()
        subprocess.check_call(['umount', self.state])
        self.check_taken_over(self.open('long'), 'long')
        self.check_served(computation)

    def test_files_are_refused_while_there_is_no_room_and_taken_when_there_is(self):
        self.disk(self.folder)
        node, computation = self.start()
        path = self.file(100000)
        self.fill()
        self.assertEqual(computation.send_file(path), -1)
        node.wait_log('receiving %s for computation %d: [Errno 28] No space left' % (
            path, computation.id))
        self.check_served(computation)
        self.check_log()
        os.unlink(self.fill_path)
        self.assertEqual(computation.send_file(path), 100000)
        self.check_taken_over(self.open('long'), 'long')

    def test_a_start_without_room_after_a_kill_loses_no_job(self):
        self.disk(self.folder)
        node, computation = self.start()
        flag = self.file(0) + '.go'
        job = computation.submit('one', b'', flag)
        node.kill()
        self.fill()
        node.wait = False
        node.start()
        self.assertEqual(node.wait_exit(), 73)
        # room that the dead node had may be free only now, and be enough for a part of the start
        lines = [line for line in node.log().splitlines() if 'taken over from' not in line]
        self.assertEqual(len(lines), 1, node.log())
        self.assertIn('cannot be written: No space left on device; make room', lines[0])
        os.unlink(self.fill_path)
        node.wait = True
        node.start()
        open(flag, 'w').close()
        self.addCleanup(os.unlink, flag)
        self.assertEqual(job.wait(TIMEOUT).value, ('one', 2))
        self.assertEqual(len(job.replies), 1)


if __name__ == '__main__':
    unittest.main()
