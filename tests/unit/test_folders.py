"""The folder of a computation: what is refused, what is counted, what is removed."""
from __future__ import absolute_import, division, print_function

import errno
import os
import shutil
import tempfile
import threading
import unittest

from dispynode_lib.errors import PeerGone, Refused
from dispynode_lib.node.files.folders import Folders, clean_parts, is_below


class FakeFile(object):
    def __init__(self, name=u'/home/ann/data.txt', dest_path=u'', content=b'abc', mtime=1000.0,
                 mode=0o100640, sep=u'/', size=None):
        self.name, self.dest_path, self.sep, self.mode = name, dest_path, sep, mode
        self.size = len(content) if size is None else size
        self.atime = self.mtime = mtime
        self.content = content


class FakeStream(object):
    """Plays the sender: gives the file's bytes, records the offsets it was told."""

    def __init__(self, content, breaks_after=None):
        self.content, self.at, self.told, self.breaks_after = content, 0, [], breaks_after

    def send_frame(self, payload):
        self.told.append(payload)

    timeout = 5.0

    def wait_in_kernel(self):
        pass

    def read_some_into(self, view):
        if self.breaks_after is not None and self.at + len(view) > self.breaks_after:
            raise PeerGone('gone')
        view[:] = self.content[self.at:self.at + len(view)]
        self.at += len(view)
        return len(view)


