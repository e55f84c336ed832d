"""The folder of a computation: allowed paths, what was sent into it, what is removed from it."""
from __future__ import absolute_import, division, print_function

import errno
import itertools
import os
import stat
import threading

from dispynode_lib.errors import PeerGone, ProtocolError, Refused
from dispynode_lib.host import files
from dispynode_lib.host.compat import (
    monotonic, path_bytes, random_hex, set_cloexec, to_path, to_text)
from dispynode_lib.host.descriptors import write_all
from dispynode_lib.host.io.streams import SLOWEST_FILE, Pace, aligned_buffer
from dispynode_lib.log import Log
from dispynode_lib.node.files.removal import remove_tree
from dispynode_lib.wire import control

log = Log('dispynode.folders')

SAME_TIME = 1.0  # seconds that modification times of the same file may differ
LEAVING_WAIT = 8.0                          # seconds; the answer to COMPUTE has to begin within 10
CLAIM_WAIT = 1.0                            # seconds until another look, should a wake-up be lost
UNIQUE_TRIES = 100
NOTE_LIMIT = 65536                          # bytes of a line in the file of uses
NAME_BYTES = 255                            # longest file name of the usual file systems
CHUNK = 1024000  # bytes asked for at once (docs/protocol.rst, "FILEXFER")
PIECE = 256 << 10  # bytes read and written at once: they stay in a CPU's cache
UTIME_OF_FD = os.utime in getattr(os, 'supports_fd', ())


def clean_name(text, what):
    """Return one path component (native str) from the wire, or raise Refused."""
    name = to_path(text)
    if name in ('', '.', '..') or '/' in name or '\0' in name or len(path_bytes(name)) > NAME_BYTES:
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
    return files.is_inside(os.path.realpath(path), os.path.realpath(folder))


class Folders(object):
    """Folders of all computations: removing one never overlaps with opening another."""

    def __init__(self, root, max_file_size=0, force_cleanup=False):
        """`root`: absolute path of the node's files; force_cleanup: whatever clients want."""
        self.root = root
        self.max_file_size = max_file_size
        self.force_cleanup = force_cleanup
        # guards what is below here, and in each Folder
        self.changed = threading.Condition(threading.Lock())
        self._open = []                     # Folders, until what they leave behind has been removed

    def check_size(self, size):
        """Raise Refused if a file of `size` bytes is not taken."""
        if self.max_file_size and size > self.max_file_size:
            raise Refused(
                'a file of %d bytes; --max_file_size allows %d' % (size, self.max_file_size))

    def open(self, client, name, computation_id, dest_path, timeout=LEAVING_WAIT):
        """Choose and make a computation's folder; return the Folder.

        client          address of the scheduler (text)
        name            text for a human, part of a new folder's name after checking
        dest_path       relative path asked for, or None for a new folder
        timeout         seconds to wait for a computation that used the same folder and is being
                        ended
        Raises Refused.
        """
        base = os.path.join(self.root, clean_name(client, 'scheduler address'))
        if os.path.islink(base):
            raise Refused(
                'the folder for files of clients at %s is a link that leads elsewhere' % client)
        if not dest_path:
            return self.adopt(_unique_folder(base, name, computation_id))
        path = os.path.join(base, *clean_parts(dest_path, u'/', 'dest_path'))
        folder = Folder(self, os.path.realpath(path))
        if not is_below(folder.path, base):
            raise Refused('dest_path %r leads outside the folder of its client' % dest_path)
        self._register(folder, timeout)
        try:
            _make_shared(path)
        except EnvironmentError as error:
            self.discard(folder)
            raise Refused('Could not create destination path: %s' % error)
        return folder

    def adopt(self, path):
        """Return the Folder at `path`, which is there: absolute, without links."""
        folder = Folder(self, path)
        with self.changed:
            self._open.append(folder)
        return folder

    def _register(self, folder, timeout):
        deadline = monotonic() + timeout
        with self.changed:
            while self._leaving_locked(folder) and monotonic() < deadline:
                self.changed.wait(max(0.0, deadline - monotonic()))
            if any(other.removing for other in self._leaving_locked(folder)):
                raise Refused(
                    'Could not create destination path: the files of a computation that ended are '
                    'still being removed')
            self._open.append(folder)

    def _leaving_locked(self, folder):
        return [other for other in self._open if other.leaving and other.overlaps(folder)]

    def begin_removal(self, folder):
        """Return the other Folders in use that overlap with `folder`: their files have to stay."""
        with self.changed:
            folder.leaving = folder.removing = True
            return [other for other in self._open if other is not folder and other.overlaps(folder)]

    def discard(self, folder):
        """Forget a folder."""
        with self.changed:
            if folder in self._open:
                self._open.remove(folder)
            self.changed.notify_all()


