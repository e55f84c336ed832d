"""Lists that the state folder keeps: releases of clients heard, modules that jobs import."""
from __future__ import absolute_import, division, print_function

import os
import sys
import threading

from dispynode_lib.host import files
from dispynode_lib.host.compat import to_text
from dispynode_lib.log import Log
from dispynode_lib.wire import releases
from dispynode_lib.wire.control import is_module_name

SIZE = 153600                               # bytes of a file that are read
RELEASES = 12                               # kept, the latest first
# first line of the file of modules: what it is, version of its form, and whose modules these are
HEADER = u'imports 2 Python ' + u'.'.join(to_text(sys.version).split(u'.')[:2])
FADING = 0.9  # of each score, at the end of each computation that imports something
ENOUGH, TOO_LITTLE = 1.5, 0.1  # scores from which a module is loaded, below which it is forgotten
NAMES = 600                                 # remembered


class KnownList(object):
    """A list in memory and in a file, one line of text for each item; any thread.

    A subclass has `what` it is a list of (text), `log`, and _read(lines) -> items.
    """

    def __init__(self, path):
        """`path`: of the file, which need not exist; None: remember nothing."""
        self._path = path
        self._lock = threading.Lock()
        self._items = self._load()

    def _load(self):
        if self._path is None or not os.path.exists(self._path):
            return []
        try:
            with open(self._path, 'rb') as source:
                return self._read(to_text(source.read(SIZE)).splitlines())
        except (EnvironmentError, ValueError) as error:
            self.log.warning('ignoring %s, the list of %s: %s', self._path, self.what, error)
            return []

    def _save_locked(self, lines):
        try:
            files.write(self._path, u''.join([u'%s\n' % line for line in lines]).encode('utf-8'))
        except EnvironmentError as error:
            self.log.warning('writing %s: %s', self._path, error)


class KnownReleases(KnownList):
    """A short list of (port, release) of clients heard: this node announces itself to them."""

    what, log = 'releases heard', Log('dispynode.known')

    def all(self):
        """Return [(port, release)], the one heard last first."""
        with self._lock:
            return list(self._items)

    def add(self, port, release):
        """Note that a client of `release` listens at `port`."""
        pair = (port, to_text(release))
        if not releases.is_release(pair[1]):
            return
        with self._lock:
            if self._items[:1] == [pair]:
                return
            new = pair not in self._items
            self._items = ([pair] + [other for other in self._items if other != pair])[:RELEASES]
            if new:
                self._save_locked([u'%d %s' % one for one in self._items])

    @staticmethod
    def _read(lines):
        found = []
        for line in lines:
            port, _blank, release = line.partition(u' ')
            if not (port.isdigit() and 0 < int(port) < 65536 and releases.is_release(release)):
                raise ValueError('a line is no port and release: %.40r' % line)
            found.append((int(port), release))
        return found[:RELEASES]


class KnownImports(KnownList):
    """Scores of names of modules, in the order in which the nursery is to load them.

    A module gets a point from each computation whose jobs import it, so those that two computations
    in succession import are loaded, and those that nobody has imported for some twenty computations
    are not.
    """

    FILE = 'imports'                        # in the state folder
    what, log = 'modules that jobs import', Log('dispynode.imports')

    def __init__(self, path, preload=()):
        """`preload`: the words of --preload; what was learned with others does not count."""
        self._header = u' '.join([HEADER] + sorted(preload))
        super(KnownImports, self).__init__(path)

    def names(self):
        """Return the names (list of text) of the modules worth having."""
        with self._lock:
            return [name for name, score in self._items if score >= ENOUGH]

    def note(self, names):
        """Note the modules (bytes) that jobs of one computation have imported."""
        heard = [name for name in map(to_text, names) if is_module_name(name)][:NAMES]
        if self._path is None or not heard:
            return
        with self._lock:
            faded = [(name, score * FADING) for name, score in self._items]
            known, fresh = dict(faded), set(heard)
            scores = [(name, score + (name in fresh)) for name, score in faded]
            scores += [(name, 1.0) for name in heard if name not in known]
            self._items = sorted_out(scores)
            self._save_locked([self._header] + [u'%s %.3f' % one for one in self._items])

    def _read(self, lines):
        if lines[:1] != [self._header] and lines and lines[0].startswith(u'imports '):
            return []  # of another Python, or release of this program, or with another --preload
        if lines[:1] != [self._header]:
            raise ValueError('it does not begin with "%s"' % self._header)
        found = []
        for line in lines[1:]:
            name, _blank, score = line.partition(u' ')
            if not is_module_name(name):
                raise ValueError('a line is no name of a module and score: %.60r' % line)
            found.append((name, float(score)))
        return found


def sorted_out(scores):
    """Return [(name, score)] without those that are forgotten, and at most NAMES."""
    left = [pair for pair in scores if pair[1] >= TOO_LITTLE]
    if len(left) > NAMES:
        least = sorted([score for _name, score in left], reverse=True)[NAMES - 1]
        left = [pair for pair in left if pair[1] >= least][:NAMES]
    return left
