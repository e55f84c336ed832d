"""Each opcode by itself, spelled out; what is spelled wrong is refused."""
from __future__ import absolute_import, division, print_function

import struct
import unittest

from dispynode_lib.errors import ProtocolError
from dispynode_lib.host.compat import integer_types
from dispynode_lib.wire.pickle import objects, opcodes
from dispynode_lib.wire.pickle.pickles import load
from dispynode_lib.wire.pickle.records import UNKNOWN, Record, Set

TEXT = u'\u00e9\u20ac\U0001f600'
UTF8 = TEXT.encode('utf-8')


def count4(number):
    return struct.pack('<L', number)


def count8(number):
    return struct.pack('<Q', number)


PLAIN = (
    # numbers
    (b'N.', None),
    (b'\x88.', True),
    (b'\x89.', False),
    (b'I01\n.', True),
    (b'I00\n.', False),
    (b'I140271329802704\n.', 140271329802704),
    (b'I-5\n.', -5),
    (b'I+5\n.', 5),
    (b'L5L\n.', 5),
    (b'L-123456789012345678901234567890L\n.', -123456789012345678901234567890),
    (b'L7\n.', 7),
    (b'J\xff\xff\xff\xff.', -1),
    (b'J\x00\x00\x00\x80.', -2**31),
    (b'K\xff.', 255),
    (b'M\x93\xc8.', 51347),
    (b'\x8a\x00.', 0),
    (b'\x8a\x01\xff.', -1),
    (b'\x8a\x02\xff\x00.', 255),
    (b'\x8a\x06\x84\xde\xb6\x02\xa2\x01.', 1795341868676),
    (b'\x8b\x02\x00\x00\x00\x00\x80.', -2**15),
    (b'\x8a\x09' + b'\xff' * 8 + b'\0.', 2**64 - 1),
    (b'G?\xf8\x00\x00\x00\x00\x00\x00.', 1.5),
    (b'F1.5\n.', 1.5),
    (b'F-1e300\n.', -1e300),
    # strings
    (b'U\x03a\xff\x00.', b'a\xff\x00'),
    (b'U\x00.', b''),
    (b'T\x02\x00\x00\x00ab.', b'ab'),
    (b"S'ab'\n.", b'ab'),
    (b'S"a\\x00\\n\\\'b"\n.', b"a\0\n'b"),
    (b"S''\n.", b''),
    (b'\x8c\x09' + UTF8 + b'.', TEXT),
    (b'\x8c\x00.', u''),
    (b'X' + count4(9) + UTF8 + b'.', TEXT),
    (b'\x8d' + count8(9) + UTF8 + b'.', TEXT),
    (b'V\\u20ac\\U0001f600\xe9\n.', u'\u20ac\U0001f600\u00e9'),
    (b'\x8c\x03\xed\xb2\x80.', u'\udc80'),
    (b'C\x02\x80\x02.', b'\x80\x02'),
    (b'B' + count4(2) + b'ab.', b'ab'),
    (b'\x8e' + count8(2) + b'ab.', b'ab'),
    # containers
    (b').', ()),
    (b'K\x01\x85.', (1, )),
    (b'K\x01K\x02\x86.', (1, 2)),
    (b'NNN\x87.', (None, None, None)),
    (b'(K\x01K\x02K\x03K\x04t.', (1, 2, 3, 4)),
    (b'(t.', ()),
    (b'].', []),
    (b']K\x01a.', [1]),
    (b'](K\x01K\x02e.', [1, 2]),
    (b'(K\x01K\x02l.', [1, 2]),
    (b'}.', {}),
    (b'}U\x01aK\x01s.', {u'a': 1}),
    (b'}(X\x01\x00\x00\x00aK\x01\x8c\x01bK\x02u.', {u'a': 1, u'b': 2}),
    (b'(U\x01aK\x01d.', {u'a': 1}),
    (b'}(C\x01\xe9Nu.', {u'\u00e9': None}),
    # stack and memo
    (b'K\x01K\x020.', 1),
    (b'K\x01(K\x02K\x031.', 1),
    (b'K\x01(0.', 1),
    (b'K\x05\x94K\x060h\x000.', 5),
    (b'](K\x05q\x07h\x07r\x09\x00\x00\x00j\x09\x00\x00\x00e.', [5, 5, 5]),
    (b'](K\x05p12\ng12\ne.', [5, 5]),
    (b'](K\x05\x94K\x06\x94h\x00h\x01e.', [5, 6, 5, 6]),
    (b'](\x8c\x01a\x94\x8c\x01b\x94h\x01h\x00e.', [u'a', u'b', u'b', u'a']),
    # protocol and frames
    (b'\x80\x05\x95\x02\x00\x00\x00\x00\x00\x00\x00K\x05.', 5),
    (b'\x80\x00K\x05.', 5),
    # bytes as protocol 2 of Python 3 writes them
    (b'c_codecs\nencode\nX\x03\x00\x00\x00a\xc3\xbfX\x06\x00\x00\x00latin1\x86R.', b'a\xff'),
    (b'c__builtin__\nbytes\n)R.', b''),
    (b'\x8c\x08builtins\x8c\x05bytes\x93)R.', b''),
)


