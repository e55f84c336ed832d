"""The nodes of this host, by the pid files and command sockets that processes have open."""
from __future__ import absolute_import, division, print_function

import os
import time

from dispynode_lib.host import files, proc, processes
from dispynode_lib.host.network import holders
from dispynode_lib.host.compat import to_text
from dispynode_lib.host.process import accounts
from dispynode_lib.node.operator import statefolder
from dispynode_lib.node.shared.complaints import printable

FIELDS = ('pid', 'port', 'folder', 'user', 'since')
PATH_SIZE = 4096


class HostNode(object):
    """pid (None: not to be seen), port, folder (for clients' files), user (text or None), since
    (seconds since the epoch or None)."""

    def __init__(self, state_folder, pid):
        root, name = os.path.split(state_folder)
        self.pid, self.port, self.folder = pid, int(name[len(statefolder.PREFIX):]), to_text(root)
        self.user = _owner(state_folder if pid is None else '/proc/%d' % pid)
        self.since = None if pid is None else _start(pid)

    def data(self):
        """Return the attributes as a dict."""
        return dict((name, getattr(self, name)) for name in FIELDS)

    def who(self):
        """Return text that names its process and user."""
        process = (u'a process that you may not see' if self.pid is None else
                   u'process %d' % self.pid)
        return process if self.user is None else u'%s of user %s' % (process, self.user)

    def line(self):
        """Return one line for people."""
        since = u'' if self.since is None else u', since %s' % time.strftime(
            '%Y-%m-%d %H:%M:%S', time.localtime(self.since))
        return u'port %d, files in %s: %s%s\n' % (self.port, self.shown_folder(), self.who(), since)

    def shown_folder(self):
        """Return its folder without control characters: another user has chosen it."""
        return printable(self.folder, PATH_SIZE)


def find():
    """Return the HostNodes (list) by port."""
    found = dict((folder, HostNode(folder, pid)) for folder, pid in _lock_holders())
    for folder in _socket_folders():
        found.setdefault(folder, HostNode(folder, None))
    return sorted(found.values(), key=lambda node: (node.port, node.folder))


def on_port(port, folder):
    """Return text on who has a TCP port of this host, and what to do; '' if nobody has.

    folder   for clients' files, in which no node answers
    """
    for node in find():
        if node.port == port and _is_in_this_network(node.pid):
            if node.folder == to_text(folder):
                return u'%s is that node, but its files there were removed: it makes new ones ' \
                       u'within %d s' % (node.who(), statefolder.LOOK_INTERVAL)
            said = u'the node with that port is %s, with files in %s: give --dest_path_prefix %s'
            return said % (node.who(), node.shown_folder(), node.shown_folder())
    if not holders.is_listened_at('TCP', port):
        return u''
    return u'port %d is held by %s' % (port, holders.port_holder('TCP', port)
                                       or u'a process that you may not see')


def _is_in_this_network(pid):
    """Return whether a process (None: known by its socket) is in our network namespace."""
    try:
        return pid is None or os.readlink(
            '/proc/%d/ns/net' % pid) == os.readlink('/proc/self/ns/net')
    except EnvironmentError:
        return False


def _lock_holders():
    """Yield (state folder, pid) of processes that have the pid file with their own number open."""
    for pid in proc.pids():
        folder = '/proc/%d/fd' % pid
        for number in files.listing(folder):
            path = os.path.join(folder, number)
            try:
                state_folder = _state_folder(os.readlink(path), statefolder.PID)
                if state_folder is not None and _text(path).strip() == '%d' % pid:
                    yield state_folder, pid
            except EnvironmentError:
                continue                    # closed meanwhile


def _socket_folders():
    """Return the state folders (list) of all command sockets in this network namespace."""
    found = [_state_folder(line.rstrip('\n').partition('/')[2], statefolder.SOCKET)
             for line in proc.lines('/proc/net/unix')[1:]]
    return [folder for folder in found if folder is not None]


def _state_folder(path, name):
    """Return the state folder of a path if it is that of its file `name`, else None."""
    folder, file_name = os.path.split(
        path[:-len(' (deleted)')] if path.endswith(' (deleted)') else path)
    number = os.path.basename(folder).partition(statefolder.PREFIX)[2]
    if file_name != name or not number.isdigit():
        return None
    return folder if folder.startswith('/') else '/' + folder


def _text(path):
    with open(path) as source:
        return source.read(32)


def _owner(path):
    try:
        return accounts.name_of(os.stat(path).st_uid)
    except EnvironmentError:
        return None


def _start(pid):
    ticks, uptime = processes.start_time(pid), proc.lines('/proc/uptime')
    if ticks is None or not uptime:
        return None
    return int(time.time() - float(uptime[0].split()[0]) + ticks / float(os.sysconf('SC_CLK_TCK')))
