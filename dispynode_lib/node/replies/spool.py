"""Spool of replies that could not be delivered, on disk until the client has them."""
from __future__ import absolute_import, division, print_function

import os
import threading
import time

from dispynode_lib.errors import ProtocolError
from dispynode_lib.host import files
from dispynode_lib.host.compat import compare_digest, monotonic, to_bytes, to_native, to_text
from dispynode_lib.host.wording import counted
from dispynode_lib.log import DEBUG, ERROR, Log
from dispynode_lib.node.shared.common import Allowance
from dispynode_lib.wire import control

log = Log('dispynode.spool')

PREFIX = b'JOB_REPLY:'
COMPUTATION = 'computation'                 # name of the file that tells of the owner
# marks, empty files beside a reply: of a job that ended with a killed node; refused (NAK), so not
# sent unasked
LOST, REFUSED = 'lost', 'refused'
MARKS = (LOST, REFUSED)
# seconds, and bytes of all, until refused ones are removed
REFUSED_AGE, REFUSED_SIZE = 7 * 86400.0, 1 << 30
CHECKSUM_SIZE = 32


class Owner(object):
    """Owner of kept replies: a computation, open or closed long ago.

    jobs   {(uid, hash): mark or None} of what is kept; the Spool's, under its lock
    """

    __slots__ = ('id', 'auth', 'result_address', 'token', 'last_heard', 'closed_by_client', 'jobs')

    def __init__(self, computation_id, auth, result_address, token):
        """`result_address`: (address, port); `token`: by which the client knows the node."""
        self.id, self.auth, self.token = computation_id, auth, token
        self.result_address = result_address
        self.last_heard = monotonic()
        self.closed_by_client = False
        self.jobs = {}

    @property
    def key(self):
        return self.id, self.auth

    def heard(self):
        """Note a sign of life of the client."""
        self.last_heard = monotonic()


