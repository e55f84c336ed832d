"""The operator's commands, sent to a node in the background and typed at a terminal."""
from __future__ import absolute_import, division, print_function

import contextlib
import json
import os
import pty
import pwd
import select
import signal
import socket
import sys
import time
import unittest

from dispynode_lib.host.process import lockfile
from tests.support import processes
from tests.support.computation import Refused
from tests.support.operatorcase import MARKED, WAIT, OperatorCase, read
from tests.support.waiting import TIMEOUT, wait_until


class Commands(OperatorCase):

    def test_status_without_a_node(self):
        ended = self.ctl('status')
        self.assertEqual((ended.status, ended.out), (3, ''))
        self.assertEqual(
            ended.err, 'dispynode with files in %s: not running: there is no node in %s\n' %
            (self.files, self.state_folder))
        ended = self.ctl('status', '--json')
        self.assertEqual((ended.status, json.loads(ended.out)['running']), (3, False))
        self.assertEqual(self.ctl('stop').status, 7)
        self.assertFalse(os.path.exists(self.files))

    def test_list_shows_all_nodes_of_this_host(self):
        user = pwd.getpwuid(os.getuid()).pw_name
        with self.node('-c', '1', port=self.port) as node:
            text = 'port %d, files in %s: process %d of user %s, since 2' % (self.port, self.files,
                                                                             node.process.pid, user)
            self.assertIn(text, self.told('list'))
            found = dict((one['pid'], one)
                         for one in json.loads(self.told('list', '--json')))[node.process.pid]
            self.assertTrue(0 <= time.time() - found.pop('since') < 300, found)
            self.assertEqual(
                found,
                {'pid': node.process.pid, 'port': self.port, 'folder': self.files, 'user': user})
            os.unlink(os.path.join(self.state_folder, 'pid'))       # somebody tidied up
            self.assertIn(text, self.told('list'))
        self.assertNotIn(self.files, self.ctl('list').out)

    def test_a_node_with_another_folder_is_named_not_called_absent(self):
        with self.node('-c', '1') as node:
            self.files, right = os.path.join(self.folder, 'other'), self.files
            ended = self.ctl('status')
            self.assertEqual((ended.status, ended.err), (3, (
                'dispynode with files in {0}/other: not running: there is no node in '
                '{0}/other/.node-{1}; the node with that port '
                'is process {2} of user {3}, with files in {4}: give --dest_path_prefix {4}\n'
            ).format(self.folder, self.port, node.process.pid,
                     pwd.getpwuid(os.getuid()).pw_name, right)))

    def test_a_node_whose_files_were_just_removed_is_not_said_to_have_another_folder(self):
        with self.node('-c', '1'):
            for name in os.listdir(self.state_folder):
                if not os.path.isdir(os.path.join(self.state_folder, name)):
                    os.unlink(os.path.join(self.state_folder, name))
            told = self.ctl('status').err
            self.assertIn('is that node, but its files there were removed', told)
            self.assertNotIn('give --dest_path_prefix', told)

    def test_a_program_that_has_the_port_is_named(self):
        with contextlib.closing(socket.socket()) as holder:
            holder.bind(('127.0.0.1', self.port))
            holder.listen(1)
            self.assertIn('; port %d is held by process %d (' % (self.port, os.getpid()),
                          self.ctl('status').err)

    def test_status_of_an_idle_node(self):
        with self.node('-c', '1', '--name', 'lazy'):
            self.assertEqual(json.loads(self.told('status', '--json'))['pid'], self.status()['pid'])
            text = self.told('status')
            self.assertIn('lazy (dispynode ', text)
            self.assertIn('is serving', text)
            self.assertIn('it waits for a client', text)
            found = self.status()
            self.assertEqual(
                (found['phase'], found['cpus'], found['busy'], found['ports'], found['addresses']),
                ('SERVING', 1, 0, [self.port], ['127.0.0.1']))
            self.assertIn(
                '; this process may use %d: %s\n' % (found['usable_cpus'], found['cpus_reason']),
                text)
            self.assertTrue(found['why_idle'])
            self.assertIn(found['why_idle'][0], self.told('why'))

    def test_status_of_a_busy_node(self):
        mark = os.path.join(self.folder, 'mark')
        with self.node('-c', '2') as node, self.scheduler(node) as scheduler:
            computation = scheduler.open(MARKED, 'wait')
            jobs = [computation.submit(mark) for _ in range(2)]
            started = self.wait(lambda: self.started('mark-', 2))
            found = self.status()
            self.assertEqual(
                (found['busy'], found['free'], found['scheduler']['port'], found['why_idle']),
                (2, 0, scheduler.port, []))
            told = found['computations'][0]
            self.assertEqual((told['id'], told['name']), (computation.id, 'wait'))
            self.assertEqual(sorted(job['uid'] for job in told['jobs']),
                             sorted(job.uid for job in jobs))
            self.assertEqual(sorted(job['pid'] for job in told['jobs']), started)
            self.assertTrue(all(0 <= job['age'] < 60 for job in told['jobs']), told)
            self.assertIn('process %d' % started[0], self.told('status'))
            self.assertIn('2 jobs are running', self.told('why'))
            open(mark, 'w').close()
            for job in jobs:
                job.wait()
            found = self.status()
            self.assertEqual((found['jobs_done'], found['outcomes'], found['busy']),
                             (2, {'finished': 2}, 0))
            self.assertEqual(len(found['recent_jobs']), 2)
            self.assertIn('busy with the scheduler', self.told('why'))

    def test_clients_that_wait_and_the_one_that_has_the_node(self):
        with self.node() as node, self.scheduler(node) as owner, self.scheduler(node) as other:
            owner.open(MARKED, 'wait')
            other.send_ping()
            wait_until(lambda: self.status()['clients'], TIMEOUT)
            told = self.told('why')
            self.assertIn('busy with the scheduler at 127.0.0.1 port %d for ' % owner.port, told)
            self.assertIn('127.0.0.1 port %d (release %s) waits for the node: refused once' % (
                other.port, other.dialect.release), told)
            found = self.status()
            self.assertEqual([(one['port'], one['refused'])
                              for one in found['clients']], [(other.port, 1)])
            self.assertEqual((found['scheduler']['port'], found['scheduler']['silent_for']),
                             (owner.port, None))

    def test_a_client_that_is_answered_twice_and_opens_nothing(self):
        with self.node() as node, self.scheduler(node) as scheduler:
            def ask():
                scheduler.send_ping()
                return [one for one in self.status()['clients'] if one['answered'] > 1]
            wait_until(ask, TIMEOUT, interval=0.3)
            self.assertIn('has opened nothing: perhaps another secret', self.told('why'))
            scheduler.open(MARKED, 'wait')
            self.assertEqual(self.status()['clients'], [])

    def started(self, prefix, count):
        found = sorted(
            int(name[len(prefix):]) for name in os.listdir(self.folder) if name.startswith(prefix))
        return found if len(found) == count else None

    def test_a_stop_by_a_limit_is_called_a_failure(self):
        code = (
            'import time\ndef work(how):\n    if how == "time":\n        time.sleep(600)\n    if '
            'how == "output":\n'
            '        print("x" * 9999)\n    if how == "memory":\n        big = b"x" * (90 << 20)\n '
            '       time.sleep(600)\n'
            '    return 1 // (how != "fault")\n')
        options = ['-c', '1', '--job_time', '5', '--job_output', '1k', '--job_memory', '60m']
        with self.node(*options) as node, self.scheduler(node) as scheduler:
            computation = scheduler.open(code, 'work')
            ways = ['well', 'time', 'output', 'memory', 'fault', 'well']
            for how in ways:
                computation.run(how)
            expected = {'finished': 2, 'failed': 1}
            expected.update(('stopped by --job_' + how, 1) for how in ways[1:4])
            found = self.status()
            self.assertEqual((found['outcomes'], found['jobs_done']), (expected, 6))
            self.assertEqual([job['outcome'] for job in found['recent_jobs'][::-1]], [
                'finished', 'stopped by --job_time', 'stopped by --job_output',
                'stopped by --job_memory', 'failed', 'finished'
            ])
            words = ('2 finished, 1 failed, 1 stopped by --job_memory, 1 stopped by --job_output, '
                     '1 stopped by --job_time')
            self.assertIn('done         0 clients, 6 jobs (%s)' % words, self.told('status'))
            computation.close()
            node.wait_log('computation %d (work) ended: 6 jobs: %s' % (computation.id, words))

    def test_what_an_operator_did_is_not_told(self):
        with self.node('-c', '2') as node:
            for words in (['stop'], ['start'], ['cpus', '1'], ['status'], ['why'], ['quit']):
                self.told(*words)
            node.wait_exit()
            told = [
                line.partition('operator: ')[2] for line in node.log().splitlines()
                if 'command of the operator' in line
            ]
            self.assertEqual(told, ['stop', 'start', 'cpus 1', 'quit'])

    def test_stop_and_start_tell_the_scheduler(self):
        with self.node('-c', '2') as node, self.scheduler(node) as scheduler:
            scheduler.open(WAIT, 'wait')
            self.assertEqual(self.told('stop'), 'service stopped; 0 jobs are running\n')
            self.assertEqual(scheduler.wait_for('NODE_CPUS').value['cpus'], 0)
            self.assertEqual(self.status()['phase'], 'PAUSED')
            with self.assertRaises(Refused):
                scheduler.open(WAIT, 'wait')
            self.assertIn('stopped already', self.told('stop'))
            self.assertEqual(self.told('start'), 'service restarted\n')
            scheduler.wait_for('NODE_CPUS', match=lambda value: value['cpus'] == 2)
            scheduler.open(WAIT, 'wait')

    def test_cpus(self):
        with self.node('-c', '2') as node, self.scheduler(node) as scheduler:
            scheduler.open(WAIT, 'wait')
            self.assertEqual(self.told('cpus', '1'), '1 CPU offered, 0 busy\n')
            self.assertEqual(scheduler.wait_for('NODE_CPUS').value['cpus'], 1)
            self.assertEqual(json.loads(self.told('cpus', '--json')), {'cpus': 1})
            ended = self.ctl('cpus', 'many')
            self.assertEqual((ended.status, ended.err.count('\n')), (64, 1), ended)
            self.assertEqual(self.ctl('cpus', '100000').status, 64)
            self.assertEqual(self.status()['cpus'], 1)

    def test_release(self):
        with self.node('-c', '2') as node:
            scheduler = self.scheduler(node)
            first = scheduler.open(WAIT, 'wait')
            self.assertIn('answers', self.told('release'))
            scheduler.stop_listening()
            self.assertEqual(json.loads(self.told('release', '--json'))['closed'], [first.id])
            self.wait(lambda: not self.status()['computations'])
            scheduler.listen()
            second = scheduler.open(WAIT, 'wait')
            self.assertEqual(self.told('release', str(second.id)),
                             'computation %d (wait) is closed\n' % second.id)
            self.assertEqual(self.ctl('release', '17').status, 64)
            scheduler.wait_for('TERMINATED')
            scheduler.close()

    def test_unknown_command(self):
        with self.node():
            for words, text in ((['nonsense'], 'there is no such command'),
                                (['cpus', '1', '2'], 'give one word after cpus'),
                                (['stop', 'it'], 'give nothing after stop')):
                ended = self.ctl(*words)
                self.assertEqual((ended.status, ended.err.count('\n')), (64, 1), ended)
                self.assertIn(text, ended.err)

    def test_drain(self):
        with self.node() as node, self.scheduler(node) as scheduler:
            computation = scheduler.open(WAIT, 'wait')
            self.assertEqual(self.told('drain'), 'draining: waiting for 1 open computation\n')
            self.assertEqual(self.status()['phase'], 'DRAINING')
            self.assertEqual(self.ctl('start').status, 1)
            computation.close()
            self.assertEqual(node.wait_exit(), 0)

    def test_quit_returns_when_the_node_has_ended(self):
        with self.node() as node:
            self.told('quit')
            self.assertEqual(self.ctl('status').status, 3)
            self.assertEqual(node.wait_exit(), 0)

    def test_owner_of_the_lock(self):
        with self.node() as node:
            self.assertEqual(lockfile.owner(os.path.join(self.state_folder, 'pid')), node.pid)
        self.assertEqual(lockfile.owner(os.path.join(self.state_folder, 'pid')), None)


