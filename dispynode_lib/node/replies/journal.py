"""The jobs that were accepted and not yet replied to, noted where the next node finds them should this one be killed.

A file of slots that lies in memory: noting a job is one copy of some hundred bytes, without a call of the system. The
system keeps what was written when the process is killed.
"""
from __future__ import absolute_import, division, print_function

import os
import threading
import time

from dispynode_lib.errors import ProtocolError
from dispynode_lib.host import files
from dispynode_lib.host.compat import to_bytes, to_text
from dispynode_lib.host.wording import counted
from dispynode_lib.log import Log
from dispynode_lib.node.replies.spool import LOST, Owner
from dispynode_lib.wire import control, replies
from dispynode_lib.wire.peers import Peer

log = Log('dispynode.journal')

SLOT = 1024                                 # bytes: two identifiers of 128 letters, two addresses of 255 and the rest
SLOTS = 64                                  # made at a time
WORDS = u'the node was killed while the job ran, or before its reply was delivered; the node has started again since'


class Journal(object):
    """Notes jobs; any thread."""

    def __init__(self, path, token):
        """`path`: of the file, made when the first job comes; `token`: the node's (bytes) by which its clients know it."""
        self._path = path
        self._token = token
        self._lock = threading.Lock()       # for making slots
        self._parts = []                    # mmaps of SLOTS slots each
        self._free = []                     # (mmap, offset), the last one is taken first: few pages are touched
        self._broken = False

    def add(self, job):
        """Note a job that is being accepted; job.slot says where."""
        computation = job.computation
        try:
            memory, offset = job.slot = self._free.pop()
        except IndexError:
            if not self._grow():
                return
            return self.add(job)
        frame = control.pack(
            b'%d' % computation.id, to_bytes(computation.auth), b'%d' % job.uid, to_bytes(job.hash),
            to_bytes(computation.result_address[0]), b'%d' % computation.result_address[1],
            to_bytes(computation.node_ip_addr), b'%d' % computation.peer.python2, b'%d' % computation.peer.protocol,
            b'%.3f' % job.started, self._token)
        if len(frame) <= SLOT:
            memory[offset + 4:offset + len(frame)] = frame[4:]
            memory[offset:offset + 4] = frame[:4]               # last: it makes the rest count

    def remove(self, slot):
        """Forget a job: its reply is with the client, or on disk."""
        memory, offset = slot
        memory[offset:offset + 4] = b'\0\0\0\0'
        self._free.append(slot)

    def _grow(self):
        """Make more slots; return whether that went well."""
        with self._lock:
            if self._free or self._broken:
                return bool(self._free)
            try:
                memory = self._map(len(self._parts) * SLOTS * SLOT)
            except (EnvironmentError, ValueError) as error:
                self._broken = True
                log.error('accepted jobs are not noted in %s: %s; should this node be killed, their clients would have '
                          'to find out by themselves', self._path, error)
                return False
            self._parts.append(memory)
            self._free.extend([(memory, number * SLOT) for number in range(SLOTS)])
            return True

    def _map(self, offset):
        import mmap                         # not at start
        flags = os.O_RDWR | os.O_CREAT | (os.O_TRUNC if not offset else 0)
        fd = os.open(self._path, flags, 0o600)
        try:
            os.lseek(fd, offset, os.SEEK_SET)
            os.write(fd, b'\0' * (SLOTS * SLOT))                # or a full disk would kill this process later
            if os.fstat(fd).st_size < offset + SLOTS * SLOT:
                raise EnvironmentError('the disk is full')
            return mmap.mmap(fd, SLOTS * SLOT, offset=offset)
        finally:
            os.close(fd)

    def close(self):
        """Remove the file if no job is noted in it: the node ends in order."""
        if self._parts and len(self._free) == len(self._parts) * SLOTS:
            files.remove(self._path)


def settle(path, spool):
    """Keep a final reply for each job that a node before this one has left; return how many. Called before any job comes."""
    try:
        with open(path, 'rb') as source:
            data = source.read()
    except EnvironmentError:
        return 0                            # it ended in order, or never had a job
    count = 0
    for offset in range(0, len(data), SLOT):
        slot = data[offset:offset + SLOT]
        if slot[:4] == b'\0\0\0\0' or len(slot) < SLOT:
            continue
        try:
            count += _keep_lost(control.unpack(slot[4:4 + control.LENGTH.unpack(slot[:4])[0]]), spool)
        except (ProtocolError, ValueError) as error:
            log.error('%s: a job that cannot be read: %s', path, error)
    if count:
        log.warning('%s %s lost when the node before this one was killed; clients are told', counted(count, u'job'),
                    'was' if count == 1 else 'were')
    files.remove(path)
    return count


def _keep_lost(fields, spool):
    computation_id, auth, uid, hash_, address, port, node_ip_addr, python2, protocol, started, token = fields
    owner = Owner(control.number(computation_id), to_text(auth), (to_text(address), control.number(port)), token)
    job = control.number(uid), to_text(hash_)
    if job in spool.jobs(owner.key):
        return 0                            # its reply was kept, and that not yet noted
    peer = Peer(python2=python2 == b'1', protocol=control.number(protocol))
    payload = replies.job_reply(peer, job[0], job[1], to_text(node_ip_addr), 9, None, u'', u'', WORDS, float(started), time.time())
    return int(spool.keep(owner, job[0], job[1], payload, LOST))
