"""The folder of a computation: which paths are allowed, what was sent into it, what is removed from it."""
from __future__ import absolute_import, division, print_function

import errno
import logging
import os
import stat
import threading

from dispynode_lib.errors import Refused
from dispynode_lib.host.compat import random_hex, to_native

log = logging.getLogger('dispynode.folders')

CHUNK = 1024000                             # bytes asked for at once (docs/protocol.rst, "FILEXFER")
SAME_TIME = 1.0                             # seconds that modification times of the same file may differ
ATTEMPTS = 100                              # to make a folder whose parents others may be removing
NAME_BYTES = 255                            # longest file name of the usual file systems


def clean_name(text, what):
    """Return one path component (native str) from the wire, or raise Refused."""
    name = to_native(text)
    if name in ('', '.', '..') or '/' in name or '\0' in name or len(name) > NAME_BYTES:
        raise Refused('%s %r is no name for a file here' % (what, text))
    return name


def clean_parts(text, separator, what):
    """Return the components of a relative path from the wire; drops '.', refuses '..'."""
    if '\0' in text:
        raise Refused('%s %r has a zero byte' % (what, text))
    pieces = text.replace(separator, u'/').split(u'/')
    return [clean_name(piece, what) for piece in pieces if piece not in (u'', u'.')]


def is_below(path, folder):
    """Return whether resolved `path` is `folder` or lies below it, compared by components."""
    path, folder = os.path.realpath(path), os.path.realpath(folder)
    return path == folder or path.startswith(folder.rstrip('/') + '/')


def make_folder(path, mode=0o700):
    """Make `path` with its parents; an existing folder is fine. Raises EnvironmentError."""
    if os.path.isdir(path):
        return
    parent = os.path.dirname(path)
    if parent and parent != path:
        make_folder(parent, 0o711 if mode != 0o700 else 0o700)
    try:
        os.mkdir(path, mode)
    except EnvironmentError as error:
        if error.errno != errno.EEXIST or not os.path.isdir(path):
            raise


