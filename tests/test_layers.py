"""Each module imports only from rows below its own (docs/architecture.rst, "Rooms")."""
from __future__ import absolute_import, division, print_function

import ast
import collections
import io
import os
import unittest

PROJECT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PACKAGE = 'dispynode_lib'

# top row first; one row for each folder, relative to the package (docs/architecture.rst, "Rooms")
ROWS = (
    '__main__',
    'cli',
    'node',
    'node.operator',
    'node.requests',
    'node.timed',
    'node.discovery',
    'node.computations',
    'node.replies',
    'node.files',
    'node.access',
    'node.shared',
    'supervisor',
    'supervisor.job',
    'supervisor.imports',
    'supervisor.pickles',
    'supervisor.processes',
    'options',
    'host.io',
    'host.network',
    'wire',
    'wire.pickle',
    'host.process',
    'code',
    'host',
    '',
)
MODULES = 11  # of a folder, at most: then a newcomer finds the room for a change
_trees = {}
APART = (('node', 'supervisor'), ('supervisor', 'node'))


def module_files():
    """Return {module name relative to the package: path}; packages without code are left out."""
    found = {}
    top = os.path.join(PROJECT, PACKAGE)
    for folder, _folders, names in os.walk(top):
        for name in names:
            if not name.endswith('.py'):
                continue
            path = os.path.join(folder, name)
            parts = os.path.relpath(path, top)[:-3].split(os.sep)
            if parts[-1] == '__init__':
                parts.pop()
            found['.'.join(parts)] = path
    return found


def parse(path):
    """Return the syntax tree of a file."""
    if path not in _trees:
        with io.open(path, 'rb') as source:
            _trees[path] = ast.parse(source.read(), path)
    return _trees[path]


def imports(tree, modules):
    """Return [(line, module of the package that is imported)], wherever the import stands."""
    found = []
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                found.append((node.lineno, 'a relative import'))
            names = ['%s.%s' % (node.module, alias.name) for alias in node.names]
        for name in names:
            if name == PACKAGE or name.startswith(PACKAGE + '.'):
                inner = name[len(PACKAGE) + 1:]
                if inner not in modules:                # a name in a module, not a module
                    inner = inner.rpartition('.')[0]
                found.append((node.lineno, inner))
    return found


def is_empty_package(name, path):
    """Tell whether this is an __init__.py that holds no code: it needs no row."""
    return bool(name) and path.endswith('__init__.py') and all(
        isinstance(node, (ast.Expr, ast.ImportFrom)) for node in parse(path).body)


def folder_of(name, path):
    """Return the folder of a module, relative to the package."""
    return name if path.endswith('__init__.py') else name.rpartition('.')[0] or (
        name if name == '__main__' else '')


class LayersTest(unittest.TestCase):

    def setUp(self):
        self.modules = module_files()
        self.rows = dict((name, number) for number, name in enumerate(ROWS))
        self.folders = dict((name, folder_of(name, path)) for name, path in self.modules.items())

    def imports(self):
        """Yield (module, line, module that it imports)."""
        for name, path in sorted(self.modules.items()):
            for line, other in imports(parse(path), self.modules):
                yield name, line, other

    def test_every_folder_has_a_row(self):
        used = set(self.folders.values()) - set(
            name for name, path in self.modules.items() if is_empty_package(name, path))
        used |= set(self.folders[name] for name in self.modules if not name.endswith('__init__'))
        self.assertEqual(sorted(used), sorted(ROWS))

    def test_no_folder_has_too_many_modules(self):
        count = collections.Counter(folder for name, folder in self.folders.items()
                                    if not self.modules[name].endswith('__init__.py'))
        self.assertEqual([folder for folder in count if count[folder] > MODULES], [])

    def test_imports_go_downwards(self):
        wrong = []
        for name, line, other in self.imports():
            here, there = self.folders[name], self.folders.get(other)
            if there is None or here != there and self.rows[here] >= self.rows[there]:
                wrong.append('%s, line %d: %s' % (name, line, other or PACKAGE))
        self.assertEqual(wrong, [])

    def test_modules_of_a_folder_import_each_other_in_one_direction(self):
        below = collections.defaultdict(set)
        for name, _line, other in self.imports():
            if other != name and self.folders[name] == self.folders.get(other):
                below[name].add(other)
        while below:
            free = [name for name in below if not below[name] & set(below)]
            self.assertTrue(free, 'these import each other: %s' % ', '.join(sorted(below)))
            for name in free:
                del below[name]

    def test_node_and_supervisor_do_not_import_each_other(self):
        wrong = []
        for name, line, other in self.imports():
            if (name.split('.')[0], other.split('.')[0]) in APART:
                wrong.append('%s, line %d: %s' % (name, line, other))
        self.assertEqual(wrong, [])
