"""What an operator sets against attacks: who is listened to, as whom the node runs."""
from __future__ import absolute_import, division, print_function

import os
import pwd
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import unittest

from tests.attack.attacker import NATIVE, WAIT, assert_serves, connect, python_for_everybody
from tests.attack.test_clients import Elsewhere
from tests.support.nodeprocess import PROJECT, NodeProcess
from tests.support.scheduler import FakeScheduler
from tests.support.waiting import wait_until

CODE = 'import os\ndef job(n=1):\n    return n * 2\ndef who():\n    return os.getuid(), os.getgid(), os.getgroups()\n'


class AllowTest(unittest.TestCase):

    def test_only_who_is_allowed_is_heard(self):
        with NodeProcess('-c', 1, '--allow', '10.0.0.0/8', '--allow',
                         '127.0.0.1') as node, FakeScheduler(node, NATIVE) as scheduler:
            computation = scheduler.open(CODE, 'job')
            assert_serves(self, computation)
            stranger = Elsewhere(node, NATIVE)
            try:
                with stranger.connection('PING', stranger.ping_record()) as connection:
                    connection.settimeout(20)
                    try:
                        self.assertEqual(connection.recv(10), b'')
                    except EnvironmentError:
                        pass                                        # closed by force
                sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                sender.bind(('127.0.0.9', 0))
                computation.close()
                sender.sendto(b'PING:' + NATIVE.dumps(stranger.ping_record()),
                              (node.ip_addr, node.port))
                sender.close()
                node.wait_log('127.0.0.9: not allowed', WAIT)
                scheduler.ping(timeout=WAIT)
                self.assertEqual(stranger.messages('PONG'), [])
            finally:
                stranger.close()

    def test_ipv6_and_nonsense(self):
        for value in ('::1/129', '10.0.0.0/33', '10.0.0', 'host', '1.2.3.4/x', ''):
            with NodeProcess('--allow', value, wait=False) as node:
                self.assertEqual(node.wait_exit(WAIT), 64)
                node.wait_log('--allow')


@unittest.skipUnless(os.geteuid() == 0, 'only root can start a node for another user')
class UserTest(unittest.TestCase):

    def test_node_and_jobs_run_as_that_user(self):
        nobody = pwd.getpwnam('nobody')
        folder = tempfile.mkdtemp(prefix='dispynode-user-', dir='/tmp')
        self.addCleanup(shutil.rmtree, folder, True)
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        python = python_for_everybody()
        if python is None:  # this user cannot run any: then that is said
            with NodeProcess('--user', 'nobody', folder=folder, wait=False) as node:
                self.assertEqual(node.wait_exit(WAIT), 77)
                node.wait_log('may not use')
            return
        with NodeProcess('-c', 1, '--user', 'nobody', folder=folder,
                         python=python) as node, FakeScheduler(node, NATIVE) as scheduler:
            computation = scheduler.open(CODE, 'who')
            uid, gid, groups = computation.run().value
            self.assertEqual((uid, gid), (nobody.pw_uid, nobody.pw_gid))
            self.assertNotIn(0, groups)
            self.assertEqual(os.stat('/proc/%d' % node.pid).st_uid, nobody.pw_uid)
            self.assertNotIn('runs as root', node.log())

    def test_an_unknown_user(self):
        with NodeProcess('--user', 'nobody-of-that-name', wait=False) as node:
            self.assertEqual(node.wait_exit(WAIT), 67)
            node.wait_log('no such user')

    def test_root_is_warned(self):
        with NodeProcess() as node:
            wait_until(lambda: 'runs as root' in node.log(), WAIT)
            connect(node).close()


class SecretTest(unittest.TestCase):
    """What other users of the host can see."""

    SECRETS = (b'secret-of-clients', b'secret-of-admins')

    def test_no_other_user_can_read_a_secret(self):
        secret, admin = [text.decode('ascii') for text in self.SECRETS]
        for given in (['-s', secret, '--admin_secret=' + admin], [
                '-s' + secret, '--admin_secret', admin
        ], ['--secret=' + secret]):
            with NodeProcess('-c', 1, *given) as node, FakeScheduler(node, NATIVE,
                                                                     secret=secret) as scheduler:
                computation = scheduler.open(
                    'import time\ndef job(n=1):\n    time.sleep(0.3)\n    return n * 2\n', 'job')
                scheduler.stop_listening()
                job = computation.submit()  # noted while it runs, kept afterwards
                self.look(node, scheduler.token())
                wait_until(lambda: computation.pending_jobs()['done'] == [job.uid], WAIT)
                self.look(node, scheduler.token())
                scheduler.listen()
                computation.resend()
                self.assertEqual(job.wait(WAIT).value, 2)

    def look(self, node, token):
        """Fail if the process list, the log or a file that others may read shows a secret or
        token."""
        words = self.SECRETS + (token,)
        for pid, command in node.processes().items():
            self.assertFalse([word for word in words if word.decode('ascii') in command],
                             'the command line of %d' % pid)
        self.assertFalse([word for word in words if word.decode('ascii') in node.log()], 'the log')
        state = os.path.join(node.folder, '.node-%d' % node.port)
        self.assertEqual(os.stat(state).st_mode & 0o777, 0o700)
        seen = 0
        for where, folders, names in os.walk(node.folder):
            for name in names + folders:
                path = os.path.join(where, name)
                try:
                    mode, data = os.lstat(path).st_mode, b''
                    if stat.S_ISREG(mode) and (mode & 0o044 or not where.startswith(state)):
                        with open(path, 'rb') as source:
                            data = source.read()
                except EnvironmentError:
                    continue                # it has gone meanwhile
                seen += stat.S_ISREG(mode)
                if data:
                    self.assertFalse([word for word in words if word in data], path)
        self.assertGreater(seen, 2)

    def test_a_saved_config_file_is_private(self):
        folder = tempfile.mkdtemp(prefix='dispynode-config-')
        self.addCleanup(shutil.rmtree, folder, True)
        for more in ([], ['--save_secrets']):
            path = os.path.join(folder, 'config-%d' % len(more))
            subprocess.check_call([
                sys.executable,
                os.path.join(PROJECT, 'dispynode.py'), '-s', 'secret-of-clients', '--save_config',
                path
            ] + more)
            with open(path, 'rb') as source:
                self.assertIn(b'secret = secret-of-clients\n', source.read())
            self.assertEqual(os.stat(path).st_mode & 0o077, 0)


class WarningTest(unittest.TestCase):

    def test_without_a_secret_on_a_network(self):
        from dispynode_lib.node.access.guard import warnings
        from dispynode_lib.options.parser import Options
        options = Options()
        options.finish()
        self.assertTrue([
            line for line in warnings(options, [u'192.0.2.1'], 51348)
            if 'no --secret' in line and '192.0.2.1' in line
        ])
        self.assertFalse([
            line for line in warnings(options, [u'127.0.0.1', u'::1'], 51348)
            if 'no --secret' in line
        ])
        options.secret = u'x'
        self.assertFalse([
            line for line in warnings(options, [u'192.0.2.1'], 51348) if 'no --secret' in line
        ])
