"""Frames of job processes and supervisors, checked, for user code may write to the channels; the
frame that opens a computation."""
from __future__ import absolute_import, division, print_function

from dispynode_lib.errors import ProtocolError
from dispynode_lib.host.compat import integer_types, monotonic, path_bytes, to_bytes, to_text
from dispynode_lib.host.wording import counted
from dispynode_lib.log import Log
from dispynode_lib.node.shared.common import Allowance
from dispynode_lib.node.shared.complaints import printable
from dispynode_lib.node.shared.job import Limit
from dispynode_lib.wire import releases
from dispynode_lib.wire.control import FINISHED, LIMITS, TERMINATED, number

log = Log('dispynode.jobs')

ENDED = u'the supervisor of the computation ended'
LATEST = 1e11                               # seconds since the epoch, long after everything
LOG_SIZE = 8000                             # characters of one record of a job's that are logged
LOGGERS = ('dispynode', 'dispynode.job', 'dispynode.supervisor', 'dispynode_logger')
LINES = (1000, 50.0)  # lines at once, and a second, that one computation may log


def read_done(fields, program):
    """Return (status, result, stdout, stderr, exception, start, end) of a `done` frame.

    fields    its parts after the name and number
    program   whether the output is bytes and stays so; else text
    Raises ProtocolError.
    """
    if len(fields) != 7:
        raise ProtocolError('a done frame of %d parts' % len(fields))
    status, result, stdout, stderr, exception = fields[:5]
    status = number(status)
    if status not in (FINISHED, TERMINATED):
        raise ProtocolError('a done frame with status %d' % status)
    start, end = [_seconds(part) for part in fields[5:]]
    if not program:
        stdout, stderr = to_text(stdout or b''), to_text(stderr or b'')
    return status, result, stdout, stderr, text_of(exception), start, end


def _seconds(part):
    try:
        value = float(part)
    except (TypeError, ValueError):
        raise ProtocolError('a done frame with a time that is none')
    if not 0 <= value <= LATEST:            # a NaN neither
        raise ProtocolError('a done frame with an impossible time')
    return value


def read_limit(fields):
    """Return the Limit of a `limit` frame: option and sentence. Raises ProtocolError."""
    if len(fields) != 2:
        raise ProtocolError('a limit frame of %d parts' % len(fields))
    option, sentence = [to_text(part or b'') for part in fields]
    if option not in LIMITS:
        raise ProtocolError('a limit frame of an unknown option')
    return Limit(str(option), sentence)


def text_of(part):
    """Return a part of a frame as text, None as None."""
    return to_text(part) if part is not None else None


def last_words(job, status, result, stdout, stderr, exception, start, end):
    """Return (status, result, stdout, stderr, exception, start, end) of a job's final reply."""
    if job.timer is not None:
        job.timer.cancel()
    if job.limit is not None:
        return TERMINATED, None, stdout, stderr, job.limit.sentence, start, end
    if job.stopping and status == TERMINATED:
        return TERMINATED, None, None, None, job.why, start, end
    return status, result, stdout, stderr, exception, start, end


class JobLog(object):
    """Logs what the jobs, setup and cleanup of one computation say; the loop's thread."""

    def __init__(self, computation_id):
        self._id = computation_id
        self._allowance = Allowance(*LINES)
        self._left_out = 0

    def write(self, parts, job=None):
        """Log a frame [`log`, level, logger, text] of a job's, by uid. Raises ProtocolError."""
        if len(parts) != 4:
            raise ProtocolError('a log frame of %d parts' % len(parts))
        if not self._allowance.take(None, monotonic()):
            self._left_out += 1
            return
        level, name = min(50, max(10, number(parts[1]))), to_text(parts[2] or b'')
        where = 'computation %d' % self._id if job is None else 'job %d of computation %d' % (
            job, self._id)
        if self._left_out:
            log.warning('%s: %s left out', where, counted(self._left_out, u'log record'))
            self._left_out = 0
        logger = Log(str(name) if name in LOGGERS else 'dispynode.job')
        logger.log(level, '%s: %s', where, indented(parts[3] or b''))


