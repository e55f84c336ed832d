"""Round trips with the pickle module of this Python: what it writes we read, what we write it
reads."""
from __future__ import absolute_import, division, print_function

import os
import pickle
import unittest

from dispynode_lib.host.compat import PY2, integer_types
from dispynode_lib.wire.pickle import pickles
from dispynode_lib.wire.pickle.pickles import dump, load
from dispynode_lib.wire.pickle.records import UNKNOWN, Record, Set
from tests.support.standins import dispy_module, instance

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
OBJECT_PROTOCOLS = range(2, pickle.HIGHEST_PROTOCOL + 1)
KINDS = ('_Compute', '_Function', '_XferFile', '_DispyJob_', '_JobReply', 'DispyNodeAvailInfo',
         'stat', 'set')

NUMBERS = [
    0, 1, -1, 255, 256, 65535, 65536, 2**31 - 1, 2**31, -2**31, -2**31 - 1, 2**32, 140271329802704,
    2**63 - 1, 2**63, 2**64 - 1, -2**63, 2**100, -2**100, 127, 128, -128, -129, 32767, 32768
]
TEXTS = [
    u'', u'a', u'\u00e9\u20ac\U0001f600', u'x' * 255, u'x' * 256, u'y' * 70000,
    u'line\nline\\u20ac\r\0', u'\udc80'
]
BINARIES = [
    b'', b'a', b'\x80\x02K\x05.',
    bytes(bytearray(range(256))), b'z' * 255, b'z' * 70000, b"'\"\n\\"
]
OTHERS = [None, True, False, 0.0, -0.0, 1.5, -1e300, 1e-300, 1795341120.4599385, float('inf')]
CONTAINERS = [(), (1, ), (1, 2), (1, 2, 3), (1, 2, 3, 4), [], [1], [1, [2, [3, (4, {u'a': []})]]],
              list(range(3000)), {}, {u'a': 1}, {u'a': {u'b': {u'c': None}}},
              dict((u'%d' % n, n) for n in range(900)), [(u'a', u'a')] * 3]


class User(object):
    """A class of somebody else."""

    def __init__(self):
        self.me = self


class ReadWhatPickleWritesTest(unittest.TestCase):

    def check(self, value, protocol):
        data = pickle.dumps(value, protocol)
        for form in (data, memoryview(data), bytearray(data)):
            read, form = load(form)
            self.assertEqual(read, value)
            self.assertTrue(isinstance(read, integer_types) or type(read) is type(value))
            self.assertEqual(form.protocol, protocol if protocol > 1 else 0)
        return form

    def test_plain_values(self):
        for protocol in PROTOCOLS:
            for value in NUMBERS + TEXTS + OTHERS + CONTAINERS:
                form = self.check(value, protocol)
                self.assertFalse(form.python2)

    def test_bytes(self):
        for protocol in PROTOCOLS:
            for value in BINARIES:
                self.assertEqual(self.check(value, protocol).python2, PY2)

    def test_values_that_occur_again(self):
        shared = [u'text', {u'key': u'text'}]
        for protocol in PROTOCOLS:
            read = load(pickle.dumps([shared, shared, u'text'], protocol))[0]
            self.assertEqual(read, [shared, shared, u'text'])
            self.assertIs(read[0], read[1])

    @unittest.skipIf(PY2, 'no such form')
    def test_without_memo(self):
        import io
        for protocol in PROTOCOLS:
            for value in CONTAINERS:
                out = io.BytesIO()
                pickler = pickle.Pickler(out, protocol)
                pickler.fast = True
                pickler.dump(value)
                self.assertEqual(load(out.getvalue())[0], value)

    def test_both_picklers_of_python_2(self):
        if PY2:
            import cPickle
            for protocol in PROTOCOLS:
                for value in NUMBERS + TEXTS + OTHERS + CONTAINERS + BINARIES:
                    self.assertEqual(load(cPickle.dumps(value, protocol))[0], value)

    def test_sets(self):
        for protocol in PROTOCOLS:
            read = load(pickle.dumps(set([1, 2, 3]), protocol), ('set',))[0]
            self.assertEqual((type(read), sorted(read.items)), (Set, [1, 2, 3]))

    def test_stat_results(self):
        result = os.stat(__file__)
        for protocol in PROTOCOLS:
            read = load(pickle.dumps(result, protocol), ('stat',))[0]
            self.assertEqual((read.kind, read.fields), ('stat', {
                'mode': result.st_mode, 'size': result.st_size, 'atime': result.st_atime,
                'mtime': result.st_mtime}))

    def test_records(self):
        for module_name in ('dispy', '__main__'):
            with dispy_module(module_name) as module:
                sent = instance(module._Compute, name=u'f',
                                files=[instance(module._XferFile, size=1)] * 2,
                                setup=module._Function(u's', (1, ), {u'k': 2}))
                pickled = [pickle.dumps(sent, protocol) for protocol in OBJECT_PROTOCOLS]
            for data in pickled:
                read = load(data, KINDS)[0]
                self.assertEqual((read.kind, sorted(read.fields)),
                                 ('_Compute', ['files', 'name', 'setup']))
                self.assertEqual([item.fields for item in read.fields['files']], [{'size': 1}] * 2)
                self.assertEqual(read.fields['setup'].fields,
                                 {'name': u's', 'args': (1, ), 'kwargs': {u'k': 2}})

    def test_records_that_a_message_must_not_hold(self):
        with dispy_module() as module:
            data = pickle.dumps(instance(module._Compute), 2)
        for kinds in ((), ('_XferFile', 'stat', 'set')):
            with self.assertRaises(pickles.ProtocolError) as caught:
                load(data, kinds)
            self.assertIn('dispy _Compute', str(caught.exception))

    def test_objects_of_users(self):
        value = {
            u'args': (User(), set([1]), frozenset([2]), 3 + 4j, bytearray(b'ab'), User, len, {
                1: 2, (3, 4): 5
            }, 2**500, pickle.PickleError(u'x'))
        }
        for protocol in OBJECT_PROTOCOLS:
            data = pickle.dumps(value, protocol)
            read = load(data, unknown=True)[0]
            self.assertEqual(type(read[u'args']), tuple)
            self.assertEqual(len(read[u'args']), 10)
            self.assertIs(read[u'args'][0], UNKNOWN)
            with self.assertRaises(pickles.ProtocolError):
                load(data)


