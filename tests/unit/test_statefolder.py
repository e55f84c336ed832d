"""node.operator.statefolder: what a dead node has written is believed as far as it must be, and no
further."""
from __future__ import absolute_import, division, print_function

import json
import os
import shutil
import tempfile
import unittest

from dispynode_lib.node.operator.statefolder import StateFolder
from dispynode_lib.options.parser import Options


class RecordsTest(unittest.TestCase):

    def setUp(self):
        self.root = os.path.realpath(tempfile.mkdtemp(prefix='dispynode-state-'))
        self.addCleanup(shutil.rmtree, self.root, True)
        before = os.getcwd()
        self.addCleanup(os.chdir, before)
        os.chdir(self.root)                 # as a node that was started there
        options = Options()
        options.dest_path_prefix, options.node_port = self.root, 7
        self.state = StateFolder(options)
        for name in ('127.0.0.1/kept/file', '127.0.0.1/left/file', '.node-7/computations/x',
                     '.node-7/undelivered/file', '.node-8/file'):
            path = os.path.join(self.root, name)
            if not os.path.isdir(os.path.dirname(path)):
                os.makedirs(os.path.dirname(path))
            open(path, 'w').close()
        os.chmod(self.state.path, 0o700)

    def tidy(self, record, state='{}'):
        """Have the state folder opened and tidied when it holds this record (text) and this
        state."""
        for name, text in (('computations/1', record), ('state.json', state)):
            with open(os.path.join(self.state.path, name), 'w') as target:
                target.write(text)
        self.state.open()
        self.addCleanup(self.state.close)
        self.state.set_aside()
        self.state.leftovers()()

    def left(self):
        """Return which of the files are left."""
        return sorted(
            os.path.relpath(os.path.join(where, name), self.root)
            for where, _folders, names in os.walk(self.root) for name in names if name == 'file')

    ALL = ['.node-7/undelivered/file', '.node-8/file', '127.0.0.1/kept/file', '127.0.0.1/left/file']

    def test_the_folder_of_a_computation_is_removed(self):
        self.tidy(
            json.dumps({'cleanup': True, 'folder': os.path.join(self.root, '127.0.0.1', 'left')}))
        self.assertEqual(self.left(), self.ALL[:3])

    def test_a_folder_that_another_computation_keeps_stays(self):
        with open(os.path.join(self.state.path, 'computations', '2'), 'w') as target:
            json.dump({'cleanup': False, 'folder': os.path.join(self.root, '127.0.0.1', 'left')},
                      target)
        self.tidy(
            json.dumps({'cleanup': True, 'folder': os.path.join(self.root, '127.0.0.1', 'left')}))
        self.assertEqual(self.left(), self.ALL)

    def test_a_link_in_the_place_of_a_folder_leads_nowhere(self):
        link = os.path.join(self.root, '127.0.0.1', 'link')
        os.symlink(os.path.join(self.root, '127.0.0.1', 'kept'), link)
        self.tidy(json.dumps({'cleanup': True, 'folder': link}))
        self.assertEqual(self.left(), self.ALL)

    def test_folders_moved_aside_are_removed_by_the_node_after_the_next(self):
        os.makedirs(os.path.join(self.state.path, 'left', 'ab', 'deep'))
        self.state.open()
        self.addCleanup(self.state.close)
        self.state.leftovers()()
        self.assertFalse(os.path.exists(os.path.join(self.state.path, 'left')))

    def test_a_record_that_was_just_written_hinders_no_take_over(self):
        folder = os.path.join(self.state.path, 'computations')
        os.rename(os.path.join(folder, 'x'), os.path.join(folder, '2.0123abcd.part'))
        record = {'id': 1, 'folder': os.path.join(self.root, '127.0.0.1', 'kept')}
        with open(os.path.join(folder, '1'), 'w') as target:
            json.dump(record, target)
        self.state.open()
        self.addCleanup(self.state.close)
        self.assertEqual(self.state.before()[1], [('1', record)])
        self.assertEqual(os.listdir(folder), ['1'])

    def test_records_that_lie_remove_nothing(self):
        inside = [
            os.path.join(self.root, name)
            for name in ('', '.', '127.0.0.1', '.node-7', '.node-7/undelivered', '.node-8',
                         '127.0.0.1/../.node-8', '127.0.0.1/..')
        ]
        os.symlink(os.path.join(self.root, '.node-8'), os.path.join(self.root, '127.0.0.1', 'link'))
        folders = inside + [
            '', '/', '.', '..', '127.0.0.1/left/file\0', None, 7, ['/'], {},
            os.path.join(self.root, '127.0.0.1', 'link')
        ]
        for folder in folders:
            self.tidy(json.dumps({'cleanup': True, 'folder': folder}))
            self.assertEqual(self.left(), self.ALL, folder)
            self.state.close(clean=False)
        for text in ('', '{', '[]', '7', '{"cleanup": true}', '[' * 100000, '\0' * 40,
                     '{"cleanup": true, "folder": "\\ud800"}'):
            self.tidy(text)
            self.assertEqual(self.left(), self.ALL, text[:40])
            self.state.close(clean=False)

    def test_a_state_that_lies_ends_nobody(self):
        for state in ('{"identity": ["a"]}', '{"identity": 1}', '[1]', '', '{"identity": {}}',
                      '[' * 100000):
            self.tidy('{}', state)
            self.state.close(clean=False)
        self.assertEqual(self.left(), self.ALL)


if __name__ == '__main__':
    unittest.main()
