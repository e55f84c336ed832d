"""Who is let in, as which user the node runs, and what its operator had better know."""
from __future__ import absolute_import, division, print_function

import os

from dispynode_lib.errors import StartError
from dispynode_lib.host import net
from dispynode_lib.host.compat import to_native, to_text
from dispynode_lib.log import Log

log = Log('dispynode.guard')

NOT_ALLOWED, NO_USER = 77, 67               # sysexits.h: EX_NOPERM, EX_NOUSER


def filter_of(networks):
    """Return a function address -> whether it is listened to at all; None if everybody is."""
    if not networks:
        return None
    known = {}

    def is_allowed(address):                # threads of TCP and UDP: what one has found the other may clear
        allowed = known.get(address)
        if allowed is None:
            if len(known) > 1000:
                known.clear()
            allowed = known[address] = any([network.holds(to_text(address)) for network in networks])
        return allowed
    return is_allowed


def become(name):
    """Go on as the system's user `name` for good. Raises StartError."""
    import pwd
    try:
        entry = pwd.getpwnam(to_native(name))
    except KeyError:
        raise StartError(u'--user %s: there is no such user on this host' % name, NO_USER)
    if os.geteuid() == entry.pw_uid and os.getuid() == entry.pw_uid:
        return
    try:
        os.initgroups(entry.pw_name, entry.pw_gid)
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
    except EnvironmentError as error:
        raise StartError(u'--user %s: %s; only root can start a node for another user' % (name, error.strerror), NOT_ALLOWED)
    _check_program(name)
    os.environ.update({'HOME': entry.pw_dir, 'USER': entry.pw_name, 'LOGNAME': entry.pw_name})


def _check_program(name):
    """Raise StartError unless this user may run this Python and read this program."""
    import sys
    for path, mode in ((sys.executable, os.X_OK), (os.path.abspath(__file__), os.R_OK), (os.__file__, os.R_OK)):
        if not os.access(path, mode):
            raise StartError(u'--user %s: this user may not use %s; install the node and its Python where he can'
                             % (name, to_text(path)), NOT_ALLOWED)


def warnings(options, addresses, port):
    """Return sentences (list of text) about what a careful operator would not leave so.

    addresses   of the node; `port` its port
    """
    found = open_doors(options, addresses, port)
    if os.geteuid() == 0:
        found.append(u'the node runs as root, and so do the programs of its clients; say with --user as whom they are to run')
    return found


def open_doors(options, addresses, port):
    """Return those of warnings() that come with an address."""
    outside = [address for address in addresses if not net.is_special(address)]
    if options.secret or not outside:
        return []
    return [u'no --secret: whoever reaches port %d of %s runs programs on this host as %s; set --secret or '
            u'--secret_file%s' % (port, u' or '.join(outside), _user(),
                                  u'' if options.allow else u', and say with --allow who may connect')]


def _user():
    if os.geteuid() == 0:
        return u'root'
    return u'user %s' % to_text(os.environ.get('LOGNAME') or '%d' % os.geteuid())
