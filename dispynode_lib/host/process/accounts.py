"""Users of this host: found by name, and becoming one of them."""
from __future__ import absolute_import, division, print_function

import os
import stat
import sys

from dispynode_lib.code import packed
from dispynode_lib.errors import StartError
from dispynode_lib.host import files
from dispynode_lib.host.compat import to_path, to_text

FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK


def find(name):
    """Return the entry (as pwd has it) of the user `name`. Raises StartError."""
    import pwd
    try:
        return pwd.getpwnam(to_path(name))
    except KeyError:
        raise StartError(u'--user %s: there is no such user on this host' % name, os.EX_NOUSER)


def name_of(number):
    """Return the name of the user `number` (text), the number itself if it has none."""
    import pwd
    try:
        return to_text(pwd.getpwuid(number).pw_name)
    except KeyError:
        return u'%d' % number


def become(name, files=()):
    """Go on as the system's user `name` for good. Raises StartError.

    files   paths of files that this user has to be able to write, and to open again
    """
    entry = find(name)
    if os.geteuid() == entry.pw_uid and os.getuid() == entry.pw_uid:
        return
    for path in files:
        if not _can_write(entry, path):
            _hand_over(entry, path)
    try:
        _change_to(entry)
    except EnvironmentError as error:
        raise StartError(u'--user %s: %s; only root can start a node for another user' %
                         (name, error.strerror), os.EX_NOPERM)
    _check_program(name)
    os.environ.update({'HOME': entry.pw_dir, 'USER': entry.pw_name, 'LOGNAME': entry.pw_name})


def _change_to(entry):
    os.initgroups(entry.pw_name, entry.pw_gid)
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)


def _can_write(entry, path):
    """Return whether a user may write the file `path`, or make it; tried in his process."""
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1] == 0
    status = 1
    try:
        _change_to(entry)
        os.open(path, FLAGS, 0o640)
        status = 0
    finally:
        os._exit(status)


def _hand_over(entry, path):
    """Make a file and give it to a user, if nobody but root can have a hand in it."""
    if os.geteuid() or files.weak_spot(os.path.dirname(path), 0):
        return
    try:
        fd = os.open(path, FLAGS | os.O_NOFOLLOW, 0o640)
    except EnvironmentError:
        return                              # who opens it next, says so
    try:
        found = os.fstat(fd)
        if stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and found.st_uid == 0:
            os.fchown(fd, entry.pw_uid, entry.pw_gid)
    finally:
        os.close(fd)


def _check_program(name):
    """Raise StartError unless this user may run this Python and read this program."""
    wanted = [(sys.executable or '', os.X_OK), (os.__file__, os.R_OK)]
    if packed.importer is None:
        wanted.append((os.path.abspath(__file__), os.R_OK))
    for path, mode in wanted:
        if not os.access(path, mode):
            raise StartError(
                u'--user %s: this user may not use %s; install the node and its Python where he can'
                % (name, to_text(path)), os.EX_NOPERM)
