"""The test command: python3 -m tests [options]."""
from __future__ import absolute_import, division, print_function

import sys

if sys.version_info < (3, 6):
    sys.exit('run the test command by Python 3.6 or later: python3 -m tests')

import argparse
import collections
import threading
import time

from tests.runner import interpreters, releases, suites, table
from tests.runner.environments import CannotBuild, Environments
from tests.runner.plan import KINDS, NotRun, Plan

MOST_UNSTEADY = 5           # failed tests in all; more are no accident


class Run(object):
    """Runs the suites of a plan, some at a time; prints as it goes."""

    def __init__(self, plan, environments, jobs):
        self.outcomes, self.not_run = [], list(plan.not_run)
        self._waiting = collections.deque(plan.suites)
        self._recipes, self._environments = plan.recipes, environments
        self._jobs = jobs
        self._lock = threading.Lock()
        self._prefix, self._no_network = suites.network_prefix()
        self._stopped = False
        self.unsteady = []          # names of tests that failed and passed when run again

    def all(self):
        """Run everything; return when the last suite is done."""
        threads = [threading.Thread(target=self._work) for _ in range(self._jobs)]
        threads.append(threading.Thread(target=self._make_environments))
        for thread in threads:
            thread.daemon = True
            thread.start()
        try:
            for thread in threads:
                thread.join()
        except KeyboardInterrupt:
            self._stopped = True
            raise

    def _make_environments(self):
        """Make environments while suites that need none run."""
        for recipe in self._recipes:
            try:
                if not self._stopped:
                    self._environments.python(recipe)
            except CannotBuild:
                pass            # told by each suite that needs it

    def _work(self):
        while not self._stopped:
            with self._lock:
                if not self._waiting:
                    return
                suite = self._waiting.popleft()
            self._run(suite)

    def _run(self, suite):
        what = '%s %s' % (suite.kind, suite.title)
        if suite.kind in ('interop', 'network', 'container') and self._prefix is None:
            return self._give_up(NotRun(what, self._no_network))
        try:
            outcome = suites.run(suite, self._prefix)
        except CannotBuild as error:
            return self._give_up(NotRun(what, str(error)))
        except Exception as error:          # a fault of the test command must not look like success
            outcome = suites.Outcome(suite, failures=[('the test command itself', repr(error))])
        with self._lock:
            self.outcomes.append(outcome)
            print(outcome.line())
            for name, text in outcome.failures:
                print('=' * 78 + '\nFAILED: %s (%s)\n' % (name, what) + '-' * 78)
                print(text.rstrip() + '\n')
            sys.stdout.flush()

    def again(self):
        """Run a few tests that failed once more, alone: one that passes then is told to be
        unsteady; it counts as failed."""
        failed = [outcome for outcome in self.outcomes if outcome.failures]
        names = [name for outcome in failed for name, _text in outcome.failures]
        if len(names) > MOST_UNSTEADY or not all(name.startswith('tests.') for name in names):
            return
        for outcome in failed:
            suite = outcome.suite
            second = suites.run(suite.changed(targets=[name for name, _text in outcome.failures]),
                                self._prefix)
            still = set(name for name, _text in second.failures)
            if second.passed + len(still) == len(outcome.failures):
                self.unsteady += ['%s (%s %s)' % (name, suite.kind, suite.title)
                                  for name, _text in outcome.failures if name not in still]

    def _give_up(self, not_run):
        with self._lock:
            self.not_run.append(not_run)


def report(run, started):
    """Print what was skipped, what could not be run, and the numbers; return those."""
    skipped = collections.OrderedDict()
    for outcome in run.outcomes:
        for name, reason in outcome.skipped:
            skipped.setdefault((name, reason), []).append(outcome.suite.title)
    print()
    for (name, reason), titles in skipped.items():
        print('skipped: %s: %s (%s)' % (name, reason, ', '.join(titles)))
    for name in run.unsteady:
        print('unsteady: %s: failed, and passed when run again alone' % name)
    for not_run in run.not_run:
        print(not_run.line())
    passed = sum(outcome.passed for outcome in run.outcomes)
    failed = sum(len(outcome.failures) for outcome in run.outcomes)
    skips = sum(len(outcome.skipped) for outcome in run.outcomes) + len(run.not_run)
    for text in (table.versions(run.outcomes), table.text(run.outcomes)):
        if text:
            print(text)
    print('%d suites in %.0f s' % (len(run.outcomes), time.time() - started))
    print('%d passed, %d failed, %d skipped' % (passed, failed, skips))
    return passed, failed


def parse(arguments):
    """Return the options."""
    parser = argparse.ArgumentParser(
        prog='python3 -m tests', description='Run the tests of dispynode on every CPython found '
        'here, and real dispy clients against it. Exit status 0: nothing failed.')
    parser.add_argument('--only', action='append', choices=KINDS, metavar='KIND',
                        help='%s; may be given several times' % ', '.join(KINDS))
    parser.add_argument('--python', nargs='+', metavar='X.Y',
                        help='use these interpreters only, e.g. 2.7 3.6')
    parser.add_argument('--match', metavar='TEXT',
                        help='only suites with TEXT in their line of --list')
    parser.add_argument('--quick', action='store_true',
                        help='the oldest and the newest interpreters, fewer combinations')
    parser.add_argument(
        '--full', action='store_true', help=
        'all functional tests and clients on every interpreter, tree and one file: some 40 minutes')
    parser.add_argument(
        '--one-file', action='store_true',
        help='the one file in place of the tree, for unit, functional, attack, interop and network')
    parser.add_argument(
        '--strict', action='store_true',
        help='fail also if an interpreter or client that the project names is missing')
    parser.add_argument('--jobs', type=int, default=2, metavar='N', help='suites at a time (2)')
    parser.add_argument('--list', action='store_true', help='show the suites, run nothing')
    return parser.parse_args(arguments)


def main(arguments):
    """Run the test command; return the exit status."""
    options = parse(arguments)
    started = time.time()
    found = interpreters.find()
    environments = Environments(found)
    plan = Plan(found, environments, options.only or KINDS, options.python, options.quick,
                options.full)
    if options.one_file or options.full:
        plan.suites = releases.whole(plan.suites, options.one_file)
    if options.match:
        plan.suites = [
            suite for suite in plan.suites if options.match in '%s %s' % (suite.kind, suite.title)
        ]
    if options.list:
        for suite in plan.suites:
            print('%-10s %s' % (suite.kind, suite.title))
        for not_run in plan.not_run:
            print(not_run.line())
        return 0
    run = Run(plan, environments, max(1, options.jobs))
    run.all()
    run.again()
    passed, failed = report(run, started)
    if options.strict and any(not_run.required for not_run in run.not_run):
        return 1
    return 1 if failed or not passed else 0


if __name__ == '__main__':
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