class FolderTest(unittest.TestCase):
    def setUp(self):
        self.root = os.path.realpath(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.root, True)
        self.folders = Folders(self.root)

    def folder(self, dest_path=None, name=u'compute', limit=0):
        self.folders.max_file_size = limit
        return self.folders.open(u'10.0.0.1', name, 7, dest_path, timeout=0.0)

    def receive(self, folder, record, **options):
        stream = FakeStream(record.content, **options)
        folder.receive(record, stream, lambda number: number)
        return stream.told

    def leftovers(self):
        return sorted(os.path.relpath(os.path.join(where, name), self.root)
                      for where, _folders, names in os.walk(self.root) for name in names)

    def test_a_file_is_stored_with_its_times_and_mode(self):
        folder = self.folder()
        self.assertEqual(self.receive(folder, FakeFile(dest_path=u'in/deep')), [0, 3])
        path = os.path.join(folder.path, 'in', 'deep', 'data.txt')
        with open(path, 'rb') as stream:
            self.assertEqual(stream.read(), b'abc')
        self.assertEqual(os.stat(path).st_mtime, 1000.0)
        self.assertEqual(os.stat(path).st_mode & 0o7777, 0o640)

    def test_offsets_follow_the_chunks(self):
        content = b'x' * 2500000
        self.assertEqual(self.receive(self.folder(), FakeFile(content=content)),
                         [0, 1024000, 2048000, 2500000])

    def test_an_empty_file_is_answered_once(self):
        folder = self.folder()
        self.assertEqual(self.receive(folder, FakeFile(content=b'')), [0])
        self.assertEqual(os.path.getsize(os.path.join(folder.path, 'data.txt')), 0)

    def test_the_same_file_is_not_sent_again(self):
        folder = self.folder()
        self.receive(folder, FakeFile())
        self.assertEqual(self.receive(folder, FakeFile()), [3])

    def test_setuid_bits_are_dropped(self):
        folder = self.folder()
        self.receive(folder, FakeFile(mode=0o104755))
        self.assertEqual(os.stat(os.path.join(folder.path, 'data.txt')).st_mode & 0o7777, 0o755)

    def test_paths_outside_the_folder_are_refused(self):
        folder = self.folder()
        for record in (FakeFile(dest_path=u'../up'), FakeFile(name=u'/a/..'),
                       FakeFile(name=u'/a/b/'), FakeFile(dest_path=u'a\0b'),
                       FakeFile(name=u'..\\..\\x\\..', sep=u'\\')):
            with self.assertRaises(Refused):
                self.receive(folder, record)
        self.assertEqual(self.leftovers(), [])

    def test_an_absolute_dest_path_of_a_file_ends_below_the_folder(self):
        folder = self.folder()
        self.receive(folder, FakeFile(dest_path=u'/etc'))
        self.assertTrue(os.path.exists(os.path.join(folder.path, 'etc', 'data.txt')))

    def test_a_link_that_leads_out_is_refused(self):
        folder = self.folder()
        os.symlink('/tmp', os.path.join(folder.path, 'out'))
        with self.assertRaises(Refused):
            self.receive(folder, FakeFile(dest_path=u'out'))

    def test_dest_path_with_dots_is_refused(self):
        with self.assertRaises(Refused):
            self.folder(u'a/../../b')

    def test_dest_path_of_several_levels_is_made(self):
        self.assertEqual(
            self.folder(u'a/b/c').path, os.path.join(self.root, '10.0.0.1', 'a', 'b', 'c'))

    def test_a_program_name_does_not_choose_the_folder(self):
        folder = self.folder(name=u'/usr/bin/../../etc/x;y')
        self.assertEqual(os.path.dirname(folder.path), os.path.join(self.root, '10.0.0.1'))

    def test_a_file_above_the_limit_is_refused(self):
        with self.assertRaises(Refused):
            self.receive(self.folder(limit=2), FakeFile())

    def test_a_broken_transfer_leaves_no_file(self):
        folder = self.folder()
        with self.assertRaises(PeerGone):
            self.receive(folder, FakeFile(content=b'x' * 2000000), breaks_after=1024000)
        self.assertEqual(self.leftovers(), [])

    def test_a_file_for_which_there_is_no_room_is_read_as_far_as_asked_and_leaves_nothing(self):
        written, write = [], os.write

        def write_until_full(fd, data):
            if sum(written) > 1200000:
                raise OSError(errno.ENOSPC, 'full')
            written.append(write(fd, data))
            return written[-1]

        folder, record = self.folder(), FakeFile(content=b'x' * 4000000)
        stream = FakeStream(record.content)
        os.write = write_until_full
        try:
            with self.assertRaises(EnvironmentError):
                folder.receive(record, stream, lambda number: number)
        finally:
            os.write = write
        self.assertEqual(stream.told, [0, 1024000])
        self.assertEqual(stream.at, 2048000)            # all that its sender may have sent by now
        self.assertEqual(self.leftovers(), [])

    def test_a_file_that_cannot_be_made_is_read_as_far_as_asked(self):
        folder, record = self.folder(), FakeFile(content=b'x' * 4000000, dest_path=u'in')
        with open(os.path.join(folder.path, 'in'), 'w'):
            pass
        stream = FakeStream(record.content)
        with self.assertRaises(EnvironmentError):
            folder.receive(record, stream, lambda number: number)
        self.assertEqual((stream.told, stream.at), ([0], 1024000))

    def test_a_folder_replaced_by_a_link_after_a_file_came_is_noticed(self):
        for above in (False, True):
            folder, elsewhere = self.folder(u'a%d/b' % above), tempfile.mkdtemp()
            self.addCleanup(shutil.rmtree, elsewhere, True)
            os.mkdir(os.path.join(elsewhere, os.path.basename(folder.path)))
            self.receive(folder, FakeFile())
            place = os.path.dirname(folder.path) if above else folder.path
            os.rename(place, place + '.moved')
            os.symlink(elsewhere, place)
            for name in (u'one', u'two'):
                with self.assertRaises(Refused):
                    self.receive(folder, FakeFile(name=name))
            folder.close(True)
            self.assertEqual([names for _where, _folders, names in os.walk(elsewhere) if names], [])

    def test_a_folder_that_a_job_removed_and_made_again_is_used(self):
        folder = self.folder()
        for number in range(3):
            self.receive(folder, FakeFile(name=u'%d' % number))
            shutil.rmtree(folder.path)
            if number:
                os.mkdir(folder.path)
        self.receive(folder, FakeFile())
        self.assertEqual([os.path.basename(path) for path in self.leftovers()], ['data.txt'])

    def test_a_file_of_one_job_goes_with_it(self):
        folder, record = self.folder(), FakeFile()
        self.receive(folder, record)
        folder.release([record])
        self.assertEqual(self.leftovers(), [])

    def test_a_file_used_twice_stays_until_the_second_job_has_ended(self):
        folder, record = self.folder(), FakeFile()
        self.receive(folder, record)
        self.receive(folder, record)
        folder.release([record])
        self.assertEqual(len(self.leftovers()), 1)
        folder.release([record])
        self.assertEqual(self.leftovers(), [])

    def test_removal_takes_what_jobs_made_and_empty_parents(self):
        folder = self.folder(u'a/b')
        self.receive(folder, FakeFile())
        with open(os.path.join(folder.path, 'made'), 'w') as stream:
            stream.write('x')
        folder.remove()
        self.assertEqual(os.listdir(self.root), [])

    def test_a_file_found_there_and_used_again_survives_removal(self):
        folder = self.folder(u'a')
        path = os.path.join(folder.path, 'data.txt')
        with open(path, 'wb') as stream:
            stream.write(b'abc')
        os.chmod(path, 0o640)
        os.utime(path, (1000.0, 1000.0))
        self.assertEqual(self.receive(folder, FakeFile()), [3])
        folder.remove()
        self.assertEqual(self.leftovers(), ['10.0.0.1/a/data.txt'])

    def test_with_cleanup_false_everything_stays_unless_the_node_is_told_otherwise(self):
        for forced in (False, True):
            self.folders.force_cleanup = forced
            folder = self.folder(u'b' if forced else u'a')
            self.receive(folder, FakeFile())
            folder.close(False)
            self.assertEqual(self.leftovers(), ['10.0.0.1/a/data.txt'])

    def test_while_another_computation_uses_the_folder_only_own_files_go(self):
        one, two = self.folder(u'a'), self.folder(u'a')
        self.receive(one, FakeFile())
        self.receive(two, FakeFile(name=u'/x/other'))
        with open(os.path.join(one.path, 'made'), 'w') as stream:
            stream.write('x')
        one.close(True)
        self.assertEqual(self.leftovers(), ['10.0.0.1/a/made', '10.0.0.1/a/other'])
        two.close(True)
        self.assertEqual(os.listdir(self.root), [])

    def test_a_folder_above_one_in_use_is_not_removed(self):
        one, two = self.folder(u'a'), self.folder(u'a/b')
        self.receive(two, FakeFile())
        one.close(True)
        self.assertEqual(self.leftovers(), ['10.0.0.1/a/b/data.txt'])
        self.assertFalse(self.folder(u'ab').overlaps(one))

    def test_a_new_computation_waits_until_the_ended_one_has_left(self):
        one, order = self.folder(u'a'), []
        self.receive(one, FakeFile())
        one.leave()

        def open_again():
            self.folders.open(u'10.0.0.1', u'f', 8, u'a', timeout=20.0)
            order.append('opened')

        thread = threading.Thread(target=open_again)
        thread.start()
        order.append('closing')
        one.close(True)
        thread.join(20)
        self.assertEqual(order, ['closing', 'opened'])
        self.assertTrue(os.path.isdir(one.path))

    def test_below_compares_components_not_letters(self):
        self.assertTrue(is_below(self.root + '/x', self.root))
        self.assertFalse(is_below(self.root + 'x', self.root))

    def test_windows_separators_are_translated(self):
        self.assertEqual(clean_parts(u'a\\b', u'\\', 'it'), ['a', 'b'])


if __name__ == '__main__':
    unittest.main()
