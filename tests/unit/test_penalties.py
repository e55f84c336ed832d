"""Who is shut out after wrong secrets, and for how long: histories with the clock given."""
from __future__ import absolute_import, division, print_function

import unittest

from dispynode_lib.log import CRITICAL, output
from dispynode_lib.node.access.penalties import FORGOTTEN, FREE, LONGEST, REMEMBERED, Penalties

STRANGER, OTHER = '10.0.0.9', '10.0.0.8'


class PenaltiesTest(unittest.TestCase):

    def setUp(self):
        self.now = 1000.0
        self.penalties = Penalties(clock=lambda: self.now)
        output.level, level = CRITICAL + 1, output.level
        self.addCleanup(setattr, output, 'level', level)

    def wrong(self, address=STRANGER, times=1):
        for _ in range(times):
            self.penalties.wrong_secret(address)

    def shut_out(self):
        """Send wrong secrets until the address is shut out; return for how many seconds."""
        while self.penalties.reason(STRANGER) is None:
            self.wrong()
        begun = self.now
        while self.penalties.reason(STRANGER) is not None:
            self.now += 5.0
        return self.now - begun

    def test_wrong_secrets_are_counted_only(self):
        self.wrong(times=FREE)
        self.assertIsNone(self.penalties.reason(STRANGER))
        self.wrong()
        self.assertEqual(self.penalties.reason(STRANGER),
                         u'too many wrong secrets: not listened to for 10 s more')
        self.assertIsNone(self.penalties.reason(OTHER))
        self.assertEqual(self.penalties.sentences(), [
            u'10.0.0.9 is not listened to for 10 s more: too many wrong secrets (shut out 1 time '
            u'by now)'
        ])

    def test_the_time_grows_up_to_an_hour_and_is_forgotten_after_a_day(self):
        self.assertEqual([self.shut_out() for _ in range(11)],
                         [10, 20, 40, 80, 160, 320, 640, 1280, 2560, LONGEST, LONGEST])
        self.now += FORGOTTEN + 1
        self.assertEqual(self.shut_out(), 10)

    def test_what_comes_while_shut_out_makes_it_no_longer(self):
        self.wrong(times=FREE + 1)
        self.wrong(times=50)
        self.now += 10.0
        self.assertIsNone(self.penalties.reason(STRANGER))

    def test_one_now_and_then_is_nothing(self):
        for _ in range(100):
            self.wrong()
            self.now += 11.0
        self.assertIsNone(self.penalties.reason(STRANGER))

    def test_this_host_is_never_shut_out(self):
        for address in ('127.0.0.1', '127.8.8.8', '::1', '::ffff:127.0.0.1'):
            self.wrong(address, 100)
            self.assertIsNone(self.penalties.reason(address), address)

    def test_a_network_of_ipv6_counts_as_one_peer(self):
        for number in range(FREE + 1):
            self.wrong('2001:db8::%x' % number)
        self.assertIsNotNone(self.penalties.reason('2001:db8::ffff'))
        self.assertIsNone(self.penalties.reason('2001:db8:0:1::1'))
        self.wrong('::ffff:10.0.0.9', FREE + 1)
        self.assertIsNotNone(self.penalties.reason(STRANGER))

    def test_many_addresses_do_not_fill_the_memory(self):
        for number in range(REMEMBERED + 500):
            self.wrong('10.0.%d.%d' % divmod(number, 256), FREE + 1)
        self.assertEqual(len(self.penalties.sentences()), REMEMBERED)

    def test_without_a_secret_nobody_guesses_one(self):
        self.penalties = Penalties(False)
        self.wrong(times=100)
        self.assertIsNone(self.penalties.reason(STRANGER))


if __name__ == '__main__':
    unittest.main()
