"""Find the CPython interpreters of this machine."""
from __future__ import absolute_import, division, print_function

import glob
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor

# minor versions this project is for; the test command tells which of them are not here
SUPPORTED = ('2.7',) + tuple('3.%d' % minor for minor in range(6, 15))
OLDEST_NEWEST = '3.13'      # the newest interpreter found must not be older than this

PROBE = ('import sys, platform; print(platform.python_implementation(), sys.executable, '
         '"%d.%d.%d" % sys.version_info[:3], sys.version_info[3])')


class Interpreter(object):
    """python: path; version: '3.6.15'; minor: '3.6'."""

    def __init__(self, python, version):
        self.python = python
        self.version = version
        self.minor = version.rpartition('.')[0]

    def __repr__(self):
        return '%s (%s)' % (self.version, self.python)


def sort_key(version):
    """Return what orders version texts."""
    return tuple(int(part) for part in version.split('.'))


def candidates():
    """Return the paths that may be interpreters, in order of preference."""
    names = ['python' + version for version in SUPPORTED] + ['python3', 'python2', 'python']
    roots = [os.environ.get('PYENV_ROOT'), os.path.expanduser('~/.pyenv')]
    found = []
    for root in filter(None, roots):
        for name in ('bin/python', 'bin/python3'):
            found += sorted(glob.glob(os.path.join(root, 'versions', '*', name)))
    for folder in os.environ.get('PATH', '').split(os.pathsep) + ['/usr/local/bin', '/usr/bin']:
        if os.path.basename(folder) != 'shims':         # pyenv's, slow and found already
            found += [os.path.join(folder, name) for name in names]
    unique, seen = [], set()
    for path in found:
        if os.access(path, os.X_OK) and os.path.realpath(path) not in seen:
            seen.add(os.path.realpath(path))
            unique.append(path)
    return unique


def probe(path):
    """Return the Interpreter at `path`, None if it is none that counts."""
    try:
        answer = subprocess.run([path, '-c', PROBE], stdin=subprocess.DEVNULL, timeout=20,
                                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except (EnvironmentError, subprocess.SubprocessError):
        return None
    words = answer.stdout.decode('utf-8', 'replace').strip().replace("'", '').strip('()')
    words = words.replace(',', ' ').split()
    if answer.returncode or len(words) != 4 or words[0] != 'CPython' or words[3] != 'final':
        return None
    return Interpreter(words[1], words[2])


def find():
    """Return {minor: Interpreter} of the supported CPythons here, oldest first; later patches win."""
    best = {}
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(probe, candidates()):
            if found is None or found.minor not in SUPPORTED:
                continue
            known = best.get(found.minor)
            if known is None or sort_key(found.version) > sort_key(known.version):
                best[found.minor] = found
    return dict((minor, best[minor]) for minor in sorted(best, key=sort_key))
