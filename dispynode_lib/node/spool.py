"""Replies that could not be delivered, kept on disk until the client has them."""
from __future__ import absolute_import, division, print_function

import logging
import os
import threading

from dispynode_lib.host.compat import to_bytes, to_text
from dispynode_lib.wire import control

log = logging.getLogger('dispynode.spool')

PREFIX = b'JOB_REPLY:'


class Spool(object):
    """Keeps replies under FOLDER/<computation id>-<auth>/<uid>-<hash>; any thread."""

    def __init__(self, folder):
        """`folder`: absolute path, made when first needed, mode 0700."""
        self._folder = folder
        self._lock = threading.Lock()
        self._kept = {}                     # (computation id, auth) -> {(uid, hash): path}
        self._load()

    def _load(self):
        try:
            names = os.listdir(self._folder)
        except EnvironmentError:
            return
        for name in names:
            key = _split(name)
            folder = os.path.join(self._folder, name)
            if key is None:
                continue
            kept = {}
            for entry in os.listdir(folder):
                job = _split(entry)
                if job is not None:
                    kept[job] = os.path.join(folder, entry)
            if kept:
                self._kept[key] = kept

    def keep(self, computation, uid, hash_, payload):
        """Write a reply (a whole JOB_REPLY payload) to disk; the job's uid and hash name it."""
        key = (computation.id, computation.auth)
        folder = os.path.join(self._folder, '%d-%s' % key)
        path = os.path.join(folder, '%d-%s' % (uid, hash_))
        try:
            _make(self._folder)
            _make(folder)
            _write(path, payload)
            _write(os.path.join(folder, 'computation'), _describe(computation))
        except EnvironmentError as error:
            log.error('the reply to job %d of computation %d is lost: it can neither be delivered nor '
                      'written to %s: %s', uid, computation.id, path, error)
            return
        with self._lock:
            self._kept.setdefault(key, {})[(uid, hash_)] = path

    def holds(self, computation):
        """Return whether anything is kept for a computation."""
        with self._lock:
            return (computation.id, computation.auth) in self._kept

    def uids(self, computation_id, auth):
        """Return the uids (list) of kept replies of the computation with that id and auth."""
        with self._lock:
            return [uid for uid, _hash in self._kept.get((computation_id, auth), ())]

    def total(self):
        """Return the number of replies kept."""
        with self._lock:
            return sum(len(kept) for kept in self._kept.values())

    def take(self, computation):
        """Remove and return all kept replies of a computation: list of (uid, hash, payload)."""
        key = (computation.id, computation.auth)
        with self._lock:
            kept = self._kept.pop(key, {})
        taken = []
        for (uid, hash_), path in sorted(kept.items()):
            payload = _read(path)
            if payload is not None:
                taken.append((uid, hash_, payload))
                _unlink(path)
        self._tidy(key)
        return taken

    def find(self, computation_id, auth, uid, hash_):
        """Return the payload kept for one job, or None."""
        with self._lock:
            path = self._kept.get((computation_id, auth), {}).get((uid, hash_))
        return _read(path) if path is not None else None

    def remove(self, computation_id, auth, uid, hash_):
        """Forget the reply of one job."""
        key = (computation_id, auth)
        with self._lock:
            kept = self._kept.get(key, {})
            path = kept.pop((uid, hash_), None)
            if not kept:
                self._kept.pop(key, None)
        if path is not None:
            _unlink(path)
            self._tidy(key)

    def _tidy(self, key):
        folder = os.path.join(self._folder, '%d-%s' % key)
        with self._lock:
            if key in self._kept:
                return
        try:
            if os.listdir(folder) == ['computation']:
                _unlink(os.path.join(folder, 'computation'))
                os.rmdir(folder)
        except EnvironmentError as error:
            log.debug('removing %s: %s', folder, error)


def bare_reply(payload):
    """Return the pickled _JobReply inside a JOB_REPLY payload."""
    return payload[len(PREFIX):]


def _describe(computation):
    peer = computation.peer
    return control.pack(*[to_bytes(part) for part in (
        computation.scheduler[0], '%d' % computation.scheduler[1], '%d' % computation.result_address[1],
        peer.version or '', '%d' % peer.python2, '%d' % peer.protocol, computation.node_ip_addr)])


def _split(name):
    first, dash, second = to_text(name).partition(u'-')
    return (int(first), second) if dash and first.isdigit() and second.isalnum() else None


def _make(folder):
    if not os.path.isdir(folder):
        os.makedirs(folder, 0o700)


def _write(path, data):
    partial = path + '.part'
    fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(fd, 'wb') as stream:
            stream.write(data)
        os.rename(partial, path)
    except BaseException:
        _unlink(partial)
        raise


def _read(path):
    try:
        with open(path, 'rb') as stream:
            return stream.read()
    except EnvironmentError as error:
        log.error('a kept reply cannot be read: %s', error)
        return None


def _unlink(path):
    try:
        os.unlink(path)
    except EnvironmentError as error:
        log.warning('removing %s: %s', path, error)
