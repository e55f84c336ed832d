"""The modules that jobs import again and again, on disk: the nursery loads them."""
from __future__ import absolute_import, division, print_function

import os
import sys
import threading

from dispynode_lib.host import files
from dispynode_lib.host.compat import to_text
from dispynode_lib.log import Log
from dispynode_lib.wire.control import is_module_name

log = Log('dispynode.imports')

# first line of the file: what it is, version of its form, and whose modules these are
HEADER = u'imports 2 Python ' + u'.'.join(to_text(sys.version).split(u'.')[:2])
FADING = 0.9  # of each score, at the end of each computation that imports something
ENOUGH, TOO_LITTLE = 1.5, 0.1  # scores from which a module is loaded, below which it is forgotten
NAMES = 600                                 # remembered


class KnownImports(object):
    """Scores of names of modules, one line of text each in a file; any thread.

    A module gets a point from each computation whose jobs import it, so those that two computations
    in succession import are loaded, and those that nobody has imported for some twenty computations
    are not.
    """

    FILE = 'imports'                        # in the state folder

    def __init__(self, path):
        """`path`: of the file, which need not exist; None: remember nothing."""
        self._path = path
        self._lock = threading.Lock()
        self._scores = self._load()  # [(name, score)], in the order in which they are to be loaded

    def names(self):
        """Return the names (list of text) of the modules worth having."""
        with self._lock:
            return [name for name, score in self._scores if score >= ENOUGH]

    def note(self, names):
        """Note the modules (bytes) that jobs of one computation have imported."""
        heard = [name for name in map(to_text, names) if is_module_name(name)][:NAMES]
        if self._path is None or not heard:
            return
        with self._lock:
            faded = [(name, score * FADING) for name, score in self._scores]
            known, fresh = dict(faded), set(heard)
            scores = [(name, score + (name in fresh)) for name, score in faded]
            scores += [(name, 1.0) for name in heard if name not in known]
            self._scores = sorted_out(scores)
            self._save_locked()

    def _load(self):
        if self._path is None or not os.path.exists(self._path):
            return []
        try:
            with open(self._path, 'rb') as source:
                lines = to_text(source.read(NAMES * 256)).splitlines()
            if lines[:1] != [HEADER] and lines and lines[0].startswith(u'imports '):
                return []  # of another Python, or of another release of this program
            if lines[:1] != [HEADER]:
                raise ValueError('it does not begin with "%s"' % HEADER)
            return [_pair(line) for line in lines[1:]]
        except (EnvironmentError, ValueError) as error:
            log.warning('ignoring %s, the list of modules that jobs import: %s', self._path, error)
            return []

    def _save_locked(self):
        lines = [HEADER] + [u'%s %.3f' % pair for pair in self._scores]
        try:
            files.write(self._path, (u'\n'.join(lines) + u'\n').encode('utf-8'))
        except EnvironmentError as error:
            log.warning('writing %s: %s', self._path, error)


def sorted_out(scores):
    """Return [(name, score)] without those that are forgotten, and at most NAMES."""
    left = [pair for pair in scores if pair[1] >= TOO_LITTLE]
    if len(left) > NAMES:
        least = sorted([score for _name, score in left], reverse=True)[NAMES - 1]
        left = [pair for pair in left if pair[1] >= least][:NAMES]
    return left


def _pair(line):
    name, _blank, score = line.partition(u' ')
    if not is_module_name(name):
        raise ValueError('a line is no name of a module and score: %.60r' % line)
    return name, float(score)
