"""Journal of jobs accepted and not settled, for the node after one that was killed.

A file of slots that lies in memory: noting a job is one copy of some hundred bytes, without a call
of the system. What a slot has no room for goes into a second file. The system keeps what was
written when the process is killed.
"""
from __future__ import absolute_import, division, print_function

import collections
import os
import struct
import threading
import time

from dispynode_lib.errors import ProtocolError
from dispynode_lib.host import files
from dispynode_lib.host.compat import monotonic, read_at, set_cloexec, to_bytes, to_text, write_at
from dispynode_lib.host.wording import counted
from dispynode_lib.log import Log
from dispynode_lib.node.replies.spool import LOST, Owner
from dispynode_lib.wire import control, replies
from dispynode_lib.wire.control import LENGTH
from dispynode_lib.wire.peers import Peer

log = Log('dispynode.journal')

SLOT = 1024  # bytes: two identifiers of 128, two addresses of 255 and the rest
SLOTS = 64                                  # made at a time
RETRY = 5.0                                 # seconds until making them is tried again
BODY = 131072                               # bytes that the second file has for each slot
# length of what follows at BEGIN, 0: the slot is free; version; flags; number of the job process;
# key of its supervisor
HEAD = struct.Struct('>L4sLL16s')
VERSION = b'jobs'
BEGIN = HEAD.size
HEAD_OF_NEW = HEAD.pack(0, VERSION, 0, 0, b'')[4:]
# flags: its client was told so; it was asked to stop; its process has it, all of what is too big to
# be noted
ACCEPTED, STOPPING, GIVEN = 1, 2, 1 << 24
GIVEN_AT, FLAGS_AT, NUMBER_AT = 8, 11, 12   # a byte each: several threads set them
NUMBER_AND_KEY, FLAG = struct.Struct('>L16s'), struct.Struct('B')
FIELDS = 14                                 # of a slot
WORDS = (u'the node was killed while the job ran, or before its reply was delivered; '
         u'the node has started again since')

# A file that came for a job, as folders.Folder.release() takes it
SentFile = collections.namedtuple('SentFile', 'dest_path name sep')


class Noted(object):
    """A job as its slot tells of it; `frame` None if what to run is not known."""

    __slots__ = ('slot', 'flags', 'number', 'key', 'computation_id', 'auth', 'uid', 'hash',
                 'result_address', 'node_ip_addr', 'peer', 'started', 'token', 'xfer_files',
                 'frame')