class Folder(object):
    """One computation's folder and the files that came for it; used by worker threads, has its own lock."""

    def __init__(self, root, client, name, computation_id, dest_path, max_file_size):
        """Choose and make the folder.

        root, client    absolute path of the node's files; address of the scheduler (text)
        name            text for a human, part of a new folder's name after checking
        dest_path       relative path asked for, or None for a new folder
        Raises Refused.
        """
        self._root = root
        self._max_file_size = max_file_size
        self._lock = threading.Lock()
        self._uses = {}                     # path -> count (docs/protocol.rst, "Files and their removal")
        base = os.path.join(root, clean_name(client, 'scheduler address'))
        self.shared = bool(dest_path)
        try:
            if dest_path:
                self.path = os.path.join(base, *clean_parts(dest_path, u'/', 'dest_path'))
                _make_shared(self.path)
                if not is_below(self.path, root):
                    raise Refused('dest_path %r leads outside the folder of this node' % dest_path)
            else:
                self.path = _unique_folder(base, name, computation_id)
        except EnvironmentError as error:
            raise Refused('Could not create destination path: %s' % error)

    def target(self, file_record):
        """Return the absolute path at which a sent file is to lie. Raises Refused."""
        separator = file_record.sep if file_record.sep in (u'/', u'\\') else u'/'
        parts = clean_parts(file_record.dest_path or u'', separator, 'dest_path of a file')
        parts.append(clean_name(file_record.name.split(separator)[-1], 'file name'))
        path = os.path.join(self.path, *parts)
        if not is_below(os.path.dirname(path), self.path):
            raise Refused('%r leads outside the folder of its computation' % file_record.dest_path)
        return path

    def check_size(self, size):
        """Raise Refused if a file of `size` bytes is not taken."""
        if self._max_file_size and size > self._max_file_size:
            raise Refused('a file of %d bytes; --max_file_size allows %d' % (size, self._max_file_size))

    def receive(self, file_record, stream, value):
        """Do the receiver's side of the file dialogue (docs/protocol.rst, "FILEXFER").

        file_record  wire.messages File
        stream       host.streams.Stream of the sender
        value        function int -> payload bytes of a reply in the sender's dialect
        Raises Refused (nothing was answered yet), PeerGone, EnvironmentError.
        """
        size = file_record.size
        self.check_size(size)
        path = self.target(file_record)
        if self._is_same(path, file_record):
            with self._lock:
                self._uses[path] = self._uses.get(path, 1) + 1
            stream.send_frame(value(size))
            return
        make_folder(os.path.dirname(path))
        partial = os.path.join(os.path.dirname(path), '.%s.part' % random_hex(8))
        try:
            self._fill(partial, size, stream, value)
            os.chmod(partial, file_record.mode & 0o777)
            os.utime(partial, (file_record.atime, file_record.mtime))
            if os.path.isdir(path) and not os.path.islink(path):
                raise Refused('%s is a folder here' % path)
            os.rename(partial, path)
        except BaseException:
            _remove_quietly(partial)
            raise
        with self._lock:
            self._uses[path] = self._uses.get(path, 0) + 1
        stream.send_frame(value(size))

    def _fill(self, partial, size, stream, value):
        fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, 'O_NOFOLLOW', 0), 0o600)
        try:
            done = 0
            view = memoryview(bytearray(min(size, CHUNK)))
            while done < size:
                stream.send_frame(value(done))
                part = view[:min(size - done, CHUNK)]
                stream.read_into(part)
                _write_all(fd, part)
                done += len(part)
        finally:
            os.close(fd)

    def _is_same(self, path, file_record):
        try:
            found = os.lstat(path)
        except EnvironmentError:
            return False
        return (stat.S_ISREG(found.st_mode) and found.st_size == file_record.size
                and abs(found.st_mtime - file_record.mtime) <= SAME_TIME
                and stat.S_IMODE(found.st_mode) == file_record.mode & 0o777)

    def release(self, file_records):
        """Count one use less of each file that came for a job that ended; delete those not used any more."""
        for file_record in file_records:
            try:
                path = self.target(file_record)
            except Refused as refused:
                log.debug('a file of an ended job: %s', refused)
                continue
            with self._lock:
                uses = self._uses.get(path, 0) - 1
                if uses > 0:
                    self._uses[path] = uses
                else:
                    self._uses.pop(path, None)
            if uses == 0:
                _remove_quietly(path)

    def remove(self):
        """Remove what the computation leaves behind: its files, what jobs made, and emptied folders.

        Files that were used twice or more stay (docs/protocol.rst, "Files and their removal").
        """
        with self._lock:
            kept = set(path for path, uses in self._uses.items() if uses > 1)
        if not is_below(self.path, self._root) or os.path.realpath(self.path) == os.path.realpath(self._root):
            return
        if not kept:
            import shutil                   # takes 4 ms to import: not at start
            shutil.rmtree(self.path, onerror=_log_removal)
        else:
            self._remove_but(kept)
        self._remove_empty_parents()

    def _remove_but(self, kept):
        for folder, _folders, names in os.walk(self.path, topdown=False):
            for name in names:
                path = os.path.join(folder, name)
                if path not in kept:
                    _remove_quietly(path)
            _remove_empty(folder)

    def _remove_empty_parents(self):
        folder = os.path.dirname(self.path)
        while folder != self._root and is_below(folder, self._root) and _remove_empty(folder):
            folder = os.path.dirname(folder)


def _make_shared(path):
    for _attempt in range(ATTEMPTS):
        try:
            return make_folder(path)
        except EnvironmentError as error:   # as in _unique_folder()
            if error.errno != errno.ENOENT:
                raise
    raise EnvironmentError(errno.ENOENT, 'its parents keep vanishing', path)


def _unique_folder(base, name, computation_id):
    label = ''.join(letter for letter in os.path.basename(to_native(name)) if letter.isalnum() or letter in '_-')
    for _attempt in range(ATTEMPTS):
        path = os.path.join(base, '%s_%s' % (label[:40] or computation_id, str(random_hex(4))))
        try:
            make_folder(base)
            os.mkdir(path, 0o700)
            return path
        except EnvironmentError as error:   # ENOENT: the end of another computation removed the empty parent
            if error.errno not in (errno.EEXIST, errno.ENOENT):
                raise
    raise EnvironmentError(errno.EEXIST, 'no free name', base)


def _write_all(fd, data):
    while len(data):
        data = data[os.write(fd, data):]


def _remove_quietly(path):
    try:
        os.unlink(path)
    except EnvironmentError as error:
        if error.errno != errno.ENOENT:
            log.warning('removing %s: %s', path, error)


def _remove_empty(folder):
    try:
        os.rmdir(folder)
    except EnvironmentError:
        return False
    return True


def _log_removal(_function, path, reason):
    if getattr(reason[1], 'errno', None) != errno.ENOENT:
        log.warning('removing %s: %s', path, reason[1])
