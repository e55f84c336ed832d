"""A scheduler in the test process: speaks to a real node, records all that the node says.

    with NodeProcess('-c', '2') as node, FakeScheduler(node) as scheduler:
        computation = scheduler.open('def add(a, b): return a + b', 'add')
        assert computation.run(1, 2).value == 3
"""
from __future__ import absolute_import, division, print_function

import hashlib
import itertools
import os
import pickle
import random
import select
import socket
import struct
import threading
import time

from tests.support.dialects import FUNCTION, NEWEST, PROGRAM
from tests.support.pickled import Binary, Reader, Record
from tests.support.waiting import clock, wait_until

DUMMY_TOKEN = b'x' * 40
CHUNK = 1024000
TERMINATED, FINISHED, PROVISIONAL = 9, 11, 7

# what a scheduler may do instead of answering (any other answer is the bytes of one frame)
CLOSE = 'close the connection without an answer'
SILENT = 'keep the connection open and say nothing'

_numbers = itertools.count(1)


def hex_digits(count):
    """Return random hex digits (text)."""
    return '%0*x' % (count, random.getrandbits(4 * count))


def make_token(secret, sign):
    """Return the 40 bytes that begin a connection to a node."""
    return hashlib.sha1((secret + sign).encode('utf-8')).hexdigest().encode('ascii')


def frame(payload):
    """Return `payload` with its length."""
    return struct.pack('>L', len(payload)) + payload


def read_exact(connection, size):
    """Return `size` bytes; EOFError if the other side closes before."""
    data = bytearray()
    while len(data) < size:
        piece = connection.recv(min(size - len(data), 1 << 20))
        if not piece:
            raise EOFError('closed after %d of %d bytes' % (len(data), size))
        data += piece
    return bytes(data)


def read_frame(connection):
    """Return the payload of the next frame."""
    return read_exact(connection, struct.unpack('>L', read_exact(connection, 4))[0])


class Refused(Exception):
    """The node's answer was not the one hoped for; `answer` holds it (bytes or value)."""

    def __init__(self, what, answer):
        super(Refused, self).__init__('%s: the node answered %r' % (what, answer))
        self.answer = answer


class Message(object):
    """Something the node sent: opcode (text), value, payload (bytes), at (time), peer (address).

    python2 and protocol tell how it was pickled. A FILEXFER has also reply (Record), data.
    """

    def __init__(self, payload, peer):
        opcode, _, argument = payload.partition(b':')
        reader = Reader(argument)
        self.opcode = str(opcode.decode('ascii'))
        self.value = reader.load()
        self.python2, self.protocol = reader.is_python2(), reader.protocol
        self.payload, self.peer, self.at = payload, peer, clock()
        self.reply = self.data = None

    def __repr__(self):
        return '%s %r' % (self.opcode, self.value)


class _UserClasses(pickle.Unpickler if bytes is not str else object):
    """Loads results; classes of the user's program become Record."""

    def find_class(self, module, name):
        if module != '__main__':
            return super(_UserClasses, self).find_class(module, name)
        return type(str(name), (Record,), {'kind': name})


def load_result(data):
    """Return the value of a result pickle made by the test's own kind of Python."""
    import io
    if bytes is not str:
        return _UserClasses(io.BytesIO(data), encoding='utf-8').load()
    unpickler = pickle.Unpickler(io.BytesIO(data))
    find = unpickler.find_class
    unpickler.find_class = lambda module, name: (
        find(module, name) if module != '__main__' else type(name, (Record,), {'kind': name}))
    return unpickler.load()


class Reply(object):
    """A JOB_REPLY: the ten attributes, `value` (the unpickled result), `message`."""

    def __init__(self, message):
        self.message = message
        for key, value in message.value.fields().items():
            setattr(self, key, value)

    @property
    def value(self):
        """Return the result, unpickled."""
        return load_result(self.result)

    def __repr__(self):
        return '<reply to %s: status %s, %r>' % (self.uid, self.status, self.exception or self.result)


class Job(object):
    """One job sent: uid, hash, record, replies (all, provisional ones too)."""

    def __init__(self, computation, uid, record):
        self.computation = computation
        self.uid, self.hash, self.record = uid, record.hash, record
        self.replies = []

    def final(self):
        """Return the last reply if it is final, else None."""
        finals = [reply for reply in self.replies if reply.status != PROVISIONAL]
        return finals[-1] if finals else None

    def wait(self, timeout=20):
        """Return the final reply; AssertionError if it does not come."""
        scheduler = self.computation.scheduler
        wait_until(self.final, timeout, lambda: 'the reply to job %s; node log:\n%s'
                   % (self.uid, scheduler.node_log()))
        return self.final()