_numbers = itertools.count()                # of files that are being received


class Claim(object):
    """Context manager: exclusive use of `path`; `claimed`: all such, `changed`: its Condition."""

    def __init__(self, changed, claimed, path):
        self._changed, self._claimed, self._path = changed, claimed, path

    def __enter__(self):
        with self._changed:
            while self._path in self._claimed:
                self._changed.wait(CLAIM_WAIT)
            self._claimed.add(self._path)

    def __exit__(self, *_error):
        with self._changed:
            self._claimed.discard(self._path)
            self._changed.notify_all()


class Notes(object):
    """A file that pieces are added to; it is closed once no thread holds this any more."""

    def __init__(self, path):
        """Open the file `path`, or make it. Raises EnvironmentError."""
        self._fd = None
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        set_cloexec(self._fd)

    def __del__(self):
        if self._fd is not None:
            os.close(self._fd)

    def add(self, piece):
        """Add a piece (bytes), as a whole."""
        os.write(self._fd, piece)


class Folder(object):
    """One computation's folder and the files that came for it; used by worker threads."""

    def __init__(self, folders, path):
        """`folders`: the Folders that made it; `path`: absolute, without symbolic links."""
        self._folders = folders
        self.path = path
        self.leaving = self.removing = False    # belong to Folders
        self._changed = folders.changed
        self._uses = {}  # path -> count (docs/protocol.rst, "Files and their removal")
        self._claimed = set()  # paths that a thread is just looking at, replacing or removing
        self._noted_at = None               # path of the file that tells the next node of _uses
        self._notes = None                  # Notes, once there are some

    def note_uses(self, path):
        """Note in the file `path` how often files are used; go on with what it tells."""
        self._noted_at = path
        for name, uses in _read_uses(path):
            self._uses[name] = uses
            if not uses:
                del self._uses[name]

    def overlaps(self, other):
        """Return whether one of the two folders is the other one, or lies in it."""
        return files.is_inside(self.path, other.path) or files.is_inside(other.path, self.path)

    def leave(self):
        """Note that the computation of this folder is being ended: others wait for the folder."""
        with self._changed:
            self.leaving = True

    def close(self, cleanup):
        """Remove what the computation leaves, if `cleanup`; the folder is free then."""
        try:
            if cleanup or self._folders.force_cleanup:
                self.remove()
        finally:
            self._noted_at = self._notes = None
            self._folders.discard(self)

    def _claim(self, path):
        """Return a context manager for exclusive use of `path`."""
        return Claim(self._changed, self._claimed, path)

    def _count(self, path, change, otherwise=0):
        """Change the uses of `path`, from `otherwise` if there are none; return the new number."""
        with self._changed:
            uses = self._uses.get(path, otherwise) + change
            if uses > 0:
                self._uses[path] = uses
            else:
                self._uses.pop(path, None)
        self._note(path, uses)
        return uses

    def _note(self, path, uses):
        """Add a line to the file of uses; who deals with `path` has claimed it."""
        notes, where = self._notes, self._noted_at
        if where is None:
            return                          # the computation has ended
        try:
            if notes is None:
                notes = self._notes = Notes(where)
            notes.add(control.pack(b'%d' % max(0, uses), path_bytes(path)))
        except EnvironmentError as error:
            log.warning('noting a file in %s: %s', where, error)

    def target(self, file_record):
        """Return the absolute path at which a sent file is to lie. Raises Refused."""
        separator = file_record.sep if file_record.sep in (u'/', u'\\') else u'/'
        parts = clean_parts(file_record.dest_path or u'', separator, 'dest_path of a file')
        parts.append(clean_name(file_record.name.split(separator)[-1], 'file name'))
        path = os.path.join(self.path, *parts)
        # no job has put a link in the place of the folder or of one above it
        if not files.is_in_place(self.path) or (
                len(parts) > 1 and not is_below(os.path.dirname(path), self.path)):
            raise Refused('%r leads outside the folder of its computation' % file_record.dest_path)
        return path

    def receive(self, file_record, stream, value):
        """Do the receiver's side of the file dialogue (docs/protocol.rst, "FILEXFER").

        file_record  wire.messages File
        stream       host.io.streams.Stream of the sender
        value        function int -> payload bytes of a reply in the sender's dialect
        Raises Refused (nothing was answered yet), PeerGone, EnvironmentError.
        """
        size = file_record.size
        self._folders.check_size(size)
        path = self.target(file_record)
        with self._claim(path):
            same = self._is_same(path, file_record)
            if same:
                self._count(path, 1, 1)
        if same:
            stream.send_frame(value(size))
            return
        partial = os.path.join(os.path.dirname(path), '.%d-%d.part' % (os.getpid(), next(_numbers)))
        try:
            _fill(partial, file_record, stream, value)
            with self._claim(path):
                self._put(partial, path)
                self._count(path, 1)
        except BaseException:
            files.remove(partial)
            raise
        stream.send_frame(value(size))

    @staticmethod
    def _put(partial, path):
        try:
            os.rename(partial, path)
        except EnvironmentError as error:
            if error.errno == errno.EISDIR:
                raise Refused('%s is a folder here' % path)
            raise

    def _is_same(self, path, file_record):
        try:
            found = os.lstat(path)
        except EnvironmentError:
            return False
        return (stat.S_ISREG(found.st_mode) and found.st_size == file_record.size
                and abs(found.st_mtime - file_record.mtime) <= SAME_TIME
                and stat.S_IMODE(found.st_mode) == file_record.mode & 0o777)

    def release(self, file_records):
        """Count one use less of each file of a job that ended; delete those without any."""
        for file_record in file_records:
            try:
                path = self.target(file_record)
            except Refused as refused:
                log.debug('a file of an ended job: %s', refused)
                continue
            with self._claim(path):
                if self._count(path, -1) == 0:
                    files.remove(path)

    def remove(self):
        """Remove what the computation leaves: its files, what jobs made, emptied folders.

        Files that were used twice or more stay (docs/protocol.rst, "Files and their removal").
        While another computation uses the folder only files that came for this one go; the last one
        removes the rest.
        """
        root, path = files.real_path(self._folders.root), files.real_path(self.path)
        if not path.startswith(root.rstrip('/') + '/'):
            return
        if path != self.path:
            log.warning('%s was replaced by a link: where that leads nothing is removed', self.path)
            if os.path.islink(self.path):
                files.remove(self.path)
            return
        others = self._folders.begin_removal(self)
        with self._changed:
            kept = set(path for path, uses in self._uses.items() if uses > 1)
            own = set(self._uses) - kept
        if others:
            for path in own.difference(*[other.files() for other in others]):
                files.remove(path)
            return
        if not kept:
            remove_tree(self.path)
        else:
            self._remove_but(kept)
        self._remove_empty_parents(root)

    def files(self):
        """Return the paths of the files that came for this computation (list)."""
        with self._changed:
            return list(self._uses)

    def _remove_but(self, kept):
        for where, folders, names in os.walk(self.path, topdown=False):
            links = [name for name in folders if os.path.islink(os.path.join(where, name))]
            for name in names + links:
                path = os.path.join(where, name)
                if path not in kept:
                    files.remove(path)
            files.remove_empty(where)

    def _remove_empty_parents(self, root):
        folder = os.path.dirname(self.path)
        while folder != root and files.is_in_place(folder) and files.remove_empty(folder):
            folder = os.path.dirname(folder)


