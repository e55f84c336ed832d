"""The trial of `--check`: a node on loopback, and a client that has it do jobs."""
from __future__ import absolute_import, division, print_function

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from dispynode_lib import __version__
from dispynode_lib.errors import DispynodeError, ProtocolError, StartError
from dispynode_lib.code import image as program
from dispynode_lib.host import compat
from dispynode_lib.host.network import connections, net
from dispynode_lib.wire import asking, framing, messages, replies
from dispynode_lib.wire.control import FINISHED, TERMINATED
from dispynode_lib.wire.pickle.pickles import dump

LOOPBACK = u'127.0.0.1'
START_SECONDS, STOP_SECONDS, ANSWER_SECONDS = 20.0, 10.0, 10.0
LOG_LINES = 5                               # of the trial node, shown when it failed
FRAME_LIMIT = 4 << 20
CHUNK = 1024000  # bytes of a file between two answers (docs/protocol.rst, "FILEXFER")
BIG = 1200000  # bytes: more than the node reads at once, or holds in memory

FUNCTION = u'def divide(a, b):\n    print("dividing")\n    return a // b\n'
BIG_FUNCTION = (u'def both(data):\n    with open("big", "rb") as source:\n'
                u'        return data, source.read() == data\n')
PROGRAM = u'import sys\nsys.stdout.write("program says " + sys.argv[1])\n'


class Failed(DispynodeError):
    """A check found something wrong; the text says what, and what to do."""


class Uninterrupted(object):
    """Context in which SIGINT and SIGTERM wait, so that what is made there can be removed."""

    def __enter__(self):
        self._came = False
        self._handlers = [(number, signal.signal(number, self._note))
                          for number in (signal.SIGINT, signal.SIGTERM)]

    def __exit__(self, _kind, _error, _traceback):
        for number, handler in self._handlers:
            signal.signal(number, handler)
        if self._came:
            raise KeyboardInterrupt

    def _note(self, _number, _frame):
        self._came = True


class Trial(object):
    """A node in a temporary folder on loopback, and what a client knows about it."""

    def __init__(self, timeout):
        self.timeout = timeout
        self.folder = compat.to_text(tempfile.mkdtemp(prefix='dispynode-check-'))
        self.secret = compat.random_hex(8)
        self.sign = compat.random_hex(20)
        self.port = self.process = self.node = None
        self.listener = net.open_listener(LOOPBACK, 0)
        self.client_port = self.listener.getsockname()[1]

    def start(self):
        """Start the node at a free port and wait until it serves."""
        self.port = _free_port()
        image = program.node_image()
        command = image.command + ['--daemon', '-i', str(LOOPBACK), '-p', str(self.port),
                                   '--secret', str(self.secret), '--name', 'check',
                                   '--dest_path_prefix',
                                   os.path.join(compat.to_native(self.folder), 'files')]
        with open(os.path.join(self.folder, 'log'),
                  'wb') as log, tempfile.TemporaryFile() as code, Uninterrupted():
            for piece in image.pieces():
                code.write(piece)
            code.seek(0)
            self.process = subprocess.Popen(command, stdin=code, stdout=log, stderr=log,
                                            close_fds=True)
        deadline = compat.monotonic() + START_SECONDS
        while compat.monotonic() < deadline:
            if self.process.poll() is not None:
                raise Failed(u'it ended at its start with status %d' % self.process.returncode)
            if self._says_it_serves():
                return
            time.sleep(0.01)
        raise Failed(u'it does not serve within %d s' % START_SECONDS)

    def _says_it_serves(self):
        """Return whether the log says so. Not tried by connecting: at a port where nobody listens
        yet a connection can meet itself, and then keeps the port from the node.
        """
        with open(os.path.join(self.folder, 'log'), 'rb') as log:
            return b' serves at ' in log.read()

    def stop(self):
        """Send SIGTERM; return the exit status, None if it does not end."""
        self.process.send_signal(signal.SIGTERM)
        deadline = compat.monotonic() + STOP_SECONDS
        while self.process.poll() is None and compat.monotonic() < deadline:
            time.sleep(0.005)
        return self.process.poll()

    def close(self):
        """Stop the node and remove its folder."""
        if self.process is not None and self.process.poll() is None and self.stop() is None:
            self.process.kill()
            self.process.wait()
        self.listener.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def log_tail(self):
        """Return the last lines of the node's log."""
        path = os.path.join(self.folder, 'log')
        if not os.path.exists(path):
            return []
        with open(path, 'rb') as log:
            return compat.to_text(log.read()).splitlines()[-LOG_LINES:]

    def ping(self):
        """Return what a client of this host says to find the node."""
        return asking.ping_request(compat.to_text(__version__), self.sign, self.client_port,
                                   [LOOPBACK], LOOPBACK, compat.PY2)

    def ask(self, payload, token=None, answers=1):
        """Send one request; return its socket and the first answer, None if none is expected."""
        sock = connections.connect(LOOPBACK, self.port, ANSWER_SECONDS)
        try:
            sock.sendall((token or framing.token(self.secret, self.node.sign)) +
                         framing.frame(payload))
            return sock, framing.read_frame(sock, FRAME_LIMIT) if answers else None
        except (DispynodeError, EnvironmentError):
            sock.close()
            raise

    def answer(self, payload):
        """Send one request; return its only answer."""
        sock, reply = self.ask(payload)
        sock.close()
        return reply

    def await_message(self, opcode):
        """Return the argument of the next message `opcode`; answer what wants an answer."""
        deadline = compat.monotonic() + ANSWER_SECONDS
        while True:
            self.listener.settimeout(max(0.001, deadline - compat.monotonic()))
            try:
                sock = self.listener.accept()[0]
            except socket.timeout:
                raise Failed(u'the node sent no %s within %d s' % (opcode, ANSWER_SECONDS))
            try:
                name, argument = framing.split(framing.read_frame(sock, FRAME_LIMIT, deadline))
                if name == 'JOB_REPLY':
                    sock.sendall(framing.frame(b'ACK'))
            finally:
                sock.close()
            if name == opcode:
                return argument


