"""Nodes in the background: --detach, --ensure, ends by the clock, the service manager."""
from __future__ import absolute_import, division, print_function

import os
import re
import signal
import socket
import sys
import threading
import unittest

from tests.support.operatorcase import WAIT, OperatorCase, read
from tests.support.processes import stat_fields
from tests.support.waiting import TIMEOUT, wait_until

IGNORE = 'signal.signal(signal.SIGCHLD, signal.SIG_IGN)'
BLOCK = 'ctypes.CDLL(None).sigprocmask(0, b"\\xff" * 128, None)'


def starter(statement):
    """Return the begin of a command line: a program that does a statement of Python and then is the
    rest."""
    return [
        sys.executable, '-c',
        'import ctypes, os, signal, sys; %s; os.execv(sys.argv[1], sys.argv[1:])' % statement
    ]


class Detached(object):
    """Where a node is that is no child of the test: ip_addr, port."""


class Manager(object):
    """A service manager: reads at once, for the system keeps ten messages only."""

    def __init__(self, test, path):
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.bind(path)
        self._told, self._read = [], 0      # lists of lines; how many next() has returned
        reader = threading.Thread(target=self._run)
        reader.daemon = True
        reader.start()
        test.addCleanup(self._sock.close)
        test.addCleanup(reader.join, TIMEOUT)
        test.addCleanup(self._end, path)

    def _run(self):
        while True:
            data = self._sock.recv(4096)
            if data == b'END':
                return
            self._told.append(data.decode('utf-8').split('\n'))

    @staticmethod
    def _end(path):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sock.sendto(b'END', path)
        sock.close()

    def next(self):
        """Return the lines of the next message."""
        wait_until(lambda: len(self._told) > self._read, TIMEOUT, lambda: 'more than %r' % self._told)
        self._read += 1
        return self._told[self._read - 1]

    def until(self, check):
        """Wait until check(first lines of all messages so far) is true; return those."""
        wait_until(lambda: check(self.words()), TIMEOUT, lambda: 'more than %r' % self._told)
        return self.words()

    def words(self):
        return [lines[0] for lines in list(self._told)]


