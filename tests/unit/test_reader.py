"""Pickles made to hurt: whatever they say, time and memory stay within what their size allows."""
from __future__ import absolute_import, division, print_function

import gc
import struct
import unittest

from dispynode_lib.errors import ProtocolError
from dispynode_lib.wire import messages
from dispynode_lib.wire.pickle.pickles import LIMITS, load
from dispynode_lib.wire.pickle.records import Limits

DEPTH = LIMITS.depth
KINDS = ('_Compute', '_XferFile', '_Function', 'stat', 'set')


def nested(open_, close, depth):
    """Return the pickle of `depth` containers inside each other."""
    return open_ * (depth - 1) + b'N' + close * (depth - 1) + b'.'


# (what stands before the inner container, what stands after it)
NESTINGS = (
    (b']', b'a'),
    (b'](', b'e'),
    (b'', b'\x85'),
    (b'(', b't'),
    (b'(', b'l'),
    (b'}U\1a', b's'),
    (b'}(U\1a', b'u'),
    (b'(U\1a', b'd'),
    (b'N', b'\x86'),
    (b'NN', b'\x87'),
    (b'\x8f(', b'\x90'),
    (b'cdispy\n_Compute\n)\x81}U\1a', b'sb'),
    (b'cdispy\n_Function\n', b')}\x87\x81'),
    (b'c__builtin__\nset\n](', b'e\x85R'),
)


def is_refused(data):
    """Return whether `data` is refused; keep nothing of it."""
    try:
        load(data, KINDS)
    except ProtocolError:
        return True
    return False


