"""Talking about one computation: what a scheduler knows of it, its jobs and their replies."""
from __future__ import absolute_import, division, print_function

import io
import itertools
import pickle
import random
import struct

from tests.support.dialects import FUNCTION
from tests.support.pickled import Reader, Record
from tests.support.waiting import TIMEOUT, clock, wait_until

TERMINATED, FINISHED, PROVISIONAL = 9, 11, 7

_numbers = itertools.count(1)


def next_number():
    """Return a number that this process has not had yet."""
    return next(_numbers)


def hex_digits(count):
    """Return random hex digits (text)."""
    return '%0*x' % (count, random.getrandbits(4 * count))


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
    if bytes is not str:
        return _UserClasses(io.BytesIO(data), encoding='utf-8').load()
    unpickler = _BytesReader(io.BytesIO(data))
    find = unpickler.find_class
    unpickler.find_class = lambda module, name: (
        find(module, name) if module != '__main__' else type(name, (Record,), {'kind': name}))
    return unpickler.load()


class _BytesReader(pickle.Unpickler):
    """Python 2's reader with the two opcodes for bytes in results for Python 3 clients."""

    dispatch = dict(getattr(pickle.Unpickler, 'dispatch', {}))

    def load_short_binbytes(self):
        self.append(self.read(ord(self.read(1))))

    def load_binbytes(self):
        self.append(self.read(struct.unpack('<L', self.read(4))[0]))


for _letter, _name in ((b'C', 'load_short_binbytes'), (b'B', 'load_binbytes')):
    _BytesReader.dispatch[_letter] = getattr(getattr(_BytesReader, _name), '__func__', None)


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
        return '<reply to %s: status %s, %r>' % (self.uid, self.status, self.exception
                                                 or self.result)


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

    def wait(self, timeout=TIMEOUT):
        """Return the final reply; AssertionError if it does not come."""
        scheduler = self.computation.scheduler
        wait_until(self.final, timeout, lambda: 'the reply to job %s%s; node log:\n%s' % (
            self.uid, scheduler.faults and ', but: %s' % scheduler.faults or '',
            scheduler.node_log()))
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
        answer = self.scheduler.call('SETUP', self.scheduler.dialect.setup(self.id, args),
                                     **options)
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
        uid = 140000000000000 + 16 * next_number()
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
