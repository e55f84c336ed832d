"""Messages of peers to a node: one reader for each.

A reader takes the bytes after the opcode and returns an object on which every attribute is present
and checked, so that nobody needs to know which release sent it. Text is text (unicode), ids are
ints, ports 1 to 65535. Whatever is wrong raises ProtocolError, one line that names message and
field. Source: docs/protocol.rst, "Classes on the wire", "Discovery", "Requests to a node".
"""
from __future__ import absolute_import, division, print_function

from dispynode_lib.host.compat import integer_types, text_type
from dispynode_lib.host.proc import AvailInfo
from dispynode_lib.wire.fields import ID_LIMIT, REQUIRED, Fields, fields_of
from dispynode_lib.wire.pickle.pickles import load, load_first
from dispynode_lib.wire.pickle.records import UNKNOWN, Record

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


def _names(rows):
    return tuple(row[0] for row in rows)


class Message(object):
    """Base of what readers return: `python2` and `protocol` tell how its pickle was written.

    FIELDS    rows of a name, which a field and an attribute have, the function that takes it out,
              and more arguments for that
    """

    __slots__ = ('python2', 'protocol')
    FIELDS = ()

    def __init__(self, fields):
        self.python2 = fields.python2
        self.protocol = fields.protocol
        self.take(self.FIELDS, fields)

    def take(self, rows, fields):
        """Set the attributes of some rows."""
        for row in rows:
            setattr(self, row[0], row[1](fields, row[0], *row[2:]))


def _addresses(fields, key):
    addresses = fields.sequence(key)
    if len(addresses) > _MAX_ADDRESSES:
        raise fields.fault(key, 'a list of %d' % len(addresses))
    found = []
    for address in addresses:
        item = Fields(fields.message, {key: address}, fields).address(key, None)
        if item:
            found.append(item)
    return found


def _is_given(fields, key):
    return bool(fields.text(key, None))


class Ping(Message):
    """A client, scheduler or relay asks for a PONG. `sign` is None from some relays."""

    FIELDS = (('version', Fields.word_of_release), ('sign', Fields.word, None),
              ('port', Fields.port), ('ip_addrs', _addresses),
              ('node_ip_addr', Fields.address, None), ('relay', _is_given))
    __slots__ = _names(FIELDS)


class NodeInfoRequest(Message):
    """dispyadmin asks by UDP for the node's sign and port."""

    FIELDS = (('version', Fields.word_of_release), ('sign', Fields.word, None),
              ('port', Fields.port), ('ip_addr', Fields.address))
    __slots__ = _names(FIELDS)


def _id_or_none(fields, key):
    return None if fields.get(key, None) is None else fields.integer(key)


class File(Message):
    """A file that a peer announces or sends; `mode` are the bits of st_mode, times are seconds."""

    FIELDS = (('name', Fields.text), ('dest_path', Fields.text, u''), ('compute_id', _id_or_none),
              ('sep', Fields.text, u'/', 1))
    STATUS = (('size', Fields.integer, 0, 2**63), ('mode', Fields.integer, 0, 2**32),
              ('atime', Fields.number, -_MAX_TIME, _MAX_TIME),
              ('mtime', Fields.number, -_MAX_TIME, _MAX_TIME))
    __slots__ = _names(FIELDS + STATUS)

    def __init__(self, fields):
        super(File, self).__init__(fields)
        stat = fields_of(fields.message + ': stat_buf', fields.get('stat_buf'), 'stat', fields)
        self.take(self.STATUS, stat)


def _files(fields, key):
    """Return the list of File in a field."""
    if fields.get(key, None) is None:
        return []
    files = fields.sequence(key)
    if len(files) > _MAX_FILES:
        raise fields.fault(key, 'a list of %d' % len(files))
    return [File(fields_of(fields.message + ': ' + key, item, '_XferFile', fields))
            for item in files]