class Journal(object):
    """Notes jobs; any thread."""

    def __init__(self, path, token):
        """`path`: made for the first job; `token`: by which clients know the node (bytes)."""
        self._path = path
        self._token = token
        self._lock = threading.Lock()       # for making slots
        self._parts = []                    # mmaps of SLOTS slots each
        # (mmap, offset in it, number), the last one is taken first: few pages are touched
        self._free = []
        self._retry_at = None               # monotonic; set while no slots can be made
        self._bodies = None                 # descriptor of the second file

    def prepare(self):
        """Make the file, so that the next node sees whether it has gone. Before a computation is
        recorded."""
        if not self._parts:
            self._grow()

    def add(self, job, frame=None):
        """Note a job that is being accepted; job.slot says where.

        frame   bytes: all that is needed to run it, for read_jobs()
        """
        try:
            slot = self._free.pop()
        except IndexError:
            if self._grow():
                self.add(job, frame)
            return
        memory, offset, number = job.slot = slot
        data = HEAD_OF_NEW + _describe(job, self._token)
        what = control.pack(frame, None)
        if len(data) + len(what) > SLOT and frame is not None:
            what = control.pack(None, b'%d' % self._keep_body(number, frame))
        end = len(data) + len(what)         # both lack, or have, the length that comes first
        if end <= SLOT:
            memory[offset + 4:offset + end] = data + what[4:]
            memory[offset:offset + 4] = LENGTH.pack(end - BEGIN)    # last: it makes the rest count

    def _keep_body(self, number, frame):
        """Write what a slot has no room for to the second file; return its size, or 0."""
        try:
            with self._lock:
                if self._bodies is None:
                    self._open_bodies()
            if len(frame) <= BODY and write_at(self._bodies, frame, number * BODY) == len(frame):
                return len(frame)
            reason = 'it is too long, or the disk full'
        except EnvironmentError as error:
            reason = error
        log.debug('a job of %d bytes is not noted as a whole in %s: %s', len(frame), self._path,
                  reason)
        return 0

    def note_accepted(self, job):
        """Note that the client of a job has been sent the ACK."""
        self._change(job.slot, FLAGS_AT, FLAG.pack(ACCEPTED))

    def note_stopping(self, job):
        """Note that a job was asked to stop."""
        self._change(job.slot, FLAGS_AT, FLAG.pack(ACCEPTED | STOPPING))

    def note_given(self, job, frame):
        """Note that a process has been given all of a job that is too big to be noted."""
        if len(frame) > BODY:
            self._change(job.slot, GIVEN_AT, FLAG.pack(GIVEN >> 24))

    def note_process(self, job, key, number):
        """Note that job process `number` of the supervisor with `key` (16 bytes) gets a job."""
        self._change(job.slot, NUMBER_AT, NUMBER_AND_KEY.pack(number, key))

    @staticmethod
    def _change(slot, at, data):
        if slot is not None:
            memory, offset = slot[:2]
            memory[offset + at:offset + at + len(data)] = data

    def remove(self, slot):
        """Forget a job: its reply is with the client, or on disk."""
        memory, offset = slot[:2]
        memory[offset:offset + 4] = b'\0\0\0\0'
        self._free.append(slot)

    def _grow(self):
        """Make more slots; return whether that went well."""
        with self._lock:
            if self._free or self._retry_at is not None and monotonic() < self._retry_at:
                return bool(self._free)
            try:
                self._add_part(self._map(len(self._parts) * SLOTS * SLOT))
            except (EnvironmentError, ValueError) as error:
                self._tell_trouble(error)
                return False
            if self._retry_at is not None:
                log.info('accepted jobs are noted in %s again', self._path)
                self._retry_at = None
            return True

    def _tell_trouble(self, error):
        if self._retry_at is None:
            log.error(
                'accepted jobs are not noted in %s: %s; should this node be killed before there '
                'is room, their clients would have to find out by themselves', self._path, error)
        self._retry_at = monotonic() + RETRY

    def _add_part(self, memory):
        first = len(self._parts) * SLOTS
        self._parts.append(memory)
        self._free.extend([(memory, number * SLOT, first + number) for number in range(SLOTS)
                           if memory[number * SLOT:number * SLOT + 4] == b'\0\0\0\0'])

    def _map(self, offset):
        import mmap                         # not at start
        flags = os.O_RDWR | os.O_CREAT | (os.O_TRUNC if not offset else 0)
        fd = os.open(self._path, flags, 0o600)
        try:
            os.lseek(fd, offset, os.SEEK_SET)
            os.write(fd, b'\0' * (SLOTS * SLOT))  # or a full disk would kill this process later
            if os.fstat(fd).st_size < offset + SLOTS * SLOT:
                raise EnvironmentError('the disk is full')
            return mmap.mmap(fd, SLOTS * SLOT, offset=offset)
        finally:
            os.close(fd)

    def _open_bodies(self):
        self._bodies = os.open(self._path + '.bodies', os.O_RDWR | os.O_CREAT, 0o600)
        set_cloexec(self._bodies)

    def take_over(self):
        """Go on with a dead node's file, before any job comes; return its jobs (list of Noted).

        Raises EnvironmentError, ProtocolError: then nothing has been changed.
        """
        import mmap
        try:
            fd = os.open(self._path, os.O_RDWR)
        except EnvironmentError:
            return []                       # it never had a job
        try:
            size = os.fstat(fd).st_size // (SLOTS * SLOT) * (SLOTS * SLOT)
            parts = [mmap.mmap(fd, SLOTS * SLOT, offset=at) for at in range(0, size, SLOTS * SLOT)]
        finally:
            os.close(fd)
        self._open_bodies()
        jobs = []
        for index, memory in enumerate(parts):
            for number in range(SLOTS):
                try:
                    noted = read_slot(memory[number * SLOT:(number + 1) * SLOT])
                except ProtocolError as error:
                    raise ProtocolError('%s: %s' % (self._path, error))
                if noted is not None:
                    noted.slot = memory, number * SLOT, index * SLOTS + number
                    self._fetch_frame(noted)
                    jobs.append(noted)
        for memory in parts:
            self._add_part(memory)
        return jobs

    def _fetch_frame(self, noted):
        """Take what to run from the second file, if it is there."""
        if isinstance(noted.frame, int):
            noted.frame = read_at(self._bodies, noted.frame, noted.slot[2] *
                                  BODY) if noted.frame else None

    def close(self):
        """Remove the files if no job is noted in them: the node ends in order."""
        if self._parts and len(self._free) == len(self._parts) * SLOTS:
            files.remove(self._path)
            if self._bodies is not None:
                files.remove(self._path + '.bodies')


