"""The targets of the fuzzer, with recorded messages cut and changed in every place, and odd frames of jobs."""
from __future__ import absolute_import, division, print_function

import os
import unittest

from dispynode_lib.wire import control
from tests.fuzz.targets import READERS, control_frames, read_message, split_frame

RECORDED = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'wire')


class FuzzTargetsTest(unittest.TestCase):

    def test_changed_messages(self):
        for name in ('4.15.2-py311-compute.bin', '4.8.7-py27-job.bin', '4.15.2-py311-close.bin', '4.8.7-py36-ping-udp.bin'):
            with open(os.path.join(RECORDED, name), 'rb') as source:
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
