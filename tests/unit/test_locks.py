"""All locks of the node process are known: those that docs/architecture.rst lists."""
from __future__ import absolute_import, division, print_function

import ast
import io
import os
import re
import unittest

from tests.test_layers import PROJECT, module_files, parse

KINDS = ('Lock', 'RLock', 'Condition', 'Event', 'Semaphore', 'BoundedSemaphore', 'Barrier', 'Queue',
         'LifoQueue', 'PriorityQueue', 'SimpleQueue', 'allocate_lock')
LINE = re.compile(r'^\* ``([a-z_/]+) ([\w.]+)``: .', re.M)


def name_of(target, owner):
    """Return what a value is given to, such as Workers._lock."""
    if isinstance(target, ast.Attribute):
        return '%s.%s' % (owner, target.attr)
    return getattr(target, 'id', '?')


def made_in(node, owner=None):
    """Return the names that locks are given to in a syntax tree; ? for one that has none."""
    found = []
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            found += made_in(child, child.name)
        elif isinstance(child, ast.Assign) and any(map(makes_lock, ast.walk(child.value))):
            found += [name_of(child.targets[-1], owner)]
        elif makes_lock(child):
            found += ['?']
        else:
            found += made_in(child, owner)
    return found


def makes_lock(node):
    """Return whether this is a call that makes something of KINDS."""
    called = getattr(node, 'func', None)
    return isinstance(node, ast.Call) and (
        getattr(called, 'attr', None) in KINDS or getattr(called, 'id', None) in KINDS)


class LocksTest(unittest.TestCase):

    maxDiff = None

    def test_the_list_of_locks_is_complete(self):
        made = ['%s %s' % (module.replace('.', '/'), name)
                for module, path in module_files().items() if not module.startswith('supervisor')
                for name in made_in(parse(path))]
        with io.open(os.path.join(PROJECT, 'docs', 'architecture.rst'), encoding='ascii') as source:
            listed = [' '.join(pair) for pair in LINE.findall(source.read())]
        self.assertEqual(sorted(made), sorted(listed))

    def test_locks_of_all_kinds_are_seen(self):
        tree = ast.parse('class A(object):\n    def f(self):\n        self.x = threading.Lock()\n'
                         '        y = Condition(Lock())\n        run(threading.Event())\n')
        self.assertEqual(made_in(tree), ['A.x', 'y', '?'])


if __name__ == '__main__':
    unittest.main()
