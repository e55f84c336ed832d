"""node/shared/known: which modules are worth having before supervisors are forked."""
from __future__ import absolute_import, division, print_function

import os
import shutil
import tempfile
import unittest

from dispynode_lib import log
from dispynode_lib.node.shared import known as lists
from dispynode_lib.node.shared.known import KnownImports

HEADER = lists.HEADER.encode('ascii') + b'\n'


class KnownImportsTest(unittest.TestCase):

    def setUp(self):
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        self.path = os.path.join(folder, 'imports')
        self.known = KnownImports(self.path)

    def test_what_one_computation_imports_is_not_worth_it(self):
        self.known.note([b'json', b'json.decoder'])
        self.assertEqual(self.known.names(), [])

    def test_what_two_import_is_kept_in_its_order_and_over_a_restart(self):
        for _ in range(2):
            self.known.note([b'json.decoder', b'json'])
        self.assertEqual(self.known.names(), [u'json.decoder', u'json'])
        self.assertEqual(KnownImports(self.path).names(), [u'json.decoder', u'json'])

    def test_what_nobody_imports_any_more_is_forgotten(self):
        for _ in range(30):
            self.known.note([b'json'])
        for _ in range(20):
            self.known.note([b'csv'])
        self.assertEqual(self.known.names(), [u'csv'])

    def test_what_is_no_name_of_a_module_is_left_out(self):
        for _ in range(2):
            self.known.note([b'../x', b'a b', b'', b'x' * 300, b'7z', b'json\n', b'_json'])
        self.assertEqual(self.known.names(), [u'_json'])

    def test_there_is_a_bound(self):
        for start in range(0, 3000, 300):
            names = [b'm%d' % number for number in range(start, start + 300)]
            self.known.note(names)
            self.known.note(names)
        self.assertEqual(len(KnownImports(self.path)._items), lists.NAMES)
        self.assertIn(u'm2999', self.known.names())

    def test_a_file_that_is_damaged_is_ignored_with_a_line(self):
        for text in (b'', HEADER + b'../x 2.0\n', HEADER + b'json\n', b'\xff\xfe'):
            with open(self.path, 'wb') as target:
                target.write(text)
            told = []
            handler, log.output.handler = log.output.handler, told.append
            try:
                self.assertEqual(KnownImports(self.path).names(), [])
            finally:
                log.output.handler = handler
            self.assertEqual(len(told), 1, text)

    def test_modules_of_another_python_are_forgotten_without_a_word(self):
        with open(self.path, 'wb') as target:
            target.write(b'imports 2 Python 1.5\njson 3.0\n')
        self.assertEqual(KnownImports(self.path).names(), [])

    def test_modules_that_were_learned_with_another_preload_are_forgotten(self):
        for words in ([u'numpy', u'learn'], [u'learn'], []):
            known = KnownImports(self.path, words)
            self.assertEqual(known.names(), [])
            for _ in range(2):
                known.note([b'numpy'])
            self.assertEqual(KnownImports(self.path, words[::-1]).names(), [u'numpy'])

    def test_without_a_file_nothing_is_remembered(self):
        known = KnownImports(None)
        for _ in range(2):
            known.note([b'json'])
        self.assertEqual(known.names(), [])
