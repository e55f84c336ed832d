"""--init FILE: init() before the node serves, close() at its end."""
from __future__ import absolute_import, division, print_function

import os
import signal
import subprocess
import sys

from tests.support.nodecase import TIMEOUT, NodeCase
from tests.support.nodeprocess import PROJECT, NodeProcess
from tests.support.waiting import wait_until

NOTES = '''
import os, time
def note(word):
    with open(%(notes)r, 'a') as stream:
        stream.write('%%s %%d %%s %%s\\n' %% (word, os.getpid(), __name__, __file__))
'''


class InitFile(NodeCase):

    @classmethod
    def setUpClass(cls):
        """Each test has a node of its own."""

    tearDownClass = setUpClass

    def setUp(self):
        self.place = self.folder()
        self.path, self.notes = os.path.join(self.place, 'begin.py'), os.path.join(
            self.place, 'notes')

    def write(self, code):
        with open(self.path, 'w') as stream:
            stream.write(NOTES % {'notes': self.notes} + code)

    def noted(self):
        """Return the lines that the functions wrote, as lists of words."""
        if not os.path.exists(self.notes):
            return []
        with open(self.notes) as stream:
            return [line.split() for line in stream]

    def refused(self):
        """Start a node that must not serve; return its log."""
        with NodeProcess('--init', self.path, wait=False) as node:
            self.assertEqual(node.wait_exit(TIMEOUT), 78, node.log())
            return node.log()

    def test_init_is_called_before_the_node_serves_and_close_when_it_ends(self):
        self.write(
            'def init():\n    note("init")\n    return 0\n\ndef close():\n    note("close")\n')
        with NodeProcess('--init', self.path) as node:
            first = self.noted()
            self.assertEqual([line[0] for line in first], ['init'])
            node.signal(signal.SIGTERM)
            self.assertEqual(node.wait_exit(TIMEOUT), 0, node.log())
            second = self.noted()[1]
            self.assertEqual(([first[0][2:]], second[2:]),
                             ([['node_init', self.path]], ['node_init', self.path]))
            self.assertEqual(second[0], 'close')
            self.assertEqual(len(set([str(node.pid), first[0][1], second[1]])), 3)

    def test_a_file_without_functions_changes_nothing(self):
        self.write('')
        with NodeProcess('--init', self.path) as node:
            node.signal(signal.SIGTERM)
            self.assertEqual(node.wait_exit(TIMEOUT), 0, node.log())

    def test_init_that_returns_something_else_ends_the_start_in_one_line(self):
        self.write('def init():\n    return None\n\ndef close():\n    note("close")\n')
        log = self.refused()
        self.assertIn('init() returned None', log)
        self.assertIn(
            '--init %s: init() returned something else than 0; the node does not start' % self.path,
            log)
        self.assertEqual(self.noted(), [])

    def test_init_that_fails_ends_the_start_with_its_traceback(self):
        self.write('def init():\n    raise ValueError("the disk is not mounted")\n')
        log = self.refused()
        self.assertIn('ValueError: the disk is not mounted', log)
        self.assertIn('init() failed; the node does not start', log)

    def test_a_file_that_does_not_exist_ends_the_start_in_one_line(self):
        log = self.refused()
        self.assertIn('there is no such file', log)
        self.assertNotIn('Traceback', log)

    def test_a_start_can_be_interrupted_in_init(self):
        self.write('def init():\n    note("init")\n    time.sleep(600)\n')
        with NodeProcess('--init', self.path, wait=False) as node:
            wait_until(self.noted, TIMEOUT, 'init()')
            node.signal(signal.SIGTERM)
            node.wait_exit(TIMEOUT)
            pid = self.noted()[0][1]
            self.assertFalse(os.path.exists('/proc/' + pid), node.log())

    def test_close_that_never_returns_is_ended(self):
        self.write('def close():\n    note("close")\n    time.sleep(600)\n')
        with NodeProcess('--init', self.path, '--stop_timeout', '3') as node:
            node.signal(signal.SIGTERM)
            self.assertEqual(node.wait_exit(TIMEOUT), 0, node.log())
            node.wait_log('close() took more than 3 s and was ended')
            self.assertFalse(os.path.exists('/proc/' + self.noted()[0][1]))


class Module(NodeCase):

    @classmethod
    def setUpClass(cls):
        """There is no node."""

    tearDownClass = setUpClass

    def test_the_package_can_be_run(self):
        for name in ('dispynode_lib', 'dispynode'):
            said = subprocess.check_output([sys.executable, '-m', name, '--version'], cwd=PROJECT)
            self.assertTrue(said.startswith(b'dispynode'), said)
