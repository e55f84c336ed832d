"""The rules of the developers' guide that a program can check."""
from __future__ import absolute_import, division, print_function

import ast
import io
import os
import re
import sys
import tokenize
import unittest

from tests.test_layers import PACKAGE, PROJECT, module_files, parse

MODULE_LINES = 500
COLUMNS = 100
FUNCTION_LINES = 60
FUTURE = 'from __future__ import absolute_import, division, print_function'

# module -> functions where `except Exception` or a bare `except` may stand: at the top of a thread
# or process, or around user code. A handler that ends in `raise` is no catch-all
CATCH_ALL = {
    'cli.main': ('main', ),  # the top of the program
    'host.compat': ('_call_or_end', ),  # the top of each thread: the process ends
    'host.io.loop': ('_call', ),  # callbacks: the top of the loop's thread
    'host.io.workers': ('_work', 'run'),  # the top of a worker; a thread that cannot be had
    'node.node': ('_stop', ),  # the top of the thread that stops the node
    'node.requests.listeners': ('_receive', ),  # the top of the datagrams' thread
    # a peer is answered, whatever happens
    'node.requests.dispatcher': ('_guarded', ),
    'node.requests.opening': ('_begin', '_opened', '_set_up'),
    'node.requests.jobs': ('_start_job', ),
    'node.operator.commands': ('run', ),  # the operator is answered, whatever happens
    'node.operator.health': ('serve', ),  # so is who asks for a page
    'node.timed.watchdog': ('run_due', '_plan'),  # one duty must not end the others
    'supervisor.job.computation': ('open', 'execute', 'run_setup', 'remember_cleanup',
                                   '_bad_status', 'run_cleanup', 'settle'),
    'supervisor.job.job': ('serve', '_call', '_end_as_programs_do', '_shown'),
    'supervisor.job.jobapi': ('emit', ),
    'supervisor.job.output': ('run_exit_functions', ),
    'supervisor.imports.preload': ('load', ),
    'supervisor.supervisor': ('run', '_become_job'),
    'supervisor.job.tracebacks': ('describe', '_without_traceback'),
}

# functions that say in which phase something is that began elsewhere
FIRST_PHASES = {'node.computations.supervision': ('adopt', '_on_here'),
                'node.computations.computation': ('go_on',)}

# where the interpreter and the system are told apart
COMPAT = ('host.compat', 'code.bytecode', 'supervisor.processes.lean')

# where numbers of dispy releases may stand
RELEASES = re.compile(r'(?<![\d.])4\.(?:6|7|8|9|10|11|12|13|14|15)(?:\.\d+)?(?![\d.])')
RELEASE_PLACES = ('wire.', 'options.')

# pickles are opened in job processes only
NO_PICKLE = ('node.', 'wire.', 'options.', 'host.')
OWN_CODE = ('code.bytecode', 'code.image')        # what they marshal is this program

# import nothing of these at module level: every node, supervisor and job would pay for them
HEAVY = ('argparse', 'asyncio', 'concurrent', 'email', 'hashlib', 'http', 'inspect', 'json',
         'logging', 'multiprocessing', 'optparse', 'pickle', 'platform', 'psutil', 'random', 're',
         'signal', 'ssl', 'subprocess', 'tempfile', 'traceback', 'unittest', 'urllib', 'uuid')
HEAVY_PLACES = {
    'cli.check': HEAVY, 'cli.trial': HEAVY,     # --check is no node
    'options.configfile': ('re',),                  # only with --config or DISPYNODE_...
    # where neither _sha1 nor _sha is to be had; Python 2
    'host.compat': ('hashlib', 'signal'), 'supervisor.processes.lean': ('signal',),
    'supervisor.pickles.newer_pickles': ('pickle',),    # imported itself only when it is needed
    'supervisor.pickles.python3_pickles': ('pickle',),
    'supervisor.job.failures': ('traceback',),      # likewise
    'host.network.tls': ('ssl',),               # likewise
}

# from outside the package; psutil is optional
NOT_STANDARD = {'host.proc': ('psutil',), 'host.compat': ('psutil',)}
PYTHON2_NAMES = ('Queue', 'SocketServer', '__builtin__', '_multiprocessing', '_sha', 'cPickle',
                 'cStringIO', 'StringIO', 'imp', 'thread')


def functions(tree):
    """Return all function definitions, inner ones too."""
    kinds = (ast.FunctionDef, getattr(ast, 'AsyncFunctionDef', ast.FunctionDef))
    return [node for node in ast.walk(tree) if isinstance(node, kinds)]


def text_lines(data):
    """Return the numbers of the lines that lie in strings of several lines: what those hold is not code."""
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(data.decode('utf-8')).readline):
        if token[0] == tokenize.STRING and token[2][0] != token[3][0]:
            lines.update(range(token[2][0], token[3][0] + 1))
    return lines


