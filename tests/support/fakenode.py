"""The node's side of the control sockets, by hand: starts a real supervisor process and drives
it."""
from __future__ import absolute_import, division, print_function

import os
import pickle
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from dispynode_lib.host.descriptors import recv_fd, send_fd, set_cloexec
from dispynode_lib.wire import control
from tests.support.waiting import TIMEOUT

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# preludes: for a job that ignores signals; for one that obeys, on however busy a machine
QUICK_STEPS, PATIENT_STEPS = ["""
from dispynode_lib.wire import control
control.STOP_STEPS = ((0.0, 'SIGINT'), (%s, 'SIGTERM'), (%s, 'SIGKILL'))
""" % times for times in ((0.5, 0.8), (900.0, 901.0))]
START = (
    'from dispynode_lib.supervisor.processes import descriptors; from dispynode_lib.supervisor '
    'import supervisor; channels = descriptors.move_away(1); '
    'supervisor.run(descriptors.take_standard(), channels)')
PROTOCOL = 2 if sys.version_info[0] == 2 else 4

DEFAULTS = {
    'id': b'1234',
    'type': b'1',
    'name': b'compute',
    'code': b'',
    'folder': b'',
    'big_folder': b'/nonexistent',
    'setup': b'',
    'cleanup': b'',
    'compute': b'',
    'python2': b'%d' % (sys.version_info[0] == 2),
    'protocol': b'4' if sys.version_info[0] > 2 else b'2',
    'setup_accepts': b'0 1 2',
    'node_name': b'here',
    'node_ip_addr': b'127.0.0.1',
    'scheduler_ip_addr': b'127.0.0.1',
    'job_result_port': b'9',
    'client_ip_addr': b'',
    'client_port': b'0',
    'max_file_size': b'0',
    'certfile': b'',
    'keyfile': b'',
    'whole_records': b'0',
    'client_shutdown': b'0',
    'limits': b'',
    'cleanup_timeout': b'0',
    'preload': b'',
    'ledger': b'0',
    'socket': b'',
    'orphan_timeout': b'0',
    'generation': b'0',
}


class Done(object):
    """A `done` frame."""

    def __init__(self, parts):
        self.status, self._result, self.stdout, self.stderr, self.exception, self.started, self.ended = parts

    @property
    def result(self):
        return None if self._result is None else pickle.loads(self._result)

    @property
    def error(self):
        return None if self.exception is None else self.exception.decode('utf-8')


class Stream(object):
    """One socket and the frames that came through it."""

    def __init__(self, sock):
        self.sock = sock
        self.frames = []
        self.closed = False
        self._splitter = control.Splitter(0xFFFFFFFF)

    def send(self, *parts):
        self.sock.sendall(control.pack(*parts))

    def job(self, args, kwargs=b'(d.', code=b''):
        """Send the one job of a child's channel; `args` and `kwargs` are pickles."""
        self.send(b'job', b'77', b'abcdef', code, kwargs, args)

    def take(self, name, timeout=TIMEOUT, matches=None):
        """Return the parts after the name of the first frame called `name`; others wait."""
        deadline = time.time() + timeout
        while True:
            for frame in self.frames:
                if frame[0] == name and (matches is None or matches(frame[1:])):
                    self.frames.remove(frame)
                    return frame[1:]
            self._read(deadline, name)

    def wait_frame(self, timeout=TIMEOUT):
        """Wait until there is one."""
        deadline = time.time() + timeout
        while not self.frames:
            self._read(deadline, 'a frame')

    def wait_closed(self, timeout=TIMEOUT):
        deadline = time.time() + timeout
        while not self.closed:
            self._read(deadline, 'end')

    def _read(self, deadline, what):
        if self.closed:
            raise AssertionError('closed before %s; frames: %r' % (what, self.frames))
        if not select.select([self.sock], [], [], max(0, deadline - time.time()))[0]:
            raise AssertionError('no %s in time; frames: %r' % (what, self.frames))
        try:
            data = self.sock.recv(1 << 20)
        except EnvironmentError:
            data = b''
        self.closed = not data
        self.frames += self._splitter.feed(data)