class WriteWhatPickleReadsTest(unittest.TestCase):

    def for_python2(self, value):
        """Return the value as pickle reads what was written for a Python 2 peer, text instead of
        byte strings."""
        data = dump(value, True)
        self.assertEqual(data[:2], b'\x80\x02')
        return pickle.loads(data) if PY2 else pickle.loads(data, encoding='utf-8')

    def for_python3(self, value):
        """Return the value as pickle reads what was written for a Python 3 peer."""
        data = dump(value, False)
        self.assertEqual(data[:2], b'\x80\x03')
        return pickle.loads(data)

    def test_plain_values_for_python_2(self):
        for value in NUMBERS + OTHERS + CONTAINERS:
            self.assertEqual(self.for_python2(value), value)
        for value in TEXTS[:-1]:
            read = self.for_python2(value)
            self.assertEqual(read, value.encode('utf-8') if PY2 else value)
            self.assertEqual(type(read), str)
        if PY2:
            for value in BINARIES:
                self.assertEqual(self.for_python2(value), value)

    @unittest.skipIf(PY2, 'Python 2 does not read protocol 3')
    def test_plain_values_for_python_3(self):
        for value in NUMBERS + OTHERS + CONTAINERS + TEXTS + BINARIES:
            read = self.for_python3(value)
            self.assertEqual(read, value)
            self.assertEqual(type(read), type(value))

    def test_nothing_but_byte_strings_for_python_2(self):
        data = dump({u'a': u'b', 'c': [u'd' * 300, b'e']}, True)
        for opcode in (b'X\x01', b'C\x01', b'X\x2c', b'\x8c'):
            self.assertNotIn(opcode, data)

    def test_own_reader(self):
        for value in NUMBERS + OTHERS + CONTAINERS[:-1]:
            for python2 in (True, False):
                self.assertEqual(load(dump(value, python2))[0], value)
        for value in TEXTS:
            self.assertEqual(load(dump(value, False))[0], value)
        for value in BINARIES:
            self.assertEqual(load(dump(value, True))[0], value)

    def test_records(self):
        if not PY2:
            os._make_stat_result = os.stat_result           # as the other Python calls it
            self.addCleanup(delattr, os, '_make_stat_result')
        record = Record(
            '_Compute', {
                'name': u'f', 'setup': Record('_Function',
                                              {'name': u's', 'args': (), 'kwargs': {}}),
                'files': Set([
                    Record(
                        '_XferFile', {
                            'sep': u'/', 'stat_buf': Record(
                                'stat', {'mode': 0o100644, 'size': 3, 'atime': 1.5, 'mtime': 2.5})
                        })
                ])
            })
        for read_it in (self.for_python2,) if PY2 else (self.for_python2, self.for_python3):
            with dispy_module() as module:
                read = read_it(record)
                self.assertIs(type(read), module._Compute)
                self.assertEqual(read.setup, module._Function('s', (), {}))
            (sent,) = read.files
            self.assertEqual((sent.sep, type(sent.stat_buf)), ('/', os.stat_result))
            stat = sent.stat_buf
            self.assertEqual((stat.st_mode, stat.st_size, stat.st_atime, stat.st_mtime),
                             (0o100644, 3, 1.5, 2.5))

    def test_own_reader_with_many_records_and_no_memo(self):
        """Containers that are thrown away while reading must not be mistaken for others."""
        files = [
            Record('_XferFile',
                   {'stat_buf': Record('stat', {'mode': 1, 'size': n, 'atime': 1.0, 'mtime': 2.0})})
            for n in range(2000)
        ]
        for python2 in (True, False):
            read = load(dump(Record('_Compute', {'files': files}), python2), KINDS)[0]
            self.assertEqual(
                [item.fields['stat_buf'].fields['size'] for item in read.fields['files']],
                list(range(2000)))

    def test_declared_protocol(self):
        self.assertEqual(dump(None, False), b'\x80\x03N.')
        self.assertEqual(dump(5, True), b'\x80\x02K\x05.')

    def test_what_is_no_plain_value(self):
        for value in (object(), set(), 3 + 4j, UNKNOWN):
            with self.assertRaises(TypeError):
                dump(value, False)


if __name__ == '__main__':
    unittest.main()