def _read_uses(path):
    """Return [(path, number of uses)] as they were noted, without what is damaged."""
    try:
        with open(path, 'rb') as source:
            frames = control.Splitter(NOTE_LIMIT).feed(source.read())
        return [(to_path(name), control.number(uses)) for uses, name in frames]
    except EnvironmentError:
        return []                           # no file has come
    except (ProtocolError, ValueError) as error:
        log.error('%s: %s; the files of its computation may stay when it ends', path, error)
        return []


def _make_shared(path):
    for _turn in range(UNIQUE_TRIES):
        try:
            return files.make_folder(path)
        except EnvironmentError as error:   # as in _unique_folder()
            if error.errno != errno.ENOENT:
                raise
    raise EnvironmentError(errno.ENOENT, 'its parents keep vanishing', path)


def _unique_folder(base, name, computation_id):
    label = u''.join(letter for letter in os.path.basename(to_text(name))
                     if letter.isalnum() or letter in u'_-')
    for _turn in range(UNIQUE_TRIES):
        path = os.path.join(base,
                            '%s_%s' % (to_path(label[:40]) or computation_id, str(random_hex(4))))
        try:
            files.make_folder(base)
            os.mkdir(path, 0o700)
            return files.real_path(path)
        except EnvironmentError as error:
            # ENOENT: the end of another removed `base`
            if error.errno not in (errno.EEXIST, errno.ENOENT):
                raise Refused('Could not create destination path: %s' % error)
    raise Refused('Could not create destination path: no new folder can be made in %s' % base)


