from __future__ import absolute_import, division, print_function

import os
import shutil
import tempfile
import unittest

from dispynode_lib.host import files


class FilesTest(unittest.TestCase):

    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        self.path = os.path.join(self.folder, 'state.json')

    def test_a_file_is_replaced_as_a_whole(self):
        files.write(self.path, b'before')
        files.write(self.path, b'af', b'ter')
        with open(self.path, 'rb') as source:
            self.assertEqual(source.read(), b'after')
        self.assertEqual(os.stat(self.path).st_mode & 0o777, 0o600)
        self.assertEqual(os.listdir(self.folder), ['state.json'])

    def test_a_file_that_cannot_be_written_stays_as_it_was(self):
        files.write(self.path, b'before')
        self.assertRaises(TypeError, files.write, self.path, b'half', None)
        with open(self.path, 'rb') as source:
            self.assertEqual(source.read(), b'before')
        self.assertEqual(os.listdir(self.folder), ['state.json'])

    def test_a_beginning_is_written_over_in_the_same_file(self):
        self.assertFalse(files.write_over(self.path, b'now'))
        files.write(self.path, b'before')
        same = os.stat(self.path).st_ino
        self.assertTrue(files.write_over(self.path, b'now'))
        self.assertEqual(os.stat(self.path).st_ino, same)
        with open(self.path, 'rb') as source:
            self.assertEqual(source.read(), b'nowore')

    def test_a_spare_file_is_used_as_a_whole(self):
        spare = self.path + files.PARTIAL
        self.assertFalse(files.write_into(spare, self.path, b'now'))
        files.write(spare, b'before')
        same = os.stat(spare).st_ino
        self.assertTrue(files.write_into(spare, self.path, b'n', b'ow'))
        self.assertEqual(os.stat(self.path).st_ino, same)
        with open(self.path, 'rb') as source:
            self.assertEqual(source.read(), b'now')
        self.assertEqual(os.listdir(self.folder), ['state.json'])
        self.assertTrue(files.rename(self.path, spare))
        self.assertFalse(files.rename(self.path, spare))

    def test_what_a_killed_writer_has_left_is_removed(self):
        files.write(self.path, b'whole')
        with open(self.path + '.12ab.part', 'wb') as left:
            left.write(b'ha')
        files.remove_partial(self.folder)
        self.assertEqual(os.listdir(self.folder), ['state.json'])
        files.remove_partial(os.path.join(self.folder, 'missing'))

    def test_removing_what_is_not_there_is_no_error(self):
        files.remove(self.path)
        self.assertFalse(files.remove_empty(os.path.join(self.folder, 'missing')))

    def test_a_folder_is_in_place_if_no_part_of_its_path_is_a_link(self):
        top = os.path.realpath(self.folder)
        inside, moved = os.path.join(top, 'a', 'b'), os.path.join(top, 'c')
        self.assertTrue(files.is_in_place(inside))              # it is not there: no link either
        os.makedirs(inside)
        self.assertTrue(files.is_in_place(inside))
        os.rename(os.path.join(top, 'a'), moved)
        os.symlink(moved, os.path.join(top, 'a'))
        self.assertFalse(files.is_in_place(inside))
        self.assertFalse(files.is_in_place(os.path.join(top, 'a')))

    def test_a_folder_with_something_in_it_stays(self):
        files.make_folder(os.path.join(self.folder, 'a', 'b'))
        files.make_folder(os.path.join(self.folder, 'a', 'b'))
        self.assertFalse(files.remove_empty(os.path.join(self.folder, 'a')))
        self.assertTrue(files.remove_empty(os.path.join(self.folder, 'a', 'b')))
