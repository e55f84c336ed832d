"""What pip makes of the project in a fresh environment of one Python."""
from __future__ import absolute_import, division, print_function

import glob
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import unittest
import zipfile

from tests.support import processes
from tests.support.nodeprocess import NodeProcess
from tests.support.scheduler import FakeScheduler

PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MODULES = len(glob.glob(os.path.join(PROJECT, 'dispynode_lib', '**', '*.py'), recursive=True))
STEP_TIMEOUT, WAIT = 300, 30


class PackageTest(unittest.TestCase):
    """All tests look at one environment."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix='dispynode-package-')
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        maker = json.loads(os.environ['DISPYNODE_TEST_PACKAGE'])
        cls.python = os.path.join(cls.folder, 'env', 'bin', 'python')
        cls.call(*(maker + [os.path.join(cls.folder, 'env')]))
        # pip builds in the folder that it is given; the project itself stays as it is
        cls.source = os.path.join(cls.folder, 'source')
        shutil.copytree(
            PROJECT, cls.source, ignore=shutil.ignore_patterns('.git', '.venvs', 'build', '*.pyc',
                                                               '__pycache__'))
        cls.call(cls.python, '-m', 'pip', 'install', '-q', '.', cwd=cls.source)

    @classmethod
    def call(cls, *command, **options):
        """Run a command; return what it says."""
        env = dict(os.environ, PIP_DISABLE_PIP_VERSION_CHECK='1', PIP_NO_INPUT='1',
                   PYTHONNOUSERSITE='1')
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=STEP_TIMEOUT, env=env,
                              cwd=options.get('cwd', cls.folder))
        text = done.stdout.decode('utf-8', 'replace')
        if done.returncode:
            raise AssertionError('%s: status %d\n%s' % (' '.join(command), done.returncode, text))
        return text

    def program(self, name, *arguments):
        """Run a command that was installed."""
        return self.call(os.path.join(os.path.dirname(self.python), name), *arguments)

    def test_both_commands_are_there_and_the_same(self):
        version = self.program('dispynode', '--version')
        self.assertTrue(version.startswith('dispynode '), version)
        self.assertEqual(self.program('dispynode.py', '--version'), version)

    def test_the_installed_node_works(self):
        self.assertIn('ok    function job', self.program('dispynode', '--check', '-i', '127.0.0.1'))

    def test_files_for_operators_are_installed(self):
        self.assertIn('[Service]', self.program('dispynode', '--print', 'systemd'))

    def test_sdist_and_wheel(self):
        self.call(self.python, '-m', 'pip', 'install', '-q', 'setuptools', 'wheel')
        self.call(self.python, 'setup.py', '-q', 'sdist', 'bdist_wheel', cwd=self.source)
        wheels = glob.glob(os.path.join(self.source, 'dist', '*.whl'))
        self.assertEqual(len(wheels), 1)
        with zipfile.ZipFile(wheels[0]) as wheel:
            names = wheel.namelist()
        self.assertEqual(
            len([
                name for name in names if name.startswith('dispynode_lib/') and name.endswith('.py')
            ]), MODULES)
        self.assertTrue([name for name in names if name.startswith('dispynode_lib/data/')])
        sdists = glob.glob(os.path.join(self.source, 'dist', '*.tar.gz'))
        self.call(self.python, '-m', 'pip', 'install', '-q', '--force-reinstall', '--no-deps',
                  '--no-build-isolation', sdists[0])
        self.assertIn('dispynode ', self.program('dispynode', '--version'))

    def test_an_upgrade_under_a_running_node_changes_nothing_for_it(self):
        with NodeProcess('-c', 1, python=self.python, program=os.path.join(
                os.path.dirname(self.python), 'dispynode')) as node:
            self.check_serves(node)
            source = os.path.join(self.folder, 'newer')
            shutil.copytree(self.source, source, ignore=shutil.ignore_patterns(
                'build', 'dist', '*.egg-info'))
            for name, text in (('__init__.py', "__version__ = '99.0'\n"), ('supervisor/nursery.py',
                                                                           'raise ValueError\n')):
                with open(os.path.join(source, 'dispynode_lib', name), 'a') as target:
                    target.write(text)
            with open(os.path.join(source, 'setup.py')) as script:
                text = script.read()
            with open(os.path.join(source, 'setup.py'), 'w') as script:
                script.write(re.sub(r'version=.*', "version='99.0',", text))
            self.call(self.python, '-m', 'pip', 'install', '-q', '-U', '--no-deps', '.', cwd=source)
            self.assertIn('dispynode 99.0 ', self.program('dispynode', '--version'))
            for pid, command in node.processes().items():
                if '--supervise' in command:
                    processes.send(pid, signal.SIGKILL)
            self.check_serves(node)
        self.call(self.python, '-m', 'pip', 'install', '-q', '--force-reinstall', '--no-deps', '.',
                  cwd=self.source)

    def check_serves(self, node):
        """Have the node do a job of a new computation."""
        with FakeScheduler(node) as scheduler:
            scheduler.ping(timeout=WAIT)
            self.assertEqual(
                scheduler.open('def job(n):\n    return 2 * n\n', 'job').run(21).value, 42)

    def test_the_one_file_command(self):
        self.call(self.python, '-m', 'pip', 'install', '-q', 'setuptools')
        self.call(self.python, 'setup.py', '-q', 'onefile', cwd=self.source)
        self.assertIn(
            'one file',
            self.call(self.python, os.path.join(self.source, 'build', 'dispynode.py'), '--version'))
