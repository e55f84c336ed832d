"""Documents name modules, functions and frames that exist, and have lines of up to 100 columns."""
from __future__ import absolute_import, division, print_function

import ast
import glob
import io
import os
import re
import unittest

from dispynode_lib.node.computations import jobs, supervision
from dispynode_lib.supervisor import supervisor
from tests.test_layers import PACKAGE, PROJECT, module_files, parse

ARCHITECTURE = os.path.join(PROJECT, 'docs', 'architecture.rst')
GUIDE = os.path.join(PROJECT, 'CONTRIBUTING.rst')
ROOMS = 'cli|code|data|docs|host|node|options|packaging|supervisor|tests|wire'
PLACE = re.compile(r'(?<![\w/.-])(?:%s)(?:/\w+)+(?:\.\w+)?' % ROOMS)
METHOD = re.compile(r'\b[A-Z]\w+\.\w+')
FUNCTION = re.compile(r'(?<![\w.])_\w+')


def text_of(path, title=None):
    """Return the text of a document, or of its section `title`."""
    with io.open(path, encoding='utf-8') as source:
        text = source.read()
    if title is None:
        return text
    text = text.split('\n%s\n%s\n' % (title, '-' * len(title)), 1)[1]
    return re.split(r'\n\n.+\n-{3,}\n', text)[0]


def defined():
    """Return the names of all functions of the package, of methods also with their classes."""
    names = set()
    for path in module_files().values():
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.FunctionDef):
                names.add(node.name)
            elif isinstance(node, ast.ClassDef):
                names.update('%s.%s' % (node.name, part.name) for part in node.body
                             if isinstance(part, ast.FunctionDef))
    return names


class ArchitectureTest(unittest.TestCase):

    def test_modules_and_folders_that_are_named_exist(self):
        for path in (ARCHITECTURE, GUIDE):
            found = sorted(set(PLACE.findall(text_of(path))))
            self.assertGreater(len(found), 5)
            self.assertEqual([name for name in found if not any(
                os.path.exists(os.path.join(PROJECT, top, name + end))
                for top in ('', PACKAGE) for end in ('', '.py'))], [], path)

    def test_lines_of_documents_have_up_to_100_columns(self):
        paths = [path for folder in ('', 'docs')
                 for path in glob.glob(os.path.join(PROJECT, folder, '*.rst'))]
        self.assertGreater(len(paths), 10)
        self.assertEqual(['%s:%d' % (path[len(PROJECT):], number) for path in sorted(paths)
                          for number, line in enumerate(text_of(path).split('\n'), 1)
                          if len(line) > 100], [])

    def test_the_walk_of_a_job_names_functions_that_exist(self):
        walk, names = text_of(ARCHITECTURE, 'The walk of one job'), defined()
        found = METHOD.findall(walk) + FUNCTION.findall(walk)
        self.assertGreater(len(found), 20)
        self.assertEqual([name for name in found if name not in names], [])

    def test_all_control_frames_are_listed(self):
        section = text_of(ARCHITECTURE, 'Control frames')
        told = set([b'imports', b'log', b'shutdown'])           # see Computation.on_told
        to_node = set(supervision.FRAMES) | set(jobs.JOB_FRAMES) | told
        for frames, pattern in ((set(supervisor.FRAMES), r'^ {4}(\w+)(?= |$)'),
                                (to_node, r'^ {4}(?:  -> )?(\w+)(?= |$)')):
            listed = re.findall(pattern, section, re.M)
            self.assertEqual([word for word in sorted(frames)
                              if word.decode('ascii') not in listed], [])


if __name__ == '__main__':
    unittest.main()
