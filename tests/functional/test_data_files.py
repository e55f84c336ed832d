"""The files that --print prints, used as their readers use them."""
from __future__ import absolute_import, division, print_function

import os
import re
import subprocess
import unittest

from dispynode_lib.cli import printed
from dispynode_lib.options.table import ROWS
from tests.support import processes
from tests.support.operatorcase import OperatorCase, read


class Printing(OperatorCase):

    def printed(self, name):
        """Return the text of a file, also written to our folder; and its path."""
        ended = self.run_command(self.command()[:2] + ['--print', name])
        self.assertEqual((ended.status, ended.err), (0, ''), ended)
        path = os.path.join(self.folder, name)
        with open(path, 'wb') as target:
            target.write(ended.out.encode('utf-8'))
        return ended.out, path

    def test_list_and_unknown_name(self):
        ended = self.run_command(self.command()[:2] + ['--print'])
        self.assertEqual([line.split()[0]
                          for line in ended.out.splitlines()], [row[0] for row in printed.FILES])
        ended = self.run_command(self.command()[:2] + ['--print', 'none'])
        self.assertEqual((ended.status, ended.err.count('\n')), (64, 1))

    def test_no_mark_is_left(self):
        for name, _file, _about in printed.FILES:
            self.assertEqual(re.findall(r'@[A-Z_]+@', self.printed(name)[0]), [], name)

    def test_manual_page_names_every_option(self):
        text = self.printed('man')[0].replace('\\-', '-')
        for row in ROWS:
            for flag in row.flags:
                self.assertIn('\\fB%s\\fR' % flag, text)

    def test_completion(self):
        path = self.printed('completion')[1]
        script = (
            '. "$1"; COMP_WORDS=(dispynode.py %s); COMP_CWORD=%d; _dispynode; echo '
            '"${COMPREPLY[@]}"'
        )
        os.mkdir(os.path.join(self.folder, 'a folder'))
        for words, at, expected in (('--http', 1, '--http_allow'), ('--http-a', 1, '--http-allow'),
                                    ('--log-format j', 2, 'json'), ('--log_format = j', 3, 'json'),
                                    ('--print = logr', 3, 'logrotate'), ('--log-format =', 2,
                                                                         'text json'),
                                    ('--dest-path-prefix "%s/a "' % self.folder, 2,
                                     self.folder + '/a folder'), ('--ctl dr', 2, 'drain'),
                                    ('--print sys', 2, 'systemd'), ('--log_format j', 2,
                                                                    'json'), ('--cpus 1', 2, '')):
            ended = self.run_command(['bash', '-c', script % (words, at), 'bash', path])
            self.assertEqual((ended.status, ended.out.strip(), ended.err), (0, expected, ''))

    def test_shell_scripts_are_well_formed(self):
        for name in ('init', 'slurm'):
            self.assertEqual(self.run_command(['sh', '-n', self.printed(name)[1]]).status, 0)


class InitScript(OperatorCase):
    """Actions and exit codes as the LSB wants them, under sh."""

    def setUp(self):
        super(InitScript, self).setUp()
        self.script, self.log = os.path.join(self.folder, 'dispynode'), os.path.join(
            self.folder, 'node.log')
        ended = self.run_command(self.command()[:2] + ['--print', 'init'])
        with open(self.script, 'w') as target:
            target.write(ended.out)
        with open(os.path.join(self.folder, 'defaults'), 'w') as target:
            target.write('DAEMON="%s"\nDAEMON_ARGS="%s"\nDAEMON_USER="$(id -un)"\n' % (
                ' '.join(self.command()[:2]), ' '.join(self.command()[2:6])))
            for name, path in (('DIR', self.files), ('LOG', self.log),
                               ('PID', os.path.join(self.folder, 'node.pid'))):
                target.write('DAEMON_%s="%s"\n' % (name, path))
        self.addCleanup(self.run_script, 'stop')

    def run_script(self, action):
        env = {'DISPYNODE_DEFAULTS': os.path.join(self.folder, 'defaults')}
        return self.run_command(['sh', self.script, action], env=env)

    def check(self, action, status, text):
        ended = self.run_script(action)
        self.assertEqual(ended.status, status, ended)
        self.assertIn(text, ended.out + ended.err)
        return ended

    def pid(self):
        return int(read(os.path.join(self.state_folder, 'pid')))

    def test_life(self):
        self.check('status', 3, 'not running')
        self.check('reload', 7, 'not running')
        self.check('start', 0, 'dispynode started')
        first = self.pid()
        self.check('start', 0, 'running already')
        self.check('status', 0, 'is serving')
        self.assertEqual(self.pid(), first)
        self.check('reload', 0, '')
        self.wait(lambda: 'SIGHUP: the log is open' in read(self.log))
        self.check('restart', 0, 'dispynode started')
        self.assertNotEqual(self.pid(), first)
        self.check('try-restart', 0, 'dispynode started')
        self.check('stop', 0, 'dispynode stopped')
        self.check('stop', 0, 'not running')
        self.check('try-restart', 0, '')
        self.check('status', 3, 'not running')
        self.check('start', 0, 'dispynode started')
        processes.send(self.pid(), 9)
        self.wait(lambda: self.run_script('status').status == 3)
        self.check('start', 0, 'dispynode started')
        self.check('status', 0, 'is serving')
        self.check('nonsense', 2, 'Usage')

    def test_wrong_options_are_no_running_node(self):
        with open(os.path.join(self.folder, 'defaults'), 'a') as target:
            target.write('DAEMON_ARGS="--none"\n')
        self.check('start', 64, '--none: there is no such option')
        self.check('stop', 0, 'not running')

    def test_an_empty_user_is_not_root(self):
        for user, text in (('', 'is empty: name the user'), ('no-such-user',
                                                             'there is no user no-such-user')):
            with open(os.path.join(self.folder, 'defaults'), 'a') as target:
                target.write('DAEMON_USER="%s"\n' % user)
            self.check('start', 6, text)
        self.assertFalse(os.path.exists(self.files))

    def test_start_that_fails(self):
        with open(os.path.join(self.folder, 'defaults'), 'a') as target:
            target.write('DAEMON_PID=/none/pid\n')
        ended = self.check('start', 73, 'could not be started')
        self.assertIn(
            '/none/pid cannot be written: No such file or directory; make room or give access '
            'there, or choose '
            'another place with --pid_file', ended.err)


