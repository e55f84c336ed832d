from __future__ import absolute_import, division, print_function

import io
import unittest

from dispynode_lib.supervisor.job.output import Kept, TextOutput


def kept(*pieces, **sizes):
    output = Kept(sizes.get('part', 10), sizes.get('slack', 3))
    for piece in pieces:
        output.write(piece)
    return output


class KeptTest(unittest.TestCase):

    def test_all_is_kept_up_to_twice_the_part(self):
        for pieces in ([], [b'a'], [b'a' * 10], [b'a' * 10, b'b' * 10], [b'a' * 7, b'b' * 13], [
                b'ab' * 10
        ]):
            self.assertEqual(kept(*pieces).value(), b''.join(pieces))

    def test_of_more_the_first_and_last_part_are_kept_with_a_note(self):
        numbers = b''.join([b'%03d' % n for n in range(100)])
        for step in (1, 7, 10, 300):
            pieces = [numbers[at:at + step] for at in range(0, len(numbers), step)]
            self.assertEqual(
                kept(*pieces).value(), numbers[:10] +
                b'\n[dispynode: 280 bytes of output were left out here]\n' + numbers[-10:])

    def test_memory_is_bounded(self):
        output = kept()
        for _turn in range(1000):
            output.write(b'123456789')
            self.assertLessEqual(len(output._head) + len(output._tail), 10 + 10 + 2 * 3 + 9)

    def test_no_character_is_cut_in_two(self):
        for start in range(4):
            text = u'a' * start + u'\u20ac' * 40
            value = kept(text.encode('utf-8')).value().decode('utf-8')
            self.assertTrue(value.startswith(text[:2]))
            self.assertTrue(value.endswith(text[-2:]))

    def test_binary_output_survives_the_cut(self):
        value = kept(b'\xff' * 5 + b'\x80' * 100).value()
        self.assertTrue(value.startswith(b'\xff'))


class TextOutputTest(unittest.TestCase):

    def test_it_behaves_like_a_text_stream(self):
        output = TextOutput('<stdout>')
        self.assertEqual(output.write(u'ab\u20ac'), 3)
        print(u'x', file=output)
        self.assertTrue(output.writable())
        self.assertFalse(output.isatty())
        self.assertRaises(io.UnsupportedOperation, output.fileno)
        self.assertRaises(TypeError, output.write, 5)
        output.flush()
        output.reconfigure(line_buffering=True)
        self.assertEqual(output.value(), u'ab\u20acx\n'.encode('utf-8'))

    def test_its_buffer_takes_bytes_in_order(self):
        output = TextOutput('<stdout>')
        output.write(u'a')
        output.buffer.write(bytearray(b'\xff'))
        output.write(u'b')
        self.assertEqual(output.value(), b'a\xffb')

    def test_lone_surrogates_are_written_as_escapes(self):
        output = TextOutput('<stdout>')
        output.write(u'\udc80')
        self.assertIn(output.value(), (b'\\udc80', b'\xed\xb2\x80'))        # Python 2 encodes them

    def test_closing_it_loses_nothing(self):
        output = TextOutput('<stdout>')
        output.write(u'a')
        output.close()
        self.assertEqual(output.value(), b'a')


if __name__ == '__main__':
    unittest.main()
