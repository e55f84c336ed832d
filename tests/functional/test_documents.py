"""Each command in the documents is known here, and run: as it stands, or by the tests that are
named."""
from __future__ import absolute_import, division, print_function

import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

from tests.support import processes
from tests.support.nodeprocess import PROJECT, free_port
from tests.support.waiting import wait_until

DOCUMENTS = ('README.rst', 'CONTRIBUTING.rst', 'CHANGES.rst',
             'dispynode_lib/data/dispynode.1') + tuple(
                 'docs/' + name for name in sorted(os.listdir(os.path.join(PROJECT, 'docs'))))
WORDS = r'(?:python3|dispynode(?:\.py)?|docker|while|ssh|pip|sbatch|kubectl|client/bin/\w+) '
BLOCK = re.compile(r'^    (%s.*)$' % WORDS, re.M)
INLINE = re.compile(r'``(%s[^`]+)``' % WORDS)
TREE = re.compile(r'dispynode\.py  ')       # a listing of folders, not a command

HERE = 'here'           # run by this test, in a copy of the project
SESSION = 'session'  # likewise, one after another: commands that find a node running, or start one
# command without comment -> HERE, SESSION, or the module whose tests do the same
COMMANDS = {
    'python3 dispynode.py --check': HERE,
    'dispynode.py --check': HERE,
    'dispynode.py --check --preload numpy,pandas': 'tests/functional/test_check.py',
    'python3 packaging/onefile.py build/dispynode.py': HERE,
    'python3 packaging/onefile.py': HERE,
    'python3 build/dispynode.py --version': HERE,
    'python3 build/dispynode.py --check': HERE,
    'python3 -I build/dispynode.py --version': HERE,
    'python3 - --version < build/dispynode.py': HERE,
    'dispynode.py --version': HERE,
    'dispynode.py --print': HERE,
    'dispynode.py --print init > /etc/init.d/dispynode': HERE,
    'dispynode.py --print slurm > dispynode.slurm': HERE,
    'dispynode.py --print kubernetes > dispynode.yaml': HERE,
    'sbatch --nodes=4 --time=2:00:00 dispynode.slurm': 'tests/network/network_slurm.py',
    'dispynode.py --print logrotate': HERE,
    'dispynode.py --print grafana': HERE,
    'dispynode.py --print alerts': HERE,
    'dispynode.py --print systemd': HERE,
    'dispynode.py --print needrestart': HERE,
    'dispynode.py --print init': HERE,
    'dispynode.py --print cron': HERE,
    'dispynode.py --print completion': HERE,
    'dispynode.py --ctl list': 'tests/functional/test_commands.py',
    'dispynode.py --detach --name worker7 --save_config /etc/dispynode.cfg': SESSION,
    'dispynode.py --detach': SESSION,
    'dispynode.py --detach --config /etc/dispynode.cfg': SESSION,
    'dispynode.py --config /etc/dispynode.cfg --ctl status': SESSION,
    'dispynode.py --config /etc/dispynode.cfg --ctl quit': SESSION,
    'ssh HOST python3 - --daemon < build/dispynode.py': SESSION,
    'dispynode.py --ctl status': SESSION,
    'dispynode.py --ctl why': SESSION,
    'dispynode.py --ctl drain': SESSION,
    'python3 -m tests': '.ci/run',
    'python3 -m tests --quick': 'tests/runner/plan.py',
    'python3 -m tests --full': 'tests/runner/releases.py',
    'python3 -m tests --only attack': 'tests/runner/plan.py',
    'python3 -m tests --only network': 'tests/runner/plan.py',
    'python3 -m tests.growth': 'tests/package/package_measurements.py',
    'python3 -m tests.growth --idle 5 --jobs 100': 'tests/package/package_measurements.py',
    'python3 -m tests.growth --real 20000 --client PYTHON-WITH-DISPY': 'tests/package/package_measurements.py',
    'python3 -m tests.startup': 'tests/package/package_measurements.py',
    'python3 -m tests.soak': 'tests/attack/test_soak.py',
    'python3 -m tests.fuzz': 'tests/unit/test_fuzz_targets.py',
    'python3 -m unittest discover -s tests -t .': 'tests/runner/child.py',
    'python3 -m unittest tests.unit.test_cli': 'tests/unit/test_cli.py',
    'python3 setup.py onefile': 'tests/package/package_install.py',
    'pip install .': 'tests/package/package_install.py',
    'pip install -U': 'tests/package/package_install.py',
    'pip install pip==21.3.1': 'tests/package/package_install.py',
    'python3 dispynode.py -i 127.0.0.1': 'tests/interop/interop_many_jobs.py',
    'python3 -m venv client': 'tests/runner/environments.py',
    'client/bin/pip install dispy==4.15.2': 'tests/runner/environments.py',
    'client/bin/python sample.py': 'tests/interop/interop_many_jobs.py',
    'docker build -t dispynode .': 'tests/container/container_image.py',
    'docker run --network host -v dispynode:/var/lib/dispynode dispynode': 'tests/container/container_image.py',
    'docker run IMAGE dispynode.py --serve 1': 'tests/container/container_image.py',
    'while :; do docker run --rm --network host dispynode --serve 1; done': 'tests/container/container_image.py',
}