def _reply_address(fields, key):
    value = fields.get(key, None)
    if value is None:
        return None
    pair = fields.sequence(key)
    if len(pair) != 2:
        raise fields.fault(key, 'no address and port')
    inner = Fields('COMPUTE: client_reply_addr', {'address': pair[0], 'port': pair[1]}, fields)
    return inner.address('address'), inner.port('port')


def _seconds_or_none(fields, key):
    return fields.number(key, 0, _YEAR, None) or None


class Compute(Message):
    """A new computation.

    setup, cleanup              name of the function; '' no setup, False leave files, True remove
                                them
    setup_in_compute            True: arguments of setup, if any, are in this message (a _Function)
    cleanup_in_compute          likewise
    """

    FIELDS = (('type', Fields.integer, FUNCTION, PROGRAM + 1), ('name', Fields.name),
              ('id', Fields.integer), ('code', Fields.code, u''), ('dest_path', Fields.text, None),
              ('xfer_files', _files), ('exclusive', Fields.truth, True),
              ('reentrant', Fields.truth, False), ('scheduler_ip_addr', Fields.address, None),
              ('scheduler_port', Fields.port), ('node_ip_addr', Fields.address, None),
              ('auth', Fields.word), ('job_result_port', Fields.port),
              ('pulse_interval', _seconds_or_none), ('client_reply_addr', _reply_address))
    __slots__ = _names(FIELDS) + ('setup', 'setup_in_compute', 'cleanup', 'cleanup_in_compute')

    def __init__(self, fields):
        super(Compute, self).__init__(fields)
        self.setup, self.setup_in_compute = _function(fields, 'setup', u'')
        self.cleanup, self.cleanup_in_compute = _function(fields, 'cleanup', False)


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


class Job(Message):
    """A job to run or to stop; `args` and `kwargs` are pickles for the job process."""

    FIELDS = (('uid', Fields.integer), ('hash', Fields.word), ('compute_id', Fields.integer),
              ('xfer_files', _files), ('code', Fields.code, u''))
    __slots__ = _names(FIELDS) + ('args', 'kwargs')

    def __init__(self, fields):
        super(Job, self).__init__(fields)
        absent = REQUIRED if fields.message == 'JOB' else b''  # who stops a job need not have them
        self.args = fields.binary('args' if 'args' in fields.values else '_args', absent)
        self.kwargs = fields.binary('kwargs' if 'kwargs' in fields.values else '_kwargs', absent)


def _has_arguments(fields, _key):
    args = fields.get('setup_args', ())
    if type(args) is not tuple and args is not UNKNOWN:
        raise fields.unexpected('setup_args', args, 'a tuple')
    return args != ()


class Setup(Message):
    """A request to run the setup function; `has_args`: its argument holds arguments for it."""

    FIELDS = ('compute_id', Fields.integer), ('has_args', _has_arguments)
    __slots__ = _names(FIELDS)


class Close(Message):
    """The end of a computation, or (`close` False) of its setup only."""

    FIELDS = (('compute_id', Fields.integer), ('auth', Fields.word),
              ('node_ip_addr', Fields.address, None), ('terminate_pending', Fields.truth, False),
              ('close', Fields.truth, True))
    __slots__ = _names(FIELDS)


class Question(Message):
    """A question about jobs of a computation; `uid` and `hash` are None if it names no job."""

    FIELDS = (('compute_id', Fields.integer), ('auth', Fields.word),
              ('uid', Fields.integer, 0, ID_LIMIT, None), ('hash', Fields.word, None))
    __slots__ = _names(FIELDS)


class Pulse(Message):
    """A scheduler's answer by UDP to a PULSE."""

    FIELDS = ('ip_addr', Fields.address), ('port', Fields.port)
    __slots__ = _names(FIELDS)


def _keys(fields, _key):
    return frozenset(fields.values)