class FakeNode(object):
    """One supervisor process, and a folder for its computation."""

    def __init__(self, prelude='', **fields):
        """Start it; `fields` for open(), which is left to the caller.

        prelude   Python source that the supervisor process executes first
        """
        self.folder = os.path.realpath(tempfile.mkdtemp(prefix='dispynode-test-'))
        self.fields = dict(DEFAULTS, folder=self.folder.encode('utf-8'))
        self.fields.update((key, _bytes(value)) for key, value in fields.items())
        near, far = _pair()
        self.channels, channels_far = _pair()
        self.stderr_path = os.path.join(self.folder, '.stderr')
        stderr = open(self.stderr_path, 'wb')
        environment = dict(os.environ, PYTHONPATH=ROOT)
        command = [sys.executable
                   ] + subprocess._args_from_interpreter_flags() + ['-c', prelude + START]
        self.process = subprocess.Popen(command, stdin=far.fileno(), stdout=channels_far.fileno(),
                                        stderr=stderr, cwd=self.folder, env=environment,
                                        close_fds=True)
        stderr.close()
        far.close()
        channels_far.close()
        self.control = Stream(near)
        self._children = []

    def open(self):
        """Send `open`; return the error text or None."""
        parts = []
        for key in control.OPEN_KEYS:
            parts += [key.encode('ascii'), self.fields[key]]
        self.control.send(b'open', *parts)
        error = self.control.take(b'opened')[0]
        return None if error is None else error.decode('utf-8')

    def setup(self, argument=None, which=b'none'):
        """Send `setup`; return (status, text)."""
        self.control.send(b'setup', argument, which)
        status, text = self.control.take(b'setup')
        return status, None if text is None else text.decode('utf-8')

    def die(self):
        """Close all that connects this node with the supervisor, as its death does."""
        self.control.sock.close()
        self.channels.close()
        for child in self._children:
            child.sock.close()
        self._children = []

    def take_over(self, generation=2, version=control.HAND_OVER):
        """Be the next node: connect; return the first frame, {} of what it tells or a list, and the
        channels held."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.connect(self.fields['socket'])
        self.channels, channels_far = _pair()
        send_fd(sock, channels_far.fileno())
        channels_far.close()
        self.control = Stream(sock)
        self.control.send(b'node', b'%d' % version, b'%d' % generation)
        self.control.wait_frame()
        if self.control.frames[0][0] != b'here':
            return self.control.frames.pop(0), {}
        parts = self.control.frames.pop(0)
        told = dict(zip(parts[2::2], parts[3::2]))
        held = [
            control.HELD.unpack_from(told[b'held'], at)
            for at in range(0, len(told[b'held']), control.HELD.size)
        ]
        children = [self.next_child() for _number in held]
        return told, dict((child.number, (child, status))
                          for child, (_number, status) in zip(children, held))

    def fork(self):
        """Have one child forked; return its Stream, with its `number`."""
        self.control.send(b'fork', b'1')
        return self.next_child()

    def next_child(self):
        if not select.select([self.channels], [], [], TIMEOUT)[0]:
            raise AssertionError('no child was passed in time')
        fd = recv_fd(self.channels)
        if fd is None:
            raise AssertionError('the supervisor closed its channels: ' + self.stderr())
        sock = socket.fromfd(fd, socket.AF_UNIX, socket.SOCK_STREAM)
        os.close(fd)
        child = Stream(sock)
        self._children.append(child)
        child.number, child.pid = control.CHILD_NUMBER.unpack(
            self.channels.recv(control.CHILD_NUMBER.size))
        return child

    def start(self, *args, **kwargs):
        """Fork a child and send it a job with these arguments; `code_` is the job's own code."""
        code = kwargs.pop('code_', b'')
        child = self.fork()
        child.job(pickle.dumps(args, PROTOCOL), pickle.dumps(kwargs, 2), code)
        return child

    def run(self, *args, **kwargs):
        """Do a whole job; return its Done."""
        child = self.start(*args, **kwargs)
        done = Done(child.take(b'done'))
        self.exit_status(child)
        child.sock.close()
        return done

    def exit_status(self, child):
        """Wait for the end of a child; return its wait status, 113 << 8 for any that had told its
        result."""
        number = str(child.number).encode('ascii')
        self.control.send(b'ended', number)
        return int(self.control.take(b'exited', matches=lambda parts: parts[0] == number)[1])

    def stderr(self):
        with open(self.stderr_path) as stream:
            return stream.read()

    def close(self, cleanup=b'1'):
        """Send `close` and wait for the end; return the error text of cleanup or None."""
        self.control.send(b'close', cleanup)
        error = self.control.take(b'closed')[0]
        self.wait()
        return None if error is None else error.decode('utf-8')

    def program(self, *args):
        """Run a program job; return its Done."""
        self.start_program(*args)
        done = self.control.take(b'done')
        self.control.take(b'exited')
        return Done(done[1:])

    def start_program(self, *args):
        """Start a program job; it has number 1000000000."""
        self.control.send(b'program', b'1000000000', pickle.dumps(list(args), 2),
                          pickle.dumps({}, 2), b'77', b'abc')

    def write(self, name, text, mode=0o644):
        """Write a file into the computation's folder; return its path."""
        path = os.path.join(self.folder, name)
        with open(path, 'w') as stream:
            stream.write(text)
        os.chmod(path, mode)
        return path

    def wait(self, timeout=TIMEOUT):
        """Wait for the supervisor's end; return its exit status."""
        self.control.wait_closed(timeout)
        return self.process.wait()

    def end(self):
        """Close what is open, and see that nothing is left."""
        self.control.sock.close()
        self.channels.close()
        for child in self._children:
            child.sock.close()
        deadline = time.time() + 8
        while self.process.poll() is None and time.time() < deadline:
            time.sleep(0.005)
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def _pair():
    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    for sock in pair:
        set_cloexec(sock.fileno())
    return pair


def _bytes(value):
    return value if isinstance(value, bytes) else value.encode('utf-8')