def indented(text):
    """Return `text` for the log: further lines indented, no control characters."""
    return u'\n    '.join([
        printable(line, LOG_SIZE) for line in to_text(text)[:LOG_SIZE].rstrip(u'\n').split(u'\n')
    ])


def tell_start(job, pid):
    """Log in which process a job runs, None if that has ended."""
    Log('dispynode.computations').debug(
        'job %d of computation %d runs in process %s', job.uid, job.computation.id,
        pid or 'that has ended already')


def open_frame(computation, common, big_folder, descriptors, lasting=('', 0, 0)):
    """Return the parts of the `open` frame: what a supervisor has to know of its computation.

    computation   node.computations.computation.Computation
    common        node.shared.common.Common
    big_folder    where big arguments and results are
    descriptors   that each process may open
    lasting       where the next node finds the supervisor, for how long it waits for that, number
                  of this node
    """
    frame = [b'open']
    for key, value in _settings(
            computation, computation.request, common, big_folder, descriptors, lasting):
        frame.append(key.encode('ascii'))
        frame.append(b'%d' % value if isinstance(value, integer_types) else to_bytes(value))
    return frame


def _settings(computation, request, common, big_folder, descriptors, lasting):
    options, peer = common.options, computation.peer
    client = request.client_reply_addr or (u'', 0)
    in_compute = request.setup_in_compute or request.cleanup_in_compute
    cleanup = request.cleanup if has_cleanup_function(request) else u''
    accepted = ' '.join('%d' % status for status in peer.accepts_setup())
    return (
        ('id', request.id), ('type', request.type), ('name', request.name), ('code', request.code),
        ('folder', path_bytes(computation.folder.path)), ('big_folder', path_bytes(big_folder)),
        ('setup', request.setup), ('cleanup', cleanup),
        ('compute', computation.argument if in_compute else b''),
        ('python2', int(peer.python2)), ('protocol', peer.protocol), ('setup_accepts', accepted),
        ('node_name', common.identity.name), ('node_ip_addr', computation.node_ip_addr),
        ('scheduler_ip_addr', computation.result_address[0]),
        ('job_result_port', computation.result_address[1]),
        ('client_ip_addr', client[0]), ('client_port', client[1]),
        ('max_file_size', options.max_file_size or 0),
        ('certfile', path_bytes(options.certfile or '')),
        ('keyfile', path_bytes(options.keyfile or '')),
        ('whole_records', int(releases.wants_whole_records(peer.version))),
        ('cleanup_timeout', '%g' % options.cleanup_timeout),
        ('limits', _limits(options, descriptors)),
        ('client_shutdown', int(bool(options.client_shutdown))),
        ('preload', _policy(options.preload)), ('ledger', int(bool(options.ledger))),
        ('socket', path_bytes(lasting[0])), ('orphan_timeout', '%g' % lasting[1]),
        ('generation', lasting[2]))


def _policy(preload):
    """Return what a supervisor may load of what jobs import (supervisor/imports/learning)."""
    words = sorted(set(['standard'] + [name.partition('.')[0] for name in preload]))
    return '' if u'none' in preload else ' '.join(words)


def _limits(options, descriptors):
    """Return what the operator allows jobs, as supervisor/processes/limits reads it."""
    limits = (('nice', options.nice), ('memory', options.job_memory),
              ('output', options.job_output), ('processes', options.job_processes),
              ('descriptors', descriptors))
    return ' '.join('%s=%d' % (key, value) for key, value in limits if value)


def has_cleanup_function(request):
    """Return whether a COMPUTE names a cleanup function: files alone are none."""
    return bool(request.cleanup) and not isinstance(request.cleanup, bool)
