"""What peers say to a node: one reader for each message.

A reader takes the bytes after the opcode and returns an object on which every attribute is present and
checked, so that nobody needs to know which release sent it. Text is text (unicode), ids are ints, ports
1 to 65535. Whatever is wrong raises ProtocolError, one line that names message and field.
Source: docs/protocol.rst, "Classes on the wire", "Discovery", "Requests to a node".
"""
from __future__ import absolute_import, division, print_function

from dispynode_lib.host.compat import integer_types, text_type
from dispynode_lib.host.resources import AvailInfo
from dispynode_lib.wire.fields import REQUIRED, Fields, fields_of
from dispynode_lib.wire.pickle.pickles import UNKNOWN, Record, load, load_first

FUNCTION, PROGRAM = 1, 2            # types of computations

_FILE_KINDS = frozenset(('_XferFile', 'stat'))
_JOB_KINDS = frozenset(('_DispyJob_', '_XferFile', 'stat'))
_COMPUTE_KINDS = frozenset(('_Compute', '_XferFile', '_Function', 'stat', 'set'))
_REPLY_KINDS = frozenset(('_JobReply',))
_INFO_KINDS = frozenset(('DispyNodeAvailInfo',))

_YEAR = 366 * 86400.0
_MAX_TIME = 2.0 ** 40               # seconds; files may bear any date that a file system can store
_MAX_ADDRESSES = 100
_MAX_FILES = 100000


class Message(object):
    """Base of what readers return: `python2` and `protocol` tell how its pickle was written."""

    __slots__ = ('python2', 'protocol')

    def __init__(self, fields):
        self.python2 = fields.python2
        self.protocol = fields.protocol


class Ping(Message):
    """A client, scheduler or relay asks for a PONG. `sign` is None from some relays."""

    __slots__ = ('version', 'sign', 'port', 'ip_addrs', 'node_ip_addr', 'relay')


class NodeInfoRequest(Message):
    """dispyadmin asks by UDP for the node's sign and port."""

    __slots__ = ('version', 'sign', 'port', 'ip_addr')


class Compute(Message):
    """A new computation. Names `setup`, `cleanup` may be '' / False for none; see read_compute."""

    __slots__ = ('type', 'name', 'id', 'code', 'dest_path', 'xfer_files', 'exclusive', 'reentrant', 'setup', 'cleanup',
                 'scheduler_ip_addr', 'scheduler_port', 'node_ip_addr', 'auth', 'job_result_port',
                 'pulse_interval', 'client_reply_addr', 'setup_in_compute', 'cleanup_in_compute')


class File(Message):
    """A file that a peer announces or sends; `mode` are the bits of st_mode, times are seconds."""

    __slots__ = ('name', 'dest_path', 'compute_id', 'size', 'mode', 'atime', 'mtime', 'sep')


class Job(Message):
    """A job to run or to stop; `args` and `kwargs` are pickles for the job process."""

    __slots__ = ('uid', 'hash', 'compute_id', 'args', 'kwargs', 'xfer_files', 'code')


class Setup(Message):
    """A request to run the setup function; `has_args`: its argument holds arguments for it."""

    __slots__ = ('compute_id', 'has_args')


class Close(Message):
    """The end of a computation, or (`close` False) of its setup only."""

    __slots__ = ('compute_id', 'auth', 'node_ip_addr', 'terminate_pending', 'close')


class Question(Message):
    """A question about jobs of a computation; `uid` and `hash` are None if it names no job."""

    __slots__ = ('compute_id', 'auth', 'uid', 'hash')


class Pulse(Message):
    """A scheduler's answer by UDP to a PULSE."""

    __slots__ = ('ip_addr', 'port')


class Admin(Message):
    """A request of dispyadmin; `given` is the set of keys that it held, the others are None."""

    __slots__ = ('sign', 'cpus', 'control', 'time', 'serve', 'given')


class JobReply(Message):
    """The result of a job; `result` is a pickle, `stdout`, `stderr` are text, bytes or None."""

    __slots__ = ('uid', 'hash', 'ip_addr', 'status', 'result', 'stdout', 'stderr', 'exception',
                 'start_time', 'end_time')


class Pong(Message):
    """A node's answer to a PING."""

    __slots__ = ('ip_addr', 'port', 'sign', 'version', 'name', 'cpus', 'platform', 'auth', 'avail_info',
                 'scheduler_ip_addr')


def read_ping(arg):
    """Read the dict of a PING from a client, scheduler or relay."""
    value, form = load(arg)
    fields = fields_of('PING', value, None, form)
    ping = Ping(fields)
    ping.version = fields.word_of_release('version')
    ping.sign = fields.word('sign', None)
    ping.port = fields.port('port')
    ping.ip_addrs = _addresses(fields)
    ping.node_ip_addr = fields.address('node_ip_addr', None)
    ping.relay = bool(fields.text('relay', None))
    return ping