class DepthTest(unittest.TestCase):

    def test_deep_nesting_is_refused(self):
        for open_, close in NESTINGS:
            for depth in (DEPTH + 2, 5000):
                with self.assertRaises(ProtocolError) as caught:
                    load(nested(open_, close, depth), KINDS)
                self.assertIn('nested deeper', str(caught.exception), open_)

    def test_usual_nesting_is_read(self):
        for open_, close in NESTINGS:
            load(nested(open_, close, DEPTH // 4), KINDS)

    def test_depth_is_counted_through_the_memo(self):
        data = b']q\0' + b''.join(b'h\0\x85q\0' for _ in range(1000)) + b'.'
        with self.assertRaises(ProtocolError):
            load(data)

    def test_a_container_cannot_be_changed_once_it_lies_in_another(self):
        for data in (b']q\0]q\1ah\1]a.', b']q\0h\0a.', b']q\0(h\0e.', b']q\0}U\1ah\0s0h\0Na.',
                     b'}q\0\x85h\0U\1aNs.', b'cdispy\n_Compute\n)\x81q\0}U\1ah\0sb.',
                     b']q\0\x85q\1h\0h\1a.', b'\x8fq\0(h\0\x90.', b'}q\0U\1ah\0s.'):
            with self.assertRaises(ProtocolError) as caught:
                load(data, KINDS)
            self.assertIn('changed after it was used', str(caught.exception), data)

    def test_a_stat_result_holds_numbers_only(self):
        data = b'cos\nstat_result\n(' + b'K\1' * 9 + b']t}U\x08st_atime]s\x86R.'
        with self.assertRaises(ProtocolError):
            load(data, KINDS)

    def test_marks_and_lists_that_are_never_closed(self):
        for opening in (b'(', b']', b'}', b'(]'):
            with self.assertRaises(ProtocolError):
                load(opening * 30000 + b'.')

    def test_deep_things_of_users_are_dropped_without_recursion(self):
        limits = Limits(10 ** 7, 10 ** 6)
        for open_, close in ((b']', b'a'), (b'', b'\x85'), (b'}U\1a', b's'), (b'\x8f(', b'\x90'),
                             (b'cdispy\n_Compute\n)\x81}U\1a', b'sb')):
            value = load(nested(open_, close, 20000), KINDS, True, limits)[0]
            del value
        gc.collect()

    def test_user_limit(self):
        load(nested(b'', b'\x85', 900), (), True)
        with self.assertRaises(ProtocolError):
            load(nested(b'', b'\x85', 1100), (), True)


class SizeTest(unittest.TestCase):

    def objects_made(self, data):
        """Return how many objects the garbage collector knows more after a failed load."""
        gc.collect()
        before = len(gc.get_objects())
        self.assertTrue(is_refused(data))
        gc.collect()
        return len(gc.get_objects()) - before

    def test_lying_lengths_allocate_nothing(self):
        for head in (b'T\xff\xff\xff\x7f', b'T\xff\xff\xff\xff', b'X\xff\xff\xff\xff',
                     b'B\xff\xff\xff\xff', b'\x8b\xff\xff\xff\xff', b'\x8d' + b'\xff' * 8,
                     b'\x8e' + b'\xff' * 8, b'\x8e\0\0\0\0\1\0\0\0', b'\x96' + b'\xff' * 8,
                     b'\x96\0\0\0\0\0\0\0\x80'):
            for unknown in (False, True):
                with self.assertRaises(ProtocolError):
                    load(head + b'abc.', unknown=unknown)

    def test_memo_numbers(self):
        for data in (b'Nr\xff\xff\xff\xff.', b'Nr\x00\x00\x00\x01.', b'Np4294967295\n.',
                     b'Np100\n.', b'Np-1\n.', b'Np99999999999999999999999999999999999\n.'):
            with self.assertRaises(ProtocolError):
                load(data)
        load(b'Nr\x05\0\0\0.')

    def test_memo_that_is_filled(self):
        data = b'N' + b''.join(b'r' + struct.pack('<L', number) for number in range(50000)) + b'.'
        self.assertIs(load(data)[0], None)

    def test_number_of_opcodes(self):
        limits = Limits(opcodes=1000)
        self.assertIs(load(b'N0' * 499 + b'N.', limits=limits)[0], None)
        for data in (b'N0' * 500 + b'N.', b'N' * 5000, b'}' * 5000):
            with self.assertRaises(ProtocolError) as caught:
                load(data, limits=limits)
            self.assertIn('more than 1000 opcodes', str(caught.exception))

    def test_number_of_containers(self):
        limits = Limits(containers=100)
        self.assertEqual(load(b'(' + b']' * 99 + b't.', limits=limits)[0], ([],) * 99)
        for made in (b']', b'}', b'\x8f', b')\x85', b'()\x85t', b'(l', b'(d'):
            for unknown in (False, True):
                with self.assertRaises(ProtocolError) as caught:
                    load(b'(' + made * 100 + b't.', ('set',), unknown, limits)
                self.assertIn('more than 100 lists', str(caught.exception))

    def test_marks_that_are_never_used(self):
        for unknown, depth in ((False, 64), (True, 1000)):
            with self.assertRaises(ProtocolError) as caught:
                load(b'(' * 5000, unknown=unknown)
            self.assertIn('nested deeper than %d' % depth, str(caught.exception))

    def test_numbers(self):
        load(b'I' + b'9' * 32 + b'\n.')
        load(b'\x8a\x10' + b'\x7f' * 16 + b'.')
        for data in (b'I' + b'9' * 33 + b'\n.', b'L' + b'9' * 100000 + b'L\n.',
                     b'\x8a\x11' + b'\x7f' * 17 + b'.', b'\x8b\0\0\1\0' + b'\x7f' * 65536 + b'.',
                     b'I' + b'9' * 100000):
            with self.assertRaises(ProtocolError):
                load(data)

    def test_keys_of_a_dict(self):
        def data(count):
            return b'}(' + b''.join(
                b'U\x05%05dN' % n if bytes is str else b'U\x05' + str(n).zfill(5).encode() + b'N'
                for n in range(count)) + b'u.'
        self.assertEqual(len(load(data(LIMITS.keys))[0]), LIMITS.keys)
        with self.assertRaises(ProtocolError):
            load(data(LIMITS.keys + 1))
        self.assertEqual(load(data(LIMITS.keys + 1), unknown=True)[0], {})

    def test_keys_whose_hash_takes_time(self):
        tower = b')' + b''.join(b'q\0' + b'h\0' * 2 + b'\x87' for _ in range(DEPTH - 3))
        with self.assertRaises(ProtocolError):
            load(b'}' + tower + b'Ns.')
        self.assertEqual(len(load(b'}' + tower + b'Ns.', unknown=True)[0]), 1)

    def test_the_same_text_encoded_again_and_again(self):
        data = b'](c_codecs\nencode\nq\0X' + struct.pack(
            '<L', 10000) + b'a' * 10000 + b'q\1\x8c\x06latin1q\2\x86q\3R'
        self.assertEqual(len(load(data + b'e.')[0]), 1)
        with self.assertRaises(ProtocolError) as caught:
            load(data + b'h\0h\3R' * 1000 + b'e.')
        self.assertIn('encoded', str(caught.exception))

    def test_the_same_list_made_a_set_again_and_again(self):
        data = b'](c__builtin__\nset\nq\0](' + b'N' * 10000 + b'e\x85q\1R' + b'h\0h\1R' * 10000 + b'e.'
        value = load(data, KINDS)[0]
        self.assertEqual(len(value), 10001)
        self.assertIs(value[0].items, value[-1].items)

    def test_lines_are_searched_once(self):
        """A line without an end in each of many opcodes would be found by reading the rest each
        time."""
        self.assertEqual(load(b"](" + b"S''\n" * 20000 + b"e.")[0], [b''] * 20000)
        self.assertEqual(load(b"S'" + b'a' * 100000 + b"'\n.")[0], b'a' * 100000)
        with self.assertRaises(ProtocolError):
            load(b"S'" + b'a' * 100000)

    def test_references_to_references(self):
        """Walking this would take 2 ** 60 steps."""
        data = b']q\0' + b'0h\0h\0\x86q\0' * (DEPTH - 4)
        value = load(data + b'.')[0]
        self.assertEqual(len(value), 2)
        for reader in (messages.read_ping, messages.read_close, messages.read_question,
                       messages.read_pulse):
            for key in (b'ip_addrs', b'compute_id', b'ip_addr', b'version'):
                with self.assertRaises(ProtocolError) as caught:
                    reader(b'}(U' + struct.pack('B', len(key)) + key + data + b'u.')
                self.assertTrue(len(str(caught.exception)) < 100)

    def test_nothing_stays_after_an_error(self):
        for data in (b'}' * 1000 + b'?', b'(]' * 1000, b'](' + b'})' * 1000 + b'c'):
            self.assertTrue(self.objects_made(data) < 50)


class ViewTest(unittest.TestCase):

    def test_big_bytes_are_copied_once_out_of_a_view(self):
        big = b'x' * 3000000
        payload = bytearray(b'JOB:\x80\x03B' + struct.pack('<L', len(big)) + big + b'.')
        from dispynode_lib.wire.framing import split
        value = load(split(payload)[1])[0]
        self.assertEqual(type(value), bytes)
        self.assertTrue(value == big)


if __name__ == '__main__':
    unittest.main()