def _free_port():
    """Return a port of loopback that is free for TCP and UDP."""
    for _ in range(20):
        probe = net.open_listener(LOOPBACK, 0)
        port = probe.getsockname()[1]
        try:
            net.udp_socket(port).close()
            return port
        except StartError:
            continue
        finally:
            probe.close()
    raise Failed(u'no free port on %s' % LOOPBACK)


def check_start(trial):
    trial.start()
    return u'started on %s port %d' % (LOOPBACK, trial.port)


def check_udp(trial):
    sender = net.udp_socket(0)
    try:
        sender.sendto(trial.ping(), (str(LOOPBACK), trial.port))
    except EnvironmentError as error:
        raise Failed(u'%s cannot be reached: %s; is the loopback interface up (ip link set lo up)?'
                     % (LOOPBACK, error.strerror or error))
    finally:
        sender.close()
    trial.node = messages.read_pong(trial.await_message('PONG'))
    if not framing.same_token(trial.node.auth, framing.token(trial.secret, trial.sign)):
        raise Failed(u'the node does not know its secret')
    return u'found by UDP'


def check_tcp(trial):
    # another client: one that has just been answered is not answered again
    trial.sign = compat.random_hex(20)
    trial.ask(trial.ping(), framing.DUMMY_TOKEN, 0)[0].close()
    messages.read_pong(trial.await_message('PONG'))
    return u'found by TCP'


def check_function_job(trial):
    with _Computation(trial, messages.FUNCTION, u'divide', FUNCTION) as computation:
        reply = computation.run((84, 2))
        value = messages.read_value(reply.result)
    if (reply.status, value) != (FINISHED, 42) or b'dividing' not in compat.to_bytes(reply.stdout):
        raise Failed(_unexpected(reply, u'84 // 2 gave %r' % (value,)))
    return u'84 // 2 = 42, with its output'


def check_failing_job(trial):
    with _Computation(trial, messages.FUNCTION, u'divide', FUNCTION) as computation:
        reply = computation.run((84, 0))
    if reply.status != TERMINATED or u'ZeroDivisionError' not in (reply.exception or u''):
        raise Failed(_unexpected(reply, u'84 // 0 did not fail as it should'))
    return u'84 // 0 gives the traceback of a ZeroDivisionError'