def commands():
    """Return the commands in the documents, in their order, without comments."""
    found = []
    for name in DOCUMENTS:
        with io.open(os.path.join(PROJECT, name), encoding='utf-8') as source:
            text = source.read().replace(u'\\-', u'-')
        blocks = [line for line in BLOCK.findall(text) if not TREE.match(line)]
        inline = [re.sub(r'\s+', ' ', literal) for literal in INLINE.findall(text)]
        found += [str(re.sub(r' +#.*', '', line)) for line in blocks + inline]
    return found


class DocumentsTest(unittest.TestCase):

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix='dispynode-documents-')
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.mark = processes.new_mark()
        self.addCleanup(processes.end_marked, self.mark)
        for name in ('dispynode_lib', 'packaging'):
            shutil.copytree(os.path.join(PROJECT, name), os.path.join(self.folder, name))
        shutil.copy(os.path.join(PROJECT, 'dispynode.py'), self.folder)
        for name in ('bin', 'build', 'etc', 'etc/init.d'):
            os.mkdir(os.path.join(self.folder, name))
        for name, line in (('python3', 'exec %s "$@"' % sys.executable), ('ssh',
                                                                          'shift; exec "$@"'),
                           ('dispynode.py',
                            'exec %s %s/dispynode.py "$@"' % (sys.executable, self.folder))):
            path = os.path.join(self.folder, 'bin', name)
            with open(path, 'w') as script:
                script.write('#!/bin/sh\n%s\n' % line)
            os.chmod(path, 0o755)
        self.env = dict(
            os.environ, PATH=os.path.join(self.folder, 'bin') + os.pathsep +
            os.environ.get('PATH', '/usr/bin:/bin'), DISPYNODE_NODE_PORT=str(free_port()),
            DISPYNODE_IP_ADDR='127.0.0.1', DISPYNODE_DEST_PATH_PREFIX=os.path.join(
                self.folder, 'files'))

    def start(self, command):
        """Start a command of the documents, in a shell, in the copy of the project; return the
        Popen."""
        return processes.spawn(
            ['sh', '-c', command.replace(' /etc/', ' %s/etc/' % self.folder)], self.mark, self.env,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=self.folder)

    def run_command(self, command):
        """Run such a command to its end, which must be good; return what it says."""
        process = self.start(command)
        output = process.communicate()[0].decode('utf-8')
        self.assertEqual(process.returncode, 0, '%s: %s' % (command, output))
        return output

    def test_each_command_has_a_test(self):
        self.assertEqual([command for command in commands() if command not in COMMANDS], [],
                         'add them to COMMANDS')
        self.assertEqual([command for command in COMMANDS if command not in commands()], [],
                         'no longer documented')

    def test_the_tests_named_exist(self):
        self.assertEqual([
            name for name in sorted(set(COMMANDS.values()))
            if name not in (HERE, SESSION) and not os.path.exists(os.path.join(PROJECT, name))
        ], [])

    def test_commands_that_stand_alone(self):
        told = {}
        for command in sorted(command for command in COMMANDS
                              if COMMANDS[command] == HERE and 'packaging' in command):
            told[command] = self.run_command(command)
        for command in COMMANDS:
            if COMMANDS[command] == HERE and command not in told and not (str is bytes
                                                                          and ' -I ' in command):
                told[command] = self.run_command(command)
                if '--check' in command:
                    self.assertIn(u'ok    program job', told[command], command)
        for name in ('etc/init.d/dispynode', 'dispynode.slurm', 'dispynode.yaml'):
            self.assertGreater(os.path.getsize(os.path.join(self.folder, *name.split('/'))), 500,
                               name)

    def test_commands_of_a_session(self):
        config = '/etc/dispynode.cfg'
        self.run_command('dispynode.py --detach --name worker7 --save_config ' + config)
        self.run_command('dispynode.py --detach --config ' + config)
        self.assertIn(u'worker7 ',
                      self.run_command('dispynode.py --config %s --ctl status' % config))
        self.run_command('dispynode.py --config %s --ctl quit' % config)
        self.run_command('python3 packaging/onefile.py build/dispynode.py')
        node = self.start('ssh HOST python3 - --daemon < build/dispynode.py')
        wait_until(
            lambda: b'is serving' in self.start('dispynode.py --ctl status').communicate()[0], 30,
            'the node to serve')
        self.assertIn(u'is serving', self.run_command('dispynode.py --ctl status'))
        self.assertIn(u'it waits for a client', self.run_command('dispynode.py --ctl why'))
        self.run_command('dispynode.py --ctl drain')
        self.run_drained(node)

    def run_drained(self, node):
        """See that a node that was told to drain ends well; start another one, as the manual page
        does, and drain it."""
        self.assertIn(u'serves at', node.communicate()[0].decode('utf-8'))
        self.assertEqual(node.returncode, 0)
        self.run_command('dispynode.py --detach')
        self.run_command('dispynode.py --ctl drain')
        wait_until(
            lambda: b'not running' in self.start('dispynode.py --ctl status').communicate()[0], 30,
            'the node to end')


if __name__ == '__main__':
    unittest.main()
