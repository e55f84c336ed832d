"""Held connections, whose first frame is not complete: their limit, and which one goes."""
from __future__ import absolute_import, division, print_function

import collections

LIMIT = 4096  # connections; fewer if this process may have fewer descriptors
WANTED_DESCRIPTORS = 16384
RESERVE = 3                                 # so many times more descriptors than that


class Held(object):
    """Connections by descriptor, and by peer in the order in which they came; the loop's thread."""

    def __init__(self, limit):
        """`limit`: connections at most."""
        self.limit = limit
        self._connections = {}              # descriptor -> connection
        self._by_peer = {}                  # address -> OrderedDict of descriptors

    def __len__(self):
        return len(self._connections)

    def add(self, fd, connection):
        """Hold a connection."""
        self._connections[fd] = connection
        self._by_peer.setdefault(connection.address[0], collections.OrderedDict())[fd] = True

    def remove(self, fd):
        """Forget the connection with descriptor `fd`."""
        connection = self._connections.pop(fd)
        mine = self._by_peer[connection.address[0]]
        del mine[fd]
        if not mine:
            del self._by_peer[connection.address[0]]

    def is_full(self):
        """Return whether one has to go before the next one is held."""
        return len(self._connections) >= self.limit

    def to_drop(self):
        """Return the connection to drop: the oldest of who holds most; None: there is none."""
        if not self._by_peer:
            return None
        most = max(self._by_peer.values(), key=len)
        return self._connections[next(iter(most))]


def limit_for(descriptors):
    """Return how many connections a process may hold that may have so many descriptors."""
    return max(8, min(LIMIT, descriptors // RESERVE))


def cpus_for(descriptors):
    """Return how many CPUs a process with so many descriptors may offer."""
    return max(1, descriptors // RESERVE)


def descriptor_limit():
    """Ask for as many descriptors as we may; return (how many we had, and have now)."""
    import resource
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = WANTED_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, WANTED_DESCRIPTORS)
    if soft == resource.RLIM_INFINITY or soft >= most:
        return max(0, soft), max(soft, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return soft, most
