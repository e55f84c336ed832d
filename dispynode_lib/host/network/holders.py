"""Holders of a port of this host: processes, connections."""
from __future__ import absolute_import, division, print_function

import os

from dispynode_lib.host import compat, proc

# states of sockets that take what anybody sends, as the kernel numbers them
LISTENING = {'TCP': '0A', 'UDP': '07'}


def port_holder(protocol, port):
    """Return text that names the process which has a port of this host, None if it cannot be told.

    protocol   'TCP' or 'UDP'
    """
    listening, others = _sockets(protocol, port)
    inodes = listening or others  # a connection that happens to have the port takes it, too
    found = [pid for pid in sorted(proc.pids()) if inodes & _open_sockets(pid)]
    for pid in found:
        if not proc.variable(pid, proc.KEEPER):
            return u'process %d (%s)' % (pid, program_of(pid))
    return u'process %d, which keeps it and running jobs for the next node%s' % (
        found[0], _next_node(found[0])) if found else None


def _next_node(pid):
    """Return text on the folder of the node for which a process keeps listeners."""
    path = compat.to_text(proc.variable(pid, proc.KEEPER).partition(b':')[2])
    folder = os.path.dirname(os.path.dirname(path))
    is_plain = folder and all(u' ' <= letter < u'\x7f' for letter in folder)  # a user's choice
    return u' with files in %s' % folder if is_plain else u''


def is_listened_at(protocol, port):
    """Return whether a program, perhaps of another user, takes what comes to a port."""
    return bool(_sockets(protocol, port)[0])


def only_connections(protocol, port):
    """Return whether connections, perhaps ending ones, have a port at which no program listens."""
    listening, others = _sockets(protocol, port)
    return bool(others) and not listening


def _sockets(protocol, port):
    """Return the names of sockets at a port (sets of str): (those that listen, others)."""
    listening, others = set(), set()
    for version in ('', '6'):
        for line in proc.lines('/proc/net/%s%s' % (protocol.lower(), version))[1:]:
            fields = line.split()
            if len(fields) > 9 and fields[1].endswith(':%04X' % port):
                (listening if fields[3] == LISTENING[protocol] else others).add(
                    'socket:[%s]' % fields[9])
    return listening, others


def _open_sockets(pid):
    """Return the names of the descriptors of a process, an empty set for one of another user."""
    folder = '/proc/%d/fd' % pid
    names = set()
    try:
        for number in os.listdir(folder):
            names.add(os.readlink(folder + '/' + number))
    except EnvironmentError:
        return names
    return names


def program_of(pid):
    """Return the program that a process runs, without its arguments: they may hold secrets."""
    words = compat.to_text(proc.read('/proc/%d/cmdline' % pid)).split(u'\0')
    if not words[0]:
        return u'ended just now'
    names = [word.rpartition(u'/')[2] for word in words[:1]]
    if names and names[0].startswith(u'python'):
        names += [word.rpartition(u'/')[2] for word in words[1:] if word.endswith(u'.py')][:1]
    return u' '.join(names)
