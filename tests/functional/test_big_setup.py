"""Setup that loads 200 MB: jobs share its memory."""
from __future__ import absolute_import, division, print_function

import os
import unittest

from tests.support.nodecase import TIMEOUT, NodeCase
from tests.support.waiting import wait_until

SIZE = 200 << 20
CODE = '''
import os, struct, time

def setup(size):
    global data, table
    data = bytearray(b'x') * (size // 2)
    table = [number * 1.0 for number in range(size // 2 // (4 * struct.calcsize('P')))]      # 3 words each, or more, and the pointer
    return 0

def f(path):
    total = sum(table[::1000]) + data.count(b'y')
    used = '%d.used' % os.getpid()
    open(used, 'w').close()
    while not os.path.exists(path):
        time.sleep(0.02)
    os.unlink(used)
    return total

def loaded(*names):
    import sys
    return [name for name in names if name in sys.modules]
'''


class BigSetup(NodeCase):

    def pss(self):
        """Return the memory (bytes) of the node with all its processes, shared pages counted once.

        While one is forked they would be counted twice: before the fork all of them as its
        parent's.
        """
        while True:
            pids = sorted(self.node.processes())
            total = self.pss_of(pids)
            if sorted(self.node.processes()) == pids:
                return total

    @staticmethod
    def pss_of(pids):
        total = 0
        for pid in pids:
            try:
                with open('/proc/%d/smaps_rollup' % pid) as stream:
                    total += sum(int(line.split()[1]) for line in stream if line.startswith('Pss:'))
            except EnvironmentError:
                continue
        return total * 1024

    def running(self):
        """Return the names of files that say that a job has used the data."""
        return [name for name in self.files_of() if name.endswith('.used')]

    def test_jobs_find_no_module_loaded_that_only_huge_pages_need(self):
        computation = self.open(CODE, 'loaded', setup='setup', setup_args=(SIZE,))
        self.assertEqual(computation.run('ctypes', 'os').value, ['os'])
        computation.close()

    def test_ten_jobs_use_what_setup_loaded_and_memory_grows_by_less_than_a_fifth_more(self):
        scheduler = self.scheduler()
        wait_until(lambda: self.pss() < SIZE, TIMEOUT, 'the end of what another test has loaded')
        small = scheduler.open('def f(): return 1', 'f')
        self.finished(small.run())
        before = self.pss()
        computation = scheduler.open(CODE, 'f', setup='setup', setup_args=(SIZE,))
        loaded = self.pss() - before
        self.assertGreater(loaded, 0.9 * SIZE)
        most, path = loaded, os.path.join(self.folder(), 'go')
        for turn in range(5):
            jobs = [computation.submit(path + str(turn)) for _ in range(2)]
            wait_until(lambda: len(self.running()) == 2, TIMEOUT)
            most = max(most, self.pss() - before)
            self.file(os.path.basename(path) + str(turn), folder=os.path.dirname(path))
            for job in jobs:
                self.finished(job.wait(TIMEOUT))
            most = max(most, self.pss() - before)
        self.assertLess(most, 1.2 * loaded,
                        '%d MB in use, of which setup made %d MB' % (most >> 20, loaded >> 20))


if __name__ == '__main__':
    unittest.main()
