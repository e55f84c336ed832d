"""Each test that docs/guarantees.rst names exists, and each attack test is named there."""
from __future__ import absolute_import, division, print_function

import ast
import io
import os
import re
import unittest

from tests.test_layers import PROJECT, parse

NAMED = re.compile(r'\b(unit|functional|attack)\.(test_\w+):\s+(test_\w+)')


def tests_of(kind, module):
    """Return the names of the tests in a module."""
    tree = parse(os.path.join(PROJECT, 'tests', kind, module + '.py'))
    return set(node.name for node in ast.walk(tree)
               if isinstance(node, ast.FunctionDef) and node.name.startswith('test_'))


class GuaranteesTest(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        with io.open(os.path.join(PROJECT, 'docs', 'guarantees.rst'), encoding='utf-8') as source:
            cls.text = source.read()
        cls.named = NAMED.findall(cls.text)

    def test_each_test_that_is_named_exists(self):
        self.assertGreater(len(self.named), 80)
        self.assertEqual([
            named for named in self.named
            if not os.path.exists(os.path.join(PROJECT, 'tests', named[0], named[1] + '.py'))
            or named[2] not in tests_of(named[0], named[1])
        ], [])

    def test_no_other_form_of_name_stands_there(self):
        self.assertEqual(len(re.findall(r'\btest_\w+:\s', self.text)), len(self.named))

    def test_each_attack_is_named(self):
        known = set((kind, module, name) for kind, module, name in self.named)
        modules = sorted(name[:-3] for name in os.listdir(os.path.join(PROJECT, 'tests', 'attack'))
                         if name.startswith('test_') and name.endswith('.py'))
        missing = [(module, name) for module in modules
                   for name in sorted(tests_of('attack', module))
                   if ('attack', module, name) not in known and name not in self.OF_TOOLS]
        self.assertEqual(missing, [])

    # of what the attacks are made with, and of how options are given
    OF_TOOLS = ('test_a_packet', 'test_ipv6_and_nonsense', 'test_an_unknown_user')


if __name__ == '__main__':
    unittest.main()
