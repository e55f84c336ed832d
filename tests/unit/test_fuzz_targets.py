"""The targets of the fuzzer: its seeds and the cases it has found, recorded messages changed in
every place, odd frames of jobs."""
from __future__ import absolute_import, division, print_function

import os
import unittest

from dispynode_lib.host.compat import monotonic
from dispynode_lib.log import output
from dispynode_lib.wire import control
from tests.fuzz import seeds
from tests.fuzz.targets import READERS, TARGETS, control_frames, one_input, quiet, read_message, split_frame


class FuzzTargetsTest(unittest.TestCase):

    def setUp(self):
        self.addCleanup(setattr, output, 'level', output.level)
        quiet()

    def test_seeds_and_found_cases(self):
        cases = seeds.all_cases()
        self.assertEqual(len(set(name for name, _case in cases)), len(cases))
        self.assertEqual(set(bytearray(case[:1])[0] % len(TARGETS) for _name, case in cases),
                         set(range(len(TARGETS))))
        slowest, begun = ('', 0.0), monotonic()
        for name, case in cases:
            started = monotonic()
            try:
                one_input(case)
            except Exception as error:
                raise AssertionError('%s: %s: %s' % (name, type(error).__name__, error))
            slowest = max(slowest, (name, monotonic() - started), key=lambda one: one[1])
        self.assertLess(slowest[1], 5, slowest)
        self.assertLess(monotonic() - begun, 60)

    def test_changed_messages(self):
        for name in ('4.15.2-py311-compute.bin', '4.8.7-py27-job.bin', '4.15.2-py311-close.bin',
                     '4.8.7-py36-ping-udp.bin'):
            with open(os.path.join(seeds.RECORDED, name), 'rb') as source:
                data = source.read()
            argument = bytearray(data.partition(b':')[2])
            for place in range(0, len(argument), 11):
                changed = bytearray(argument)
                changed[place] ^= 0x41
                for number in range(len(READERS)):
                    read_message(bytes(bytearray([number]) + changed))
                split_frame(data[:place])

    def test_frames_of_jobs(self):
        good = [b'done', b'11', b'x', b'', b'', None, b'1.5', b'2.5']
        control_frames(control.pack(*good))
        for place in range(1, 8):
            for odd in (None, b'', b'nan', b'-1', b'inf', b'1e400', b'\xff' * 9, b'9' * 5000):
                control_frames(control.pack(*(good[:place] + [odd] + good[place + 1:])))
        for data in (b'\0\0\0\0', b'\xff' * 40, b'\0\0\0\5hello', b'\0\0\0\3abc', control.pack()):
            control_frames(data)


if __name__ == '__main__':
    unittest.main()
