"""Releases of clients heard before, on disk: this node announces itself to them."""
from __future__ import absolute_import, division, print_function

import os
import threading

from dispynode_lib.host import files
from dispynode_lib.host.compat import to_text
from dispynode_lib.log import Log
from dispynode_lib.wire import releases

log = Log('dispynode.known')

LIMIT = 12                                  # kept, the latest first


class KnownReleases(object):
    """A short list of (port, release), one line of text each in a file; any thread."""

    def __init__(self, path):
        """`path`: of the file, which need not exist."""
        self._path = path
        self._lock = threading.Lock()
        self._pairs = self._load()

    def all(self):
        """Return [(port, release)], the one heard last first."""
        with self._lock:
            return list(self._pairs)

    def add(self, port, release):
        """Note that a client of `release` listens at `port`."""
        pair = (port, to_text(release))
        if not releases.is_release(pair[1]):
            return
        with self._lock:
            if self._pairs[:1] == [pair]:
                return
            new = pair not in self._pairs
            self._pairs = ([pair] + [other for other in self._pairs if other != pair])[:LIMIT]
            if new:
                self._save_locked()

    def _load(self):
        if not os.path.exists(self._path):
            return []
        try:
            with open(self._path, 'rb') as source:
                return [_pair(line) for line in to_text(source.read(65536)).splitlines()][:LIMIT]
        except (EnvironmentError, ValueError) as error:
            log.warning('ignoring %s, the list of releases heard: %s', self._path, error)
            return []

    def _save_locked(self):
        try:
            files.write(self._path, u''.join(u'%d %s\n' % pair
                                             for pair in self._pairs).encode('ascii'))
        except EnvironmentError as error:
            log.warning('writing %s: %s', self._path, error)


def _pair(line):
    port, _blank, release = line.partition(u' ')
    if not (port.isdigit() and 0 < int(port) < 65536 and releases.is_release(release)):
        raise ValueError('a line is no port and release: %.40r' % line)
    return int(port), release