class Computation(object):
    """One open computation: id, auth, record, cpus (what the node answered)."""

    def __init__(self, scheduler, record):
        self.scheduler, self.record = scheduler, record
        self.id, self.auth = record.id, record.auth
        self.cpus = None
        self.closed = False

    def credentials(self, **more):
        """Return the dict that asks about this computation."""
        return dict(more, compute_id=self.id, auth=self.auth)

    def setup(self, *args, **options):
        """Send SETUP; raise Refused unless the node says ACK (option timeout: seconds)."""
        answer = self.scheduler.call('SETUP', self.scheduler.dialect.setup(self.id, args), **options)
        if answer != b'ACK':
            raise Refused('SETUP', answer)

    def make_job(self, *args, **kwargs):
        """Return a Job that is not sent yet. Programs: args are texts."""
        dialect = self.scheduler.dialect
        arguments = args if self.record.type == FUNCTION else list(args)
        return self.raw_job(dialect.arguments(arguments), dialect.arguments(kwargs))

    def raw_job(self, args, kwargs=None, code='', files=()):
        """Return a Job whose arguments are given as pickles; it is not sent yet."""
        dialect = self.scheduler.dialect
        uid = 140000000000000 + 16 * next(_numbers)
        fields = dict(uid=uid, hash=hex_digits(20), compute_id=self.id,
                      xfer_files=list(files), code=code)
        return Job(self, uid, dialect.job(fields, args, kwargs or dialect.arguments({})))

    def send(self, job):
        """Send a Job; return it if the node says ACK, else raise Refused."""
        self.scheduler.jobs[job.uid] = job
        answer = self.scheduler.call('JOB', job.record)
        if answer != b'ACK':
            raise Refused('JOB', answer)
        return job

    def submit(self, *args, **kwargs):
        """Send a job with these arguments; return the Job once it is accepted."""
        return self.send(self.make_job(*args, **kwargs))

    def run(self, *args, **kwargs):
        """Send a job with these arguments and wait; return its Reply."""
        return self.submit(*args, **kwargs).wait()

    def terminate(self, job):
        """Send TERMINATE_JOB."""
        self.scheduler.tell('TERMINATE_JOB', job.record)

    def send_file(self, path, dest_path=''):
        """Send a file to the computation's folder; return the node's last offset."""
        return self.scheduler.send_file(path, dest_path, self.id)

    def jobs(self):
        """Return the uids of jobs accepted and not yet replied."""
        return self.scheduler.ask('JOBS', self.credentials())

    def pending_jobs(self):
        """Return the dict `done`, `pending`."""
        return self.scheduler.ask('PENDING_JOBS', self.credentials())

    def resend(self):
        """Ask for undelivered results; return the number the node announces."""
        return self.scheduler.ask('RESEND_JOB_RESULTS', self.credentials())

    def retrieve(self, job, acknowledge=True):
        """Return the saved Reply of a job, None if the node has none."""
        request = self.credentials(uid=job.uid, hash=job.hash)
        with self.scheduler.connection('RETRIEVE_JOB', request) as connection:
            message = Message(b'RETRIEVE_JOB:' + read_frame(connection), None)
            if acknowledge:
                connection.sendall(frame(b'ACK'))
        return None if message.value is None else Reply(message)

    def close(self, terminate_pending=True, close=True, **changes):
        """Send CLOSE (`changes` replace keys of it); return the answer."""
        dialect = self.scheduler.dialect
        request = self.credentials(terminate_pending=terminate_pending)
        if dialect.has_node_ip_addr:
            request['node_ip_addr'] = self.scheduler.node_ip_addr
        if dialect.has_close:
            request['close'] = close
        request.update(changes)
        answer = self.scheduler.call('CLOSE', request)
        self.closed = self.closed or not changes and close
        return answer


class _Connection(object):
    """Context manager: a connection to the node on which one request was sent."""

    def __init__(self, address, data, timeout):
        self.address, self.data, self.timeout = address, data, timeout
        self.socket = None

    def __enter__(self):
        self.socket = socket.create_connection(self.address, self.timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(self.data)
        return self.socket

    def __exit__(self, *_exc):
        self.socket.close()


class FakeScheduler(object):
    """A client with its own listener; a context manager that closes what it opened.

    node       has ip_addr, port (and log_tail): normally a NodeProcess
    dialect    a row of tests.support.dialects; secret: text
    answers    opcode -> bytes to answer, CLOSE, SILENT, or a function of the Message that returns
               one of these; change it at any time
    received   all Messages of the node so far, oldest first; `jobs`: uid -> Job
    """

    def __init__(self, node=None, dialect=NEWEST, secret='', ip_addr='127.0.0.1', port=0):
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
            connection.settimeout(20)
            self._start(self._serve, connection, peer)

    def _serve(self, connection, peer):
        keep = False
        try:
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
            elif answer is not None and answer != CLOSE:
                connection.sendall(frame(answer))
            if message.opcode == 'JOB_REPLY':
                self._note_reply(message)
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

    def wait_for(self, opcode, count=1, timeout=10, match=None):
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

    def connection(self, opcode, value=None, token=None, timeout=10, port=None, argument=None):
        """Return a context manager: a socket on which the request was sent.

        value: what to pickle; argument: bytes to send in its place.
        """
        if argument is None:
            argument = self.dialect.dumps(value)
        data = (token or self.token()) + frame(opcode.encode('ascii') + b':' + argument)
        return _Connection((self.node.ip_addr, port or self.node_port), data, timeout)

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
            piece = connection.recv(65536)
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

    def ping(self, udp=False, port=None, timeout=10, **changes):
        """Ping the node and wait for its PONG; remember and return what it says."""
        before = len(self.messages('PONG'))
        self.send_ping(udp, port, **changes)
        pong = self.wait_for('PONG', before + 1, timeout).value
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
            type=FUNCTION, name=name, code=code, id=int(time.time() * 1000) + next(_numbers),
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


def raw_token(text):
    """Return a wrong or odd token as 40 bytes."""
    return Binary(text.encode('ascii').ljust(40, b'0')[:40])
