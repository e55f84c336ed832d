"""How long a start takes, the one file against the tree: python3 -m tests.startup [ROUNDS
[PYTHON]].

Each round starts a node of each kind, one after another, in a new order each time; a start ends
when the node says that it serves. Prints medians in ms, their ratios to the tree's, and the size of
the one file.
"""
from __future__ import absolute_import, division, print_function

import glob
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from tests.support.nodeprocess import PROJECT, free_port
from tests.support.waiting import wait_until

sys.path.insert(0, os.path.join(PROJECT, 'packaging'))
import onefile      # noqa: E402

TREE, ONE_FILE, UNCACHED = 'tree', 'one file', 'one file without a cache'


def start(python, program, folder, env, rest):
    """Return the seconds until a node serves; it is ended when rest() returns."""
    command = [
        python, program, '--daemon', '-i', '127.0.0.1', '-p',
        str(free_port()), '--dest_path_prefix', folder
    ]
    began = time.perf_counter()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, env=env)
    for line in process.stderr:
        if b'serves at' in line:
            break
    else:
        raise SystemExit('the node ended: status %s' % process.wait())
    seconds = time.perf_counter() - began
    rest()
    process.terminate()
    process.communicate()
    return seconds


def main(rounds='20', python=sys.executable):
    """Measure and print."""
    folder = tempfile.mkdtemp(prefix='dispynode-startup-')
    try:
        program = onefile.write(os.path.join(folder, 'dispynode.py'))
        home = os.path.join(folder, 'home')
        os.mkdir(home, 0o700)
        env = dict((name, value) for name, value in os.environ.items()
                   if name not in ('XDG_CACHE_HOME', 'PYTHONDONTWRITEBYTECODE'))
        kinds = [(TREE, os.path.join(PROJECT, 'dispynode.py'), dict(env, HOME=home)),
                 (ONE_FILE, program, dict(env, HOME=home)),
                 (UNCACHED, program, dict(env, HOME='/nonexistent'))]
        times = dict((name, []) for name, _program, _env in kinds)
        for number in range(int(rounds) + 1):
            for name, path, variables in kinds[number % 3:] + kinds[:number % 3]:
                # the first round fills caches, which takes a moment longer
                rest = int if number or name != ONE_FILE else lambda: wait_until(
                    lambda: glob.glob(home + '/.cache/*/*.code'), 10)
                seconds = start(python, path, os.path.join(folder, 'files'), variables, rest)
                if number:
                    times[name].append(seconds)
        for name in (TREE, ONE_FILE, UNCACHED):
            median = statistics.median(times[name])
            print('%-26s %7.1f ms  %.2f times the tree' %
                  (name, 1000 * median, median / statistics.median(times[TREE])))
        print('%-26s %7d bytes' % ('size of the one file', os.path.getsize(program)))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == '__main__':
    main(*sys.argv[1:])
