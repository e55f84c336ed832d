"""--user, in every way to start a node, and the default folder: nobody else may have a hand in it.
As root."""
from __future__ import absolute_import, division, print_function

import os
import pwd
import shutil
import signal
import stat
import sys
import unittest

from tests.attack.attacker import python_for_everybody
from tests.support.nodeprocess import PROJECT
from tests.support.operatorcase import OperatorCase, read
from tests.support.scheduler import FakeScheduler

sys.path.insert(0, os.path.join(PROJECT, 'packaging'))
import onefile      # noqa: E402

WHO = 'def who():\n    import os\n    print(os.getuid(), os.getgid(), 0 in os.getgroups())\n'
STRANGER = 12345


class Address(object):
    """Where a node is: ip_addr, port."""

    def __init__(self, port):
        self.ip_addr, self.port = '127.0.0.1', port


class DefaultFolderTest(OperatorCase):

    def setUp(self):
        super(DefaultFolderTest, self).setUp()
        self.tmp = os.path.join(self.folder, 'tmp')
        os.mkdir(self.tmp)
        os.chmod(self.tmp, 0o1777)
        self.places = [os.path.join(self.tmp, name) for name in ('dispy', 'dispy-%d' % os.getuid())]

    def run_node(self, *options, **settings):
        command = [
            word for word in self.command(*options)
            if word not in ('--dest_path_prefix', self.files)
        ]
        return self.run_command(command, env={'TMPDIR': self.tmp}, **settings)

    def assert_refused(self, text):
        for options in ((), ('--detach',), ('--ensure',), ('--ctl', 'status')):
            ended = self.run_node(*options)
            self.assertEqual((ended.status, ended.err.count('\n')), (77, 1), ended)
            self.assertIn(text, ended.err)
            self.assertIn('--dest_path_prefix', ended.err)

    def test_default_folder_is_a_link_of_somebody(self):
        for place in self.places:
            os.symlink(self.folder, place)
        self.assert_refused('%s is a link' % self.places[1])
        self.assertFalse(os.path.exists(os.path.join(self.folder, 'node')))

    def test_default_folder_that_others_may_write(self):
        for place in self.places:
            os.mkdir(place)
            os.chmod(place, 0o777)
        self.assert_refused('others may write to %s (mode 777)' % self.places[1])

    def test_temporary_folder_in_which_others_may_rename(self):
        os.chmod(self.tmp, 0o777)
        self.assert_refused('others may write to %s (mode 777)' % self.tmp)

    @unittest.skipUnless(os.geteuid() == 0, 'only root can make folders of others')
    def test_default_folder_of_another_user(self):
        os.mkdir(self.places[0])
        os.chown(self.places[0], STRANGER, STRANGER)
        self.addCleanup(self.run_node, '--ctl', 'quit')
        self.assertEqual(self.run_node('--detach').status, 0)  # in the folder with the number
        self.assertTrue(os.path.isdir(os.path.join(self.places[1], 'node')))
        self.assertEqual(self.run_node('--ctl', 'quit').status, 0)
        shutil.rmtree(self.places[1])
        os.mkdir(self.places[1])
        os.chown(self.places[1], STRANGER, STRANGER)
        self.assert_refused('%s belongs to another user (%d)' % (self.places[1], STRANGER))


