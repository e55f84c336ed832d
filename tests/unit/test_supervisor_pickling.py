from __future__ import absolute_import, division, print_function

import pickle
import sys
import unittest

from dispynode_lib.supervisor.pickles import pickling

PY2 = sys.version_info[0] == 2
# protocol 5 of Python 3.8: [bytearray(b'ab'), 'x', memoryview-free bytes b'cd']
PROTOCOL5 = (
    b'\x80\x05\x95\x1a\x00\x00\x00\x00\x00\x00\x00]\x94(\x96\x02\x00\x00\x00\x00\x00\x00\x00ab\x94'
    b'\x8c\x01x\x94C\x02cd\x94e.')


class UnpickleTest(unittest.TestCase):

    def test_what_this_python_wrote(self):
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            data = pickle.dumps([1, u'x', None], protocol)
            self.assertEqual(pickling.unpickle(data), [1, u'x', None])
            if not PY2:
                self.assertEqual(pickling.unpickle(memoryview(data)), [1, u'x', None])

    def test_protocol_5_is_read_by_every_python(self):
        self.assertEqual(pickling.unpickle(PROTOCOL5), [bytearray(b'ab'), u'x', b'cd'])

    @unittest.skipIf(PY2, 'only Python 3 reads protocol 5')
    def test_the_reader_for_newer_protocols(self):
        from dispynode_lib.supervisor.pickles import newer_pickles
        self.assertEqual(newer_pickles.load(PROTOCOL5, 'ASCII', None),
                         [bytearray(b'ab'), 'x', b'cd'])
        with self.assertRaises(ValueError):
            newer_pickles.load(b'\x80\x06N.', 'ASCII', None)
        with self.assertRaises(pickle.UnpicklingError):
            newer_pickles.load(b'\x80\x05\x97.', 'ASCII', None)

    def test_byte_strings_of_python_2_become_text(self):
        self.assertEqual(pickling.unpickle(b'\x80\x02U\x02\xc3\xa9.', python2=True),
                         b'\xc3\xa9' if PY2 else u'\xe9')
        self.assertEqual(pickling.unpickle(b'\x80\x02U\x01\xff.', python2=True),
                         b'\xff' if PY2 else u'\xff')

    def test_results_of_stat_and_statvfs_as_python_2_pickles_them(self):
        numbers = (33188, 1, 2, 3, 4, 5, 600, 7, 8, 9)
        inner = pickle.dumps((numbers, {'st_mtime': 8.5}), 2)[2:-1]
        for stand_ins in (False, True):
            found = pickling.unpickle(b'\x80\x02cos\n_make_stat_result\nq\xfe' + inner + b'R.',
                                      True, stand_ins)
            self.assertEqual((tuple(found), found.st_size, found.st_mtime), (numbers, 600, 8.5))
            inner_vfs = pickle.dumps((numbers, {}), 2)[2:-1]
            found = pickling.unpickle(
                b'\x80\x02cos\n_make_statvfs_result\nq\xfe' + inner_vfs + b'R.', True, stand_ins)
            self.assertEqual((tuple(found), found.f_bfree), (numbers, 3))

    @unittest.skipIf(PY2, 'there the module has to be there')
    def test_functions_of_os_on_windows(self):
        import os
        self.assertIs(pickling.unpickle(b'\x80\x02cnt\ngetcwd\n.', python2=True), os.getcwd)

    def test_classes_of_the_client_library_have_stand_ins(self):
        for module in (b'dispy', b'__main__'):
            data = b'\x80\x02c' + module + b'\n_Function\n(U\x01fK\x01\x85}t\x81.'
            function = pickling.unpickle(data, stand_ins=True)
            self.assertEqual((function.name, function.args, function.kwargs), ('f', (1,), {}))
        record = pickling.unpickle(b'\x80\x02cdispy\n_Compute\n)\x81}U\x01aK\x05sb.',
                                   stand_ins=True)
        self.assertEqual(record.a, 5)
        self.assertRaises((ImportError, AttributeError), pickling.unpickle,
                          b'\x80\x02cdispy\n_Compute\n)\x81.')


class Sample(object):
    """Stands for a class of the user's."""


@unittest.skipUnless(PY2, 'Python 3 has no need of it')
class Python3ClientTest(unittest.TestCase):
    """What a node on Python 2 reads from and writes for a client on Python 3."""

    def test_text_and_bytes_are_told_apart(self):
        data = b''.join(pickling.pickle([u'x', b'y', b'z' * 256], 3))
        for part in (b'X\x01\x00\x00\x00x', b'C\x01y', b'B\x00\x01\x00\x00z'):
            self.assertIn(part, data)
        self.assertEqual([type(item)
                          for item in pickling.unpickle(data)], [type(u''), bytes, bytes])

    def test_names_of_attributes_are_text_there_and_native_here(self):
        sample = Sample()
        sample.name = b'raw'
        data = b''.join(pickling.pickle(sample, 3))
        self.assertIn(b'X\x04\x00\x00\x00name', data)
        back = pickling.unpickle(data).__dict__
        self.assertEqual((back, [type(key) for key in back]), ({'name': b'raw'}, [str]))

    def test_what_python_2_lacks_is_named(self):
        with self.assertRaises(ImportError) as caught:
            pickling.unpickle(b'\x80\x04\x8c\x08builtins\x8c\x0cTimeoutError\x93.')
        self.assertIn('"TimeoutError" of the module "builtins"', str(caught.exception))

    def test_pickles_of_python_2_clients_are_as_ever(self):
        self.assertIn(b'U\x01y', b''.join(pickling.pickle([b'y'], 2)))


class PickleTest(unittest.TestCase):

    def joined(self, value, protocol):
        return b''.join([bytes(piece) for piece in pickling.pickle(value, protocol)])

    def test_no_protocol_above_the_one_asked_for(self):
        for protocol in (2, 3, 4, 5, 9):
            for value in (1, [u'x'], u'y' * 300, None):
                data = self.joined(value, protocol)
                self.assertLessEqual(bytearray(data)[1], protocol)
                self.assertEqual(pickle.loads(data), value)

    @unittest.skipIf(PY2, 'of Python 2 it is one piece')
    def test_a_big_byte_string_is_not_copied(self):
        value = b'x' * 1000000
        pieces = pickling.pickle(value, 4)
        if sys.version_info >= (3, 8):
            self.assertIn(id(value), [id(piece) for piece in pieces])
        self.assertEqual(pickle.loads(b''.join(pieces)), value)

    @unittest.skipIf(sys.version_info < (3, 8), 'there are no buffers in pickles')
    def test_a_job_whose_result_is_a_big_array_of_numpy_failed(self):
        for data in (b'x' * 300000, bytearray(300000)):
            array = memoryview(data).cast('B', (500, 600))
            pieces = pickling.pickle([pickle.PickleBuffer(array)], 5)
            self.assertEqual(sum(map(len, pieces)), len(b''.join(pieces)))
            self.assertEqual(pickle.loads(b''.join(pieces)), [data])


if __name__ == '__main__':
    unittest.main()
