"""Which suites there are on this machine, and what of the project's promises cannot be run."""
from __future__ import absolute_import, division, print_function

import json
import os
import shutil
import sys

from tests.runner import releases
from tests.runner.environments import CLIENTS, FINDERS, CannotBuild
from tests.runner.interpreters import NEWEST, OLDEST, OLDEST_3, OTHERS, SUPPORTED, sort_key
from tests.runner.machines import MACHINES, WithoutLinux
from tests.runner.suites import Suite, modules_in

PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# as they are begun: the longest first, the last one should not run alone
KINDS = ('unit', 'functional', 'container', 'attack', 'interop', 'network', 'package', 'machine')
TIMEOUTS = {'unit': 200, 'functional': 1000, 'attack': 900, 'interop': 180, 'network': 300}
ONE_NODE = ('4.8.7 on 3.6', '4.12.4 on 3.8', '4.15.2 on 3.11')      # one node serves them in turn
TLS = ('4.8.7 on 3.6', '4.15.2 on 3.10', '4.15.2 on 3.11')  # those of 3.12 and later cannot
# in networks of several hosts
NETWORK = ('4.15.2 on 3.11', '4.8.7 on 3.6', '4.12.4 on 3.8', '4.8.7 on 2.7')
NETWORK_TOOLS = ('ip', 'nft', 'nsenter', 'unshare')
SLURM_TOOLS = ('slurmctld', 'slurmd', 'munged', 'sbatch')
COMPUTATIONS = (  # everything a computation may do; each module with the releases that can do it
    ('interop_ledger', ('4.15.2 on 3.11', '4.8.7 on 3.6')),
    ('interop_lifecycle', ('4.15.2 on 3.11', '4.12.4 on 3.8', '4.8.7 on 3.6')),
    ('interop_recovery', ('4.8.7 on 3.6', '4.12.4 on 3.8')),
    ('interop_restart', ('4.8.7 on 3.6', '4.15.2 on 3.10')),
    ('interop_shared', ('4.8.7 on 3.6', '4.15.2 on 3.10')))
PYTHON2 = '4.8.7 on 2.7'
# clients whose node is older or newer
VERSIONS = ('4.8.7 on 2.7', '4.8.7 on 3.6', '4.15.2 on 3.11', '4.15.2 on 3.12')
MANY_JOBS = ('4.15.2 on 3.11',)
EXAMPLES = ('4.15.2 on 3.10', '4.12.4 on 3.8')          # the second one recovers: 4.15.2 cannot
# of the functional tests, those that interpreters between the named ones run: where they differ, it
# shows here
BETWEEN = ('test_check', 'test_jobs', 'test_job_endings', 'test_programs',
           'test_setup_cleanup.SetupCleanup', 'test_supervisor')
# what shell scripts and documents say does not depend on the Python, nor (but for a long time) where
# a node is killed: the newest runs them, and the files that are printed the one file, too
NEWEST_ONLY = ('test_data_files', 'test_documents', 'test_kill_points')
# of the functional tests, what 32 bits and other processors may do otherwise, and what may be asked
# of qemu
MACHINE = ('test_check', 'test_jobs', 'test_job_endings', 'test_files', 'test_big_jobs',
           'test_bad_input', 'test_supervisor')
EMULATED = ('test_check', 'test_files.Files.test_a_file_arrives_with_content_time_and_mode',
            'test_big_jobs')
# where there is no Linux to be seen; with psutil processes that left their group are found, too
WITHOUT_LINUX = ('test_jobs', 'test_job_endings', 'test_files', 'test_programs',
                 'test_setup_cleanup', 'test_discovery', 'test_lacking.OtherSystem')
WITH_PSUTIL = ('test_termination', 'test_jobs')
# of the attacks, those that the oldest ones run, a minute each: where faults of theirs were found,
# or their code is another
OLD_ATTACKED = ('test_clients', 'test_faults', 'test_hosts', 'test_operator', 'test_tls')


class NotRun(object):
    """Something that could not be run: what, reason; required: the project names it."""

    def __init__(self, what, reason, required=True):
        self.what, self.reason, self.required = what, reason, required

    def line(self):
        """Return one line for people."""
        return 'not run: %s: %s' % (self.what, self.reason)