class PlainTest(unittest.TestCase):

    def test_values(self):
        for data, expected in PLAIN:
            for form in (data, memoryview(data), bytearray(data)):
                value = load(form)[0]
                self.assertEqual(value, expected, data)
                # where those of 2.7 part depends on the machine
                if type(expected) not in integer_types:
                    self.assertEqual(type(value), type(expected), data)

    def test_every_listed_opcode_is_known(self):
        """PROTOCOL 2.3: seen ones, then those to be expected."""
        seen = (b'\x80\x95.(N\x88\x89IJKM\x8aGUTX\x8cC)t\x85\x86\x87]a}su\x8f\x90qh\x94c\x93\x81Rb'
                b'B\x8e\x8d\x8brjeSVL01')
        accepted = set(opcodes.OPCODES) | set(objects.OBJECT_OPCODES)
        self.assertEqual(set(bytearray(seen)) - accepted, set())
        self.assertEqual(accepted - set(bytearray(seen)), set(bytearray(b'Fldpg')))     # protocol 0

    def test_other_opcodes_are_refused(self):
        accepted = set(opcodes.OPCODES) | set(objects.OBJECT_OPCODES)
        for code in set(range(256)) - accepted:
            data = b'K\x01K\x01K\x01(' + bytes(bytearray([code])) + b'a\nb\n' * 3 + b'.'
            with self.assertRaises(ProtocolError) as caught:
                load(data)
            self.assertEqual(str(caught.exception),
                             'pickle: opcode 0x%02x at byte 7 is not accepted' % code)

    def test_form(self):
        for data, expected in ((b'\x80\x02}.', (False, 2)), (b'}.', (False, 0)),
                               (b'\x80\x05N.', (False, 5)), (b'\x80\x02U\x01a.', (True, 2)),
                               (b'T\x00\x00\x00\x00.', (True, 0)), (b"S'a'\n.", (True, 0)),
                               (b'\x80\x03C\x00.', (False, 3)),
                               (b'\x80\x04\x80\x02N.', (False, 4))):
            form = load(data)[1]
            self.assertEqual((form.python2, form.protocol), expected, data)


