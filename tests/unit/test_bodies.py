"""host.io.streams, big requests: how fast they have to come."""
from __future__ import absolute_import, division, print_function

import sys
import unittest

from dispynode_lib.errors import PeerGone, ProtocolError
from dispynode_lib.host.io.streams import SLOWEST, SLOWEST_FILE, Pace, read_rest


class Source(object):
    """A stream on which `data` comes."""

    def __init__(self, data, timeout):
        self.data, self.timeout, self.asked = data, timeout, []

    def read_into(self, view, pace, before):
        self.asked.append(before)
        view[:] = self.data[:len(view)]
        self.data = self.data[len(view):]
        pace.check(before + len(view))


class PaceTest(unittest.TestCase):

    def test_at_first_nothing_need_be_there(self):
        Pace(5.0).check(0)

    def test_later_so_many_bytes_a_second(self):
        late = Pace(-10.0)                  # begun so long ago, its grace over
        late.check(int(11 * SLOWEST))
        for count in (0, 100, int(9 * SLOWEST)):
            self.assertRaises(PeerGone, late.check, count)

    def test_files_may_be_slower(self):
        late = Pace(-10.0, SLOWEST_FILE)
        late.check(int(11 * SLOWEST_FILE))
        self.assertRaises(PeerGone, late.check, int(9 * SLOWEST_FILE))


class ReadRestTest(unittest.TestCase):

    def test_what_was_there_counts(self):
        for size in (10, 1 << 20):
            data = bytes(bytearray(range(251))) * (size // 251 + 1)
            source = Source(data[7:size], 5.0)
            self.assertEqual(bytes(read_rest(source, data[:7], size)[:]), data[:size])
            self.assertEqual(min(source.asked), 7)

    def test_a_big_request_that_comes_too_slowly_is_given_up(self):
        self.assertRaises(PeerGone, read_rest, Source(b'x' * 300000, -30.0), b'begun', 300000)

    def test_what_this_python_cannot_address_is_a_complaint_about_its_sender(self):
        """Where Python has 32 bits, two gigabytes are enough."""
        self.assertRaises(ProtocolError, read_rest, Source(b'x', 5.0), b'begun', sys.maxsize + 1)


if __name__ == '__main__':
    unittest.main()