class Plan(object):
    """suites in the order in which to start them; not_run; recipes that will be needed."""

    def __init__(self, interpreters, environments, kinds=KINDS, minors=None, quick=False,
                 full=False):
        self.suites, self.not_run, self.recipes = [], [], []
        self._all, self._environments, self._full = interpreters, environments, full
        self._wanted = dict((minor, found) for minor, found in interpreters.items()
                            if minors is None or minor in minors)
        own = [minor for minor in interpreters if not OTHERS.match(minor)]
        self.newest = max(own, key=sort_key) if own else None
        self.named = (OLDEST, OLDEST_3, self.newest)            # they run everything, or nearly so
        self._note_missing(minors)
        if quick:
            self._wanted = dict(item for item in self._wanted.items()
                                if item[0] in self.named or minors)
        if 'interop' in kinds:
            self._add_interop(quick)
        if 'network' in kinds:
            self._add_network(quick)
        for kind in ('functional', 'attack', 'unit'):
            if kind in kinds:
                for minor in sorted(self._wanted, key=sort_key, reverse=True):
                    if kind == 'attack' and minor not in self.named:
                        continue  # what differs between the others shows in functional tests
                    self._add_plain(kind, self._wanted[minor])
        releases.add(self, kinds, self.named, self._wanted, environments)
        if 'machine' in kinds and not quick:
            self._add_machines(minors)
            self._add_without_linux(minors)
        self.suites.sort(key=lambda suite: KINDS.index(suite.kind))

    def _note_missing(self, minors):
        machines = [machine.name
                    for machine in MACHINES] + ['nolinux-' + minor for minor in self._all]
        for minor in minors or SUPPORTED:
            if minor not in self._all and minor not in machines:
                required = minor in (OLDEST, OLDEST_3, NEWEST) or bool(minors)
                self.not_run.append(NotRun('Python ' + minor, 'not found here', required))

    def _add_plain(self, kind, interpreter):
        targets, flags = ['tests/' + kind], []
        if kind == 'attack' and interpreter.minor != self.newest:
            targets = ['tests.attack.' + name for name in OLD_ATTACKED]
        if kind == 'functional' and interpreter.minor != self.newest and not self._full:
            names = BETWEEN
            if interpreter.minor in self.named:
                names = modules_in('functional', but=NEWEST_ONLY)
            targets = ['tests.functional.' + name for name in names]
        if kind == 'unit':
            flags = ['-bb', '-W', 'error']
            targets = ['tests/unit', 'tests/wire']
            if interpreter.minor in self.named or self._full:   # they look at the sources
                targets += ['tests.' + name for name in modules_in('.')]
        self.suites.append(
            Suite(kind, 'Python ' + interpreter.version, interpreter.python, targets,
                  TIMEOUTS[kind], flags, own_network=kind in ('functional',
                                                              'attack'), minor=interpreter.minor))

    def _add_interop(self, quick):
        recipes = dict((recipe.name, recipe) for recipe in CLIENTS)
        for recipe in CLIENTS:
            for minor in self._node_minors(recipe, quick):
                self._add_clients('interop_main_job', [recipe], minor)
        for minor in [minor for minor in self._wanted if OTHERS.match(minor) and not self._full]:
            self._add_clients('interop_main_job', [recipes[MANY_JOBS[0]]], minor)
        for minor in self._node_minors(recipes[ONE_NODE[0]], quick):
            self._add_clients('interop_releases', [recipes[name] for name in ONE_NODE], minor)
        for minor in self._node_minors(recipes[ONE_NODE[0]], quick):
            for module, names in COMPUTATIONS:
                self._add_clients(module, [recipes[name] for name in names], minor)
        for minor in self._node_minors(recipes[PYTHON2], quick):
            for module, _names in COMPUTATIONS:
                self._add_clients(module, [recipes[PYTHON2]], minor)
        for minor in self._node_minors(recipes[ONE_NODE[0]], quick):
            self._add_clients('interop_tls', [recipes[name] for name in TLS], minor)
        for minor in self._wanted if self._full else (
                OLDEST, self.newest) if quick else self.named + ('3.11', ):
            if minor in self._wanted:
                self._add_clients('interop_versions', [recipes[name] for name in VERSIONS], minor)
        if self.newest in self._wanted:
            self._add_clients('interop_many_jobs', [recipes[name]
                                                    for name in MANY_JOBS], self.newest)
            self._add_clients('interop_examples', [recipes[name] for name in EXAMPLES], self.newest)

    def _add_network(self, quick):
        recipes = dict((recipe.name, recipe) for recipe in CLIENTS)
        for name in NETWORK[:1] if quick else NETWORK:
            for minor in self._node_minors(recipes[name], True):
                self._add_clients('network_layouts', [recipes[name]], minor, 'network')
                if name in ONE_NODE:
                    self._add_clients('network_many', [recipes[name]], minor, 'network')
        for name, minor in zip(NETWORK, (self.newest, OLDEST)):
            if minor in self._wanted and not (quick and minor == OLDEST):
                self._add_clients('network_addresses', [recipes[name]], minor, 'network')
        if self.newest in self._wanted and not quick:
            self._add_clients('network_releases', FINDERS, self.newest, 'network')
            self._add_clients('network_slurm', [recipes[NETWORK[0]]], self.newest, 'network')

    def _add_machines(self, minors):
        """Add the suites of Debian roots of other machines; those that qemu runs with --full only,
        or when asked for."""
        recipes = dict((recipe.name, recipe) for recipe in CLIENTS)
        for machine in MACHINES:
            if minors and machine.name not in minors or machine.emulated and not (minors
                                                                                  or self._full):
                continue
            names = EMULATED if machine.emulated else MACHINE
            functional = self._machine_suite(machine, 'functional',
                                             ['tests.functional.' + name for name in names])
            if not machine.emulated:
                self._machine_suite(machine, 'unit',
                                    ['tests/unit', 'tests/wire', 'tests.test_support'])
                if self._full:
                    functional.targets = ['tests/functional']
            one_file = releases.with_one_file(functional)
            self.suites.append(one_file.changed(targets=['tests.functional.test_check']))
            self._wanted[machine.name] = machine
            self._add_clients('interop_main_job', [recipes[machine.client]], machine.name)

    def _add_without_linux(self, minors):
        """Add nodes that see no Linux: the oldest and the newest, and one with psutil, which can do
        nearly all."""
        recipes = dict((recipe.name, recipe) for recipe in CLIENTS)
        for minor, client, names in ((OLDEST, PYTHON2, None),
                                     (self.newest, ONE_NODE[0], WITHOUT_LINUX),
                                     ('3.11', ONE_NODE[2], WITH_PSUTIL)):
            if minor not in self._all or minors and 'nolinux-' + minor not in minors:
                continue
            interpreter, recipe = self._all[minor], recipes[client]
            own = recipe.python == (minor,)             # its environment has psutil

            def python(recipe=recipe, interpreter=interpreter, own=own):
                return self._environments.python(recipe) if own else interpreter.python

            machine = WithoutLinux(minor, python)
            self._wanted[machine.name] = machine
            self._add_clients('interop_main_job', [recipe], machine.name)
            if names:
                self.suites.append(
                    Suite(
                        'functional', 'Python ' + machine.name, interpreter.python,
                        ['tests.functional.' + name for name in names], TIMEOUTS['functional'],
                        own_network=True, minor=machine.name, prepare=lambda machine=machine:
                        {'DISPYNODE_TEST_PYTHON': machine.interpreter()}))

    def _machine_suite(self, machine, kind, targets):
        timeout = TIMEOUTS[kind] * (6 if machine.emulated else 2)
        suite = Suite(kind, 'Python ' + machine.name, machine.interpreter, targets, timeout,
                      own_network=True, minor=machine.name)
        self.suites.append(suite)
        return suite

    def _node_minors(self, recipe, quick):
        """Return the minor versions of nodes for a client: a Python 2 client has a Python 2
        node."""
        if recipe.python == ('2.7',):
            minors = [OLDEST]
        else:
            minors = [self.newest] if quick else [OLDEST_3, self.newest]
            if self._full:
                minors = [minor for minor in self._wanted if minor != OLDEST]
        return [minor for minor in minors if minor in self._wanted]

    def _add_clients(self, module, recipes, minor, kind='interop'):
        node = self._wanted[minor]
        names = recipes[0].name if len(recipes) == 1 else ' '.join(one.release for one in recipes)
        title = '%s, node %s' % (names, minor)
        if module != 'interop_main_job':
            title += ', ' + module[len(kind) + 1:].replace('_', ' ')
        try:
            for recipe in recipes:
                self._environments.interpreter(recipe)
        except CannotBuild as error:
            self.not_run.append(NotRun('%s %s' % (kind, title), str(error)))
            return
        self.recipes += [recipe for recipe in recipes if recipe not in self.recipes]

        def prepare():
            tools = NETWORK_TOOLS if kind == 'network' else ()
            tools += SLURM_TOOLS if module == 'network_slurm' else ()
            missing = [tool for tool in tools if not shutil.which(tool)]
            if missing:
                raise CannotBuild('commands are missing: ' + ', '.join(missing))
            clients = [{'name': recipe.name, 'release': recipe.release,
                        'python': self._environments.python(recipe)} for recipe in recipes]
            # an environment of the node's own Python has psutil: such nodes run with it
            own = [client['python'] for client, recipe in zip(clients, recipes)
                   if recipe.python == (minor,) and len(recipes) == 1]
            node_python = node.interpreter() if hasattr(
                node, 'interpreter') else (own or [node.python])[0]
            return {'DISPYNODE_TEST_NODE': minor, 'DISPYNODE_TEST_INTEROP': json.dumps(
                {'clients': clients, 'node': node_python})}

        self.suites.append(Suite(kind, title, sys.executable, ['tests.%s.%s' % (kind, module)],
                                 TIMEOUTS[kind], own_network=True, prepare=prepare, minor=minor))
