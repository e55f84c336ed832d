from __future__ import absolute_import, division, print_function

import unittest

from dispynode_lib import packed
from dispynode_lib.host import program
from tests.test_layers import PACKAGE, imports, module_files, parse


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
        packages = set(['', 'packed', 'host', 'wire', 'supervisor'])
        needed = set(name for name in seen if not name.startswith('supervisor.')) | packages
        self.assertEqual(set(name[len(PACKAGE) + 1:] for name in program.SUPERVISORS), needed, 'see SHARED')

    def test_modules_have_their_names_in_the_tree_and_in_the_one_file(self):
        one_file = packed.importer is not None and packed.importer.files is not None
        modules = packed.importer.modules if one_file else program.read_tree(lambda name: name.startswith(PACKAGE + '.wire'))
        self.assertIn(PACKAGE + '.wire', modules)
        path, source, code = modules[PACKAGE + '.wire.control']
        self.assertTrue(path.endswith('dispynode_lib/wire/control.py'), path)
        self.assertEqual(source is not None, one_file)
        self.assertIsInstance(packed.importer.get_marshalled(PACKAGE + '.wire.control') if one_file else code, bytes)
