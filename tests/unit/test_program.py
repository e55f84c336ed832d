from __future__ import absolute_import, division, print_function

import os
import shutil
import tempfile
import unittest

from dispynode_lib.code import packed
from dispynode_lib.code import image
from tests.test_layers import PACKAGE, imports, module_files, parse


class StoreTest(unittest.TestCase):

    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)

    def kept(self, store):
        pieces = [b'one', b'', b'x' * 100000]
        handles = [store.put(piece) for piece in pieces]
        self.assertEqual([store.get(handle) for handle in handles[::-1]], pieces[::-1])
        return [isinstance(handle, bytes) for handle in handles]

    def test_a_file_without_a_name(self):
        with open(os.path.join(self.folder, '.code'), 'w') as left:
            left.write('by a node that was killed')
        self.assertEqual(self.kept(image.Store(self.folder)), [False] * 3)
        self.assertEqual(os.listdir(self.folder), [])

    def test_what_somebody_changes_is_not_used(self):
        store = image.Store(self.folder)
        handles = [store.put(b'one'), store.put(b'two')]
        path = '/proc/self/fd/%d' % store._fd if os.path.exists(
            '/proc/self/fd') else '/dev/fd/%d' % store._fd
        with open(path, 'r+b') as changed:
            changed.write(b'ONE')
        self.assertRaises(EnvironmentError, store.get, handles[0])
        self.assertEqual(store.get(handles[1]), b'two')

    def test_memory_where_there_can_be_no_file(self):
        self.assertEqual(self.kept(image.Store()), [True] * 3)
        self.assertEqual(self.kept(image.Store(os.path.join(self.folder, 'missing'))), [True] * 3)

    @unittest.skipUnless(os.path.exists('/dev/full'), 'no device that is always full')
    def test_memory_when_the_disk_is_full(self):
        store = image.Store(self.folder)
        first = store.put(b'first')
        full = os.open('/dev/full', os.O_WRONLY)
        self.addCleanup(os.close, full)
        store._fd, before = full, store._fd
        second = store.put(b'second')
        store._fd = before
        self.assertIsInstance(second, bytes)
        self.assertEqual([store.get(first), store.get(second), store.get(store.put(b'third'))],
                         [b'first', b'second', b'third'])


class SupervisorsCodeTest(unittest.TestCase):

    def test_it_is_all_that_supervisors_import_and_no_more(self):
        files = module_files()
        waiting = [name for name in files if name.startswith('supervisor.')]
        seen = set()
        while waiting:
            name = waiting.pop()
            if name in files and name not in seen:
                seen.add(name)
                waiting += [other for _line, other in imports(parse(files[name]), files)]
        packages = set([
            '', 'code', 'code.packed', 'host', 'host.network', 'wire', 'wire.pickle', 'supervisor'
        ])
        needed = set(name for name in seen if not name.startswith('supervisor.')) | packages
        self.assertEqual(set(name[len(PACKAGE) + 1:]
                             for name in image.SUPERVISORS), needed, 'see SHARED')

    def test_modules_have_their_names_in_the_tree_and_in_the_one_file(self):
        one_file = packed.importer is not None and packed.importer.files is not None
        modules = packed.importer.modules if one_file else dict(
            image.read_tree(lambda name: name.startswith(PACKAGE + '.wire')))
        self.assertIn(PACKAGE + '.wire', modules)
        path, source, code = modules[PACKAGE + '.wire.control']
        self.assertTrue(path.endswith('dispynode_lib/wire/control.py'), path)
        self.assertEqual(source is not None, one_file)
        self.assertIsInstance(
            packed.importer.get_marshalled(PACKAGE + '.wire.control') if one_file else code, bytes)
