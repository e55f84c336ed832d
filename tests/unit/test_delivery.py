"""node.replies.delivery: what is told of a reply that can neither be delivered nor kept; what is
kept from before a crash."""
from __future__ import absolute_import, division, print_function

import unittest

from dispynode_lib.log import INFO, output
from dispynode_lib.node.shared.common import Common
from dispynode_lib.node.replies.delivery import HOLD, Delivery, _Letter, _Outbox
from dispynode_lib.node.replies.spool import LOST, Owner
from dispynode_lib.options.parser import Options
from tests.support.fakes import AtOnce, FakeComputation, Recorder

CLIENT = (u'10.0.0.9', 51347)
OWNER = Owner(7, u'ab', (u'10.0.0.9', 9700), b'token')


class Loop(AtOnce):
    """Does at once what is to be done soon, and nothing later."""

    def call_later(self, _delay, _function, *_args):
        return None


class HeldTest(unittest.TestCase):

    def test_a_reply_held_in_memory_is_told_of_at_each_attempt(self):
        told, before = [], (output.level, output.handler)
        self.addCleanup(
            lambda: (setattr(output, 'level', before[0]), setattr(output, 'handler', before[1])))
        output.level, output.handler = INFO, lambda record: told.append(record.message)
        delivery = Delivery(Common(Options(), None, Loop(), AtOnce(), None),
                            Recorder(keep=False, total=0), None, None)
        letter = _Letter(FakeComputation(None), 5, u'ab', [b'reply'])
        for _attempt in range(4):
            outbox = delivery._outboxes[CLIENT] = _Outbox()
            outbox.flying = 1
            delivery._sent(letter, CLIENT, None, 'nobody there')
        self.assertEqual([line.partition('computation 1 ')[2] for line in told],
                         ['cannot be delivered: nobody there; it is kept', 'is held in memory'])


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
        self.delivery = Delivery(Common(Options(), None, self.loop, self.workers, None),
                                 self.spool, None, None)
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
