"""What the index and readers see of the project: documents without a warning, metadata that is
true."""
from __future__ import absolute_import, division, print_function

import glob
import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import unittest

from dispynode_lib.options import parser
from dispynode_lib.options.table import size
from dispynode_lib.wire.releases import NODE_PORTS
from tests.runner.interpreters import SUPPORTED

PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DOCUMENTS = sorted(
    glob.glob(os.path.join(PROJECT, '*.rst')) + glob.glob(os.path.join(PROJECT, 'docs', '*.rst')) +
    glob.glob(os.path.join(PROJECT, 'tests', '**', '*.rst'), recursive=True))


class DocumentsTest(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        cls.python = json.loads(os.environ['DISPYNODE_TEST_PACKAGE'])['python']
        cls.folder = tempfile.mkdtemp(prefix='dispynode-documents-')
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        source = os.path.join(cls.folder, 'source')
        shutil.copytree(PROJECT, source, ignore=shutil.ignore_patterns(
            '.git', '.venvs', 'build', 'dist', '*.egg-info', '*.pyc', '__pycache__'))
        cls.call(cls.python, 'setup.py', '-q', 'sdist', 'bdist_wheel', cwd=source)
        cls.made = glob.glob(os.path.join(source, 'dist', '*'))

    @classmethod
    def call(cls, *command, **options):
        """Run a command that must succeed; return what it says."""
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=120, cwd=options.get(
                                  'cwd', cls.folder))
        text = done.stdout.decode('utf-8', 'replace')
        if done.returncode:
            raise AssertionError('%s: status %d\n%s' % (' '.join(command), done.returncode, text))
        return text

    def test_no_document_has_a_warning(self):
        self.assertGreater(len(DOCUMENTS), 6)
        for path in DOCUMENTS:
            self.assertEqual(
                self.call(self.python, '-m', 'docutils', '--report=warning', '--halt=severe', path,
                          os.devnull), '', path)

    @unittest.skipUnless(shutil.which('groff'), 'groff is not installed')
    def test_the_manual_page_has_no_warning(self):
        page = os.path.join(self.folder, 'dispynode.1')
        with open(page, 'w') as target:
            target.write(
                self.call(self.python, os.path.join(PROJECT, 'dispynode.py'), '--print', 'man'))
        self.assertEqual(self.call('groff', '-man', '-Tutf8', '-ww', '-z', page), '')

    def printed(self, name):
        """Return the path of a file that has what --print NAME prints."""
        path = os.path.join(self.folder, name)
        with open(path, 'w') as target:
            target.write(
                self.call(self.python, os.path.join(PROJECT, 'dispynode.py'), '--print', name))
        return path

    def load(self, path):
        """Return the content of a YAML file."""
        return json.loads(
            self.call(
                self.python, '-c',
                'import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))',
                path))

    def test_alert_rules_are_whole(self):
        for rule in self.load(self.printed('alerts'))['groups'][0]['rules']:
            self.assertEqual(
                set(rule) - set(['for']), set(['alert', 'expr', 'labels', 'annotations']))

    def test_kubernetes_takes_the_daemon_set(self):
        path = self.printed('kubernetes')
        for release in ('1.28.0', '1.30.0'):
            told = self.call(self.python, '-m', 'kubernetes_validate', '-k', release, '--strict',
                             path)
            self.assertIn('passed for resource daemonset/dispynode', told)
        pod = self.load(path)['spec']['template']['spec']
        container = pod['containers'][0]
        self.assertEqual([(port['containerPort'], port['protocol']) for port in container['ports']],
                         [(port, kind) for port in NODE_PORTS for kind in ('TCP', 'UDP')])
        chosen = parser.parse([
            word.replace('$(HOST_IP)', '10.0.0.1')
            for word in container['args'] + container['command'][1:]
        ])
        limits = container['resources']['limits']
        self.assertLess(int(limits['cpu']) * chosen.job_memory, size(limits['memory'][:2]))
        self.assertLess(230 + chosen.grace + chosen.stop_timeout,
                        pod['terminationGracePeriodSeconds'])
        self.assertIn('timeout 230 ',
                      ' '.join(container['lifecycle']['preStop']['exec']['command']))

    def test_the_index_renders_the_long_description(self):
        self.assertEqual(len(self.made), 2)
        told = self.call(self.python, '-m', 'twine', 'check', '--strict', *self.made)
        self.assertEqual(told.count('PASSED'), 2, told)

    def test_the_metadata_are_true(self):
        sdist = [path for path in self.made if path.endswith('.tar.gz')][0]
        with tarfile.open(sdist) as archive:
            names = archive.getnames()
            info = archive.extractfile([
                name for name in names if name.count('/') == 1 and name.endswith('/PKG-INFO')
            ][0])
            text = info.read().decode('utf-8')
        self.assertEqual(
            re.findall(r'^Classifier: Programming Language :: Python :: (\d\.\d+)$', text, re.M),
            list(SUPPORTED))
        for name in ('README.rst', 'LICENSE', 'CHANGES.rst', 'packaging/onefile.py', 'Dockerfile',
                     'docs/operations.rst', 'dispynode.py', 'dispynode_lib/data/dispynode.1'):
            self.assertIn(names[0].split('/')[0] + '/' + name, names)