MALFORMED = (
    # too short or too long
    b'',
    b'K',
    b'K\x01',
    b'\x80',
    b'\x80\x02',
    b'.',
    b'J\x01\x02\x03',
    b'G\x00',
    b'M\x01',
    b'I5',
    b'N.N',
    b'NN.',
    b'(N.',
    b'U\x05ab.',
    b'T\x05\x00\x00\x00ab.',
    b'T\xff\xff\xff\xffab.',
    b'X\xff\xff\xff\x7fab.',
    b'\x8c\x05ab.',
    b'C\x05ab.',
    b'B\xff\xff\xff\xffab.',
    b'\x8d' + b'\xff' * 8 + b'ab.',
    b'\x8e' + b'\xff' * 7 + b'\x7fab.',
    b'\x8a\x05\x01.',
    b'\x8b\xff\xff\xff\xff\x01.',
    b'\x95\xff\xff\xff\xff\xff\xff\xff\xff.',
    b'\x8c',
    b'\x8c\x01',
    b'\x8c\x01a',
    b'U',
    b'\x8a',
    # numbers
    b'I\n.',
    b'Ix\n.',
    b'I1_0\n.',
    b'I 1\n.',
    b'I--1\n.',
    b'I0x10\n.',
    b'I' + b'1' * 40 + b'\n.',
    b'L\n.',
    b'LL\n.',
    b'L1LL\n.',
    b'F\n.',
    b'Fx\n.',
    b'F' + b'1' * 100 + b'\n.',
    b'\x8a\x11' + b'\1' * 17 + b'.',
    b'\x8b\x11\0\0\0' + b'\1' * 17 + b'.',
    b'I\xb2\n.',
    # strings
    b'Sab\n.',
    b"S'ab\n.",
    b"S'\n.",
    b'S\n.',
    b"S'\\x0'\n.",
    b'S"a\'\n.',
    b'\x8c\x01\xff.',
    b'X\x02\0\0\0\xc3(.',
    b'V\\u12\n.',
    # stack and memo
    b'0.',
    b'1.',
    b'a.',
    b'Na.',
    b'e.',
    b'(e.',
    b't.',
    b'l.',
    b'd.',
    b's.',
    b'}s.',
    b'}Ns.',
    b'u.',
    b'(u.',
    b'\x85.',
    b'N\x86.',
    b'NN\x87.',
    b'\x94.',
    b'q\x00.',
    b'h\x00.',
    b'j\0\0\0\0.',
    b'g0\n.',
    b'gx\n.',
    b'g\n.',
    b'px\n.',
    b'Np-1\n.',
    b'Nq\x00h\x01.',
    b'(NN\x86(.',
    # containers of the wrong kind
    b')K\x01a.',
    b'NK\x01a.',
    b'}K\x01a.',
    b']NNs.',
    b'N(NNu.',
    b'}(Nu.',
    b'}(U\x01au.',
    b'(Nd.',
    b'C\x00(K\x01e.',
    b'}K\x01Ns.',
    b'}NNs.',
    b'})Ns.',
    b'}]Ns.',
    b'}}Ns.',
    b'}G\0\0\0\0\0\0\0\0Ns.',
    b'\x8f.',
    b'\x80\x06N.',
    b'\x80\xffN.',
    # globals and objects
    b'cos\nsystem\n.',
    b'cposix\nsystem\nU\x04true\x85R.',
    b'\x8c\x02os\x8c\x06system\x93.',
    b'c\n\n.',
    b'cos',
    b'cos\n',
    b'cos\nx',
    b'cos\nsystem\nx' + b'y' * 300 + b'\n.',
    b'NN\x93.',
    b'\x8c\x02osN\x93.',
    b'c__builtin__\nset\n]\x85R.',
    b'cos\nstat_result\n.',
    b'cdispy\n_Compute\n)\x81.',
    b'c__main__\n_JobReply\n)\x81.',
    b'N)R.',
    b'N)\x81.',
    b'}}b.',
    b'N}b.',
    b'])b.',
    b'c_codecs\nencode\n.N',
    b'c_codecs\nencode\nN\x85R.',
    b'c_codecs\nencode\n\x8c\x01a\x8c\x05utf-8\x86R.',
    b'c_codecs\nencode\n\x8c\x02\xc4\x80\x8c\x06latin1\x86R.',
    b'c_codecs\nencode\n]R.',
    b'c_codecs\nencode\n)\x81.',
    b'c__builtin__\nbytes\nK\x05\x85R.',
    b'ccopy_reg\n_reconstructor\n.',
    b'c__builtin__\neval\n.',
    b'c__builtin__\ngetattr\n.',
)


class MalformedTest(unittest.TestCase):

    def test_all_are_refused_with_one_line(self):
        for data in MALFORMED:
            for form in (data, memoryview(data), b'\x80\x02' + data):
                with self.assertRaises(ProtocolError) as caught:
                    self.fail('%r gave %r' % (data, load(form)))
                text = str(caught.exception)
                self.assertTrue(
                    text.startswith('pickle: ') and '\n' not in text and len(text) < 200, text)

    def test_every_beginning_of_a_good_pickle_is_refused(self):
        for data, _expected in PLAIN:
            for size in range(len(data)):
                with self.assertRaises(ProtocolError):
                    load(data[:size])

    def test_a_global_is_named_without_its_control_characters(self):
        with self.assertRaises(ProtocolError) as caught:
            load(b'cos\r\nsys\x1b[31mtem\xc3\xa9' + b'x' * 200 + b'\n.')
        self.assertEqual(str(caught.exception),
                         'pickle: global os? sys?[31mtem?%s is not accepted here' % ('x' * 48))


KINDS = ('_Compute', '_Function', '_XferFile', 'stat', 'set')
STAT = b'(K\x01K\x02K\x03K\x04K\x05K\x06K\x07K\x08K\x09K\x0at'


