"""Frames between the node, a supervisor and its job processes.

A frame is a 4-byte length and a list of parts; a part is bytes or None. Nothing in it is ever
unpickled by the node. docs/architecture.rst lists the frames.
"""
from __future__ import absolute_import, division, print_function

import struct

from dispynode_lib.errors import ProtocolError
from dispynode_lib.host import proc

LENGTH = struct.Struct('>L')
NOTHING = 0xFFFFFFFF
NO_PART = LENGTH.pack(NOTHING)              # in place of a length: the part is None

# Of jobs: the status numbers that nodes send (docs/protocol.rst, "Status numbers")
PROVISIONAL, TERMINATED, FINISHED = 7, 9, 11

# Options that set limits of jobs, as `limit` frames name them
LIMITS = JOB_TIME, JOB_OUTPUT, JOB_PROCESSES, JOB_MEMORY = (
    '--job_time', '--job_output', '--job_processes', '--job_memory')

# (seconds after the request, signal name): how a job is stopped; the one place for these times
STOP_STEPS = ((0.0, 'SIGINT'), (3.0, 'SIGTERM'), (5.0, 'SIGKILL'))

# In the environment of the nursery, (name, value): the dynamic linker looks up all functions there
# and then; each job process would do it again for the ones that it is the first to call: 4 % of the
# CPU time of a job
BIND_NOW = ('LD_BIND_NOW', 'dispynode')

# of a job process, and its pid: follow the byte that comes with its descriptor
CHILD_NUMBER = struct.Struct('>LL')

# Of a process that was reaped: its number, wait status, CPU time in seconds and peak memory in
# bytes
USED = struct.Struct('>LLdd')
NOT_KNOWN = -1.0, -1.0                      # for the last two: the system does not tell
LOST = 0xFFFFFFFF                           # for the wait status: user code has reaped it

# exit statuses of job processes that told a result, or a failure: users' programs rarely choose
# them
TOLD = 113, 114

MODULE_NAME_SIZE = 200                      # characters of the longest name of a module
PIPE_SIZE = 4096  # bytes of such names that go to the nursery at once: a pipe holds that many

# In the environment of the nursery: how long, in seconds, and where it is to keep listeners for the
# next node, with a colon
KEEPER = proc.KEEPER
KEPT_ALL, KEEP_NO_MORE = b'A', b'N'         # it has given all; the next node keeps them itself

FIRST_PROGRAM = 1000000000      # job processes of program computations are numbered from here

# Taking over a supervisor from a node that has died (docs/architecture.rst, "When the node dies")
HAND_OVER = 1  # version of the frames `node`, `here`, `taken`; it comes first in each
NUMBER = struct.Struct('>L')    # of a job process, in a `settled` frame
# in `here`: number of a job process whose channel is held, and its wait status
HELD = struct.Struct('>LL')
LIVES = 0xFFFFFFFF              # for the wait status: it has not been reaped
SUPERVISORS = 'supervisors'     # folder: sockets, ID-KEY, of supervisors that outlive their node
CLEANED = '.cleaned'            # what follows the name of such a socket once cleanup has begun

OPEN_KEYS = (
    'id', 'type', 'name', 'code', 'folder', 'big_folder',         # type b'1' function, b'2' program
    'setup', 'cleanup',                             # names of functions or b''
    'compute',                                      # the COMPUTE argument as it came, or b''
    'python2', 'protocol', 'setup_accepts',  # peer: b'1'/b'0'; pickle protocol; b'0' or b'0 1 2'
    'node_name', 'node_ip_addr',                    # as announced
    'scheduler_ip_addr', 'job_result_port',         # where replies go
    'client_ip_addr', 'client_port',                # client_reply_addr, or b'' and b'0'
    'certfile', 'keyfile',
    'whole_records',                                # b'1': TLS records of a file go out one by one
    'max_file_size',                                # bytes that a file may have, b'0' for no limit
    'limits',  # words of supervisor/processes/limits: nice=5 memory=1000000, or b''
    'cleanup_timeout',                              # seconds, b'0' for no limit
    # b'': nothing is loaded before jobs are forked; else supervisor/imports/learning's policy
    'preload',
    'ledger',                                       # b'1': tell at once what each job used
    'client_shutdown',                              # b'1': cleanup may call dispynode_shutdown()
    'socket',  # where the next node finds this supervisor; b'': it ends with its node
    'orphan_timeout', 'generation',  # seconds that it goes on without a node; number of its node
)


def pack(*parts):
    """Return one frame (bytes) holding `parts`, each bytes or None."""
    pieces = [b'']
    for part in parts:
        if part is None:
            pieces.append(NO_PART)
            continue
        pieces += (LENGTH.pack(len(part)), part)
    pieces[0] = LENGTH.pack(sum(map(len, pieces)))
    return b''.join(pieces)


def unpack(payload):
    """Return the list of parts in `payload` (bytes, without the frame's length).

    Raises ProtocolError if the lengths do not add up.
    """
    parts = []
    at, end, unpack_from, add = 0, len(payload), LENGTH.unpack_from, parts.append
    try:
        while at < end:
            begin = at + 4
            at = begin + unpack_from(payload, at)[0]
            if at <= end:
                add(payload[begin:at])
            elif at == begin + NOTHING:
                add(None)
                at = begin
            else:
                raise ProtocolError('control frame: part of %d bytes, %d left'
                                    % (at - begin, end - begin))
    except struct.error:
        raise ProtocolError('control frame: %d stray bytes' % (end - at))
    return parts


def is_module_name(name):
    """Return whether `name` (str or text) may be the full name of a module."""
    return len(name) <= MODULE_NAME_SIZE and all(
        part.replace('_', 'a').isalnum() and not part[0].isdigit() for part in name.split('.'))


class Splitter(object):
    """Splits a stream of bytes into frames."""

    def __init__(self, limit):
        """`limit`: bytes that one frame may have at most."""
        self._data = bytearray()
        self._limit = limit

    def feed(self, data):
        """Take bytes read from the socket; return the list of frames (lists of parts) completed.

        Raises ProtocolError for a frame over the limit or one whose parts do not add up.
        """
        buffered = self._data
        buffered += data
        frames = []
        at = 0
        while len(buffered) - at >= 4:
            size = LENGTH.unpack_from(buffered, at)[0]
            if size > self._limit:
                raise ProtocolError('control frame of %d bytes, allowed %d' % (size, self._limit))
            if len(buffered) - at - 4 < size:
                break
            frames.append(unpack(bytes(buffered[at + 4:at + 4 + size])))
            at += 4 + size
        if at:
            del buffered[:at]
        return frames


def number(part):
    """Return the int in a part; raise ProtocolError if it holds none."""
    try:
        return int(part)
    except (TypeError, ValueError):
        raise ProtocolError('control frame: %r is no number' % (part,))
