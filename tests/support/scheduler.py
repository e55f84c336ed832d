"""A scheduler in the test process: speaks to a real node, records all that the node says.

    with NodeProcess('-c', '2') as node, FakeScheduler(node) as scheduler:
        computation = scheduler.open('def add(a, b): return a + b', 'add')
        assert computation.run(1, 2).value == 3
"""
from __future__ import absolute_import, division, print_function

import hashlib
import os
import select
import socket
import threading
import time

from tests.support.computation import (
    Computation, Message, Refused, Reply, frame, hex_digits,
    next_number, read_exact, read_frame)
from tests.support.dialects import FUNCTION, NEWEST, PROGRAM
from tests.support.pickled import Reader
from tests.support.waiting import TIMEOUT, clock

DUMMY_TOKEN = b'x' * 40
CHUNK = 1024000

# what a scheduler may do instead of answering (any other answer is the bytes of one frame)
CLOSE = 'close the connection without an answer'
SILENT = 'keep the connection open and say nothing'


def make_token(secret, sign):
    """Return the 40 bytes that begin a connection to a node."""
    return hashlib.sha1((secret + sign).encode('utf-8')).hexdigest().encode('ascii')


def tls_contexts(path):
    """Return (for clients, for servers) as dispy makes them: one file is certificate, key and list
    of trusted CAs."""
    import ssl
    client, server = [
        ssl.SSLContext(getattr(ssl, name, ssl.PROTOCOL_SSLv23))
        for name in ('PROTOCOL_TLS_CLIENT', 'PROTOCOL_TLS_SERVER')
    ]
    client.check_hostname = False
    client.verify_mode = ssl.CERT_REQUIRED
    client.load_verify_locations(path)
    server.load_cert_chain(path)
    return client, server


