"""What a node finds at its start, and what it leaves behind: nothing that stops the next one."""
from __future__ import absolute_import, division, print_function

import errno
import json
import os
import signal
import socket
import stat
import struct
import unittest

from tests.support import processes
from tests.support.nodeprocess import DEFAULT_PORTS, free_port, in_own_network
from tests.support.operatorcase import MARKED, WAIT, OperatorCase, read
from tests.support.waiting import wait_until

AFTER_AN_END = 75                           # seconds: TIME_WAIT of Linux takes 60
# leaves a process, and ends who would end that
FORSAKEN = '''
import os, signal, time

def forsake(path):
    pid = os.fork()
    if not pid:
        time.sleep(120)
        os._exit(0)
    with open(path, 'w') as target:
        target.write('%d' % pid)
    supervisor = os.getppid()
    with open('/proc/%d/stat' % supervisor) as stat:
        nursery = int(stat.read().rpartition(')')[2].split()[1])
    for number in (nursery, supervisor):
        os.kill(number, signal.SIGSTOP)
    for number in (nursery, supervisor):
        os.kill(number, signal.SIGKILL)
'''
ADD = 'def add(a, b):\n    return a + b\n'


def bind_when_free(sock, port):
    """Bind a TCP socket without SO_REUSEADDR: a connection of another test that has ended has its
    port for a minute more."""
    def bound():
        try:
            sock.bind(('127.0.0.1', port))
            return True
        except EnvironmentError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    wait_until(bound, AFTER_AN_END, 'TCP port %d to be free' % port, interval=0.1)