class ObjectTest(unittest.TestCase):

    def test_records(self):
        for data in (
                b'cdispy\n_Compute\n)\x81}U\x01aK\x01sb.',
                b'c__main__\n_Compute\n)\x81}X\x01\0\0\0aK\x01sb.',
                b'\x8c\x05dispy\x94\x8c\x08_Compute\x94\x93\x94)\x81\x94}\x94\x8c\x01aK\x01sb.'):
            record = load(data, KINDS)[0]
            self.assertEqual((type(record), record.kind, record.fields),
                             (Record, '_Compute', {u'a': 1}))
        self.assertIs(load(b'cdispy\n_Compute\n)\x81.', KINDS)[0].fields, None)

    def test_function(self):
        record = load(b'cdispy\n_Function\nU\x01f)}\x87\x81.', KINDS)[0]
        self.assertEqual((record.kind, record.fields),
                         ('_Function', {'name': b'f', 'args': (), 'kwargs': {}}))

    def test_stat_results(self):
        for name in (b'stat_result', b'_make_stat_result'):
            record = load(
                b'cos\n' + name + b'\n' + STAT + b'}U\x08st_mtimeG?\xf8\0\0\0\0\0\0s\x86R.',
                KINDS)[0]
            self.assertEqual((record.kind, record.fields),
                             ('stat', {'mode': 1, 'size': 7, 'atime': 8, 'mtime': 1.5}))

    def test_sets(self):
        for data in (b'\x8f(K\x01K\x02\x90.', b'c__builtin__\nset\n](K\x01K\x02e\x85R.',
                     b'\x8c\x08builtins\x8c\x03set\x93](K\x01K\x02e\x85R.'):
            value = load(data, KINDS)[0]
            self.assertEqual((type(value), value.items), (Set, [1, 2]))

    def test_what_makes_no_object(self):
        for data in (b'cdispy\n_Compute\nN\x85\x81.', b'cdispy\n_Compute\n]\x81.',
                     b'cdispy\n_Compute\n)R.', b'cdispy\n_Compute\n)\x81Nb.',
                     b'cdispy\n_Compute\n)\x81}b}b.', b'cdispy\n_Compute\n)\x81}N\x86b.',
                     b'cdispy\n_Function\n)\x81.', b'cdispy\n_Function\nNN\x86\x81.',
                     b'cdispy\n_Function\nNNN\x87\x81}b.', b'cos\nstat_result\n)\x81.',
                     b'cos\nstat_result\n)R.', b'cos\nstat_result\n(NNt}\x86R.',
                     b'cos\nstat_result\n' + STAT + b'\x85R.', b'cos\nstat_result\n' + STAT +
                     b']\x86R.', b'cos\nstat_result\n(' + b'N' * 10 + b't}\x86R.',
                     b'cos\nstat_result\n(' + b'K\1' * 65 + b't}\x86R.', b'cos\nstat_result\n' +
                     STAT + b'}U\x08st_mtime]s\x86R.', b'c__builtin__\nset\n)R.',
                     b'c__builtin__\nset\n)\x85R.', b'c__builtin__\nset\n]]\x86R.',
                     b'c__builtin__\nset\n]\x85\x81.', b'\x8f}b.', b'cdispy\n_Compute\nK\x01a.'):
            with self.assertRaises(ProtocolError):
                self.fail('%r gave %r' % (data, load(data, KINDS)))


class UnknownTest(unittest.TestCase):
    """What users may put into the arguments of a setup function."""

    def load(self, data):
        return load(data, unknown=True)[0]

    def test_objects_are_placeholders(self):
        for data in (b'cos\nsystem\n.', b'cos\nsystem\nU\x04true\x85R.',
                     b'c__main__\nX\n)\x81}U\x01aNsb.', b'c__main__\nX\n)\x81(NNe.',
                     b'c__main__\nX\n)\x81(U\x01aNu.', b'c__main__\nX\n)\x81Na.',
                     b'c__main__\nX\n)}\x92.', b'(c__main__\nX\nNo.', b'(Ni__main__\nX\n.',
                     b'\x82\x01.', b'\x83\x01\x01.', b'\x84\x01\x01\x01\x01.', b'(NN\x91.',
                     b'\x96' + count8(2) + b'ab.', b'c__main__\nX\nNN\x86R.',
                     b'\x8a\x20' + b'\1' * 32 + b'.', b'cdispy\n_Compute\n)R.'):
            self.assertIs(self.load(data), UNKNOWN, data)
        self.assertEqual(self.load(b'N2\x86.'), (None, None))

    def test_plain_values_are_kept(self):
        value = self.load(b'(c__main__\nX\n)\x81K\x01](U\x01aNet.')
        self.assertEqual(value, (UNKNOWN, 1, [b'a', None]))

    def test_keys_of_any_type(self):
        value = self.load(b'}(K\x01K\x02)K\x03U\x01aK\x04u.')
        self.assertEqual(sorted(value.values()), [2, 3, 4])
        self.assertEqual(value[u'a'], 4)

    def test_a_list_may_hold_itself(self):
        value = self.load(b']q\0h\0a.')
        self.assertIs(value[0], value)

    def test_malformed_ones_are_refused_all_the_same(self):
        for data in (b'o.', b'(.', b'i.', b'\x92.', b'NN\x92.', b'\x82.', b'\x84\x01.', b'\x91.',
                     b'2.', b'P1\n.', b'NQ.', b'\x97.', b'\x98.', b'\x96' + b'\xff' * 8 + b'.',
                     b'\x8b\xff\xff\xff\x7f.', b'N}b.', b'N)\x81.'):
            with self.assertRaises(ProtocolError):
                self.fail('%r gave %r' % (data, self.load(data)))


if __name__ == '__main__':
    unittest.main()
