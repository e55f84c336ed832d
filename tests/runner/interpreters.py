"""Find the Python interpreters of this machine."""
from __future__ import absolute_import, division, print_function

import glob
import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor

from tests.runner.environments import default_folder

# minor versions this project is for; the test command tells which of them are not here
SUPPORTED = ('2.7',) + tuple('3.%d' % minor for minor in range(6, 16))
# what every change must pass on; the newest found runs all
OLDEST, OLDEST_3, NEWEST = '2.7', '3.6', SUPPORTED[-1]
# PyPy, and CPython without its lock: taken where they are found
OTHERS = re.compile(r'pypy3\.\d+$|3\.\d+t$')

# PyPy's sys.version_info is its language's; a free-threaded build has a t in abiflags
PROBE = (
    'import sys, platform; print(platform.python_implementation(), sys.executable, '
    '"%d.%d.%d" % sys.version_info[:3], sys.version_info[3], "t" in getattr(sys, "abiflags", ""))')


class Interpreter(object):
    """python: path; version: '3.6.15', 'pypy3.11.17'; minor: '3.6', 'pypy3.11', '3.14t'."""

    def __init__(self, python, version, suffix=''):
        self.python = python
        self.version = version + suffix
        self.minor = version.rpartition('.')[0] + suffix

    def __repr__(self):
        return '%s (%s)' % (self.version, self.python)


def sort_key(version):
    """Return what orders version texts: CPython's first, those of other kinds and machines (OTHERS,
    'i386-2.7') behind."""
    kind, numbers, suffix = re.match(r'(|.*?[a-z-])(\d+(?:\.\d+)*)(t?)$', version).groups()
    return kind + suffix, tuple(int(part) for part in numbers.split('.'))


def fetched_folder():
    """Return where fetch_pythons.sh puts the Pythons that the system lacks."""
    return os.environ.get('DISPYNODE_TEST_PYTHONS') or os.path.join(default_folder(), 'pythons')


def candidates():
    """Return the paths that may be interpreters, in order of preference."""
    names = ['python' + version
             for version in SUPPORTED] + ['python3', 'python2', 'python', 'pypy3']
    names += ['python%st' % version for version in SUPPORTED[-3:]]
    roots = [os.environ.get('PYENV_ROOT'), os.path.expanduser('~/.pyenv')]
    found = []
    for root in filter(None, roots):
        for name in ('bin/python', 'bin/python3'):
            found += sorted(glob.glob(os.path.join(root, 'versions', '*', name)))
    own = sorted(glob.glob(os.path.join(fetched_folder(), '*', 'usr', 'bin')))
    for folder in os.environ.get('PATH', '').split(os.pathsep) + ['/usr/local/bin', '/usr/bin'
                                                                  ] + own:
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
    if answer.returncode or len(words) != 5 or words[0] not in ('CPython',
                                                                'PyPy') or words[3] != 'final':
        return None
    kind = 'pypy' if words[0] == 'PyPy' else ''
    return Interpreter(words[1], kind + words[2], 't' if words[4] == 'True' else '')


def find():
    """Return {minor: Interpreter} of the supported Pythons here, oldest first, OTHERS last; later
    patches win."""
    best = {}
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(probe, candidates()):
            if found is None or found.minor not in SUPPORTED and not OTHERS.match(found.minor):
                continue
            known = best.get(found.minor)
            if known is None or sort_key(found.version) > sort_key(known.version):
                best[found.minor] = found
    return dict((minor, best[minor]) for minor in sorted(best, key=sort_key))


def main():
    """Print what fetch_pythons.sh is to be told: the folder, and the Pythons that are not here."""
    found = find()
    missing = [minor for minor in SUPPORTED if minor not in found]
    if not any(minor.startswith('pypy') for minor in found):
        missing.append('pypy3')
    print(' '.join([fetched_folder()] + missing))


if __name__ == '__main__':
    main()