@unittest.skipUnless(os.geteuid() == 0, 'only root can start a node for another user')
class UserTest(OperatorCase):

    def setUp(self):
        super(UserTest, self).setUp()
        self.python = python_for_everybody()
        self.nobody = pwd.getpwnam('nobody')
        os.chmod(self.folder, 0o755)
        os.mkdir(self.files)
        os.chown(self.files, self.nobody.pw_uid, self.nobody.pw_gid)
        shutil.copytree(os.path.join(PROJECT, 'dispynode_lib'),
                        os.path.join(self.folder, 'tree', 'dispynode_lib'))
        shutil.copy(os.path.join(PROJECT, 'dispynode.py'), os.path.join(self.folder, 'tree'))
        os.mkdir(os.path.join(self.folder, 'one'))
        onefile.write(os.path.join(self.folder, 'one', 'dispynode.py'))
        self.programs = [
            os.path.join(self.folder, name, 'dispynode.py') for name in ('tree', 'one')
        ]
        self.program = self.programs[1]
        self.addCleanup(self.quit)

    def quit(self):
        for self.program in self.programs:
            self.ctl('quit')

    def command(self, *options):
        command = super(UserTest, self).command(*(('--user', 'nobody') + options))
        return [self.python, self.program] + command[2:]

    def assert_is_of_nobody(self):
        """Check that the node that runs, and its jobs, are of that user."""
        self.assertEqual(os.stat('/proc/%d' % self.status()['pid']).st_uid, self.nobody.pw_uid)
        with FakeScheduler(Address(self.port)) as scheduler:
            scheduler.ping()
            reply = scheduler.open(WHO, 'who').run()
            self.assertEqual(str(reply.stdout),
                             '%d %d False\n' % (self.nobody.pw_uid, self.nobody.pw_gid))

    def assert_works(self, *options):
        """Start a node in the background, use it, end it."""
        ended = self.run_node(*options)
        self.assertEqual((ended.status, ended.out, ended.err), (0, '', ''), (self.program, options))
        self.assert_is_of_nobody()
        self.told('quit')
        self.wait(self.has_ended)

    def test_user_fails_with_the_one_file_and_in_the_background(self):
        log, pid_file = [os.path.join(self.folder, name) for name in ('node.log', 'node.pid')]
        for self.program in self.programs:
            self.assert_works('--detach')
            self.assert_works('--ensure')
            self.assert_works('--detach', '--log_file', log, '--pid_file', pid_file)
            self.assertEqual(os.stat(log).st_uid, self.nobody.pw_uid)
            self.assertEqual(read(pid_file), '')  # it lies where only root can remove it

    def test_log_of_another_user_goes_on_in_the_rotated_file(self):
        log = os.path.join(self.folder, 'node.log')
        self.assertEqual(self.run_node('--detach', '--log_file', log).status, 0)
        pid = self.status()['pid']
        os.rename(log, log + '.1')
        with open(log, 'w'):                                                # as logrotate does
            os.chown(log, self.nobody.pw_uid, self.nobody.pw_gid)
        os.kill(pid, signal.SIGHUP)
        self.wait(lambda: 'SIGHUP' in read(log))
        os.rename(log, log + '.2')
        os.kill(pid, signal.SIGHUP)
        self.wait(lambda: 'cannot be made anew: Permission denied' in read(log + '.2'))
        self.assertFalse(os.path.exists(log))

    def test_a_node_of_another_user_is_not_called_absent(self):
        self.assertEqual(self.run_node('--detach').status, 0)
        stranger = ['setpriv', '--reuid=%d' % STRANGER, '--regid=%d' % STRANGER, '--clear-groups']
        for words in (['status'], ['quit']):
            ended = self.run_command(stranger + [
                word for word in self.command('--ctl', *words) if word not in ('--user', 'nobody')
            ])
            self.assertEqual((ended.status, ended.err), (77, (
                'dispynode with files in %s: no access to %s: Permission denied; do it as the user '
                'of the node, or as root\n'
                % (self.files, self.state_folder))))
        ended = self.run_command(stranger + [self.python, self.program, '--ctl', 'list'])
        self.assertIn(
            'port %d, files in %s: a process that you may not see of user nobody\n' %
            (self.port, self.files), ended.out)

    def test_a_link_to_a_file_of_root_is_not_given_away(self):
        victim, log = os.path.join(self.folder, 'victim'), os.path.join(self.files, 'log')
        with open(victim, 'w'):
            os.chmod(victim, 0o600)
        os.symlink(victim, log)
        ended = self.run_node('--log_file', log)
        self.assertEqual((ended.status, ended.err.count('\n')), (73, 1), ended)
        self.assertEqual(
            (os.stat(victim).st_uid, stat.S_IMODE(os.stat(victim).st_mode), read(victim)),
            (0, 0o600, ''))

    def test_default_folder_of_another_user_is_found_by_root(self):
        self.files = os.path.join(self.folder, 'tmp', 'dispy-%d' % self.nobody.pw_uid, 'node')
        os.makedirs(os.path.join(self.folder, 'tmp', 'dispy', 'node'))      # of root
        os.chmod(os.path.join(self.folder, 'tmp'), 0o1777)
        command, env = self.command('--detach'), {'TMPDIR': os.path.join(self.folder, 'tmp')}
        command = [word for word in command if word not in ('--dest_path_prefix', self.files)]
        self.assertEqual(self.run_command(command, env=env).status, 0)
        self.assert_is_of_nobody()
        self.assertEqual(self.run_command(command[:-1] + ['--ctl', 'status'], env=env).status, 0)


if __name__ == '__main__':
    unittest.main()
