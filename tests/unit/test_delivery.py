"""What is told of a reply that can neither be delivered nor kept."""
from __future__ import absolute_import, division, print_function

import unittest

from dispynode_lib.log import INFO, output
from dispynode_lib.node.delivery import Delivery, _Letter, _Outbox
from dispynode_lib.options import Options
from tests.support.fakeparts import AtOnce, FakeComputation, Recorder

CLIENT = (u'10.0.0.9', 51347)


class Loop(AtOnce):
    """Does at once what is to be done soon, and nothing later."""

    def call_later(self, _delay, _function, *_args):
        return None


class HeldTest(unittest.TestCase):

    def test_a_reply_held_in_memory_is_told_of_at_each_attempt(self):
        told, before = [], (output.level, output.handler)
        self.addCleanup(lambda: (setattr(output, 'level', before[0]), setattr(output, 'handler', before[1])))
        output.level, output.handler = INFO, lambda record: told.append(record.message)
        delivery = Delivery(Loop(), AtOnce(), Recorder(keep=False, total=0), Options())
        letter = _Letter(FakeComputation(None), 5, u'ab', [b'reply'])
        for _attempt in range(4):
            outbox = delivery._outboxes[CLIENT] = _Outbox()
            outbox.flying = 1
            delivery._sent(letter, CLIENT, None, 'nobody there')
        self.assertEqual([line.partition('computation 1 ')[2] for line in told],
                         ['cannot be delivered: nobody there; it is kept', 'is held in memory'])


if __name__ == '__main__':
    unittest.main()