class StateFolder(OperatorCase):

    def serve_a_client(self, node):
        """Let the node do a job."""
        with self.scheduler(node) as scheduler:
            self.assertEqual(scheduler.open(ADD, 'add').run(2, 3).value, 5)

    def in_state_folder(self):
        return sorted(os.listdir(self.state_folder)) if os.path.isdir(self.state_folder) else []

    def test_second_start_names_the_living_one(self):
        with self.node() as node:
            ended = self.run_node()
            self.assertEqual((ended.status, ended.out), (75, ''))
            self.assertEqual(
                ended.err,
                'dispynode: a node with port %d and files in %s is running already: process %d; '
                'end it by --ctl quit with the same options, or choose another port with -p\n' %
                (self.port, self.files, node.pid))
            self.serve_a_client(node)

    def test_nodes_with_different_ports_share_a_folder(self):
        with self.node() as node, self.node(port=free_port()) as other:
            self.serve_a_client(node)
            self.serve_a_client(other)

    def test_end_leaves_nothing(self):
        with self.node() as node:
            self.serve_a_client(node)
            self.assertEqual(stat.S_IMODE(os.stat(self.state_folder).st_mode), 0o700)
            self.assertEqual(stat.S_IMODE(os.stat(os.path.join(self.state_folder, 'ctl')).st_mode),
                             0o600)
            self.assertEqual(read(os.path.join(self.state_folder, 'pid')), '%d\n' % node.pid)
            self.assertEqual(
                json.loads(read(os.path.join(self.state_folder, 'state.json')))['pid'], node.pid)
        self.assertLessEqual(set(self.in_state_folder()), set(['releases', 'signs']))

    def test_killed_node_does_not_stop_the_next(self):
        for _turn in range(3):
            with self.node('--orphan_timeout', '0') as node:
                self.serve_a_client(node)
                scheduler = self.scheduler(node)
                scheduler.open(ADD, 'add').run(1, 1)
                # killed sooner, it would tell that job again
                self.wait(lambda: not self.noted_jobs())
                node.kill()
                scheduler.close()
                node.assert_no_processes(20)
        with self.node() as node:
            self.serve_a_client(node)
            self.wait(lambda: not self.records(), 'records of the computations to go')
            self.wait(lambda: 'left' not in os.listdir(self.state_folder),
                      'what was moved aside to go')
            self.wait(lambda: os.listdir(self.files) == [os.path.basename(self.state_folder)],
                      lambda: 'folders of dead nodes to go: %r' % os.listdir(self.files))
        self.assertLessEqual(set(self.in_state_folder()), set(['releases', 'signs']))

    def records(self):
        return [name for name in os.listdir(os.path.join(self.state_folder, 'computations'))
                if not name.endswith('.part')]

    def noted_jobs(self):
        with open(os.path.join(self.state_folder, 'journal'), 'rb') as journal:
            data = journal.read()
        return [start for start in range(0, len(data), 1024) if data[start:start + 4].strip(b'\0')]

    def test_files_that_a_client_wants_to_keep_stay_after_a_kill(self):
        with self.node('--orphan_timeout', '0') as node:
            scheduler = self.scheduler(node)
            scheduler.open(WAIT, 'wait', cleanup=False)
            scheduler.open(WAIT, 'wait')
            folders = self.client_folders()
            self.assertEqual(len(folders), 2)
            node.kill()
            scheduler.close()
        with self.node():
            self.wait(lambda: len(self.client_folders()) == 1)

    def client_folders(self):
        path = os.path.join(self.files, '127.0.0.1')
        return sorted(os.listdir(path)) if os.path.isdir(path) else []

    def test_jobs_that_outlive_node_and_supervisor_are_ended_by_the_next_node(self):
        with self.node('-c', '1') as node:
            scheduler = self.scheduler(node)
            mark = os.path.join(self.folder, 'mark')
            scheduler.open(MARKED, 'wait').submit(mark)
            started = self.wait(
                lambda: [name for name in os.listdir(self.folder) if name.startswith('mark-')])
            job = int(started[0].split('-')[1])
            supervisors = [
                pid for pid, command in node.processes().items()
                if '--supervise' in command and pid != job
            ]
            for pid in supervisors:  # they die at the same moment: the system is out of memory
                processes.send(pid, signal.SIGSTOP)
            node.kill()
            for pid in supervisors:
                processes.send(pid, signal.SIGKILL)
            self.assertIn(job, node.processes())
            scheduler.close()
            with self.node('-c', '1') as second:
                second.wait_log('killed 1 process, left by the node before this one: %d' % job)
                self.wait(lambda: job not in node.processes(), 'the killed process to go')

    def test_a_process_whose_nursery_and_supervisor_were_killed_is_ended(self):
        path = os.path.join(self.folder, 'forsaken')
        with self.node() as node, self.scheduler(node) as scheduler:
            scheduler.open(FORSAKEN, 'forsake').run(path)
            pid = int(read(path))
            node.wait_log('left by a supervisor that had died: ')
            node.wait_log(str(pid))
            self.wait(lambda: not processes.lives(pid), 'process %d to go' % pid)

    def test_clean(self):
        for _turn in range(2):
            with self.node('--orphan_timeout', '0') as node:
                scheduler = self.scheduler(node)
                scheduler.open(WAIT, 'wait', cleanup=False)
                node.kill()
                scheduler.close()
        os.mkdir(os.path.join(self.files, 'mine'))
        os.makedirs(os.path.join(self.state_folder, 'undelivered', '1-abc'))
        self.assertEqual(len(self.client_folders()), 2)
        with self.node('--clean') as node:
            self.assertEqual(sorted(os.listdir(self.files)), ['.node-%d' % self.port, 'mine'])
            self.assertNotIn('undelivered', self.in_state_folder())
            self.serve_a_client(node)

    def test_clean_leaves_the_files_of_another_living_node(self):
        with self.node(port=free_port()) as other:
            scheduler = self.scheduler(other)
            scheduler.open(ADD, 'add')
            with self.node('--clean') as node:
                self.assertEqual(len(self.client_folders()), 1)
                node.wait_log('a running node uses it')
                self.assertEqual(scheduler.computations[0].run(4, 5).value, 9)
                scheduler.computations[0].close()
            scheduler.close()

    def test_pid_file(self):
        path = os.path.join(self.folder, 'node.pid')
        with self.node('--pid_file', path) as node:
            self.assertEqual(read(path), '%d\n' % node.pid)
            ended = self.run_command(self.command()[:4] + [
                '-p', str(free_port()), '--dest_path_prefix', self.folder, '--pid_file', path])
            self.assertEqual(ended.status, 75, ended)
            self.assertIn('process %d' % node.pid, ended.err)
        self.assertFalse(os.path.exists(path))

    def test_pid_file_that_cannot_be_written(self):
        ended = self.run_node('--pid_file', os.path.join(self.folder, 'none', 'pid'))
        self.assertEqual((ended.status, ended.err.count('\n')), (73, 1), ended)
        self.assertEqual(self.in_state_folder(), [])

    def test_state_folder_that_others_may_write(self):
        os.makedirs(self.state_folder)
        os.chmod(self.state_folder, 0o777)
        ended = self.run_node()
        self.assertEqual((ended.status, ended.err.count('\n')), (77, 1), ended)
        self.assertIn('others may write to the state folder %s (mode 777)' % self.state_folder,
                      ended.err)
        ended = self.run_node('--detach')
        self.assertEqual((ended.status, ended.err.count('\n')), (77, 1), ended)
        self.assertEqual(self.in_state_folder(), [])    # nothing was written there

    def test_folder_that_cannot_be_made(self):
        open(self.files, 'w').close()
        ended = self.run_node()
        self.assertEqual((ended.status, ended.err.count('\n')), (73, 1), ended)

    def test_taken_port_leaves_nothing(self):
        sock = socket.socket()
        self.addCleanup(sock.close)
        sock.bind(('127.0.0.1', self.port))
        sock.listen(1)
        ended = self.run_node()
        self.assertEqual((ended.status, ended.err.count('\n')), (69, 1), ended)
        self.assertIn('process %d' % os.getpid(), ended.err)
        self.assertEqual(os.listdir(self.files), [])

    def test_a_start_that_fails_takes_the_socket_of_the_running_node(self):
        with self.node():
            os.unlink(os.path.join(self.state_folder, 'pid'))               # somebody tidied up
            self.assertEqual(self.run_node().status, 69)
            self.assertEqual(self.status()['phase'], 'SERVING')

    def hold_port(self, port=None):
        """Have a connection, without SO_REUSEADDR, that has a port, by default this test's; return
        what ends it."""
        listener, sock = socket.socket(), socket.socket()
        listener.bind(('127.0.0.1', 0))
        listener.listen(1)
        bind_when_free(sock, port or self.port)
        sock.connect(listener.getsockname())
        far = listener.accept()[0]
        listener.close()
        for each in (sock, far):
            # no TIME_WAIT
            each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
            self.addCleanup(each.close)
        return lambda: (sock.close(), far.close())

    def test_node_does_not_start_because_a_connection_happens_to_have_its_port(self):
        let_go = self.hold_port()
        with self.node(wait=False) as node:
            node.wait_log('it is but a connection that has the port')
            self.wait(lambda: self.ctl('why').status == 0)
            self.assertIn('TCP port %d on 127.0.0.1 is missing: a connection has it' % self.port,
                          self.told('why'))
            let_go()
            node.wait_serving()
            self.serve_a_client(node)
            self.assertNotIn('is missing', self.told('why'))

    def test_detach_waits_for_a_port_that_a_connection_has(self):
        let_go = self.hold_port()
        self.addCleanup(self.ctl, 'quit')
        self.assertEqual(self.run_node('--detach').status, 0)
        self.assertEqual(self.run_node('--ensure').status, 0)
        self.assertEqual(self.status()['phase'], 'STARTING')
        let_go()
        self.wait(lambda: self.status()['phase'] == 'SERVING')

    @unittest.skipUnless(in_own_network(), 'the well-known ports are not free on every host')
    def test_one_port_of_a_connection_keeps_the_node_from_serving_at_the_others(self):
        for protocol in ('TCP', 'UDP'):
            let_go = self.hold_port(DEFAULT_PORTS[0]) if protocol == 'TCP' else self.hold_udp_port(
                DEFAULT_PORTS[0])
            with self.node(port='default', wait=False) as node:
                node.wait_log('serves at 127.0.0.1')
                node.wait_log('%s port %d' % (protocol, DEFAULT_PORTS[0]))
                for port in DEFAULT_PORTS[1:]:
                    self.assertTrue(node.takes_connections(port))
                let_go()
                node.wait_log('is free now: the node has taken it')
                self.assertTrue(node.takes_connections(DEFAULT_PORTS[0]))
                self.serve_a_client(node)

    def hold_udp_port(self, port):
        """Have a connected UDP socket, as resolvers use them, with a port; return what ends it."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(('127.0.0.1', port))
        sock.connect(('127.0.0.1', 9))
        self.addCleanup(sock.close)
        return sock.close

    def test_a_program_takes_the_port_that_the_node_waits_for(self):
        let_go = self.hold_port()
        listener = socket.socket()
        self.addCleanup(listener.close)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with self.node(wait=False) as node:
            node.wait_log('it is but a connection that has the port')
            let_go()
            try:
                listener.bind(('127.0.0.1', self.port))
                listener.listen(1)
            except EnvironmentError:
                return                      # the node was quicker
            self.assertEqual(node.wait_exit(), 69)
        self.assertEqual(self.in_state_folder(), ['signs'])

    def test_a_node_that_waits_for_its_port_can_be_stopped(self):
        self.hold_port()
        with self.node(wait=False) as node:
            node.wait_log('it is but a connection that has the port')
            node.signal(signal.SIGTERM)
            self.assertEqual(node.wait_exit(), 0)
        self.assertEqual(self.in_state_folder(), ['signs'])

    def test_folder_with_a_very_long_name(self):
        self.files = os.path.join(self.folder, 'x' * 100, 'y' * 100)
        os.makedirs(self.files)
        with self.node():
            self.assertEqual(self.status()['folder'], self.files)


if __name__ == '__main__':
    unittest.main()
