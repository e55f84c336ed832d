"""Trust in folders: could another user of this host have prepared one, or change it?"""
from __future__ import absolute_import, division, print_function

import os
import stat

from dispynode_lib.host.compat import to_text


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
    """Return the numbers of users that own the system's files: 0; in a container that has no root,
    nobody's as well."""
    try:
        with open('/proc/self/uid_map') as source:
            if any(line.split()[0] == '0' for line in source):
                return (0,)
        with open('/proc/sys/kernel/overflowuid') as source:
            return (0, int(source.read()))
    except (EnvironmentError, ValueError, IndexError):
        return (0,)
