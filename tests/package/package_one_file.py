"""The one file that each interpreter makes, wherever and whenever its sources were unpacked: the
same bytes."""
from __future__ import absolute_import, division, print_function

import json
import os
import shutil
import subprocess
import tempfile
import unittest

PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
OLD = 86400 * 365 * 20  # seconds since the epoch: sources as if unpacked in 1990


class SameBytesTest(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        cls.pythons = json.loads(os.environ['DISPYNODE_TEST_PACKAGE'])['pythons']
        cls.folder = tempfile.mkdtemp(prefix='dispynode-bytes-')
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.elsewhere = os.path.join(cls.folder, 'a path with spaces')
        os.mkdir(cls.elsewhere)
        for name in ('dispynode_lib', 'packaging'):
            shutil.copytree(os.path.join(PROJECT, name), os.path.join(cls.elsewhere, name),
                            ignore=shutil.ignore_patterns('__pycache__', '*.pyc'))
        for folder, _folders, names in os.walk(cls.elsewhere):
            for name in names:
                os.utime(os.path.join(folder, name), (OLD, OLD))
                os.chmod(os.path.join(folder, name), 0o440)
        cls.expected = cls.made(cls.pythons[0], PROJECT)

    @classmethod
    def made(cls, python, source, flags=(), **env):
        """Return the bytes of the one file that `python` makes of the sources in a folder."""
        output = os.path.join(cls.folder, 'made')
        command = ['sh', '-c', 'umask 077; exec "$@"', 'sh', python
                   ] + list(flags) + [os.path.join(source, 'packaging', 'onefile.py'), output]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, env=dict(os.environ, **env), cwd=cls.folder)
        if done.returncode:
            raise AssertionError('%s: %s' % (command, done.stdout.decode('utf-8', 'replace')))
        with open(output, 'rb') as result:
            found = result.read()
        if os.stat(output).st_mode & 0o777 != 0o755:
            raise AssertionError('the one file is not to be run by everybody')
        os.unlink(output)
        return found

    def test_every_python_makes_the_same(self):
        self.assertGreater(len(self.expected), 100000)
        self.assertEqual(
            [python for python in self.pythons if self.made(python, PROJECT) != self.expected], [])
        self.assertEqual([
            python
            for python in self.pythons if self.made(python, PROJECT, ['-O', '-R']) != self.expected
        ], [])

    def test_unpacked_elsewhere_with_other_times_and_rights(self):
        for python in (self.pythons[0], self.pythons[-1]):
            self.assertEqual(self.made(python, self.elsewhere), self.expected)

    def test_in_other_locales(self):
        locales = os.path.join(self.folder, 'locales')
        os.mkdir(locales)
        # Turkish has an i of its own in upper case; where it cannot be made, its name alone has to
        # do
        if shutil.which('localedef') and os.path.exists('/usr/share/i18n/locales/tr_TR'):
            subprocess.run(
                ['localedef', '-i', 'tr_TR', '-f', 'UTF-8',
                 os.path.join(locales, 'tr_TR.UTF-8')], stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL)
        # PyPy itself does not start in a locale that is not there
        pythons = [one for one in self.pythons if 'pypy' not in os.path.basename(one)]
        for python in (pythons[0], pythons[-1]):
            for name in ('C', 'POSIX', 'tr_TR.UTF-8'):
                made = self.made(python, self.elsewhere, LC_ALL=name, LANG=name, LOCPATH=locales,
                                 PYTHONUTF8='0')
                self.assertEqual(made, self.expected, name)
