"""Each command in the documents is known here, and run: at once, or by the tests that are named."""
from __future__ import absolute_import, division, print_function

import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

from tests.support.nodeprocess import PROJECT

DOCUMENTS = ('README.rst', 'docs/operations.rst')
COMMAND = re.compile(r'^    ((?:python3|dispynode\.py|docker|while|client/bin/\w+) .*)$', re.M)

HERE = 'here'           # run by this test, in a copy of the project
# command without comment -> HERE, or the module whose tests do the same
COMMANDS = {
    'python3 dispynode.py --check': HERE,
    'python3 packaging/onefile.py build/dispynode.py': HERE,
    'python3 build/dispynode.py --version': HERE,
    'python3 build/dispynode.py --check': HERE,
    'python3 -I build/dispynode.py --version': HERE,
    'python3 - --version < build/dispynode.py': HERE,
    'python3 -m tests': 'tests/__main__.py',
    'python3 dispynode.py -i 127.0.0.1': 'tests/interop/interop_main_job.py',
    'python3 -m venv client': 'tests/runner/environments.py',
    'client/bin/pip install dispy==4.15.2': 'tests/runner/environments.py',
    'client/bin/python sample.py': 'tests/interop/interop_main_job.py',
    'dispynode.py --detach --name worker7 --save_config /etc/dispynode.cfg': 'tests/functional/test_background.py',
    'dispynode.py --detach --config /etc/dispynode.cfg': 'tests/functional/test_background.py',
    'dispynode.py --config /etc/dispynode.cfg --ctl status': 'tests/functional/test_commands.py',
    'dispynode.py --config /etc/dispynode.cfg --ctl quit': 'tests/functional/test_commands.py',
    'dispynode.py --ctl drain': 'tests/functional/test_commands.py',
    'docker build -t dispynode .': 'tests/container/container_image.py',
    'docker run --network host -v dispynode:/var/lib/dispynode dispynode': 'tests/container/container_image.py',
    'while :; do docker run --rm --network host dispynode --serve 1; done': 'tests/container/container_image.py',
}


def commands():
    """Return the commands in the documents, in their order, without comments."""
    found = []
    for name in DOCUMENTS:
        with io.open(os.path.join(PROJECT, name), encoding='utf-8') as source:
            found += [str(re.sub(r' +#.*', '', line)) for line in COMMAND.findall(source.read())]
    return found


class DocumentsTest(unittest.TestCase):

    def test_each_command_has_a_test(self):
        self.assertEqual([command for command in commands() if command not in COMMANDS], [], 'add them to COMMANDS')
        self.assertEqual([command for command in COMMANDS if command not in commands()], [], 'no longer documented')

    def test_the_tests_named_exist(self):
        self.assertEqual([name for name in sorted(set(COMMANDS.values()))
                          if name != HERE and not os.path.exists(os.path.join(PROJECT, name))], [])

    def test_the_commands(self):
        folder = tempfile.mkdtemp(prefix='dispynode-documents-')
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        for name in ('dispynode_lib', 'packaging'):
            shutil.copytree(os.path.join(PROJECT, name), os.path.join(folder, name))
        shutil.copy(os.path.join(PROJECT, 'dispynode.py'), folder)
        for command in commands():
            if COMMANDS.get(command) == HERE and not (str is bytes and ' -I ' in command):
                done = subprocess.Popen(command.replace('python3', sys.executable), shell=True, cwd=folder,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
                output = done.communicate()[0].decode('utf-8')
                if '--check' in command:        # another node may have the ports
                    self.assertIn(u'ok    program job', output, command)
                else:
                    self.assertEqual(done.returncode, 0, '%s: %s' % (command, output))