def check_big_job(trial):
    """Send a big file and argument, and have that back: they take other ways than small ones."""
    data = bytes(bytearray(range(256))) * (BIG // 256)
    path = _write(trial, u'big', data)
    with _Computation(trial, messages.FUNCTION, u'both', BIG_FUNCTION) as computation:
        computation.send_file(path)
        reply = computation.run((data,))
    value = messages.read_value(reply.result) if reply.result else None
    if reply.status != FINISHED or value != (data, True):
        raise Failed(
            _unexpected(
                reply,
                u'what came back of a file and an argument of %d bytes is something else' % BIG))
    return u'%d bytes as a file and as an argument, and back as its result' % len(data)


def _write(trial, name, data):
    path = os.path.join(trial.folder, name)
    with open(path, 'wb') as target:
        target.write(data)
    return path


def check_program_job(trial):
    path = _write(trial, u'check.py', PROGRAM.encode('ascii'))
    with _Computation(trial, messages.PROGRAM, path, u'') as computation:
        computation.send_file(path)
        reply = computation.run([u'hello'])
        value = messages.read_value(reply.result)
    if (reply.status, value) != (FINISHED, 0) or b'program says hello' not in compat.to_bytes(
            reply.stdout):
        raise Failed(_unexpected(reply, u'the program ended with %r' % (value,)))
    return u'sent, run with an argument, its output is back'


def check_stop(trial):
    status = trial.stop()
    if status != 0:
        raise Failed(u'SIGTERM: %s' % (u'it still runs after %d s' % STOP_SECONDS if status is None
                                       else u'exit status %d' % status))
    return u'SIGTERM ends the node'


def _unexpected(reply, what):
    """Return one line about a reply that should be different."""
    last = compat.to_text(reply.exception or reply.stderr or b'').strip().splitlines()[-1:]
    return u'%s (status %d%s)' % (what, reply.status, u': ' + last[0] if last else u'')


class _Computation(object):
    """One computation from COMPUTE to CLOSE, as a client opens it."""

    _last = 0

    def __init__(self, trial, kind, name, code):
        _Computation._last += 1
        self._trial = trial
        self._id = int(time.time() * 1000) + _Computation._last
        self._auth = compat.random_hex(20)
        self._request = asking.compute_request(kind, name, self._id, code, self._auth, LOOPBACK,
                                               trial.client_port, compat.PY2, node_ip_addr=LOOPBACK)

    def __enter__(self):
        reply = self._trial.answer(self._request)
        cpus = _value(reply, u'COMPUTE')
        if isinstance(cpus, bool) or not isinstance(cpus, compat.integer_types) or cpus <= 0:
            raise Failed(u'the node refused the computation: %s' % (cpus,))
        return self

    def __exit__(self, kind, _error, _traceback):
        if kind is None:
            self._expect_ack(
                u'CLOSE', asking.close_request(self._id, self._auth, LOOPBACK, python2=compat.PY2))

    def send_file(self, path):
        """Send a file into the computation's folder."""
        record = replies.file_record(path, u'', os.stat(path), u'/', self._id)
        sock, offset = self._trial.ask(b'FILEXFER:' + dump(record, compat.PY2))
        try:
            with open(path, 'rb') as source:
                data = source.read()
            received = _value(offset, u'FILEXFER')
            if received != 0:
                raise Failed(u'the node refused a file: %s' % received)
            for begin in range(0, len(data), CHUNK):
                sock.sendall(data[begin:begin + CHUNK])
                received = _value(framing.read_frame(sock, FRAME_LIMIT), u'FILEXFER')
        finally:
            sock.close()
        if received != len(data):
            raise Failed(u'the node took %s of the %d bytes of a file' % (received, len(data)))

    def run(self, args):
        """Run one job with plain arguments; return its JobReply."""
        self._expect_ack(u'SETUP', asking.setup_request(self._id, (), compat.PY2))
        uid = self._id + 1
        self._expect_ack(u'JOB', asking.job_request(uid, compat.random_hex(8), self._id,
                                                    dump(args, compat.PY2), dump({}, compat.PY2),
                                                    python2=compat.PY2))
        reply = messages.read_job_reply(self._trial.await_message('JOB_REPLY'))
        if reply.uid != uid:
            raise Failed(u'the node sent the reply of another job')
        return reply

    def _expect_ack(self, what, payload):
        answer = self._trial.answer(payload)
        if answer != b'ACK':
            raise Failed(u'the node answered %s to %s' %
                         (compat.to_text(bytes(answer))[:200] or u'nothing', what))


def _value(answer, what):
    """Return the value in a bare pickle; what is none was meant as a text."""
    try:
        return messages.read_value(answer)
    except ProtocolError:
        raise Failed(u'the node answered %s to %s' % (compat.to_text(bytes(answer))[:200], what))


CHECKS = (
    ('node', check_start),
    ('discovery', check_udp),
    ('connection', check_tcp),
    ('function job', check_function_job),
    ('failing job', check_failing_job),
    ('big job', check_big_job),
    ('program job', check_program_job),
    ('stop', check_stop),
)
