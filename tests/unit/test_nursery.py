"""node/computations/nursery: when its process is there."""
from __future__ import absolute_import, division, print_function

import unittest

from dispynode_lib.code import image as program
from dispynode_lib.node.computations.nursery import KEEP_AFTER, REST_AFTER, TRY_AGAIN, Nursery


class Workers(object):
    """Runs at once what is handed in."""

    @staticmethod
    def run(function, *args):
        function(*args)


class Process(object):
    """A process that runs until it is waited for."""

    pid = 1

    def wait(self):
        """End."""


class Tried(Nursery):
    """Starts no real process; `fails` says why not."""

    fails = None

    def _start_process(self):
        if self.fails is not None:
            raise EnvironmentError(self.fails)
        self._names = self._wanted
        self._process = Process()


class NurseryTest(unittest.TestCase):

    def setUp(self):
        image, program.supervisor_image = program.supervisor_image, lambda _folder: None
        self.addCleanup(setattr, program, 'supervisor_image', image)
        self.nursery = Tried(None, Workers())

    def test_an_idle_node_keeps_no_process_once_it_was_seen_to_run(self):
        self.assertEqual(self.nursery.keep_wait(0), KEEP_AFTER)
        self.nursery.keep(0)
        self.assertEqual((len(self.nursery.pids()), self.nursery.keep_wait(0)), (1, REST_AFTER))
        self.nursery.keep(0)
        self.assertEqual((self.nursery.pids(), self.nursery.keep_wait(0)), ((), None))
        self.nursery.prepare()
        self.assertEqual((len(self.nursery.pids()), self.nursery.keep_wait(0)), (1, None))

    def test_a_client_that_comes_meanwhile_finds_it_and_keeps_it(self):
        self.nursery.keep(0)
        self.nursery.prepare()
        self.assertEqual((len(self.nursery.pids()), self.nursery.keep_wait(0)), (1, None))

    def test_one_that_has_modules_to_load_stays(self):
        self.nursery.preload([u'json'])
        self.nursery.keep(0)
        self.assertEqual((len(self.nursery.pids()), self.nursery.keep_wait(0)), (1, None))

    def test_one_that_cannot_be_started_is_tried_again(self):
        self.nursery.fails = 'no memory'
        self.nursery.keep(0)
        self.assertEqual(self.nursery.keep_wait(0), TRY_AGAIN)
        self.assertIn(u'no memory', self.nursery.trouble())
        self.nursery.fails = None
        self.nursery.keep(0)
        self.assertIsNone(self.nursery.trouble())

    def test_it_is_replaced_only_for_other_modules(self):
        self.nursery.prepare()
        first = self.nursery._process
        self.nursery.refresh()
        self.assertIs(self.nursery._process, first)
        self.nursery.preload([u'json'])
        self.nursery.refresh()
        self.assertIsNot(self.nursery._process, first)
