"""node.delivery: what is kept from before a crash waits for its client."""
from __future__ import absolute_import, division, print_function

import unittest

from dispynode_lib.node.delivery import HOLD, Delivery
from dispynode_lib.node.spool import LOST, Owner
from dispynode_lib.options import Options
from tests.support.fakeparts import AtOnce, Recorder

OWNER = Owner(7, u'ab', (u'10.0.0.9', 9700), b'token')


class Timers(AtOnce):
    """A loop whose timers run by run_timers()."""

    def __init__(self):
        self.timers = []

    def call_later(self, delay, function, *args):
        self.timers.append((delay, function, args))

    def run_timers(self, delay):
        """Run those that are due after `delay` seconds."""
        due, self.timers = [timer for timer in self.timers if timer[0] == delay], []
        for _delay, function, args in due:
            function(*args)


class HoldTest(unittest.TestCase):

    def setUp(self):
        self.loop, self.workers = Timers(), Recorder()
        self.spool = Recorder(owners=[OWNER], owner=OWNER, total=1, refused=0, jobs=[(1, u'cd')])
        self.delivery = Delivery(self.loop, self.workers, self.spool, Options())
        self.delivery.hold_back()
        self.delivery.retry_all()

    def rounds(self):
        """Return how many attempts to send what is kept have begun."""
        return len(self.workers.named('run'))

    def test_a_node_that_waits_for_its_port_sends_nothing_before_it_serves(self):
        self.loop.run_timers(HOLD)
        self.assertEqual(self.rounds(), 0)
        self.delivery.serving()
        self.assertEqual(self.rounds(), 0)
        self.loop.run_timers(HOLD)
        self.assertEqual(self.rounds(), 1)

    def open_again(self, reentrant):
        computation = Recorder()
        computation.id, computation.auth = OWNER.key
        computation.request = Recorder()
        computation.request.reentrant = reentrant
        self.delivery.opened(computation)

    def test_the_client_that_opens_its_computation_again_is_told(self):
        self.open_again(False)
        self.assertEqual((self.rounds(), self.spool.named('remove_marked')), (1, []))

    def test_a_reentrant_client_is_not_told_of_lost_jobs(self):
        self.open_again(True)
        self.assertEqual(self.spool.named('remove_marked'), [(OWNER.key, LOST)])

    def test_the_client_that_asks_is_told(self):
        told = []
        self.delivery.resend(OWNER.key, lambda: [], told.append)
        self.assertEqual((told, self.rounds()), ([1], 1))


if __name__ == '__main__':
    unittest.main()
