"""Frames between node, supervisors and jobs."""
from __future__ import absolute_import, division, print_function

import unittest

from dispynode_lib.errors import ProtocolError
from dispynode_lib.wire import control

FRAMES = ([b'job', b'\x80\x02.', None, b'', b'7'], [], [None], [b'done', b'x' * 70000])


class ControlTest(unittest.TestCase):

    def test_round_trip(self):
        for parts in FRAMES:
            frame = control.pack(*parts)
            self.assertEqual(control.LENGTH.unpack(frame[:4])[0], len(frame) - 4)
            self.assertEqual(control.unpack(frame[4:]), parts)

    def test_parts_that_do_not_add_up(self):
        for payload in (b'\0', b'\0\0\0\x01', b'\0\0\0\x02a', control.pack(b'ab')[4:] + b'\0\0'):
            with self.assertRaises(ProtocolError):
                control.unpack(payload)

    def test_splitter_gives_frames_as_they_are_complete(self):
        data = b''.join(control.pack(*parts) for parts in FRAMES)
        for step in (1, 5, 70000, len(data)):
            splitter = control.Splitter(100000)
            frames = []
            for start in range(0, len(data), step):
                frames += splitter.feed(data[start:start + step])
            self.assertEqual(frames, list(FRAMES))

    def test_splitter_refuses_what_is_over_its_limit(self):
        splitter = control.Splitter(100)
        self.assertEqual(splitter.feed(b'\0\0\0'), [])
        with self.assertRaises(ProtocolError):
            splitter.feed(b'\xff')

    def test_numbers(self):
        self.assertEqual(control.number(b'-12'), -12)
        for part in (b'', b'x', None):
            with self.assertRaises(ProtocolError):
                control.number(part)

    def test_steps_of_stopping_go_up(self):
        times = [time for time, _signal in control.STOP_STEPS]
        self.assertEqual(times, sorted(times))
        self.assertEqual(control.STOP_STEPS[-1][1], 'SIGKILL')


if __name__ == '__main__':
    unittest.main()
