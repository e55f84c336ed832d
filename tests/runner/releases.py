"""Suites of what is released: the one file, the package, the container."""
from __future__ import absolute_import, division, print_function

import json
import os
import subprocess
import sys

from tests.runner import containers
from tests.runner.environments import CLIENTS, DOCUMENTS, PROJECT, CannotBuild
from tests.runner.suites import Suite, modules_in

ONE_FILE = os.path.join(PROJECT, 'build', 'dispynode.py')
# of the functional tests, those that see how the program was started, and its main job; the newest
# Python runs all but those that start no node, or one that a test has made of the tree
ONE_FILE_TESTS = ('test_check', 'test_release', 'test_jobs', 'test_programs', 'test_background',
                  'test_data_files')
WITHOUT_NODE = ('test_documents', 'test_kill_points', 'test_supervisor', 'test_supervisor_sending',
                'test_supervisor_setup')
TABLE_KINDS = ('unit', 'functional', 'interop')
ONE_FILE_BETWEEN = ('test_check',)  # by interpreters between those that every change must pass on
ONE_FILE_KINDS = ('unit', 'functional', 'attack', 'interop', 'network')
TIMEOUTS = {'package': 500, 'container': 600}
CLIENT = '4.15.2 on 3.11'
ONE_FILE_CLIENTS = ('4.8.7 on 2.7, node 2.7', '4.8.7 on 3.6, node 3.6', '4.15.2 on 3.11, node 3.6',
                    '4.15.2 on 3.11, node %s')


def make_one_file():
    """Write the one file; return the variables that have the tests use it. Raises CannotBuild."""
    done = subprocess.run(
        [sys.executable, os.path.join(PROJECT, 'packaging', 'onefile.py'), ONE_FILE],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        raise CannotBuild('the one file cannot be made: ' + done.stdout.decode('utf-8', 'replace'))
    return {'DISPYNODE_TEST_PROGRAM': ONE_FILE}


def add(plan, kinds, minors, wanted, environments):
    """Add suites to a plan. `minors`: the oldest and the newest; `wanted`: {minor: Interpreter}."""
    for suite in [suite for suite in plan.suites if suite.kind in ('functional', 'unit')]:
        if suite.kind == 'unit' and suite.minor not in minors:
            continue
        one_file = with_one_file(suite)
        if suite.kind == 'functional':
            names = ONE_FILE_TESTS if suite.minor in minors else ONE_FILE_BETWEEN
            if suite.minor == plan.newest:
                names = modules_in('functional', but=WITHOUT_NODE)
            one_file = one_file.changed(targets=['tests.functional.' + name for name in names])
        plan.suites.append(one_file)
    for minor in minors:
        if minor in wanted and 'package' in kinds:
            plan.suites.append(_package(wanted[minor], environments))
    titles = [title.replace('%s', plan.newest or '') for title in ONE_FILE_CLIENTS]
    for suite in [suite for suite in plan.suites if suite.title in titles]:
        plan.suites.append(with_one_file(suite))
    if 'package' in kinds and wanted:
        told = {'pythons': [wanted[minor].python for minor in wanted]}
        plan.suites.append(
            Suite('package', 'one file by each Python', sys.executable,
                  ['tests.package.package_one_file'], TIMEOUTS['package'],
                  prepare=lambda: {'DISPYNODE_TEST_PACKAGE': json.dumps(told)}))
        plan.suites.append(
            Suite(
                'package', 'documents and metadata', sys.executable,
                ['tests.package.package_documents'], TIMEOUTS['package'], prepare=lambda:
                {'DISPYNODE_TEST_PACKAGE': json.dumps({'python': environments.python(DOCUMENTS)})}))
        plan.suites.append(
            Suite(
                'package', 'measurements', sys.executable, ['tests.package.package_measurements'],
                TIMEOUTS['package'], prepare=lambda: {
                    'DISPYNODE_TEST_PACKAGE': json.dumps(
                        {'client': environments.python(_client_recipe())})
                }))
    if 'container' in kinds:
        for title, module in (('Dockerfile', 'container_image'), ('one file in a bare root',
                                                                  'bare_root')):
            plan.suites.append(_container(title, module, environments))
        plan.suites.append(
            _container('systemd, cron, logrotate, init', 'operators_host', environments,
                       lambda: {'DISPYNODE_TEST_HOST': containers.make_host()}))


def with_one_file(suite):
    """Return the same suite with the one file as the program, or for unit tests with its
    modules."""
    prepare = suite.prepare or dict
    # others look at the sources
    targets = [name for name in suite.targets if suite.kind != 'unit' or '/' in name]
    return suite.changed(title=suite.title + ', one file', targets=targets, program='one file',
                         prepare=lambda: dict(prepare(), **make_one_file()))


def whole(suites, only_one_file):
    """Return the suites with all tests of the one file in place of some; `only_one_file`: and
    without those of the tree."""
    trees = [suite for suite in suites if suite.program == 'tree']
    kinds = ONE_FILE_KINDS if only_one_file else TABLE_KINDS
    one_file = [with_one_file(suite) for suite in trees if suite.kind in kinds]
    return [suite for suite in trees if not only_one_file] + one_file


def _package(interpreter, environments):
    def prepare():
        return {'DISPYNODE_TEST_PACKAGE': json.dumps(environments.maker(interpreter))}

    return Suite('package', 'Python ' + interpreter.version, sys.executable,
                 ['tests.package.package_install'], TIMEOUTS['package'], prepare=prepare)


def _client_recipe():
    return [one for one in CLIENTS if one.name == CLIENT][0]


def _container(title, module, environments,
               base=lambda: {'DISPYNODE_TEST_STORE': containers.make_base()}):
    """`base`: makes what the containers are made from, returns variables that tell where it is."""
    def prepare():
        recipe = _client_recipe()
        clients = [{
            'name': recipe.name, 'release': recipe.release, 'python': environments.python(recipe)
        }]
        told = json.dumps({'clients': clients, 'node': sys.executable})
        return dict(make_one_file(), DISPYNODE_TEST_INTEROP=told, **base())

    return Suite('container', title, sys.executable, ['tests.container.' + module],
                 TIMEOUTS['container'], own_network=True, prepare=prepare)
