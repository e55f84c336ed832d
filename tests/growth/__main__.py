"""Does cost stay flat? python3 -m tests.growth [NAME ...] [--node 'CMD'] measures a node; Linux, by
hand.

Each figure stands at each power of ten; last comes the ratio of the last to the first. With --real
COUNT: so many no-op jobs through a real dispy client and a node with default options instead.
"""
from __future__ import absolute_import, division, print_function

import argparse
import os
import shlex
import signal
import sys

from tests.attack import attacker
from tests.growth import dimensions
from tests.interop.realclient import Client, run_client
from tests.runner.child import raise_loopback
from tests.runner.suites import network_prefix
from tests.support.nodeprocess import NodeProcess

NETWORK = 'DISPYNODE_TEST_NETWORK'
NAMES = [name for name, _function in dimensions.ALL]


def arguments():
    """Return what the command line says."""
    parser = argparse.ArgumentParser(prog='python3 -m tests.growth', description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('names', nargs='*', metavar='NAME',
                        help='measure these alone: ' + ', '.join(NAMES))
    parser.add_argument('--node', metavar='CMD',
                        help="another node, such as 'python3.6 path/dispynode.py'")
    parser.add_argument('--most', type=int, default=100000,
                        help='largest number of anything (default: 100000)')
    parser.add_argument('--jobs', type=int, default=200, help='jobs per figure (default: 200)')
    parser.add_argument('--idle', type=float, default=10.0,
                        help='seconds of rest per figure (default: 10)')
    parser.add_argument('--real', type=int, metavar='COUNT',
                        help='jobs of a real client; needs --client')
    parser.add_argument('--client', metavar='PYTHON',
                        help='the Python of an environment with dispy')
    parser.add_argument('--in_flight', type=int, default=2,
                        help='jobs of the real client at once, 0: all (default: 2)')
    chosen = parser.parse_args()
    unknown = [name for name in chosen.names if name not in NAMES]
    if unknown:
        parser.error('%s: not one of %s' % (', '.join(unknown), ', '.join(NAMES)))
    if chosen.real and not chosen.client:
        parser.error('--real needs --client: the Python of an environment with dispy')
    return chosen


def table(name, rows):
    """Print a column for each of the rows, [(number, figures)], and the ratio of the last to the
    first."""
    columns = []
    for number, figures in rows:
        columns.append((number, figures))
        print('%s %d: %s' % (name, number, ', '.join('%s %.2f' % item
                                                     for item in sorted(figures.items()))))
        sys.stdout.flush()
    if not columns:
        return
    print('\n%-22s%s%14s' % (name, ''.join('%10d' % number
                                           for number, _figures in columns), 'last / first'))
    for key in sorted(set(key for _number, figures in columns for key in figures)):
        values = [figures.get(key) for _number, figures in columns]
        there = [value for value in values if value is not None]
        ratio = '%.2f' % (there[-1] / there[0]) if len(there) > 1 and there[0] else '-'
        print('%-22s%s%14s' % (key, ''.join('%10s' % ('-' if value is None else '%.2f' % value)
                                            for value in values), ratio))
    print('')
    sys.stdout.flush()


def real(chosen, python, program):
    """Run jobs through the real client; return whether each gave its result."""
    with NodeProcess(python=python, program=program, port='default', flags=()) as node:
        told = run_client(Client('real', 'any', chosen.client), 'no_op.py', chosen.real,
                          chosen.in_flight, node=node, timeout=60 + chosen.real // 20)
    latency = 'p50 %.2f ms' % (told['p50'] *
                               1000) if told['p50'] else 'p50 not measured (all at once)'
    print('%d jobs, %s at once: %.1f jobs/s, %s, right %d, wrong %d, lost %d, submit() gave None %d'
          % (chosen.real, chosen.in_flight or 'all', chosen.real / told['seconds'], latency,
             told['right'], told['wrong'], told['lost'], told['none']))
    return told['right'] == chosen.real


def main():
    """Measure in a network of its own; return the exit status."""
    chosen = arguments()
    if os.environ.get(NETWORK) != '1':
        prefix, reason = network_prefix()
        if prefix is None:
            sys.exit(reason)
        os.environ[NETWORK] = '1'
        os.execvp(prefix[0], prefix + [sys.executable, '-m', 'tests.growth'] + sys.argv[1:])
    # the node must not stay behind
    signal.signal(signal.SIGTERM, lambda *_args: sys.exit('ended by SIGTERM'))
    raise_loopback()
    attacker.allow_descriptors(16384)
    words = shlex.split(chosen.node or '')
    if words and len(words) != 2:
        sys.exit('--node %s: give two words, a Python and the path of dispynode.py' % chosen.node)
    # nodes run in folders of their own
    python, program = (words[0], os.path.abspath(words[1])) if words else (None, None)
    if chosen.real:
        return 0 if real(chosen, python, program) else 1
    plan = dimensions.Plan(chosen.jobs, chosen.idle, chosen.most, python, program)
    for name, function in dimensions.ALL:
        if name in (chosen.names or NAMES):
            table(name, function(plan))
    return 0


if __name__ == '__main__':
    sys.exit(main())
