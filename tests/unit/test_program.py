from __future__ import absolute_import, division, print_function

import os
import py_compile
import shutil
import subprocess
import sys
import tempfile
import traceback
import unittest

from dispynode_lib.code import bytecode, image, packed
from tests.test_layers import PACKAGE, PROJECT, imports, module_files, parse


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


class StartTest(unittest.TestCase):

    # what a node loads when somebody asks for it, or once it serves
    LATER = ('cli.check', 'cli.console', 'cli.ctl', 'cli.printed', 'code.image',
             'host.process.detach', 'host.process.notify', 'node.operator.commands',
             'node.operator.health', 'node.operator.metrics', 'node.operator.page',
             'node.shared.ledger', 'options.configfile')
    MOST = 121                              # modules; each makes a start 0.3 % longer

    def test_a_start_loads_what_every_node_needs_and_no_more(self):
        program = ('import sys; sys.path.insert(0, %r); import dispynode_lib.cli.main, '
                   'dispynode_lib.host.surroundings, dispynode_lib.node.node; '
                   'print(" ".join(name for name in sys.modules if sys.modules[name]))' % PROJECT)
        told = subprocess.check_output([sys.executable, '-c', program]).decode('ascii').split()
        loaded = set(name[len(PACKAGE) + 1:] for name in told if name.startswith(PACKAGE))
        self.assertEqual(sorted(loaded & set(self.LATER)), [])
        self.assertLessEqual(len(loaded), self.MOST)


@unittest.skipIf(sys.version_info[0] == 2, 'left to Python 2.7 as a whole')
class KeptImporterTest(unittest.TestCase):

    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        self.importer = bytecode.KeptImporter()
        # a folder for all that is kept (PYTHONPYCACHEPREFIX) does not follow what is moved
        self.addCleanup(setattr, sys, 'pycache_prefix', getattr(sys, 'pycache_prefix', None))
        sys.pycache_prefix = None

    def write(self, name, text, folder=None):
        path = os.path.join(folder or self.folder, name)
        if not os.path.isdir(os.path.dirname(path)):
            os.makedirs(os.path.dirname(path))
        with open(path, 'w') as source:
            source.write(text)
        return path

    def keep(self, name, text, **more):
        path = self.write(name, text)
        py_compile.compile(path, doraise=True, **more)
        return path

    def find(self, name='dispynode_lib.mine', folder=None):
        return self.importer.find_spec(name, [folder or self.folder])

    def load(self, spec):
        from importlib.util import module_from_spec     # Python 2 has none
        module = module_from_spec(spec)
        self.importer.exec_module(module)
        return module

    def test_what_is_kept_is_imported(self):
        path = self.keep('mine.py', 'mark = 4\n')
        spec = self.find()
        self.assertEqual((spec.origin, spec.submodule_search_locations), (path, None))
        self.assertEqual(self.load(spec).mark, 4)

    def test_a_source_that_has_changed_is_left_to_python(self):
        path = self.keep('mine.py', 'mark = 4\n')
        self.write('mine.py', 'mark = 55\n')
        self.assertIsNone(self.find())
        self.keep('mine.py', 'mark = 55\n')
        os.utime(path, (1, 1))
        self.assertIsNone(self.find())

    def test_what_is_not_kept_is_kept_without_docstrings(self):
        path = self.write('mine.py', '"""A text."""\nmark = 4\n')
        cached = bytecode.external.cache_from_source(path, optimization=2)
        self.addCleanup(setattr, sys, 'dont_write_bytecode', sys.dont_write_bytecode)
        for sys.dont_write_bytecode in (True, False):
            module = self.load(self.find())
            self.assertEqual((module.__doc__, module.mark), (None, 4))
            self.assertEqual(os.path.exists(cached), not sys.dont_write_bytecode)
        os.utime(cached, (1, 1))
        self.assertEqual(self.load(self.find()).mark, 4)
        self.assertEqual(os.stat(cached).st_mtime, 1)           # it is read, not made again
        self.write('mine.py', 'mark = 55\n')
        self.assertEqual(self.load(self.find()).mark, 55)
        self.keep('mine.py', 'mark = 55\n', optimize=2)         # as Python itself would
        self.assertEqual(self.load(self.find()).mark, 55)

    def test_what_is_not_ours_is_left_to_python(self):
        self.keep('other.py', '')
        self.assertIsNone(self.find('other'))
        self.assertIsNone(self.importer.find_spec('dispynode_lib.other'))
        self.assertIsNone(self.find('dispynode_lib.missing'))
        self.assertIsNone(self.find(folder=os.path.join(self.folder, 'dispynode.zip', 'inside')))

    @unittest.skipIf(sys.version_info < (3, 7), 'there are none on 3.6')
    def test_code_known_by_the_hash_of_its_source_is_left_to_python(self):
        self.keep('mine.py', 'mark = 4\n',
                  invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
        self.assertIsNone(self.find())

    def test_a_package_goes_before_what_an_older_release_has_left(self):
        self.keep('mine.py', 'mark = "old"\n')
        path = self.keep('mine/__init__.py', 'mark = "new"\n')
        spec = self.find()
        self.assertEqual(spec.submodule_search_locations, [os.path.dirname(path)])
        self.assertEqual(self.load(spec).mark, 'new')

    def test_errors_name_the_file_where_it_lies_now(self):
        self.keep('before/mine.py', 'def fail():\n    raise ValueError(4)\n')
        after = os.path.join(self.folder, 'after')
        os.rename(os.path.join(self.folder, 'before'), after)
        module = self.load(self.find(folder=after))
        try:
            module.fail()
        except ValueError:
            shown = traceback.format_exc()
        self.assertIn('"%s", line 2, in fail\n    raise ValueError(4)' %
                      os.path.join(after, 'mine.py'), shown)