def _describe(job, token):
    """Return the parts of a slot, packed, but for what to run."""
    if job.computation.noted is None:
        job.computation.noted = _describe_computation(job.computation)
    before, after = job.computation.noted
    names = [
        to_bytes(word or u'') for sent in job.xfer_files
        for word in (sent.dest_path, sent.name, sent.sep)
    ]
    own = control.pack(b'%d' % job.uid, to_bytes(job.hash))
    files = control.pack(*names)[4:] if names else b''
    return before + own[4:] + after + control.pack(b'%.3f' % job.started, token, files)[4:]


def _describe_computation(computation):
    """Return the parts of a slot, packed, that are the same for all jobs of a computation: those
    before what names the job, and those after."""
    address, port = computation.result_address
    return (control.pack(b'%d' % computation.id, to_bytes(computation.auth))[4:],
            control.pack(to_bytes(address), b'%d' % port, to_bytes(computation.node_ip_addr),
                         b'%d' % computation.peer.python2, b'%d' % computation.peer.protocol)[4:])


def read_slot(data):
    """Return the Noted in a slot, None: it is free. Raises ProtocolError.

    `frame` is a size if it is in the second file; `slot` is not set.
    """
    size, version, flags, number, key = HEAD.unpack_from(data)
    if not size:
        return None
    if version != VERSION or BEGIN + size > SLOT:
        raise ProtocolError('a job that another release has noted, or that was damaged')
    fields, noted = control.unpack(data[BEGIN:BEGIN + size]), Noted()
    if len(fields) != FIELDS:
        raise ProtocolError('a job noted in %d parts' % len(fields))
    noted.flags, noted.number, noted.key = flags, number, key
    (computation_id, auth, uid, hash_, address, port, node_ip_addr, python2, protocol, started,
     noted.token, files, frame, body_size) = fields
    noted.computation_id, noted.auth = control.number(computation_id), to_text(auth)
    noted.uid, noted.hash = control.number(uid), to_text(hash_)
    noted.result_address, noted.node_ip_addr = (to_text(address),
                                                control.number(port)), to_text(node_ip_addr)
    noted.peer = Peer(python2=python2 == b'1', protocol=control.number(protocol))
    words = [to_text(word) for word in control.unpack(files or b'')]
    noted.xfer_files = [SentFile(*words[at:at + 3]) for at in range(0, len(words) - 2, 3)]
    noted.frame = frame if body_size is None else control.number(body_size)
    try:
        noted.started = float(started)
    except (TypeError, ValueError):
        raise ProtocolError('a job noted that began at %r' % started)
    return noted


def require(path):
    """Raise ProtocolError or EnvironmentError unless the journal at `path` is as large as any is:
    Journal.prepare() has made it."""
    if os.stat(path).st_size < SLOTS * SLOT:
        raise ProtocolError('%s is damaged' % path)


def settle(path, spool):
    """Keep a final reply for each job of an earlier node; return how many. Before any job."""
    try:
        with open(path, 'rb') as source:
            data = source.read()
    except EnvironmentError:
        return 0                            # it ended in order, or never had a job
    count = 0
    for offset in range(0, len(data) - SLOT + 1, SLOT):
        try:
            noted = read_slot(data[offset:offset + SLOT])
            count += noted is not None and keep_lost(noted, spool)
        except (ProtocolError, ValueError) as error:
            log.error('%s: a job that cannot be read: %s', path, error)
    if count:
        log.warning('%s %s lost when the node before this one was killed; clients are told',
                    counted(count, u'job'), 'was' if count == 1 else 'were')
    for name in (path, path + '.bodies'):
        files.remove(name)
    return count


def keep_lost(noted, spool):
    """Keep the final reply of a job (Noted) that is lost; return how many were kept, 0 or 1."""
    owner = Owner(noted.computation_id, noted.auth, noted.result_address, noted.token)
    job = noted.uid, noted.hash
    if job in spool.jobs(owner.key):
        return 0                            # its reply was kept, and that not yet noted
    payload = replies.job_reply(noted.peer, job[0], job[1], noted.node_ip_addr, control.TERMINATED,
                                None, u'', u'', WORDS, noted.started, time.time())
    return int(spool.keep(owner, job[0], job[1], payload, LOST))