class _Connection(object):
    """Context manager: a connection to the node on which one request was sent."""

    def __init__(self, address, data, timeout, tls=None):
        self.address, self.data, self.timeout, self.tls = address, data, timeout, tls
        self.socket = None

    def __enter__(self):
        self.socket = socket.create_connection(self.address, self.timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.tls is not None:
            self.socket = self.tls.wrap_socket(self.socket)
        self.socket.sendall(self.data)
        return self.socket

    def __exit__(self, *_exc):
        self.socket.close()


class FakeScheduler(object):
    """A client with its own listener; a context manager that closes what it opened.

    node       has ip_addr, port (and log_tail): normally a NodeProcess
    dialect    a row of tests.support.dialects; secret: text
    tls        path of the certificate and key that all share, None for no TLS
    answers    opcode -> bytes to answer, CLOSE, SILENT, or a function of the Message that returns
               one of these; change it at any time
    received   all Messages of the node so far, oldest first; `jobs`: uid -> Job
    """

    def __init__(self, node=None, dialect=NEWEST, secret='', ip_addr='127.0.0.1', port=0, tls=None):
        self.node, self.dialect, self.secret = node, dialect, secret
        self.ip_addr = ip_addr
        self.sign = hex_digits(40)
        self.node_ip_addr = node.ip_addr if node else None
        self.node_port = node.port if node else None
        self.node_sign = None
        self.answers = {'JOB_REPLY': b'ACK', 'PULSE': b'PULSE'}
        self.received, self.jobs, self.computations, self.faults = [], {}, [], []
        self.files_refused = False
        self._changed = threading.Condition()
        self._held, self._threads = [], []
        self._listener = None
        self._tls_client, self._tls_server = tls_contexts(tls) if tls else (None, None)
        self.port = port
        self.listen()

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if kind is None:
            for computation in self.computations:
                if not computation.closed:
                    computation.close()
        self.close()
        if kind is None and self.faults:
            raise AssertionError('the node sent what no client understands: %s' % self.faults)

    # the listener

    def listen(self):
        """Listen (again) on the scheduler's port."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((self.ip_addr, self.port))
        listener.listen(128)
        self.port = listener.getsockname()[1]
        self._listener = listener
        self._start(self._accept, listener)

    def stop_listening(self):
        """Refuse connections from now on; listen() ends that."""
        listener, self._listener = self._listener, None
        if listener is not None:
            try:
                listener.shutdown(socket.SHUT_RDWR)     # wakes the thread in accept()
            except EnvironmentError:
                pass
            listener.close()

    def close(self):
        """Stop listening, let go of silent connections."""
        self.stop_listening()
        self.release()
        for thread in self._threads:
            thread.join(5)

    def release(self):
        """Close the connections that were answered with SILENT."""
        while self._held:
            self._held.pop().close()

    def _start(self, target, *args):
        thread = threading.Thread(target=target, args=args)
        thread.daemon = True
        thread.start()
        self._threads = [other for other in self._threads if other.is_alive()] + [thread]

    def _accept(self, listener):
        while True:
            try:
                connection, peer = listener.accept()
            except EnvironmentError:
                return
            connection.settimeout(TIMEOUT)
            self._start(self._serve, connection, peer)

    def _serve(self, connection, peer):
        keep = False
        try:
            if self._tls_server is not None:
                connection = self._tls_server.wrap_socket(connection, server_side=True)
            message = Message(read_frame(connection), peer)
            if message.opcode == 'FILEXFER':
                self._take_file(connection, message)
                return
            self._record(message)
            answer = self.answers.get(message.opcode)
            if callable(answer):
                answer = answer(message)
            keep = answer == SILENT
            if keep:
                self._held.append(connection)
            is_reply, is_taken = message.opcode == 'JOB_REPLY', answer == b'ACK'
            if is_reply and not is_taken:
                self._note_reply(message)       # before the node knows
            if not keep and answer is not None and answer != CLOSE:
                connection.sendall(frame(answer))
            if is_reply and is_taken:
                self._note_reply(message)       # who waits for it goes on when the node may know
        except (EOFError, EnvironmentError):
            pass                # a probe, or the node was killed in the middle
        except Exception as error:
            self.faults.append('%s: %s' % (type(error).__name__, error))
        finally:
            if not keep:
                connection.close()

    def _record(self, message):
        with self._changed:
            self.received.append(message)
            self._changed.notify_all()

    def _note_reply(self, message):
        job = self.jobs.get(message.value.uid)
        if job is not None and job.hash == message.value.hash:
            job.replies.append(Reply(message))

    def _take_file(self, connection, message):
        size = message.value.stat_buf.args[0][6]
        message.reply = Reader(read_frame(connection)).load()
        dumps = self.dialect.dumps
        data = b''
        if self.files_refused:
            connection.sendall(frame(dumps(-1)))
        else:
            connection.sendall(frame(dumps(0)))
            while len(data) < size:
                data += read_exact(connection, min(CHUNK, size - len(data)))
                connection.sendall(frame(dumps(len(data))))
        message.data = data
        self._record(message)

    # what was received

    def messages(self, opcode):
        """Return the Messages with this opcode received so far."""
        return [message for message in self.received if message.opcode == opcode]

    def wait_for(self, opcode, count=1, timeout=TIMEOUT, match=None):
        """Wait until `count` messages with `opcode` (for which match(value) is true) are there.

        Returns the last of these; AssertionError if they do not come.
        """
        def fitting():
            found = self.messages(opcode)
            return [one for one in found if match is None or match(one.value)]

        deadline = clock() + timeout
        with self._changed:
            while len(fitting()) < count:
                left = deadline - clock()
                if left <= 0:
                    raise AssertionError('waited %s s for %s number %d; got %r; node log:\n%s' % (
                        timeout, opcode, count, [one.opcode for one in self.received],
                        self.node_log()))
                self._changed.wait(min(left, 1))
            return fitting()[count - 1]

    def node_log(self):
        """Return the last lines of the node's log."""
        return self.node.log_tail() if hasattr(self.node, 'log_tail') else '(not known)'

    # requests

    def token(self):
        """Return the token for the node, a dummy one while its sign is not known."""
        return make_token(self.secret, self.node_sign) if self.node_sign else DUMMY_TOKEN

    def connection(self, opcode, value=None, token=None, timeout=TIMEOUT, port=None, argument=None):
        """Return a context manager: a socket on which the request was sent.

        value: what to pickle; argument: bytes to send in its place.
        """
        if argument is None:
            argument = self.dialect.dumps(value)
        data = (token or self.token()) + frame(opcode.encode('ascii') + b':' + argument)
        return _Connection((self.node.ip_addr, port or self.node_port), data, timeout,
                           self._tls_client)

    def call(self, opcode, value=None, **options):
        """Send a request; return the payload of the answer, None if the node just closes."""
        with self.connection(opcode, value, **options) as connection:
            try:
                return read_frame(connection)
            except EOFError:
                return None

    def tell(self, opcode, value=None, **options):
        """Send a request that has no answer; wait until the node closes."""
        with self.connection(opcode, value, **options) as connection:
            return self._read_rest(connection)

    @staticmethod
    def _read_rest(connection):
        """Return what comes until the node closes, at most for one second."""
        rest = b''
        while select.select([connection], [], [], 1)[0]:
            try:
                piece = connection.recv(65536)
            except EnvironmentError:
                break                           # TLS that was not ended in form
            if not piece:
                break
            rest += piece
        return rest

    def ask(self, opcode, value=None, **options):
        """Send a request; return the value of the pickle that is its answer."""
        answer = self.call(opcode, value, **options)
        if answer is None:
            raise Refused(opcode, None)
        return Reader(answer).load()

    def ping_record(self, **changes):
        """Return the dict of a PING."""
        ping = {'version': self.dialect.release, 'sign': self.sign, 'port': self.port,
                'ip_addrs': [self.ip_addr]}
        if self.dialect.has_node_ip_addr:
            ping['node_ip_addr'] = self.node.ip_addr
        ping.update(changes)
        return ping

    def ping(self, udp=False, port=None, timeout=TIMEOUT, **changes):
        """Ping the node until its PONG comes, for it may be about to become free; remember and
        return what it says."""
        before, deadline = len(self.messages('PONG')), clock() + timeout
        while True:
            self.send_ping(udp, port, **changes)
            left = deadline - clock()
            try:
                pong = self.wait_for('PONG', before + 1, min(1.0, left)).value
                break
            except AssertionError:
                if left <= 1.0:
                    raise
        self.node_sign, self.node_port = pong['sign'], pong['port']
        self.node_ip_addr = pong['ip_addr']
        return pong

    def send_ping(self, udp=False, port=None, **changes):
        """Ping the node, by TCP or UDP; port: another than the node's."""
        ping = self.ping_record(**changes)
        if not udp:
            return self.tell('PING', ping, token=self.token(), port=port)
        datagram = b'PING:' + self.dialect.dumps(ping)
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            sender.sendto(datagram, (self.node.ip_addr, port or self.node_port))
        finally:
            sender.close()

    def compute_record(self, code, name, **settings):
        """Return the record of a COMPUTE; settings as for open(), others replace attributes."""
        setup, cleanup = settings.pop('setup', None), settings.pop('cleanup', True)
        files = [self.file_record(path, '', None) for path in settings.pop('files', ())]
        fields = dict(
            type=FUNCTION, name=name, code=code, id=int(time.time() * 1000) + next_number(),
            dest_path=None, xfer_files=files, exclusive=True, auth=hex_digits(40),
            scheduler_ip_addr=self.ip_addr, scheduler_port=self.port, job_result_port=self.port,
            node_ip_addr=self.node_ip_addr, pulse_interval=None)
        for record in files:
            record.compute_id = fields['id']
        record = self.dialect.compute(fields, setup, cleanup)
        record.__dict__.update(settings)
        return record

    def open(self, code, name, setup=None, setup_args=(), files=(), send_setup=None, **settings):
        """Ping if need be, then COMPUTE, files, SETUP; return the Computation.

        code, name     source text and the function's name
        setup, cleanup names; a legacy dialect also takes (name, args, kwargs)
        setup_args     arguments of setup (modern dialects)
        files          paths to send; send_setup: True or False instead of the release's habit
        settings       further attributes of COMPUTE: dest_path, exclusive, pulse_interval, ...
        Raises Refused if the node does not agree.
        """
        if self.node_sign is None:
            self.ping()
        record = self.compute_record(code, name, setup=setup, files=files, **settings)
        computation = Computation(self, record)
        computation.cpus = self.ask('COMPUTE', record)
        if not isinstance(computation.cpus, int) or computation.cpus < 1:
            raise Refused('COMPUTE', computation.cpus)
        self.computations.append(computation)
        for path in files:
            if computation.send_file(path) != os.path.getsize(path):
                raise Refused('FILEXFER', path)
        if self.dialect.setup_always or setup if send_setup is None else send_setup:
            computation.setup(*setup_args)
        return computation

    def open_program(self, path, **settings):
        """Open a computation that runs the program at `path`, which is sent; return it."""
        return self.open('', path, type=PROGRAM, files=[path], **settings)

    def file_record(self, path, dest_path, compute_id):
        """Return the _XferFile for a local file."""
        return self.dialect.file(path, dest_path, compute_id, os.stat(path))

    def send_file(self, path, dest_path='', compute_id=None, record=None):
        """Go through the file dialogue; return the node's last offset (-1: refused)."""
        record = record or self.file_record(path, dest_path, compute_id)
        with open(path, 'rb') as source:
            data = source.read()
        with self.connection('FILEXFER', record) as connection:
            sent = 0
            while True:
                offset = Reader(read_frame(connection)).load()
                if offset < 0 or offset == len(data):
                    return offset
                if offset != sent:
                    raise AssertionError('FILEXFER: offset %r after %d bytes' % (offset, sent))
                connection.sendall(data[sent:sent + CHUNK])
                sent = min(len(data), sent + CHUNK)
