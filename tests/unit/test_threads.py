"""What becomes of a process whose threads fail."""
from __future__ import absolute_import, division, print_function

import os
import subprocess
import sys
import unittest

PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FAILING = '''
import time
from dispynode_lib.host.compat import start_thread
def fail(what):
    raise %s(what)
start_thread('loop', fail, 'no room')
time.sleep(60)
'''


class FailingThreadTest(unittest.TestCase):

    def test_a_process_does_not_outlive_a_thread_of_it_that_failed(self):
        for name in ('MemoryError', 'SystemExit'):
            process = subprocess.Popen([sys.executable, '-c', FAILING % name], cwd=PROJECT,
                                       stderr=subprocess.PIPE)
            told = process.communicate()[1].decode()
            self.assertEqual(process.returncode, os.EX_SOFTWARE, told)
            self.assertIn(name + ': no room', told)


if __name__ == '__main__':
    unittest.main()