def _addresses(fields):
    addresses = fields.sequence('ip_addrs')
    if len(addresses) > _MAX_ADDRESSES:
        raise fields.fault('ip_addrs', 'a list of %d' % len(addresses))
    found = []
    for address in addresses:
        item = Fields(fields.message, {'ip_addrs': address}, fields).address('ip_addrs', None)
        if item:
            found.append(item)
    return found


def read_node_info_udp(arg):
    """Read the dict of a NODE_INFO datagram from dispyadmin."""
    value, form = load(arg)
    fields = fields_of('NODE_INFO', value, None, form)
    info = NodeInfoRequest(fields)
    info.version = fields.word_of_release('version')
    info.sign = fields.word('sign', None)
    info.port = fields.port('port')
    info.ip_addr = fields.address('ip_addr')
    return info


def read_compute(arg):
    """Read a _Compute.

    setup, cleanup              name of the function; '' no setup, False leave files, True remove them
    setup_in_compute            True: arguments of setup, if any, are in this message (a _Function)
    cleanup_in_compute          likewise
    """
    value, form = load(arg, _COMPUTE_KINDS, True)
    fields = fields_of('COMPUTE', value, '_Compute', form)
    compute = Compute(fields)
    compute.type = fields.integer('type', FUNCTION, PROGRAM + 1)
    compute.name = fields.name('name')
    compute.id = fields.integer('id')
    compute.code = fields.code('code', u'')
    compute.dest_path = fields.text('dest_path', None)
    compute.xfer_files = _files(fields)
    compute.exclusive = fields.truth('exclusive', True)
    compute.reentrant = fields.truth('reentrant', False)
    compute.setup, compute.setup_in_compute = _function(fields, 'setup', u'')
    compute.cleanup, compute.cleanup_in_compute = _function(fields, 'cleanup', False)
    compute.scheduler_ip_addr = fields.address('scheduler_ip_addr', None)
    compute.scheduler_port = fields.port('scheduler_port')
    compute.node_ip_addr = fields.address('node_ip_addr', None)
    compute.auth = fields.word('auth')
    compute.job_result_port = fields.port('job_result_port')
    compute.pulse_interval = fields.number('pulse_interval', 0, _YEAR, None) or None
    compute.client_reply_addr = _reply_address(fields)
    return compute


def _function(fields, key, without):
    """Return (name, whether it came as a _Function) of setup or cleanup."""
    value = fields.get(key, None)
    if value is None:
        return without, False
    if key == 'cleanup' and (type(value) is bool or type(value) in integer_types):
        return fields.truth(key, False), False
    if type(value) is Record and value.kind == '_Function':
        inner = Fields('%s: _Function' % fields.message, value.fields, fields)
        return inner.name('name'), True
    return fields.name(key) or without, False


def _reply_address(fields):
    value = fields.get('client_reply_addr', None)
    if value is None:
        return None
    pair = fields.sequence('client_reply_addr')
    if len(pair) != 2:
        raise fields.fault('client_reply_addr', 'no address and port')
    inner = Fields('COMPUTE: client_reply_addr', {'address': pair[0], 'port': pair[1]}, fields)
    return inner.address('address'), inner.port('port')


def _files(fields):
    """Return the list of File in the field xfer_files."""
    if fields.get('xfer_files', None) is None:
        return []
    files = fields.sequence('xfer_files')
    if len(files) > _MAX_FILES:
        raise fields.fault('xfer_files', 'a list of %d' % len(files))
    return [_file(fields_of(fields.message + ': xfer_files', item, '_XferFile', fields)) for item in files]


def _file(fields):
    found = File(fields)
    found.name = fields.text('name')
    found.dest_path = fields.text('dest_path', u'')
    found.compute_id = None if fields.get('compute_id', None) is None else fields.integer('compute_id')
    found.sep = fields.text('sep', u'/', 1)
    stat = fields_of(fields.message + ': stat_buf', fields.get('stat_buf'), 'stat', fields)
    found.size = stat.integer('size', 0, 2 ** 63)
    found.mode = stat.integer('mode', 0, 2 ** 32)
    found.atime = stat.number('atime', -_MAX_TIME, _MAX_TIME)
    found.mtime = stat.number('mtime', -_MAX_TIME, _MAX_TIME)
    return found


def read_file(arg):
    """Read the _XferFile of a FILEXFER."""
    value, form = load(arg, _FILE_KINDS)
    return _file(fields_of('FILEXFER', value, '_XferFile', form))


def read_job(arg, message='JOB'):
    """Read the _DispyJob_ of a JOB, or of a TERMINATE_JOB, which needs no arguments."""
    value, form = load(arg, _JOB_KINDS)
    fields = fields_of(message, value, '_DispyJob_', form)
    values = fields.values
    absent = REQUIRED if message == 'JOB' else b''
    job = Job(fields)
    job.uid = fields.integer('uid')
    job.hash = fields.word('hash')
    job.compute_id = fields.integer('compute_id')
    job.args = fields.binary('args' if 'args' in values else '_args', absent)
    job.kwargs = fields.binary('kwargs' if 'kwargs' in values else '_kwargs', absent)
    job.xfer_files = _files(fields)
    job.code = fields.code('code', u'')
    return job


