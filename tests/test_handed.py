"""What a part is given comes from its own room or one below (docs/architecture.rst, "Rooms")."""
from __future__ import absolute_import, division, print_function

import ast
import functools
import os
import shutil
import tempfile
import unittest

from dispynode_lib.node.node import Node
from dispynode_lib.node.requests.opening import Opening
from dispynode_lib.node.takeover import Before
from dispynode_lib.node.requests.ports import Ports
from dispynode_lib.node.shared.state import SERVING
from dispynode_lib.options.parser import parse
from dispynode_lib.wire import asking, messages
from dispynode_lib.wire.peers import Peer
from tests.test_layers import PACKAGE, ROWS, module_files, parse as parse_file

NODE = PACKAGE + '.node.'
UP = 'parts', 'node', 'operation'           # how a parameter that holds too much would be called
WORK = 'Computation',                       # what the work is about goes through all rooms


def room_of(thing):
    """Return the row of the room of an object's class, None if it is none of the node's."""
    module = type(thing).__module__
    return module[len(PACKAGE) + 1:].rpartition('.')[0] if module.startswith(NODE) else None


def held_by(thing):
    """Return [(name, value)] of what an object holds: attributes, or what is in a container."""
    if isinstance(thing, dict):
        return [('[...]', value) for pair in thing.items() for value in pair]
    if isinstance(thing, (list, tuple, set, frozenset)):
        return [('[...]', value) for value in thing]
    if room_of(thing) is None:
        return []
    names = list(getattr(thing, '__dict__', ()))
    names += [name for kind in type(thing).__mro__ for name in getattr(kind, '__slots__', ())]
    return [('.' + name, getattr(thing, name, None)) for name in names]


def owner_of(function):
    """Return what a function given to somebody belongs to, for a look at that, too."""
    if isinstance(function, functools.partial):
        return (owner_of(function.func),) + function.args
    return getattr(function, '__self__', None)


class Walk(object):
    """Looks at all that can be reached from an object.

    A function that somebody was given is no part, whatever it belongs to.

    seen    {id: object}
    wrong   [sentence] on each one that holds what is above it
    """

    def __init__(self, top):
        self.seen, self.wrong, self._ready = {}, [], [top]
        while self._ready:
            thing = self._ready.pop()
            if id(thing) not in self.seen:
                self.seen[id(thing)] = thing            # it lives on: no other has its number
                self._look(thing, thing, '')

    def _look(self, thing, holder, path):
        for name, value in held_by(thing):
            if None not in (room_of(value), room_of(holder)) and is_above(value, holder):
                self.wrong.append('%s%s%s is a %s of %s' % (
                    type(holder).__name__, path, name, type(value).__name__, room_of(value)))
            if isinstance(value, (dict, list, tuple, set, frozenset)):
                self._look(value, holder, path + name)
            elif room_of(value) is not None:
                self._ready.append(value)
            elif callable(value):
                self._ready.append(owner_of(value))

    def one(self, kind):
        """Return the only object of a class."""
        found, = [thing for thing in self.seen.values() if isinstance(thing, kind)]
        return found


def is_above(value, holder):
    """Return whether a value's room is above that of the object that holds it."""
    rows = [ROWS.index(room_of(thing)) for thing in (value, holder)]
    return type(value).__name__ not in WORK and rows[0] < rows[1]


def parameters(kind):
    """Return the names of the parameters of a class's constructor (syntax tree)."""
    return [getattr(word, 'arg', None) or getattr(word, 'id', None)             # Python 3, Python 2
            for function in kind.body
            if isinstance(function, ast.FunctionDef) and function.name == '__init__'
            for word in function.args.args]


class HandedTest(unittest.TestCase):

    def setUp(self):
        self.folder = tempfile.mkdtemp()
        environment = dict(os.environ)      # a state folder marks what this process starts
        self.addCleanup(lambda: (os.environ.clear(), os.environ.update(environment)))
        self.addCleanup(shutil.rmtree, self.folder)

    def build(self):
        """Return a Node whose parts are made; nothing runs."""
        options = parse(
            ['-c', '1', '-i', '127.0.0.1', '--dest_path_prefix', self.folder, '--preload', 'none'])
        options.finish()
        node = Node(options)
        node._folder.open()
        node._before = Before(options, node._folder, node._identity)
        self.addCleanup(node._folder.close)
        node._ports, node._identity.port = Ports(None), 51348
        node._build()
        self.addCleanup(node._datagrams.close)
        return node

    def open_computation(self, node):
        """Have the parts of a node open a computation."""
        walk = Walk(node)
        compute = asking.compute_request(1, u'f', 7, u'', u'ab', u'127.0.0.1', 9).partition(b':')[2]
        computation = walk.one(Opening)._new_computation(
            messages.read_compute(compute), compute, Peer(), (u'127.0.0.1', 9), u'127.0.0.1')
        computation.folder = walk.one(Opening)._folders.open(u'127.0.0.1', u'f', 7, None)
        node._state.set_phase(SERVING)
        node._state.open_computation(computation)

    def test_no_part_is_handed_what_is_above_it(self):
        node = self.build()
        self.open_computation(node)
        walk = Walk(node)
        rooms = set(room_of(thing) for thing in walk.seen.values()) - set([None])
        self.assertEqual(rooms, set(row for row in ROWS if row.partition('.')[0] == 'node'))
        self.assertEqual(walk.wrong, [])

    def test_no_constructor_asks_for_everything(self):
        wrong = []
        for module, path in module_files().items():
            if not module.rpartition('.')[0].startswith('node.'):
                continue
            for kind in ast.walk(parse_file(path)):
                if isinstance(kind, ast.ClassDef):
                    wrong += ['%s: %s(%s)' % (module, kind.name, name)
                              for name in parameters(kind) if name in UP]
        self.assertEqual(wrong, [])


if __name__ == '__main__':
    unittest.main()