def last_line(node):
    """Return the number of the last line that belongs to a node."""
    return max([getattr(child, 'lineno', 0) for child in ast.walk(node)])


def top_level_imports(tree):
    """Return [(line, first part of the name)] of imports outside functions."""
    found = []
    waiting = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name.split('.')[0]) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.lineno, (node.module or '').split('.')[0]))
        elif not isinstance(node, (ast.FunctionDef, ast.Lambda)):
            waiting += [child for child in ast.iter_child_nodes(node)
                        if isinstance(child, (ast.stmt, ast.ExceptHandler))]
    return found


def all_imports(tree):
    """Return [(line, name)] of all imports, by full name."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.lineno, node.module or ''))
    return found


def catches_all(handler):
    """Tell whether an except clause takes any exception and keeps it."""
    if isinstance(handler.body[-1], ast.Raise) and not getattr(handler.body[-1], 'exc', None) \
            and not getattr(handler.body[-1], 'type', None):
        return False
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(kind is None or getattr(kind, 'id', None) in ('Exception', 'BaseException')
               for kind in caught)


def functions_of(kind):
    """Return the methods of a class (syntax trees)."""
    return [node for node in kind.body if isinstance(node, ast.FunctionDef)]


def is_set_of_self(node):
    """Return whether a syntax tree is the attribute in `self.x = ...`."""
    return isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) \
        and isinstance(node.value, ast.Name) and node.value.id == 'self'


class Source(object):
    """One file: name (of the module, relative to the package), path, text, tree."""

    def __init__(self, name, path):
        self.name, self.path = name, path
        with io.open(path, 'rb') as source:
            self.data = source.read()
        self.text = self.data.decode('latin-1')
        self.lines = self.text.splitlines()
        self.tree = parse(path)

    def at(self, line, what):
        """Return the text of one violation."""
        return '%s:%d: %s' % (os.path.relpath(self.path, PROJECT), line, what)


class SourceRulesTest(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        cls.package = [Source(name, path) for name, path in sorted(module_files().items())]
        cls.program = Source('dispynode', os.path.join(PROJECT, 'dispynode.py'))
        cls.others = [Source('setup', os.path.join(PROJECT, 'setup.py'))]
        for folder, _folders, names in os.walk(os.path.join(PROJECT, 'tests')):
            cls.others += [Source('tests.' + name[:-3], os.path.join(folder, name))
                           for name in sorted(names) if name.endswith('.py')]

    def check(self, violations):
        """Fail with the list of violations, if there are any."""
        if violations:
            self.fail('\n' + '\n'.join(violations))

    def test_every_file_begins_with_the_same_future_import(self):
        def has_code(source):
            return any(not isinstance(node, ast.Expr) for node in source.tree.body)
        self.check([source.at(1, 'no line "%s"' % FUTURE)
                    for source in self.package + [self.program] + self.others
                    if has_code(source) and FUTURE not in source.lines
                    and source.name not in ('', 'setup')])

    def test_sources_are_ascii(self):
        self.check([source.at(number, 'not ASCII')
                    for source in self.package + [self.program] + self.others
                    for number, line in enumerate(source.lines, 1)
                    if any(ord(letter) > 126 for letter in line)])

    def test_modules_are_short(self):
        self.check([source.at(len(source.lines), 'module of %d lines' % len(source.lines))
                    for source in self.package + self.others if len(source.lines) > MODULE_LINES
                    and not source.name.startswith('tests.test_')])

    def test_functions_are_short(self):
        self.check([source.at(node.lineno, '%s has %d lines' % (
                        node.name, last_line(node) - node.lineno + 1))
                    for source in self.package + self.others for node in functions(source.tree)
                    if last_line(node) - node.lineno + 1 > FUNCTION_LINES])

    def test_no_attribute_hides_a_method(self):
        """`self.x = ...` beside `def x(self)`: whoever calls x() fails."""
        self.check([source.at(node.lineno, '%s hides the method' % node.attr)
                    for source in self.package for kind in ast.walk(source.tree)
                    if isinstance(kind, ast.ClassDef)
                    for node in ast.walk(kind) if is_set_of_self(node)
                    and node.attr in [function.name for function in functions_of(kind)]])

    def test_phases_are_changed_by_their_tables_only(self):
        self.check([source.at(node.lineno, 'sets a phase in ' + function.name)
                    for source in self.package if source.name != 'node.shared.phases'
                    for function in functions(source.tree)
                    if function.name not in ('__init__',) + FIRST_PHASES.get(source.name, ())
                    for node in ast.walk(function)
                    if isinstance(node, ast.Attribute) and node.attr == 'phase'
                    and isinstance(node.ctx, ast.Store)])

    def test_python_versions_and_systems_are_told_apart_in_one_place(self):
        words = re.compile(r'\bsys\.(version_info|hexversion|platform)\b|\bos\.name\b|\bPY[23]\s*=')
        self.check([source.at(number, line.strip())
                    for source in self.package if source.name not in COMPAT
                    for number, line in enumerate(source.lines, 1) if words.search(line)])

    def test_imports_are_tried_in_one_place(self):
        violations = []
        kind = getattr(ast, 'TryExcept', getattr(ast, 'Try', None))
        for source in self.package:
            for node in ast.walk(source.tree):
                if isinstance(node, kind) and isinstance(node.body[0],
                                                         (ast.Import, ast.ImportFrom)):
                    names = [ast.dump(handler.type) for handler in node.handlers if handler.type]
                    if any('ImportError' in name for name in names) and source.name not in (
                            COMPAT + tuple(NOT_STANDARD)):
                        violations.append(source.at(node.lineno, 'try: import'))
        self.check(violations)

    def test_everything_is_caught_at_listed_places_only(self):
        violations, used = [], set()
        for source in self.package + [self.program]:
            inside = dict((id(child), function.name) for function in functions(source.tree)
                          for child in ast.walk(function))
            for node in ast.walk(source.tree):
                if isinstance(node, ast.ExceptHandler) and catches_all(node):
                    where = inside.get(id(node), '(module)')
                    used.add((source.name, where))
                    if where not in CATCH_ALL.get(source.name, ()):
                        violations.append(source.at(node.lineno, 'catches all in %s' % where))
        violations += ['CATCH_ALL: nothing of the kind in %s.%s' % (module, name)
                       for module, names in sorted(CATCH_ALL.items()) for name in names
                       if (module, name) not in used]
        self.check(violations)

    def test_all_modules_can_be_put_into_the_one_file(self):
        self.check([source.at(line + 1, "has three single quotes: there they end a module's text")
                    for source in self.package for line, text in enumerate(source.lines)
                    if "'''" in text])

    def test_lines_of_code_have_up_to_100_columns(self):
        self.check([source.at(line, 'has %d columns' % len(source.lines[line - 1]))
                    for source in self.package
                    for line in set(range(1, len(source.lines) + 1)) - text_lines(source.data)
                    if len(source.lines[line - 1]) > COLUMNS])

    def test_the_node_never_opens_pickles(self):
        self.check([
            source.at(line, 'imports ' + name) for source in self.package
            if source.name.startswith(NO_PICKLE) and source.name not in OWN_CODE
            for line, name in all_imports(source.tree)
            if name.split('.')[0] in ('pickle', 'cPickle', '_pickle', 'marshal', 'shelve')
        ])

    def test_release_numbers_stand_in_few_places(self):
        self.check([source.at(number, line.strip())
                    for source in self.package if not source.name.startswith(RELEASE_PLACES)
                    for number, line in enumerate(source.lines, 1) if RELEASES.search(line)])

    def test_nothing_heavy_is_imported_at_module_level(self):
        self.check([source.at(line, 'imports %s at module level' % name)
                    for source in self.package + [self.program]
                    for line, name in top_level_imports(source.tree)
                    if name in HEAVY and name not in HEAVY_PLACES.get(source.name, ())])

    @unittest.skipUnless(hasattr(sys, 'stdlib_module_names'),
                         'older Pythons have no list of modules')
    def test_only_the_standard_library_is_used(self):
        # PyPy's
        known = set(sys.stdlib_module_names) | set(PYTHON2_NAMES) | set(
            [PACKAGE, '_ctypes', '_frozen_importlib_external'])
        self.check([source.at(line, 'imports ' + name)
                    for source in self.package + [self.program]
                    for line, name in all_imports(source.tree)
                    if name.split('.')[0] not in known
                    and name.split('.')[0] not in NOT_STANDARD.get(source.name, ())])

    def test_newer_syntax_is_not_used(self):
        """What Python 3.6 takes and Python 2.7 does not, in case no 2.7 is at hand."""
        newer = tuple(getattr(ast, name) for name in (
            'JoinedStr', 'AnnAssign', 'Nonlocal', 'YieldFrom', 'AsyncFunctionDef', 'Await',
            'NamedExpr', 'Starred') if hasattr(ast, name))
        violations = []
        for source in self.package + [self.program]:
            violations += [source.at(node.lineno, type(node).__name__)
                           for node in ast.walk(source.tree) if isinstance(node, newer)
                           and not isinstance(getattr(node, 'ctx', None), ast.Load)]
            violations += [source.at(node.lineno, 'keyword-only arguments of ' + node.name)
                           for node in functions(source.tree)
                           if getattr(node.args, 'kwonlyargs', None)]
        self.check(violations)

    def test_every_file_compiles(self):
        """On each Python that the tests run with (setUpClass parsed them, this compiles)."""
        for source in self.package + [self.program] + self.others:
            compile(source.data, source.path, 'exec', dont_inherit=True)
