"""What a host may lack, and what becomes of a start then."""
from __future__ import absolute_import, division, print_function

import os
import subprocess
import sys
import unittest

from dispynode_lib.options import parser
from dispynode_lib.errors import StartError
from dispynode_lib.host import compat, proc, resources, surroundings
from dispynode_lib.node.timed import duties
from tests.support.waiting import wait_until


class Changed(unittest.TestCase):

    def change(self, module, name, value):
        """Set an attribute of a module for the time of this test."""
        self.addCleanup(setattr, module, name, getattr(module, name))
        setattr(module, name, value)

    def refusal(self, *given):
        with self.assertRaises(StartError) as caught:
            surroundings.require(parser.parse(list(given)))
        self.assertEqual(caught.exception.status, 78)
        return str(caught.exception)


class RequireTest(Changed):

    def test_this_host_has_all(self):
        self.assertIsNone(surroundings.require(parser.parse(['--job_memory', '1g'])))
        self.assertIsNone(surroundings.unlike_linux())

    def test_limits_that_nobody_can_watch_are_not_ignored(self):
        self.change(proc, 'is_there', lambda: False)
        self.change(resources, 'import_psutil', lambda: None)
        self.assertIsNone(surroundings.require(parser.parse(['--job_output', '1g'])))
        for name, value in (('--job_memory', '1g'), ('--job_processes', '5')):
            self.assertTrue(
                self.refusal(name, value).startswith(name + ': this host does not tell'))

    def test_psutil_can_watch_as_well(self):
        self.change(proc, 'is_there', lambda: False)
        self.change(resources, 'import_psutil', lambda: os)
        self.assertIsNone(surroundings.require(parser.parse(['--job_memory', '1g'])))

    def test_without_dev_null(self):
        self.change(os, 'devnull', '/nonexistent/null')
        self.assertIn('/nonexistent/null cannot be opened: No such file or directory',
                      self.refusal())

    def test_without_random_numbers(self):
        def none(_count):
            raise NotImplementedError('/dev/urandom (or equivalent) not found')

        self.change(os, 'urandom', none)
        self.assertIn('no random numbers', self.refusal())


class PromisesTest(Changed):

    def test_another_system_is_told_with_what_does_not_hold_there(self):
        self.change(compat, 'LINUX', False)
        self.change(compat, 'SYSTEM', 'freebsd14')
        self.change(proc, 'is_there', lambda: False)
        sentence = surroundings.unlike_linux()
        self.assertTrue(
            sentence.startswith(u'freebsd14: this program is tested on Linux only; here a job'),
            sentence)
        self.assertNotIn(u'\n', sentence)


class OrphansTest(unittest.TestCase):

    def test_a_name_that_is_no_text_does_not_stop_the_reaping(self):
        process = subprocess.Popen([
            sys.executable, '-c', 'open("/proc/self/comm", "wb").write(b"\\xff\\xfe) Z")'
        ])
        pid = process.pid

        def has_ended():
            with open('/proc/%d/stat' % pid, 'rb') as stat:
                return b') Z) Z ' in stat.read()

        wait_until(has_ended, 10)
        others = set(int(name) for name in os.listdir('/proc') if name.isdigit()) - set([pid])
        self.assertEqual(duties.reap_orphans(others), 1)
        process.returncode = 0              # it need not look for it any more


if __name__ == '__main__':
    unittest.main()