class SlurmScript(OperatorCase):
    """What the script does with what Slurm tells it; the real one:
    tests/network/network_slurm.py."""

    SRUN = 'while [ "${1#-}" != "$1" ]; do shift; done\nexec "$@"'

    def setUp(self):
        super(SlurmScript, self).setUp()
        self.bin = os.path.join(self.folder, 'bin')
        os.mkdir(self.bin)
        self.program('srun', self.SRUN)
        self.program('squeue', 'echo "${TOLD_END-}"')
        self.program('told', 'env; echo options "$@"')
        text = self.run_command(self.command()[:2] + ['--print', 'slurm']).out
        self.script = os.path.join(self.folder, 'script')
        with open(self.script, 'w') as target:
            target.write(text.replace(' '.join(self.command()[:2]), 'told'))
        self.now = int(subprocess.check_output(['date', '+%s']))

    def program(self, name, text):
        """Make a program that the script finds first."""
        path = os.path.join(self.bin, name)
        with open(path, 'w') as target:
            target.write('#!/bin/sh\n%s\n' % text)
        os.chmod(path, 0o755)

    def run_script(self, **env):
        """Run the script as in an allocation of 4 CPUs; return the Ended."""
        env.update({
            'SLURM_JOB_ID': '17', 'SLURM_CPUS_ON_NODE': '4',
            'PATH': self.bin + os.pathsep + os.environ['PATH']
        })
        return self.run_command(['sh', self.script], env=env)

    def lifetime(self, ended):
        """Return the seconds that nodes are told to live, None if they are not."""
        found = re.findall(r'^DISPYNODE_LIFETIME=(\d+)$', ended.out, re.M)
        return int(found[0]) if found else None

    def test_lifetime_from_the_end_of_the_allocation(self):
        ended = self.run_script(SLURM_JOB_END_TIME=str(self.now + 1000))
        self.assertTrue(900 <= self.lifetime(ended) <= 940, ended)
        for line in ('DISPYNODE_CPUS=4', 'DISPYNODE_IDLE_TIMEOUT=600',
                     'DISPYNODE_ZOMBIE_INTERVAL=5'):
            self.assertIn(line, ended.out.splitlines())
        self.assertTrue(re.search(r'\noptions --daemon --secret_file \S+\n$', ended.out), ended)
        self.assertEqual(self.run_script(SLURM_JOB_END_TIME=str(self.now + 50)).status, 1)

    def test_lifetime_where_slurm_sets_no_end_time(self):
        end = subprocess.check_output([
            'date', '-d', '@%d' % (self.now + 1000), '+%Y-%m-%dT%H:%M:%S'
        ]).decode().strip()
        self.assertTrue(900 <= self.lifetime(self.run_script(TOLD_END=end)) <= 940)

    def test_an_end_that_nobody_knows_is_told_of(self):
        for told in ('NONE', 'N/A', ''):
            ended = self.run_script(TOLD_END=told)
            self.assertEqual((ended.status, self.lifetime(ended)), (0, None), ended)
            self.assertIn("nobody says when this allocation ends (squeue: '%s')" % told, ended.err)

    def test_what_the_user_sets_wins(self):
        ended = self.run_script(DISPYNODE_CPUS='2', DISPYNODE_IDLE_TIMEOUT='60',
                                SLURM_JOB_END_TIME=str(self.now + 1000))
        for line in ('DISPYNODE_CPUS=2', 'DISPYNODE_IDLE_TIMEOUT=60'):
            self.assertIn(line, ended.out.splitlines())


if __name__ == '__main__':
    unittest.main()
