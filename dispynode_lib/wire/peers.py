"""Kinds of peers: release and Python of each.

Source: docs/protocol.rst, "The smallest set of dialects".
"""
from __future__ import absolute_import, division, print_function

SETUP_SHARES_FROM = (4, 10)         # a setup result of 1 or 2 is success from this release on
SETUP_ALWAYS_FROM = (4, 10)         # from then on SETUP is sent even if there is no such function


class Peer(object):
    """A client or scheduler: release, Python 2 or 3, highest pickle protocol it wrote."""

    __slots__ = ('version', 'python2', 'protocol')

    def __init__(self, version=None, python2=False, protocol=2):
        """`version`: the release (text) heard in its PING, None if none was heard."""
        self.version = version
        self.python2 = python2
        self.protocol = max(2, protocol)

    def heard(self, message):
        """Learn from a message (anything with `python2` and `protocol`) that this peer sent."""
        if message.python2:
            self.python2 = True
        if message.protocol > self.protocol:
            self.protocol = message.protocol

    def accepts_setup(self):
        """Return the results of a setup function that this peer takes as success."""
        release = release_tuple(self.version)
        if release is not None and release < SETUP_SHARES_FROM:
            return (0,)
        return (0, 1, 2)

    def always_sets_up(self):
        """Return whether SETUP follows each COMPUTE of this peer."""
        release = release_tuple(self.version)
        return release is None or release >= SETUP_ALWAYS_FROM


def peer_of(message):
    """Return a Peer that speaks as `message` does."""
    peer = Peer()
    peer.heard(message)
    return peer


def release_tuple(text):
    """Return a release such as '4.8.7' as a tuple of ints; None if it is not of that form."""
    parts = (text or '').split('.')
    if not all(part.isdigit() and len(part) < 10 for part in parts):
        return None
    return tuple(int(part) for part in parts)
