"""host.io.streams: time limits that the kernel keeps."""
from __future__ import absolute_import, division, print_function

import socket
import struct
import unittest

from dispynode_lib.host.io import streams


class TimeLimitTest(unittest.TestCase):

    def test_it_is_as_wide_as_the_time_of_the_system(self):
        """With 32 bits and a time of 64, Linux says Invalid argument to two narrow numbers."""
        self.assertEqual(streams.time_limit(20, 2.5), struct.pack('ll', 2, 500000))
        for option in (66, 67):
            self.assertEqual(streams.time_limit(option, 2.5), struct.pack('qq', 2, 500000))

    def test_this_system_takes_it(self):
        sock = socket.socket()
        try:
            for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
                limit = streams.time_limit(option, 2.5)
                sock.setsockopt(socket.SOL_SOCKET, option, limit)
                self.assertEqual(
                    struct.unpack('qq' if len(limit) > 8 and struct.calcsize('l') == 4 else 'll',
                                  sock.getsockopt(socket.SOL_SOCKET, option, len(limit)))[0], 2)
        finally:
            sock.close()


if __name__ == '__main__':
    unittest.main()
