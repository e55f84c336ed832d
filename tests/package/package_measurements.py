"""The programs that measure, with small numbers: that they run to their end and have a figure for
everything."""
from __future__ import absolute_import, division, print_function

import json
import os
import subprocess
import sys
import unittest

PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def measure(*words):
    """Run such a program, which must end well; return what it says."""
    done = subprocess.run([sys.executable, '-m'] + list(words), stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120,
                          cwd=PROJECT)
    text = done.stdout.decode('utf-8', 'replace')
    if done.returncode:
        raise AssertionError('%s: status %d\n%s' % (' '.join(words), done.returncode, text))
    return text


class MeasurementsTest(unittest.TestCase):

    def test_growth_in_small(self):
        told = measure('tests.growth', '--most', '100', '--jobs', '4', '--idle', '0.1')
        for name in ('computations', 'connections', 'jobs', 'undelivered', 'cpus'):
            self.assertIn('\n%-22s' % name, told, told)
        self.assertEqual(told.count('last / first'), 5, told)

    def test_a_real_client(self):
        client = json.loads(os.environ['DISPYNODE_TEST_PACKAGE'])['client']
        told = measure('tests.growth', '--real', '40', '--client', client)
        self.assertIn('right 40, wrong 0, lost 0, submit() gave None 0', told)

    def test_start_of_the_tree_and_the_one_file(self):
        told = measure('tests.startup', '1')
        self.assertEqual(told.count('times the tree'), 3, told)
        self.assertIn('bytes', told)
