from __future__ import absolute_import, division, print_function

import os
import unittest

from dispynode_lib.supervisor.processes.descriptors import close_runs


class CloseRunsTest(unittest.TestCase):

    def test_only_the_named_descriptors_are_closed(self):
        fds = [os.open(os.devnull, os.O_RDONLY) for _turn in range(9)]
        kept = [fds.pop(6), fds.pop(2)]
        close_runs(reversed(fds))
        close_runs([])
        for fd in kept:
            os.close(fd)                    # raises if it was closed
        for fd in fds:
            self.assertRaises(OSError, os.fstat, fd)