PROMPT_END = 'anything else to get status: '


class Terminal(OperatorCase):
    """The menu, typed at a pseudo terminal."""

    def setUp(self):
        super(Terminal, self).setUp()
        self.master, slave = pty.openpty()
        self.addCleanup(self.close_terminal)
        self.text = ''
        self.slave = slave
        self.addCleanup(os.close, slave)

    def close_terminal(self):
        if self.master is not None:
            os.close(self.master)
            self.master = None

    def start(self, *options):
        """Start the node at the terminal."""
        self.run_at_terminal(self.command('-c', '1', *options))

    def run_at_terminal(self, command):
        """Start a program in a session of its own, of which the terminal is the controlling one."""
        code = ('import fcntl, os, sys, termios\nfcntl.ioctl(0, termios.TIOCSCTTY, 0)\n'
                'os.execvp(sys.argv[1], sys.argv[1:])')
        self.process = processes.spawn([sys.executable, '-c', code] + command, self.mark,
                                       dict(os.environ, TERM='xterm', PS1='$ '), stdin=self.slave,
                                       stdout=self.slave, stderr=self.slave, cwd=self.folder)

    def start_in_shell(self, words='%s'):
        """Start the node from an interactive shell; return once the menu is there."""
        self.run_at_terminal(['bash', '--norc', '--noediting', '-i'])
        self.read_until('$ ')
        self.type(words % ' '.join(self.command('-c', '1')))
        self.read_until('serves at')

    def read_until(self, text):
        """Read what the node prints until it has printed `text`."""
        def found():
            if select.select([self.master], [], [], 0.05)[0]:
                self.text += os.read(self.master, 4096).decode('utf-8', 'replace')
            return text in self.text
        self.wait(found, lambda: '%r in %r' % (text, self.text))
        self.text = self.text.partition(text)[2]

    def type(self, text):
        os.write(self.master, text.encode('utf-8') + b'\n')

    def test_daemon_shows_no_menu_and_reads_nothing(self):
        self.start('--daemon')
        self.read_until('serves at')
        self.type('quit')
        self.assertEqual(self.status()['phase'], 'SERVING')
        self.told('quit')
        self.wait(lambda: self.process.poll() is not None)
        self.assertNotIn('get status', self.text)

    def test_menu(self):
        self.start()
        self.read_until('anything else to get status: ')
        self.type('status')
        self.read_until('is serving')
        self.read_until('anything else to get status: ')
        self.type('')
        self.read_until('is serving')
        self.type('cpus')
        self.read_until('1 CPU offered')
        self.read_until('Number of CPUs')
        self.type('0')
        self.read_until('0 CPUs offered')
        self.type('stop')
        self.read_until('service stopped')
        self.type('start')
        self.read_until('service restarted')
        self.type('release')
        self.read_until('no computation is open')
        self.type('quit')
        self.assertEqual(self.wait(lambda: self.process.poll() is not None), True)
        self.assertEqual(self.process.returncode, 0)

    def test_the_menu_asks_for_the_number_of_cpus(self):
        self.start()
        self.read_until('"cpus" or "cpus N" to change the CPUs used')
        self.type('cpus')
        self.read_until('Number of CPUs (negative: leave so many free): ')
        self.type('many')
        self.read_until('cpus many: give how many CPUs to use, or a negative number')
        self.read_until(PROMPT_END)

    def test_a_node_ends_when_its_terminal_is_closed(self):
        self.start('--log_file', os.path.join(self.folder, 'log'))
        self.read_until(PROMPT_END)
        self.close_terminal()
        self.wait(lambda: self.process.poll() is not None)
        self.assertEqual(self.process.returncode, 0)
        said = read(os.path.join(self.folder, 'log'))
        self.assertIn('the terminal was closed', said)
        self.assertIn('SIGHUP: this node is to end', said)

    def test_a_node_in_the_background_of_a_shell_ends_when_its_terminal_is_closed(self):
        self.start_in_shell('%s &')
        self.close_terminal()
        self.wait(self.has_ended, 'the node to end')

    def test_nohup_keeps_a_node_when_its_terminal_is_closed(self):
        self.run_at_terminal(['bash', '--norc', '--noediting', '-i'])
        self.read_until('$ ')
        self.type('nohup %s > log 2>&1 &' % ' '.join(self.command()))
        self.wait(lambda: self.ask('status'), 'the node to serve')
        self.close_terminal()
        self.wait(lambda: self.process.poll() is not None, 'the shell to end')
        self.assertEqual(self.ctl('status').status, 0)
        self.told('quit')

    def test_a_hangup_signal_reads_the_options_while_the_terminal_is_there(self):
        self.start()
        self.read_until(PROMPT_END)
        self.process.send_signal(signal.SIGHUP)
        self.read_until('SIGHUP: the log is open, the options have been read')
        self.assertEqual(self.status()['phase'], 'SERVING')

    def test_ctrl_d_says_what_happens_and_commands_are_read_on(self):
        self.start()
        self.read_until(PROMPT_END)
        os.write(self.master, b'\x04')
        self.read_until('Ctrl-D: the node goes on; "quit" ends it now')
        self.read_until('status): ')
        self.type('status')
        self.read_until('is serving')

    def test_the_prompt_follows_lines_of_the_log(self):
        self.start()
        self.read_until(PROMPT_END)
        self.told('stop')                               # the log tells of it
        self.read_until('\r\x1b[K2')                    # it takes the place of the prompt
        self.read_until('command of the operator: stop\r\n')
        self.read_until('dispynode (quit, drain, stop, start, release, cpus, why, status): ')
        self.type('start')
        self.read_until('service restarted')

    def test_a_node_stopped_by_ctrl_z_goes_on_with_fg(self):
        self.start_in_shell()
        self.read_until(PROMPT_END)
        os.write(self.master, b'\x1a')
        self.read_until('$ ')
        self.type('fg')
        self.read_until('status): ')                    # the prompt is there again
        self.type('why')
        self.read_until('it waits for a client')
        os.write(self.master, b'\x1a')
        self.read_until('$ ')
        self.type('bg')
        self.read_until('$ ')
        self.assertEqual(self.status()['phase'], 'SERVING')
        self.told('cpus', '0')  # the log tells of it, no prompt follows: the shell has its own
        self.read_until('command of the operator: cpus 0\r\n')
        self.told('quit')
        self.wait(self.has_ended, 'the node to end')
        self.assertNotIn('why, status): ', self.text)

    def test_exit_and_interrupt_work_alike(self):
        self.start()
        self.read_until('anything else to get status: ')
        os.write(self.master, b'\x03')
        self.wait(lambda: self.process.poll() is not None)
        self.assertEqual(self.process.returncode, 0)


if __name__ == '__main__':
    unittest.main()
