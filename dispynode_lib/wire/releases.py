"""Releases of clients: where they listen, their multicast groups, and which a node announces itself
to.

A client takes a node's own PING only if it names the client's very release, so a node sends one for
each that there may be. Source: docs/protocol.rst, "Ports", "The version check", "Addresses".
"""
from __future__ import absolute_import, division, print_function

from dispynode_lib.wire.peers import release_tuple

# (first release, port of its clients, their IPv4 and IPv6 multicast groups)
_GENERATIONS = (
    ((4, 15), 9700, u'239.255.61.59', u'ff05::b409:3171:9705:5134:6159'),
    ((4, 11), 61590, u'239.255.61.59', u'ff05::b409:3171:9705:5134:6159'),
    ((4, 8, 9), 51347, u'239.255.51.34', u'ff05::b409:3171:9705:6159:5134:70'),
    ((4, 7, 7), 51347, u'239.255.51.34', u'ff05::1'),
    ((), 51347, u'239.255.51.34', u'ff02::1'),
)

# where peers of three generations look for nodes and listen for them (docs/protocol.rst, "Ports")
NODE_PORTS, CLIENT_PORTS = (51348, 61591, 9701), (51347, 61590, 9700)
# (port, release) of the clients that are looked for first, besides those heard of
COMMON = ((51347, u'4.8.7'), (61590, u'4.14.0'), (9700, u'4.15.2'))
# all that have been published since 4.6.0: from .0 to these
_LAST = ((4, 15, 2), (4, 14, 0), (4, 13, 0), (4, 12, 4), (4, 11, 1), (4, 10, 6), (4, 9, 1),
         (4, 8, 9), (4, 7, 7), (4, 6, 18))

_pairs = []                                 # (port, release) of all, once they have been asked for

PULSE_BY_TCP_FROM = (4, 7, 1)
TERMINATED_BY_DATAGRAM_FROM = (4, 11)
PARTS_OF_RECORDS_FROM = (4, 12)             # 4.8.7 fails, 4.12.4 does not
LONGEST = 32                                # characters of a release


def _generation(release):
    number = release_tuple(release) or ()
    for row in _GENERATIONS:
        if number >= row[0]:
            return row


def port_of(release):
    """Return the port on which clients of a release (text) listen."""
    return _generation(release)[1]


def multicast_group(release, ipv6):
    """Return the multicast address (text) on which clients of a release listen."""
    return _generation(release)[3 if ipv6 else 2]


def multicast_groups(ipv6):
    """Return all multicast addresses on which clients look for nodes."""
    return sorted(set(row[3 if ipv6 else 2] for row in _GENERATIONS))


def is_release(text):
    """Return whether `text` looks like a release, such as 4.8.7."""
    return len(text) <= LONGEST and text.count(u'.') in (1, 2) and release_tuple(text) is not None


def candidate(text):
    """Return (port or None, release) from RELEASE or RELEASE@PORT. Raises ValueError."""
    release, at, port = text.partition(u'@')
    if not is_release(release) or (at and not (port.isdigit() and 0 < int(port) < 65536)):
        raise ValueError(u'give a release of dispy such as 4.12.4, or with a port: 4.12.4@61590')
    return int(port) if at else None, release


def published():
    """Return all releases (text): the last one of each series, then the newest first."""
    found = list(_LAST) + [(series, number, patch) for series, number, last in _LAST
                           for patch in range(last - 1, -1, -1)]
    return [u'%d.%d.%d' % release for release in found]


def others(first, port=None):
    """Return [(port, release)] of all published but those in `first`; `port`: see candidates."""
    if not _pairs:
        _pairs.extend((port_of(release), release) for release in published())
    pairs = [(port, release) for _usual, release in _pairs] if port else _pairs
    return [pair for pair in pairs if pair not in first]


def candidates(heard, given, port=None):
    """Return the list of (port, release) to announce a node to before all others.

    heard    [(port, release)] of clients that have pinged
    given    [(port or None, release)] that the operator names
    port     where all clients are said to listen, None for each release's own port
    """
    found = []
    named = [(own or port or port_of(release), release) for own, release in given]
    common = [(port or usual, release) for usual, release in COMMON]
    for pair in named + list(heard) + common:
        if pair not in found:
            found.append(pair)
    return found


def pulses_by_datagram(release):
    """Return whether a scheduler of `release` (text or None) knows pulses by datagram only."""
    number = release_tuple(release)
    return number is None or number < PULSE_BY_TCP_FROM


def hears_terminated(release):
    """Return whether clients of `release` (text) take a TERMINATED by datagram."""
    return (release_tuple(release) or ()) >= TERMINATED_BY_DATAGRAM_FROM


def wants_whole_records(release):
    """Return whether clients of `release` fail by a part of a TLS record of a file."""
    return (release_tuple(release) or ()) < PARTS_OF_RECORDS_FROM