class Background(OperatorCase):

    def setUp(self):
        super(Background, self).setUp()
        self.addCleanup(self.ctl, 'quit')

    def test_detach_returns_when_the_node_serves(self):
        ended = self.run_node('--detach', '--name', 'hidden')
        # its streams are closed, too: run_node ends
        self.assertEqual((ended.status, ended.out, ended.err), (0, '', ''))
        found = self.status()
        self.assertEqual((found['name'], found['phase']), ('hidden', 'SERVING'))
        self.assertIn('serves at', read(os.path.join(self.state_folder, 'log')))
        # no terminal
        self.assertEqual((stat_fields(found['pid'])[4], os.readlink('/proc/%d/cwd' % found['pid'])),
                         ('0', '/'))
        self.told('quit')
        self.assertEqual(self.ctl('status').status, 3)

    def test_detach_tells_why_it_failed(self):
        self.assertEqual(self.run_node('--detach').status, 0)
        ended = self.run_node('--detach')
        self.assertEqual((ended.status, ended.err.count('\n')), (75, 1), ended)
        self.assertIn('is running already', ended.err)
        sock = socket.socket()
        self.addCleanup(sock.close)
        sock.bind(('127.0.0.1', 0))
        sock.listen(1)
        ended = self.run_command(self.command()[:4] + ['-p', str(sock.getsockname()[1]), '--detach',
                                                       '--dest_path_prefix', self.folder])
        self.assertEqual((ended.status, ended.err.count('\n')), (69, 1), ended)

    def test_relative_paths_mean_the_folder_of_the_start(self):
        command = self.command('--detach', '--log_file', 'my.log', '--pid_file', 'my.pid')
        self.assertEqual(self.run_command(command).status, 0)
        self.assertIn('serves at', read(os.path.join(self.folder, 'my.log')))
        self.assertEqual(int(read(os.path.join(self.folder, 'my.pid'))), self.status()['pid'])

    def test_hangup_does_not_find_a_relative_secret_file_after_detach(self):
        secret = os.path.join(self.folder, 'secret')
        log = os.path.join(self.folder, 'my.log')
        for name, text in (('secret', 'one\n'), ('node.cfg',
                                                 '[dispynode]\nsecret_file = secret\n')):
            with open(os.path.join(self.folder, name), 'w') as target:
                target.write(text)
        self.assertEqual(
            self.run_node('--detach', '--config', 'node.cfg', '--log_file', 'my.log').status, 0)
        pid = self.status()['pid']
        os.kill(pid, signal.SIGHUP)
        self.wait(lambda: read(log).count('the options have been read') == 1)
        self.assertNotIn('restart', read(log))
        with open(secret, 'w') as target:
            target.write('two\n')
        os.kill(pid, signal.SIGHUP)
        self.wait(lambda: '--secret needs a restart' in read(log))
        os.unlink(secret)
        os.kill(pid, signal.SIGHUP)
        self.wait(lambda: 'the secret stays as it is' in read(log) and read(log).count(
            'have been read') == 3)

    def test_ensure_starts_once_and_says_nothing(self):
        ended = self.run_node('--ensure')
        self.assertEqual((ended.status, ended.out, ended.err), (0, '', ''))
        pid = self.status()['pid']
        ended = self.run_node('--ensure')
        self.assertEqual((ended.status, ended.out, ended.err), (0, '', ''))
        self.assertEqual(self.status()['pid'], pid)
        os.kill(pid, 9)
        self.wait(self.has_ended)
        self.assertEqual(self.run_node('--ensure').status, 0)
        self.assertNotEqual(self.status()['pid'], pid)

    def test_lifetime(self):
        with self.node('--lifetime', '10', '--stop_timeout', '2', '--drain_timeout', '2') as node:
            scheduler = self.scheduler(node)
            self.addCleanup(scheduler.close)
            computation = scheduler.open(WAIT, 'wait')
            job = computation.submit(os.path.join(self.folder, 'never'))
            self.assertEqual(scheduler.wait_for('NODE_CPUS', timeout=30).value['cpus'], 0)
            self.assertEqual(node.wait_exit(30), 0)
            self.assertEqual(job.wait().status, 9)
            node.wait_log('the lifetime ends in')

    def test_idle_timeout(self):
        with self.node('--idle_timeout', '4') as node:
            scheduler = self.scheduler(node)
            self.addCleanup(scheduler.close)
            computation = scheduler.open(WAIT, 'wait')
            mark = os.path.join(self.folder, 'mark')
            job = computation.submit(mark)
            wait_until(lambda: self.status()['uptime'] > 5, 30)
            self.assertEqual(self.status()['busy'], 1)
            open(mark, 'w').close()
            self.assertEqual(job.wait().status, 11)
            computation.close()
            self.assertEqual(node.wait_exit(30), 0)
            node.wait_log('no computation for 4 s')

    def test_service_manager_is_told(self):
        path = os.path.join(self.folder, 'notify')
        manager = Manager(self, path)
        env = {'NOTIFY_SOCKET': path, 'WATCHDOG_USEC': '400000'}
        with self.node(env=env) as node:
            told = manager.next()
            self.assertEqual((told[0], told[2]), ('READY=1', 'MAINPID=%d' % node.pid))
            self.assertTrue(told[1].startswith('STATUS=serving: 0 of '), told)
            for _ in range(2):
                self.assertEqual(manager.next()[0], 'WATCHDOG=1')
            node.stop()
            manager.until(lambda words: 'STOPPING=1' in words)

    def test_the_service_manager_sees_no_end_of_a_node_that_replaces_itself(self):
        path, mark = os.path.join(self.folder, 'notify'), os.path.join(self.folder, 'mark')
        manager = Manager(self, path)
        env = {'NOTIFY_SOCKET': path, 'WATCHDOG_USEC': '400000'}
        with self.node('-c', '1', env=env) as node:
            scheduler = self.scheduler(node)
            self.addCleanup(scheduler.close)
            job = scheduler.open(WAIT, 'wait').submit(mark)
            self.assertEqual(self.ctl('restart').status, 0)
            words = manager.until(
                lambda words: words.count('READY=1') == 2 and words[-1] == 'WATCHDOG=1')
            self.assertNotIn('STOPPING=1', words)
            open(mark, 'w').close()
            self.assertEqual(job.wait().status, 11)

    def test_the_service_manager_sees_changes_and_waits_for_the_grace(self):
        path, mark = os.path.join(self.folder, 'notify'), os.path.join(self.folder, 'mark')
        manager = Manager(self, path)

        def told(begin):
            while True:
                for line in manager.next():
                    if line.startswith(begin):
                        return line

        with self.node('-c', '1', '--grace', '100', env={'NOTIFY_SOCKET': path}) as node:
            scheduler = self.scheduler(node)
            self.addCleanup(scheduler.close)
            job = scheduler.open(WAIT, 'wait').submit(mark)
            told('STATUS=serving: 1 of 1 CPU busy, 1 computation')
            node.signal(signal.SIGTERM)
            self.assertEqual(told('EXTEND_TIMEOUT_USEC'), 'EXTEND_TIMEOUT_USEC=135000000')
            open(mark, 'w').close()
            self.assertEqual(job.wait().status, 11)
            told('STOPPING=1')
            self.assertEqual(node.wait_exit(), 0)

    def test_lines_in_the_journal_have_a_priority_and_no_second_time(self):
        to_journal = [
            'sh', '-c', 'JOURNAL_STREAM=$(stat -Lc %d:%i /proc/self/fd/2) exec "$@"', 'sh'
        ]
        ended = self.run_command(to_journal + self.command('--daemon', '--idle_timeout', '0.1'))
        self.assertEqual(ended.status, 0, ended)
        for line in ended.err.splitlines():
            self.assertTrue(re.match(r'<[46]>dispynode\.\w+: ', line), ended)
        self.assertIn('\n<6>dispynode.node: stopped\n', ended.err)
        ended = self.run_command(to_journal + self.command('--user', 'no-such-user', '--daemon'))
        self.assertTrue(ended.err.startswith('<3>dispynode: '), ended)

    def test_a_silent_peer_is_waited_for_as_long_as_said(self):
        with self.node('--msg_timeout', '1') as node:
            sock = socket.create_connection(('127.0.0.1', self.port), 20)
            self.addCleanup(sock.close)
            sock.sendall(b'x')
            self.assertEqual(sock.recv(1), b'')
            node.wait_log('no request within 1 s (1 bytes came)')

    def test_no_job_runs_in_a_node_started_with_closed_streams(self):
        for closed in ('<&- >&- 2>&-', '<&-', '>&-', '2>&-'):
            with self.started_by('/bin/sh', '-c', 'exec "$@" ' + closed, 'sh'):
                self.serve_a_client()

    def test_detach_dies_where_sigchld_is_ignored(self):
        command = starter(IGNORE) + self.command('--detach')
        ended = self.run_command(command)
        self.assertEqual((ended.status, ended.err), (0, ''))
        self.assertEqual(self.status()['phase'], 'SERVING')
        self.told('quit')
        with self.started_by(*starter(IGNORE)):
            self.serve_a_client()

    def test_a_node_started_with_signals_blocked_cannot_be_ended(self):
        with self.started_by(*starter(BLOCK)) as node:
            self.serve_a_client()
            self.assertEqual(node.stop(), 0)

    def test_ensure_of_a_node_that_hangs_ends_with_one_line(self):
        self.assertEqual(self.run_node('--detach').status, 0)
        pid = self.status()['pid']
        os.kill(pid, signal.SIGSTOP)
        try:
            ended = self.run_node('--ensure')
        finally:
            os.kill(pid, signal.SIGCONT)
        self.assertEqual((ended.status, ended.err.count('\n')), (4, 1), ended)
        self.assertIn('kill -9 %d' % pid, ended.err)

    def test_relative_paths_in_a_folder_that_was_removed_end_with_one_line(self):
        shell = 'mkdir gone && cd gone && rmdir ../gone && exec "$@"'
        for options in (('--log_file', 'my.log'), ('--detach', '--pid_file', 'my.pid')):
            ended = self.run_command(['/bin/sh', '-c', shell, 'sh'] + self.command(*options))
            self.assertEqual((ended.status, ended.err.count('\n')), (73, 1), ended)
            self.assertIn(
                '%s %s: the folder in which this was started has been removed' % options[-2:],
                ended.err)

    def test_a_node_whose_state_folder_was_tidied_up_is_lost_to_its_operator(self):
        self.assertEqual(self.run_node('--detach').status, 0)
        pid = self.status()['pid']
        for name in ('pid', 'ctl', 'state.json'):
            os.unlink(os.path.join(self.state_folder, name))
        self.wait(lambda: self.ask('status'))
        self.assertEqual(self.status()['pid'], pid)
        self.assertEqual(self.run_node('--ensure').status, 0)
        self.assertEqual(int(read(os.path.join(self.state_folder, 'pid'))), pid)
        ended = self.run_node()
        self.assertEqual(ended.status, 75, ended)
        self.told('quit')
        self.wait(self.has_ended)

    def test_an_address_that_is_not_there_yet_may_come(self):
        for address in ('198.51.100.1', 'no-such-host.invalid'):
            command = [address if word == '127.0.0.1' else word for word in self.command()]
            ended = self.run_command(command)
            self.assertEqual((ended.status, ended.err.count('\n')), (69, 1), ended)

    def test_a_python_without_its_library_is_told_which_package_to_install(self):
        for name in ('socketserver', 'SocketServer'):
            with open(os.path.join(self.folder, name + '.py'), 'w') as module:
                module.write('raise ImportError("No module named %s")\n' % name)
        ended = self.run_command(self.command(), env={
            'PYTHONPATH': self.folder, 'PYTHONDONTWRITEBYTECODE': '1'
        })
        self.assertEqual((ended.status, ended.err.count('\n')), (78, 1), ended)
        self.assertIn('install it, on Debian the package python3', ended.err)

    def started_by(self, *before):
        """Return a running node (NodeProcess) whose command line has `before` in front; its log is
        a file."""
        node = self.node('--log_file', os.path.join(self.folder, 'log'), wait=False)
        command = node.command
        node.command = lambda: list(before) + command()
        return node

    def serve_a_client(self):
        """Wait until this test's node serves, and let it do a job."""
        self.wait(lambda: self.ask('status'))
        there = Detached()
        there.ip_addr, there.port = '127.0.0.1', self.port
        with self.scheduler(there) as scheduler:
            self.assertEqual(
                scheduler.open('def add(a, b):\n    return a + b\n', 'add').run(2, 3).value, 5)

    def test_no_terminal_no_reading(self):
        read_end, write_end = os.pipe()
        try:
            os.write(write_end, b'quit\n')
            stream = os.fdopen(read_end, 'rb')
            with self.node(daemon=False, stdin=stream):
                self.assertEqual(self.status()['phase'], 'SERVING')
            stream.close()
        finally:
            os.close(write_end)


if __name__ == '__main__':
    unittest.main()
