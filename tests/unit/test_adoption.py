"""Jobs of a node that has died, of which the client may not know that they were accepted."""
from __future__ import absolute_import, division, print_function

import collections
import time
import unittest

from dispynode_lib.node.computations.adoption import Adopted

Common = collections.namedtuple('Common', 'loop options')
Noted = collections.namedtuple('Noted', 'number key frame flags')
Job = collections.namedtuple('Job', 'started')


class Supervision(object):
    link = None


class Loop(object):
    """Notes in how many seconds it is to call."""

    def __init__(self):
        self.delays = []

    def call_later(self, delay, *_call):
        self.delays.append(delay)


class AdoptionTest(unittest.TestCase):

    def delay(self, ago):
        """Return the seconds that a job accepted `ago` seconds before waits to be sent again."""
        loop = Loop()
        adopted = Adopted(None, None, Supervision(), None, Common(loop, None))
        adopted.adopt([(Job(time.time() - ago), Noted(0, b'', b'frame', 0))])
        return loop.delays[0]

    def test_nodes_that_die_one_after_the_other_hold_back_no_job_for_ever(self):
        self.assertTrue(1 < self.delay(6) <= 4.1)
        self.assertEqual(self.delay(60), 1)
        self.assertTrue(1 < self.delay(0) <= 10)
        self.assertEqual(self.delay(-3600), 10)         # the clock was set back


if __name__ == '__main__':
    unittest.main()