class Spool(object):
    """Spool of replies: FOLDER/<computation id>-<auth>/<uid>-<hash>; any thread.

    Each file begins with a checksum of its name and content: what was damaged, or got into
    another's place, is not sent. It keeps out nobody who may write here: that is what the folder's
    mode is for.
    """

    def __init__(self, folder, token=b''):
        """`folder`: absolute path, made when needed, mode 0700; `token`: the present one."""
        self._folder = folder
        self._token = token
        self._lock = threading.Lock()
        self._owners = {}                   # (computation id, auth) -> Owner, while it has jobs
        self._at = {}                       # result address -> {(computation id, auth): Owner}
        self._total = self._refused = 0     # replies kept, and those of them that were refused
        self._refused_size = 0              # bytes, at most: counted anew by expire()
        self._lines = Allowance(1, 1 / 60.0)        # about a folder that takes nothing
        self._folders_lock = threading.Lock()       # for _writing, and for removing a folder
        self._writing = {}                  # (computation id, auth) -> threads that write there
        self._load()

    def _load(self):
        for key in map(_split, files.listing(self._folder)):
            entries = set(files.listing(self._path(key))) if key is not None else ()
            jobs = [job for job in map(_split, entries) if job is not None]
            owner = self._read_owner(key) if jobs else None
            if owner is None:
                continue
            self._enter_locked(owner)
            self._total += len(jobs)
            for job in jobs:
                marks = [mark for mark in MARKS if '%d-%s.%s' % (job + (mark,)) in entries]
                self._mark_locked(owner.jobs, job, marks[-1] if marks else None)
        if self._refused:
            self.expire(time.time())
        if self._owners:
            log.info('%s to clients kept from before in %s', counted(self.total(), u'reply'),
                     self._folder)

    def _path(self, key, *job):
        """Return the path of a computation's folder, or with a job (uid, hash) of its reply."""
        return os.path.join(self._folder, *[to_native('%d-%s' % names) for names in (key,) + job])

    def _read_owner(self, key):
        path = os.path.join(self._path(key), COMPUTATION)
        data = self._read(path)
        if data is None:
            return None
        try:
            address, port, token = control.unpack(data)
            return Owner(key[0], key[1], (to_text(address), control.number(port)), token)
        except (ProtocolError, ValueError) as error:
            log.error('%s cannot be read: %s', path, error)
            return None

    def keep(self, computation, uid, hash_, payload, mark=None):
        """Write a reply (a whole JOB_REPLY payload) to disk; the job's uid and hash name it. Return
        whether it is kept.

        mark   LOST, REFUSED or None
        """
        key, job = (computation.id, computation.auth), (uid, hash_)
        folder, path = self._path(key), self._path(key, job)
        token = getattr(computation, 'token', None) or self._token      # an Owner has one
        owner = self.owner(*key) or Owner(key[0], key[1], computation.result_address, token)
        owner.closed_by_client |= getattr(computation, 'closed_by_client', False)
        self._note_writing(key, 1)
        try:
            files.make_folder(self._folder)
            files.make_folder(folder)
            self._write(os.path.join(folder, COMPUTATION), _describe(owner))
            self._write(path, payload)
            with self._lock:
                before = self._jobs_locked(key).get(job)
            self._write_mark(path, mark, before)
        except EnvironmentError as error:
            with self._lock:
                level = ERROR if self._lines.take(None, monotonic()) else DEBUG
            log.log(
                level, 'the reply to job %d of computation %d cannot be delivered, nor be written '
                'to %s: %s; make room or give access there', uid, computation.id, path, error)
            return False
        finally:
            self._note_writing(key, -1)
        with self._lock:
            if key not in self._owners:
                self._enter_locked(owner)
            jobs = self._jobs_locked(key)
            self._total += job not in jobs
            self._mark_locked(jobs, job, mark)
        if mark == REFUSED:
            self._limit_refused(CHECKSUM_SIZE + len(payload))
            if getattr(computation, 'closed_by_client', False):
                self.remove(key, job)       # meanwhile: close() has not found it
        return True

    def refuse(self, key, job):
        """Mark a kept reply as refused: it is sent to who asks for it only."""
        with self._lock:
            jobs = self._jobs_locked(key)
            if job not in jobs:
                return
            closed = self._owners[key].closed_by_client     # meanwhile
            before = self._mark_locked(jobs, job, jobs[job] if closed else REFUSED)
        if closed:
            self.remove(key, job)
            return
        path = self._path(key, job)
        try:
            self._write_mark(path, REFUSED, before)
            self._limit_refused(os.stat(path).st_size)
        except EnvironmentError as error:   # after a restart it is sent once more
            log.warning('marking %s as refused: %s', path, error)

    def _jobs_locked(self, key):
        owner = self._owners.get(key)
        return owner.jobs if owner is not None else {}

    def _mark_locked(self, jobs, job, mark):
        """Note a kept reply with its mark, None: it has none; return the mark before."""
        before, jobs[job] = jobs.get(job), mark
        self._refused += (mark == REFUSED) - (before == REFUSED)
        return before

    @staticmethod
    def _write_mark(path, mark, before):
        if before not in (None, mark):
            files.remove('%s.%s' % (path, before))
        if mark is not None:
            os.close(os.open('%s.%s' % (path, mark), os.O_WRONLY | os.O_CREAT, 0o600))

    def _enter_locked(self, owner):
        self._owners[owner.key] = owner
        self._at.setdefault(owner.result_address, {})[owner.key] = owner

    def _note_writing(self, key, change):
        with self._folders_lock:
            count = self._writing.pop(key, 0) + change
            if count:
                self._writing[key] = count

    def owner(self, computation_id, auth):
        """Return the Owner of kept replies with that id and auth, or None."""
        with self._lock:
            return self._owners.get((computation_id, auth))

    def owners(self):
        """Return the Owners of all kept replies (list)."""
        with self._lock:
            return list(self._owners.values())

    def owners_at(self, address):
        """Return the Owners whose client takes replies at `address`, (address, port)."""
        with self._lock:
            return list(self._at.get(address, {}).values())

    def knows_token(self, token):
        """Return whether a client with kept replies knows an earlier node by `token`."""
        return any([compare_digest(owner.token, bytes(token))
                    for owner in self.owners() if owner.token])

    def jobs(self, key):
        """Return the list of (uid, hash) of kept replies of the computation `key`, (id, auth)."""
        with self._lock:
            return sorted(self._jobs_locked(key))

    def to_send(self, key):
        """Return those of jobs() that may be sent unasked: the client has not refused them."""
        with self._lock:
            return sorted(job for job, mark in self._jobs_locked(key).items() if mark != REFUSED)

    def total(self):
        """Return the number of replies kept."""
        with self._lock:
            return self._total

    def refused(self):
        """Return how many of them their clients have refused."""
        with self._lock:
            return self._refused

    def find(self, key, job):
        """Return the payload kept for `job`, (uid, hash), of the computation `key`, or None."""
        with self._lock:
            if job not in self._jobs_locked(key):
                return None
        payload = self._read(self._path(key, job))
        if payload is None:
            self.remove(key, job)
        return payload

    def remove(self, key, job):
        """Forget the reply of one job."""
        with self._lock:
            jobs = self._jobs_locked(key)
            if job not in jobs:
                return
            mark = self._mark_locked(jobs, job, None)
            del jobs[job]
            self._total -= 1
            if not jobs:
                self._leave_locked(self._owners.pop(key))
        path = self._path(key, job)
        files.remove(path)
        self._write_mark(path, None, mark)
        with self._lock:  # after unlink: of two that remove the last ones, the second sees it
            last = key not in self._owners
        if last:
            self._tidy(key)

    def remove_marked(self, key, mark):
        """Forget the replies of the computation `key` that bear `mark`."""
        with self._lock:
            jobs = [job for job, found in self._jobs_locked(key).items() if found == mark]
        for job in jobs:
            self.remove(key, job)

    def close(self, key):
        """Remove refused replies of the computation `key`, (id, auth): its client closed it."""
        owner = self.owner(*key)
        if owner is not None:
            owner.closed_by_client = True
            self.remove_marked(key, REFUSED)

    def _limit_refused(self, size):
        with self._lock:
            self._refused_size += size
            full = self._refused_size > REFUSED_SIZE
        if full:
            self.expire(time.time())

    def expire(self, now):
        """Remove refused replies over REFUSED_AGE; over REFUSED_SIZE the oldest, to 9 tenths."""
        found, size, removed = sorted(self._refused_ones(), reverse=True), 0, 0
        full = sum(length for _written, length, _key, _job in found) > REFUSED_SIZE
        # else each one more would have all looked at
        limit = 0.9 * REFUSED_SIZE if full else REFUSED_SIZE
        for written, length, key, job in found:
            size += length
            if size > limit or now - written > REFUSED_AGE:
                self.remove(key, job)
                size, removed = size - length, removed + 1
        with self._lock:
            self._refused_size = size
        if removed:
            log.warning(
                'removed %s that their clients had refused: older than %g days, or all together '
                'more than %g MiB',
                counted(removed, u'reply'), REFUSED_AGE / 86400, REFUSED_SIZE / 1048576.0)

    def _refused_ones(self):
        with self._lock:
            found = [(owner.key, job) for owner in self._owners.values()
                     for job, mark in owner.jobs.items() if mark == REFUSED]
        for key, job in found:
            path = self._path(key, job)
            try:
                yield os.stat('%s.%s' % (path, REFUSED)).st_mtime, os.stat(path).st_size, key, job
            except EnvironmentError:
                continue                    # removed meanwhile

    def _leave_locked(self, owner):
        there = self._at[owner.result_address]
        del there[owner.key]
        if not there:
            del self._at[owner.result_address]

    def _tidy(self, key):
        folder = self._path(key)
        with self._folders_lock:
            try:
                names = os.listdir(folder)
                if key not in self._writing and not any(_split(name) for name in names):
                    for name in names:
                        files.remove(os.path.join(folder, name))
                    os.rmdir(folder)
            except EnvironmentError as error:
                log.debug('removing %s: %s', folder, error)

    # -- files with a checksum

    def _write(self, path, data):
        files.write(path, self._checksum(path, data), data)

    def _read(self, path):
        """Return what was written to `path`; None, after a line in the log, if damaged."""
        try:
            with open(path, 'rb') as stream:
                checksum, data = stream.read(CHECKSUM_SIZE), stream.read()
            if checksum == self._checksum(path, data):
                return data
            log.error('%s is not as this node wrote it; it is not used', path)
        except EnvironmentError as error:
            log.error('a kept reply cannot be read: %s', error)
        return None

    def _checksum(self, path, data):
        import hashlib
        checksum = hashlib.sha256(to_bytes(os.path.relpath(path, self._folder)) + b'\0')
        checksum.update(data)
        return checksum.digest()


def bare_reply(payload):
    """Return the pickled _JobReply inside a JOB_REPLY payload."""
    return payload[len(PREFIX):]


def _describe(owner):
    return control.pack(to_bytes(owner.result_address[0]), b'%d' % owner.result_address[1],
                        owner.token)[4:]


def _split(name):
    first, dash, second = to_text(name).partition(u'-')
    return (int(first),
            second) if dash and first.lstrip(u'-').isdigit() and second.isalnum() else None
