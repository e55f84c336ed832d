"""A real node in a process of its own."""
from __future__ import absolute_import, division, print_function

import io
import os
import random
import shutil
import signal
import socket
import sys
import tempfile

from dispynode_lib.node.shared.phases import FAULT
from tests.support import processes
from tests.support.waiting import TIMEOUT, wait_until

PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# another program to test in place of the tree's: the one-file release, or the original node
TREE = os.path.join(PROJECT, 'dispynode.py')
PROGRAM = os.environ.get('DISPYNODE_TEST_PROGRAM') or TREE
GUARD, MARK = os.path.join(PROJECT, 'tests', 'support', 'loopguard.py'), 'the loop waits: '
DEFAULT_PORTS = (51348, 61591, 9701)
OWN_PORTS = 10240, 32768  # below those of connections (Linux), none of them a default one
STRICT = ('-bb', '-W', 'error')
TAKEN = ('EADDRINUSE', 'Address already in use', 'is taken', 'in use')


def free_port(ip_addr='127.0.0.1'):
    """Return a port that is free now for TCP and UDP; the system gives it to no connection, which
    could have it by then."""
    while True:
        tcp, udp = socket.socket(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            port = random.randrange(*OWN_PORTS)
            tcp.bind((ip_addr, port))
            udp.bind(('', port))
            return port
        except EnvironmentError:
            continue
        finally:
            tcp.close()
            udp.close()


def in_own_network():
    """Tell whether the test command gave this run a network of its own (all ports free)."""
    return os.environ.get('DISPYNODE_TEST_NETWORK') == '1'


class NodeProcess(object):
    """Context manager: a running node, gone with all its processes at the end.

    options        further command line options (texts)
    python         interpreter of the node (default: that of the test)
    port           -p; None chooses a free one, 'default' gives no -p at all
    wait           wait until it serves (a test of a failing start says False)
    flags          of the interpreter; by default such that whatever it warns of is an error
    env            further environment variables; a value of None removes one
    guarded        tell what the loop's thread waits for (tests.support.loopguard), and fail by it
    Attributes: ip_addr, port (where requests go), folder (--dest_path_prefix), pid, status.
    """

    def __init__(self, *options, **settings):
        self.options = [str(option) for option in options]
        self.python = settings.pop(
            'python', None) or os.environ.get('DISPYNODE_TEST_PYTHON') or sys.executable
        self.program = settings.pop('program', None) or PROGRAM
        self.ip_addr = settings.pop('ip_addr', '127.0.0.1')
        self.wanted_port = settings.pop('port', None)
        self.env = settings.pop('env', {})
        self.wait = settings.pop('wait', True)
        self.daemon = settings.pop('daemon', True)
        self.stdin = settings.pop('stdin', None)
        self.flags = list(settings.pop('flags', STRICT))
        guarded = settings.pop('guarded', False) and str is not bytes
        self.guard = [
            GUARD
        ] if guarded and self.program == TREE and self.python == sys.executable else []
        folder = settings.pop('folder', None)
        if settings:
            raise TypeError('unknown settings: %s' % ', '.join(settings))
        self._own_folder = not folder
        self.folder = folder or tempfile.mkdtemp(prefix='dispynode-test-')
        self.log_path = None
        self.port = None
        self.process = None
        self.mark = processes.new_mark()

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self._discard()
            raise
        return self

    def __exit__(self, kind, error, traceback):
        try:
            if kind is not None:
                if self.log_tail() not in '%s' % (error,):
                    sys.stderr.write('--- log of the node ---\n%s--- end ---\n' % self.log_tail())
                processes.send(self.process.pid, signal.SIGTERM)
                processes.wait_exit(self.process, 2)
            else:
                self.stop()
                self.assert_no_processes()
                self.assert_nothing_found()
        finally:
            self._discard()

    def begin(self, test):
        """Start it for a TestCase, which ends it; it has the same port when started again."""
        self.__enter__()
        test.addCleanup(self.__exit__, None, None, None)
        self.wanted_port = self.port

    @property
    def pid(self):
        """Return the process id of the node."""
        return self.process.pid

    @property
    def status(self):
        """Return the exit status, None while the node runs; negative: the signal that ended it."""
        return self.process.poll()

    def command(self):
        """Return the command line as a list."""
        command = [self.python] + self.flags + self.guard + [self.program]
        if self.daemon:
            command.append('--daemon')
        if self.ip_addr:
            command += ['-i', self.ip_addr]
        if self.wanted_port != 'default':
            command += ['-p', str(self.port)]
        return command + ['--dest_path_prefix', self.folder] + self.options

    def start(self):
        """Start the node; the second attempt takes another port if the first was snatched away."""
        self._launch()
        if not self.wait:
            return
        try:
            self.wait_serving()
        except AssertionError:
            if self.wanted_port or not any(text in self.log() for text in TAKEN):
                raise
            self._end()
            self._launch()
            self.wait_serving()

    def _launch(self):
        self.port = self.wanted_port or free_port(self.ip_addr)
        if self.port == 'default':
            self.port = DEFAULT_PORTS[0]
        env = dict(os.environ, PYTHONUNBUFFERED='1')
        for key, value in self.env.items():
            env.pop(key, None)
            if value is not None:
                env[key] = value
        handle, self.log_path = tempfile.mkstemp(prefix='dispynode-log-')
        try:
            with open(os.devnull, 'rb') as null:
                self.process = processes.spawn(
                    self.command(), self.mark, env, stdin=self.stdin or null,
                    stdout=handle, stderr=handle, cwd=self.folder)
        finally:
            os.close(handle)

    def wait_serving(self, timeout=TIMEOUT):
        """Wait until the node takes connections; AssertionError with its log if it does not.

        The log comes first: connecting to a port of the ephemeral range at which nobody listens can
        meet itself, and then takes the port away from the node.
        """
        wait_until(
            lambda: self.status is not None or 'serves at' in self.log() and self.takes_connections(
            ), timeout, lambda: 'the node to serve; its log:\n' + self.log_tail())
        if self.status is not None:
            raise AssertionError('the node ended at once with status %s; its log:\n%s'
                                 % (self.status, self.log_tail()))

    def takes_connections(self, port=None):
        """Tell whether something listens at the node's address."""
        probe = socket.socket()
        probe.settimeout(2)
        try:
            probe.connect((self.ip_addr, port or self.port))
            return True
        except EnvironmentError:
            return False
        finally:
            probe.close()

    def log(self):
        """Return what the node has written so far (stdout and stderr)."""
        if not self.log_path or not os.path.exists(self.log_path):
            return ''
        with io.open(self.log_path, encoding='utf-8', errors='replace') as source:
            return str(source.read()) if str is not bytes else source.read().encode('utf-8')

    def log_tail(self, lines=60):
        """Return the last lines of the log."""
        kept = self.log().splitlines()[-lines:]
        return ''.join('    %s\n' % line for line in kept) or '    (nothing)\n'

    def wait_log(self, text, timeout=TIMEOUT):
        """Wait until the log holds `text`."""
        wait_until(lambda: text in self.log(), timeout,
                   lambda: '%r in the log:\n%s' % (text, self.log_tail()), interval=0.05)

    def wait_record(self, computation_id, words):
        """Wait until the node has noted `words` (bytes) about a computation, for the next one."""
        path = os.path.join(self.folder, '.node-%d' % self.port, 'computations',
                            '%d' % computation_id)

        def noted():
            with open(path, 'rb') as source:
                return words in source.readline()
        wait_until(noted, TIMEOUT, '%r in %s' % (words, path))

    def signal(self, number):
        """Send a signal to the node process."""
        processes.send(self.process.pid, number)

    def wait_exit(self, timeout=TIMEOUT):
        """Wait for the end of the node; return its exit status."""
        wait_until(lambda: self.status is not None, timeout,
                   lambda: 'the node to end; its log:\n' + self.log_tail())
        return self.status

    def stop(self, timeout=TIMEOUT):
        """Stop the node by SIGTERM, if it still runs; AssertionError if it does not obey."""
        if self.status is None:
            self.signal(signal.SIGTERM)
            self.wait_exit(timeout)
        return self.status

    def kill(self):
        """End the node process by SIGKILL, nothing else of it."""
        self.signal(signal.SIGKILL)
        self.wait_exit()

    def processes(self):
        """Return {pid: command line} of the living processes of this node, itself included."""
        return processes.marked(self.mark)

    def assert_no_processes(self, timeout=15):
        """Wait for the last process of this node to go; kill and report those that stay."""
        left = processes.end_marked(self.mark, timeout)
        if left:
            raise AssertionError('left over by the node: %r; its log:\n%s'
                                 % (left, self.log_tail()))

    def assert_nothing_found(self):
        """Fail by what tests.support.loopguard has found, and by events that a life cycle has no
        edge for."""
        found = [line for line in self.log().splitlines() if line.startswith(MARK) or FAULT in line]
        if found:
            raise AssertionError('\n'.join(found))

    def _end(self):
        if self.process is not None:
            processes.send(self.process.pid, signal.SIGKILL)
            processes.wait_exit(self.process, 10)
            processes.end_marked(self.mark)
        if self.log_path and os.path.exists(self.log_path):
            os.unlink(self.log_path)

    def _discard(self):
        self._end()
        if self._own_folder:
            shutil.rmtree(self.folder, ignore_errors=True)
