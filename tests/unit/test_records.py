"""node.replies.records: files of computations that have gone are used again."""
from __future__ import absolute_import, division, print_function

import os
import shutil
import tempfile
import unittest

from dispynode_lib.node.replies.records import COMPUTATIONS, Records


class RecordsTest(unittest.TestCase):

    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        self.records = Records(self.folder, 600, 1)
        self.records.prepare()

    def found(self):
        """Return {name: content} of the files, those that are no records left out."""
        folder = os.path.join(self.folder, COMPUTATIONS)
        found = {}
        for name in os.listdir(folder):
            with open(os.path.join(folder, name), 'rb') as source:
                found[name] = source.read()
        return dict((name, found[name]) for name in found if not name.endswith('.part'))

    def inode(self, name):
        return os.stat(os.path.join(self.folder, COMPUTATIONS, name)).st_ino

    def test_the_next_record_takes_the_file_and_nothing_of_what_it_held(self):
        self.records.write(1, b'the first\n', b'long argument')
        first = self.inode('1')
        self.records.remove(1)
        self.assertEqual(self.found(), {})
        self.records.write(2, b'second\n', b'arg')
        self.assertEqual(self.found(), {'2': b'second\narg'})
        self.assertEqual(self.inode('2'), first)

    def test_several_at_once_have_files_of_their_own(self):
        for number in (1, 2, 3):
            self.records.write(number, b'%d' % number)
        for number in (1, 2):
            self.records.remove(number)
        self.assertEqual(len(os.listdir(os.path.join(self.folder, COMPUTATIONS))), 2)
        for number in (4, 5):
            self.records.write(number, b'%d' % number)
        self.assertEqual(self.found(), {'3': b'3', '4': b'4', '5': b'5'})

    def test_where_somebody_has_tidied_up_a_file_is_made(self):
        self.records.write(1, b'1')
        self.records.remove(1)
        shutil.rmtree(self.folder)
        self.records.prepare()
        self.records.write(2, b'2')
        self.assertEqual(self.found(), {'2': b'2'})
        self.records.remove(1)
        self.assertEqual(self.found(), {'2': b'2'})


if __name__ == '__main__':
    unittest.main()
