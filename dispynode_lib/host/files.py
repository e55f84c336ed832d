"""Files and folders of the node's own: written whole or not at all, removed whether they are there
or not; whether another user could change them."""
from __future__ import absolute_import, division, print_function

import errno
import os
import stat

from dispynode_lib.host.compat import random_hex, to_text
from dispynode_lib.host.descriptors import write_all
from dispynode_lib.log import Log

log = Log('dispynode.files')

ONE_PAGE = 4096                             # bytes that a write puts into a file as a whole
LOOK = getattr(os, 'O_PATH', os.O_RDONLY | os.O_DIRECTORY)
PARTIAL = '.part'                           # how names of files end that are still written


def write(path, *pieces):
    """Write `pieces` (bytes) to a new file, mode 0600, that then takes the place of `path`.

    Several threads may write the same one at once. Raises EnvironmentError.
    """
    partial = '%s.%s%s' % (path, str(random_hex(4)), PARTIAL)
    _fill(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), partial, path, pieces)


def write_into(spare, path, *pieces):
    """Write `pieces` (bytes) in place of what the file `spare` holds, which is then called `path`;
    return False if there is no such file. Raises EnvironmentError."""
    try:
        fd = os.open(spare, os.O_WRONLY)
    except EnvironmentError:
        return False
    _fill(fd, spare, path, pieces)
    return True


def _fill(fd, partial, path, pieces):
    try:
        try:
            for piece in pieces:
                write_all(fd, piece)
            os.ftruncate(fd, sum(len(piece) for piece in pieces))
        finally:
            os.close(fd)
        os.rename(partial, path)
    except BaseException:
        remove(partial)
        raise


def write_over(path, piece):
    """Write `piece` (up to ONE_PAGE bytes) over the start of a file; return False without one.

    The system then does not begin to write to the disk, as it does when a file takes the place of
    another one. The death of this process leaves what was there or `piece`: a page is written at
    once. Raises EnvironmentError.
    """
    try:
        fd = os.open(path, os.O_WRONLY)
    except EnvironmentError as error:
        if error.errno != errno.ENOENT:
            raise
        return False
    try:
        os.write(fd, piece)
    finally:
        os.close(fd)
    return True


def remove(path):
    """Remove a file, if it is there; one that cannot be removed is logged."""
    try:
        os.unlink(path)
    except EnvironmentError as error:
        if error.errno != errno.ENOENT and os.path.lexists(path):
            log.warning('removing %s: %s', path, error)


def made_at(path):
    """Return the time of modification of what `path` names, 0.0 if that has gone."""
    try:
        return os.lstat(path).st_mtime
    except EnvironmentError:
        return 0.0


def rename(path, other):
    """Rename a file; return whether that went well, as it does not where there is none."""
    try:
        os.rename(path, other)
        return True
    except EnvironmentError as error:
        log.debug('renaming %s: %s', path, error)
        return False


def remove_partial(folder):
    """Remove what write() of a killed process has left in a folder. Raises EnvironmentError."""
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        if name.endswith(PARTIAL):
            remove(os.path.join(folder, name))


def remove_empty(folder):
    """Remove a folder if nothing is in it; return whether it has gone by that."""
    try:
        os.rmdir(folder)
    except EnvironmentError:
        return False
    return True


def is_in_place(path):
    """Return whether an absolute path of a folder leads through no link."""
    try:
        fd = os.open(path, LOOK)
        try:
            if os.readlink('/proc/self/fd/%d' % fd) == path:
                return True                 # mostly, and quickly: realpath() looks at each part
        finally:
            os.close(fd)
    except EnvironmentError as error:
        log.debug('looking at %s: %s', path, error)
    return os.path.realpath(path) == path


def real_path(path):
    """Return the path of an absolute one without links: as os.path.realpath(), but quickly where
    there are none, as nearly always."""
    return path if is_in_place(path) else os.path.realpath(path)


def make_folder(path):
    """Make a folder, mode 0700, and those above it, if need be. Raises EnvironmentError."""
    if os.path.isdir(path):
        return
    parent = os.path.dirname(path)
    if parent and parent != path:
        make_folder(parent)
    try:
        os.mkdir(path, 0o700)
    except EnvironmentError as error:
        if error.errno != errno.EEXIST or not os.path.isdir(path):
            raise


def is_inside(path, folder):
    """Return whether `path` lies in `folder` or is it; both resolved."""
    return (path + '/').startswith(folder.rstrip('/') + '/')


def listing(folder):
    """Return the names in a folder, sorted; none for one that is not there, or not ours to read."""
    try:
        return sorted(os.listdir(folder))
    except EnvironmentError:
        return []


def weak_spot(path, uid, private=''):
    """Return why others than root and the user `uid` may change what lies in a folder (text), None
    if they may not.

    path      absolute; what does not exist yet is right
    private   begin of `path`, below which all has to be this user's alone
    A sticky folder, as /tmp is, may be written to by everybody; of links only those of root are
    followed.
    """
    names, at = path.strip('/').split('/'), '/'
    while True:
        try:
            found = os.lstat(at)
        except EnvironmentError:
            return None                     # nobody has made it yet
        below = bool(private) and len(at) > len(private)
        if stat.S_ISLNK(found.st_mode):
            if below or found.st_uid or not os.path.exists(at):
                return u'%s is a link' % to_text(at)
            return weak_spot(
                os.path.normpath(os.path.join(os.path.dirname(at), os.readlink(at), *names)), uid)
        if found.st_uid != uid and (below or found.st_uid not in _system_users()):
            return u'%s belongs to another user (%d)' % (to_text(at), found.st_uid)
        if found.st_mode & 0o022 and (below or not found.st_mode & stat.S_ISVTX):
            return u'others may write to %s (mode %o)' % (to_text(at), stat.S_IMODE(found.st_mode))
        if not names:
            return None
        at = os.path.join(at, names.pop(0))


def _system_users():
    """Return the users (numbers) of the system's files: 0; without a root, nobody's too."""
    try:
        with open('/proc/self/uid_map') as source:
            if any(line.split()[0] == '0' for line in source):
                return (0,)
        with open('/proc/sys/kernel/overflowuid') as source:
            return (0, int(source.read()))
    except (EnvironmentError, ValueError, IndexError):
        return (0,)