def read_setup(arg):
    """Read a SETUP: a bare id or a dict with arguments, which may be objects of the user."""
    compute_id, form = load_first(arg, u'compute_id')
    if form is not None:                            # its arguments are for the supervisor to judge
        value = {'compute_id': compute_id, 'setup_args': UNKNOWN}
    else:
        value, form = load(arg, unknown=True)
        if type(value) is not dict:
            value = {'compute_id': value}
    fields = fields_of('SETUP', value, None, form)
    setup = Setup(fields)
    setup.compute_id = fields.integer('compute_id')
    args = fields.get('setup_args', ())
    if type(args) is not tuple and args is not UNKNOWN:
        raise fields.unexpected('setup_args', args, 'a tuple')
    setup.has_args = args != ()
    return setup


def read_close(arg):
    """Read the dict of a CLOSE."""
    value, form = load(arg)
    fields = fields_of('CLOSE', value, None, form)
    close = Close(fields)
    close.compute_id = fields.integer('compute_id')
    close.auth = fields.word('auth')
    close.node_ip_addr = fields.address('node_ip_addr', None)
    close.terminate_pending = fields.truth('terminate_pending', False)
    close.close = fields.truth('close', True)
    return close


def read_question(arg, message='JOBS'):
    """Read the dict of a JOBS, PENDING_JOBS, RETRIEVE_JOB or RESEND_JOB_RESULTS."""
    value, form = load(arg)
    fields = fields_of(message, value, None, form)
    question = Question(fields)
    question.compute_id = fields.integer('compute_id')
    question.auth = fields.word('auth')
    question.uid = fields.integer('uid', default=None)
    question.hash = fields.word('hash', None)
    return question


def read_pulse(arg):
    """Read the dict of a scheduler's PULSE by UDP."""
    value, form = load(arg)
    fields = fields_of('PULSE', value, None, form)
    pulse = Pulse(fields)
    pulse.ip_addr = fields.address('ip_addr')
    pulse.port = fields.port('port')
    return pulse


def read_admin(arg, message='NODE_INFO'):
    """Read the dict of a request of dispyadmin; NODE_STATUS has none."""
    value, form = load(arg or b'}.')
    fields = fields_of(message, value, None, form)
    admin = Admin(fields)
    admin.given = frozenset(value)
    admin.sign = fields.word('sign', None)
    admin.cpus = fields.integer('cpus', -1000000, 1000000, None)
    admin.control = fields.name('control', None)
    admin.time = fields.name('time', None)
    admin.serve = fields.integer('serve', -1000000000, 1000000000, None)
    return admin


def read_job_reply(data):
    """Read a _JobReply: the argument of JOB_REPLY, the reply to RETRIEVE_JOB."""
    value, form = load(data, _REPLY_KINDS)
    fields = fields_of('JOB_REPLY', value, '_JobReply', form)
    reply = JobReply(fields)
    reply.uid = fields.integer('uid')
    reply.hash = fields.word('hash')
    reply.ip_addr = fields.address('ip_addr')
    reply.status = fields.integer('status', 0, 100)
    reply.result = fields.binary('result')
    reply.stdout = _output(fields, 'stdout')
    reply.stderr = _output(fields, 'stderr')
    reply.exception = fields.text('exception', None, None)
    reply.start_time = fields.number('start_time', 0, _MAX_TIME, None)
    reply.end_time = fields.number('end_time', 0, _MAX_TIME, None)
    return reply


def _output(fields, key):
    value = fields.get(key, None)
    if value is None or type(value) in (bytes, text_type):
        return value
    raise fields.unexpected(key, value, 'a text')


def read_pong(arg):
    """Read the dict of a PONG."""
    value, form = load(arg, _INFO_KINDS)
    fields = fields_of('PONG', value, None, form)
    pong = Pong(fields)
    pong.ip_addr = fields.address('ip_addr')
    pong.port = fields.port('port')
    pong.sign = fields.word('sign')
    pong.version = fields.word_of_release('version')
    pong.name = fields.text('name')
    pong.cpus = fields.integer('cpus', 0, 1000000)
    pong.platform = fields.text('platform')
    pong.auth = fields.binary('auth')
    pong.avail_info = _avail_info(fields)
    pong.scheduler_ip_addr = fields.address('scheduler_ip_addr', None)
    return pong


def _avail_info(fields):
    value = fields.get('avail_info', None)
    if value is None:
        return None
    inner = fields_of(fields.message + ': avail_info', value, 'DispyNodeAvailInfo', fields)
    return AvailInfo(*[inner.number(key, 0, 2.0 ** 64) for key in AvailInfo.__slots__])


def read_value(data):
    """Return a plain value: the number, list or dict of a reply."""
    return load(data, _INFO_KINDS)[0]
