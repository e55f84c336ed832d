"""Visitors: clients that have asked for this node and do not use it, and why not."""
from __future__ import absolute_import, division, print_function

import collections
import threading

from dispynode_lib.host.compat import monotonic, to_text
from dispynode_lib.host.wording import duration
from dispynode_lib.node.shared.complaints import printable

LIMIT = 200                                 # remembered
SHOWN = 5                                   # in words
PATIENCE = 5.0  # seconds after one answer in which a client may still open a computation


class Visitor(object):
    """One client: (address, port), release, and what has happened.

    answered, refused   how often since it last had the node; `since` the first of them, `last` the
                        latest
    connected           whether a connection has come from there
    unreached           why the node's answer did not arrive (text), None if it did
    addresses           all that it says it has
    """

    def __init__(self, now):
        self.addresses = ()
        self.release, self.answered, self.refused, self.since, self.last = None, 0, 0, now, now
        self.connected, self.unreached = False, None


class Visitors(object):
    """All visitors of late; any thread. Times are monotonic seconds."""

    def __init__(self, clock=monotonic):
        self._clock = clock
        self._lock = threading.Lock()
        self._visitors = collections.OrderedDict()      # (address, port) -> Visitor

    def answered(self, where, release, addresses, connected):
        """Note that the client at `where`, (address, port), is sent a PONG.

        addresses   that it says it has
        connected   whether it had asked by TCP
        """
        with self._lock:
            visitor = self._visit(where, release, addresses)
            visitor.refused = 0
            visitor.answered += 1
            visitor.connected = visitor.connected or connected

    def refused(self, where, release, addresses):
        """Note that it asked in vain."""
        with self._lock:
            visitor = self._visit(where, release, addresses)
            if not visitor.refused:
                visitor.since = visitor.last
            visitor.refused += 1

    def unreached(self, where, error):
        """Note that the answer did not arrive, or (`error` None) did."""
        with self._lock:
            if where in self._visitors:
                self._visitors[where].unreached = error

    def opened(self, address, port):
        """Note that it has opened a computation."""
        with self._lock:
            for where, visitor in list(self._visitors.items()):
                if where[1] == port and (where[0] == address or address in visitor.addresses):
                    del self._visitors[where]

    def _visit(self, where, release, addresses):
        now = self._clock()
        visitor = self._visitors.pop(where, None) or Visitor(now)
        if len(self._visitors) >= LIMIT:
            self._visitors.popitem(last=False)
        self._visitors[where] = visitor
        visitor.last, visitor.release, visitor.addresses = now, release, tuple(addresses)
        return visitor

    def fields(self):
        """Return a list of dicts of plain values, the latest first; times are seconds ago."""
        now = self._clock()
        with self._lock:
            return [{'address': where[0], 'port': where[1], 'release': to_text(one.release or u''),
                     'answered': one.answered, 'refused': one.refused, 'first': now - one.since,
                     'last': now - one.last, 'connected': one.connected, 'unreached': one.unreached}
                    for where, one in reversed(list(self._visitors.items()))]


def sentences(fields, port):
    """Return [text] about what Visitors.fields() tells; `port`: of this node."""
    told = [line for line in [_sentence(one, port) for one in fields] if line]
    return told[:SHOWN] + [u'and %d more clients' % (len(told) - SHOWN)] * (len(told) > SHOWN)


def _sentence(one, port):
    who = u'the client at %s port %d (release %s)' % (
        printable(one['address']), one['port'], printable(one['release']))
    if one['refused']:
        return u'%s waits for the node: refused %s in %s' % (
            who, times(one['refused']), duration(one['first']))
    if one['answered'] < 2 and one['last'] < PATIENCE:
        return None
    if one['unreached']:
        return u'%s does not get the answers: %s; perhaps a firewall there' % (
            who, printable(one['unreached']))
    blame = u'another secret, or nodes of its own choice'
    if not one['connected']:
        blame += u', or a firewall that lets datagrams in and no connections to TCP port %d' % port
    return u'%s was answered %s, the last time %s ago, and has opened nothing: perhaps %s' % (
        who, times(one['answered']), duration(one['last']), blame)


def times(number):
    """Return text such as 'once', '3 times'."""
    return {1: u'once', 2: u'twice'}.get(number, u'%d times' % number)