# Content of a file that comes

def _fill(partial, file_record, stream, value):
    """Make the file `partial` of what comes, with mode and times (as Folder.receive).

    Each part is asked for before the one in front of it is all written: it comes meanwhile.
    """
    size = file_record.size
    if size > CHUNK:
        stream.wait_in_kernel()
    if size:
        stream.send_frame(value(0))
    done, asked, pace = 0, min(size, CHUNK), Pace(stream.timeout, SLOWEST_FILE)
    view = aligned_buffer(PIECE) if size > CHUNK else memoryview(bytearray(min(size, PIECE)))
    fd = None
    try:
        fd = _new_file(partial)
        while done < size:
            count = stream.read_some_into(view[:min(asked - done, PIECE)])
            done += count
            if done < size:
                pace.check(done)
                if done == asked:
                    stream.send_frame(value(done))
                    asked = min(size, done + CHUNK)
            write_all(fd, view[:count])
        os.fchmod(fd, file_record.mode & 0o777)
        os.utime(fd if UTIME_OF_FD else partial, (file_record.atime, file_record.mtime))
    except EnvironmentError:
        _pass_over(stream, view, done, asked, pace)
        raise
    finally:
        if fd is not None:
            os.close(fd)


def _pass_over(stream, view, done, asked, pace):
    """Read and drop what a sender was asked for: unread, it would cost it the answer (RST)."""
    try:
        while done < asked:
            done += stream.read_some_into(view[:min(asked - done, len(view))])
            pace.check(done)
    except PeerGone as gone:
        log.debug('the rest of a file that cannot be written: %s', gone)


def _new_file(path):
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, 'O_NOFOLLOW', 0)
    try:
        return os.open(path, flags, 0o600)
    except EnvironmentError as error:
        if error.errno != errno.ENOENT:
            raise
    files.make_folder(os.path.dirname(path))
    return os.open(path, flags, 0o600)