class Admin(Message):
    """A request of dispyadmin; `given` is the set of keys that it held, the others are None."""

    FIELDS = (('given', _keys), ('sign', Fields.word, None),
              ('cpus', Fields.integer, -1000000, 1000000, None), ('control', Fields.name, None),
              ('time', Fields.name, None), ('serve', Fields.integer, -1000000000, 1000000000, None))
    __slots__ = _names(FIELDS)


def _output(fields, key):
    value = fields.get(key, None)
    if value is None or type(value) in (bytes, text_type):
        return value
    raise fields.unexpected(key, value, 'a text')


class JobReply(Message):
    """The result of a job; `result` is a pickle, `stdout`, `stderr` are text, bytes or None."""

    FIELDS = (('uid', Fields.integer), ('hash', Fields.word), ('ip_addr', Fields.address),
              ('status', Fields.integer, 0, 100), ('result', Fields.binary), ('stdout', _output),
              ('stderr', _output), ('exception', Fields.text, None, None),
              ('start_time', Fields.number, 0, _MAX_TIME, None),
              ('end_time', Fields.number, 0, _MAX_TIME, None))
    __slots__ = _names(FIELDS)


def _avail_info(fields, key):
    value = fields.get(key, None)
    if value is None:
        return None
    inner = fields_of(fields.message + ': ' + key, value, 'DispyNodeAvailInfo', fields)
    return AvailInfo(*[inner.number(name, 0, 2.0 ** 64) for name in AvailInfo.__slots__])


class Pong(Message):
    """A node's answer to a PING."""

    FIELDS = (('ip_addr', Fields.address), ('port', Fields.port), ('sign', Fields.word),
              ('version', Fields.word_of_release), ('name', Fields.text),
              ('cpus', Fields.integer, 0, 1000000), ('platform', Fields.text),
              ('auth', Fields.binary), ('avail_info', _avail_info),
              ('scheduler_ip_addr', Fields.address, None))
    __slots__ = _names(FIELDS)


def _reader(kind, message, record=None, *how):
    """Return a function that reads `message`: a dict, or a Record of kind `record`."""
    def read(arg, message=message):
        value, form = load(arg, *how)
        return kind(fields_of(message, value, record, form))
    return read


read_ping = _reader(Ping, 'PING')
read_node_info_udp = _reader(NodeInfoRequest, 'NODE_INFO')
read_compute = _reader(Compute, 'COMPUTE', '_Compute', _COMPUTE_KINDS, True)
read_file = _reader(File, 'FILEXFER', '_XferFile', _FILE_KINDS)
read_job = _reader(Job, 'JOB', '_DispyJob_', _JOB_KINDS)               # or a TERMINATE_JOB
read_close = _reader(Close, 'CLOSE')
read_question = _reader(Question, 'JOBS')  # or PENDING_JOBS, RETRIEVE_JOB, RESEND_JOB_RESULTS
read_pulse = _reader(Pulse, 'PULSE')
# also what answers RETRIEVE_JOB
read_job_reply = _reader(JobReply, 'JOB_REPLY', '_JobReply', _REPLY_KINDS)
read_pong = _reader(Pong, 'PONG', None, _INFO_KINDS)


def read_admin(arg, message='NODE_INFO'):
    """Read the dict of a request of dispyadmin; NODE_STATUS has none."""
    value, form = load(arg or b'}.')
    return Admin(fields_of(message, value, None, form))


def read_setup(arg):
    """Read a SETUP: a bare id or a dict with arguments, which may be objects of the user."""
    compute_id, form = load_first(arg, u'compute_id')
    if form is not None:                            # its arguments are for the supervisor to judge
        value = {'compute_id': compute_id, 'setup_args': UNKNOWN}
    else:
        value, form = load(arg, unknown=True)
        if type(value) is not dict:
            value = {'compute_id': value}
    return Setup(fields_of('SETUP', value, None, form))


def read_value(data):
    """Return a plain value: the number, list or dict of a reply."""
    return load(data, _INFO_KINDS)[0]
