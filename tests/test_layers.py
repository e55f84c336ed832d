"""Each module imports only from rows below its own (docs/architecture.rst, "Layers")."""
from __future__ import absolute_import, division, print_function

import ast
import io
import os
import unittest

PROJECT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PACKAGE = 'dispynode_lib'

# top row first; names are relative to the package. The number is the row of the developers' guide;
# it stands more than once where one module of a row needs another
ROWS = (
    (7, '__main__'),
    (7, 'cli'),
    (7, 'check', 'ctl', 'console', 'datafiles'),
    (7, 'trial', 'hostnodes'),
    (6, 'node.node'),
    (5, 'node.operation'),
    (5, 'node.http', 'node.commands'),
    (5, 'node.page', 'node.metrics'),
    (5, 'node.udp'),
    (5, 'node.plots'),
    (5, 'node.status', 'node.server', 'node.control_socket', 'supervisor.nursery'),
    (5, 'node.reasons'),
    (4, 'node.requests', 'supervisor.supervisor', 'supervisor.rehearsal'),
    (4, 'node.discovery', 'node.admin'),
    (4, 'node.service'),
    (4, 'node.duties'),
    (3, 'node.computations', 'node.announcer', 'node.watchdog', 'supervisor.programs'),
    (3, 'node.crew', 'node.openframe', 'supervisor.job', 'node.nursery'),
    (3, 'supervisor.computation', 'node.usage'),
    (2, 'node.delivery', 'node.notices', 'node.link', 'node.exits', 'node.orphans', 'node.statefolder', 'supervisor.jobapi',
     'node.ports', 'node.addresses'),
    (2, 'supervisor.limits', 'supervisor.adopting', 'supervisor.learning', 'node.knocks', 'node.rounds', 'node.answers'),
    (2, 'supervisor.bigframes'),
    (2, 'supervisor.sending', 'supervisor.processes', 'supervisor.spawning'),
    (2, 'supervisor.surroundings', 'supervisor.finalizers'),
    (2, 'supervisor.signals', 'supervisor.pickling', 'supervisor.stopping', 'supervisor.output',
     'supervisor.names', 'supervisor.preload', 'supervisor.timers', 'supervisor.tracebacks'),
    (2, 'supervisor.newer_pickles', 'supervisor.python3_pickles', 'supervisor.descriptors', 'supervisor.hugepages'),
    (2, 'supervisor.lean'),
    (1, 'node.journal'),
    (1, 'node.state', 'node.spool', 'node.ledger', 'node.folders', 'node.known', 'node.imports', 'node.initfile', 'node.settings', 'node.bigfiles', 'host.calls',
     'host.datagrams', 'node.history'),
    (1, 'node.jobframes', 'node.callers', 'node.guard', 'node.faults'),
    (1, 'node.visitors'),
    (1, 'node.complaints', 'node.penalties', 'host.surroundings'),
    (1, 'node.allowance', 'node.incoming', 'node.joboutput', 'host.detach'),
    (1, 'host.net', 'host.loop', 'host.workers', 'host.streams', 'host.tls', 'host.logs', 'host.accounts',
     'host.notify'),
    (1, 'node.held', 'node.removal', 'node.signs', 'host.bodies', 'host.writer'),
    (0, 'config'),
    (0, 'wire.blobs'),
    (0, 'wire.messages', 'wire.replies', 'wire.asking', 'options'),
    (0, 'option_table'),
    (0, 'wire.releases'),
    (0, 'wire.fields', 'wire.peers'),
    (0, 'wire.pickles'),
    (0, 'wire.reader', 'wire.objects'),
    (0, 'wire.opcodes'),
    (0, 'host.processes'),
    (0, 'wire.records', 'wire.framing', 'wire.control', 'host.hours', 'host.resources',
     'host.arguments', 'host.plainjson', 'host.lockfile', 'host.unixsocket', 'host.networks', 'host.holders',
     'host.inherited', 'host.netnews', 'host.wording', 'host.trust'),
    (0, 'host.program'),
    (0, 'host.bytecode'),
    (0, 'host.compat'),
    (0, 'errors', 'codecache', 'log'),
    (0, 'packed'),              # imports nothing: it runs before there is anything to import
    (0, ''),                    # the package itself: the version
)
_trees = {}
APART = (('node', 'supervisor'), ('supervisor', 'node'))


def module_files():
    """Return {module name relative to the package: path}; packages without code are left out."""
    found = {}
    top = os.path.join(PROJECT, PACKAGE)
    for folder, _folders, names in os.walk(top):
        for name in names:
            if not name.endswith('.py'):
                continue
            path = os.path.join(folder, name)
            parts = os.path.relpath(path, top)[:-3].split(os.sep)
            if parts[-1] == '__init__':
                parts.pop()
            found['.'.join(parts)] = path
    return found


def parse(path):
    """Return the syntax tree of a file."""
    if path not in _trees:
        with io.open(path, 'rb') as source:
            _trees[path] = ast.parse(source.read(), path)
    return _trees[path]


def imports(tree, modules):
    """Return [(line, module of the package that is imported)], wherever the import stands."""
    found = []
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                found.append((node.lineno, 'a relative import'))
            names = ['%s.%s' % (node.module, alias.name) for alias in node.names]
        for name in names:
            if name == PACKAGE or name.startswith(PACKAGE + '.'):
                inner = name[len(PACKAGE) + 1:]
                if inner not in modules:                # a name in a module, not a module
                    inner = inner.rpartition('.')[0]
                found.append((node.lineno, inner))
    return found


def is_empty_package(name, path):
    """Tell whether this is an __init__.py that holds no code: it needs no row."""
    return bool(name) and path.endswith('__init__.py') and all(
        isinstance(node, (ast.Expr, ast.ImportFrom)) for node in parse(path).body)


class LayersTest(unittest.TestCase):

    def setUp(self):
        self.modules = module_files()
        self.rows = dict((name, number) for number, row in enumerate(ROWS)
                         for name in row[1:])

    def test_every_module_has_a_row(self):
        missing = [name for name, path in self.modules.items()
                   if name not in self.rows and not is_empty_package(name, path)]
        self.assertEqual(sorted(missing), [], 'add them to ROWS')

    def test_imports_go_downwards(self):
        wrong = []
        for name, path in sorted(self.modules.items()):
            for line, other in imports(parse(path), self.modules):
                if other not in self.rows or self.rows.get(name, -1) >= self.rows[other]:
                    wrong.append('%s, line %d: %s imports %s' % (
                        os.path.relpath(path, PROJECT), line, name, other or PACKAGE))
        self.assertEqual(wrong, [])

    def test_node_and_supervisor_do_not_import_each_other(self):
        wrong = []
        for name, path in sorted(self.modules.items()):
            for line, other in imports(parse(path), self.modules):
                if (name.split('.')[0], other.split('.')[0]) in APART:
                    wrong.append('%s, line %d: %s' % (name, line, other))
        self.assertEqual(wrong, [])
