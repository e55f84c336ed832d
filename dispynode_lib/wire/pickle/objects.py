"""Opcodes that name classes and make objects, and the table of all opcodes.

Nothing is imported or called: only the classes of `records` and stat results, sets and bytes are
made, all else is refused or UNKNOWN. Source: docs/protocol.rst, "Globals a restricted decoder has
to accept".
"""
from __future__ import absolute_import, division, print_function

from dispynode_lib.errors import ProtocolError
from dispynode_lib.host.compat import PY2, integer_types, text_type
from dispynode_lib.wire.pickle import opcodes
from dispynode_lib.wire.pickle.opcodes import SIZE1, SIZE8, sized, utf8
from dispynode_lib.wire.pickle.records import (
    ALWAYS, CLASSES, GLOBALS, UNKNOWN, Global, Record, Set, name_of)

NUMBERS = frozenset((float,) + integer_types)


def _find(reader, module, name):
    found = GLOBALS.get((module, name))
    if found is None or not (found.kind in reader.records or found.kind in ALWAYS):
        found = reader.refused_or_unknown('global %s %s is not accepted here', _printable(module),
                                          _printable(name))
    reader.stack.append(found)


def _printable(text):
    return ''.join(str(letter) if ' ' < letter < '\x7f' else '?' for letter in text[:60])


def _global(reader, at):
    module = reader.line(at, reader.limits.line_size)
    at += len(module) + 1
    name = reader.line(at, reader.limits.line_size)
    _find(reader, utf8(module), utf8(name))
    return at + len(name) + 1


def _stack_global(reader, at):
    name = reader.stack.pop()
    module = reader.stack.pop()
    if type(name) is not text_type or type(module) is not text_type:
        raise ProtocolError(
            'pickle: a global named by %s and %s' % (name_of(module), name_of(name)))
    _find(reader, module, name)
    return at


def _newobj(reader, at):
    args = reader.stack.pop()
    found = reader.stack.pop()
    if found is UNKNOWN:
        made = UNKNOWN
    elif type(found) is not Global or found.kind not in CLASSES:
        raise ProtocolError('pickle: a new object of %s' % name_of(found))
    elif found.kind == '_Function':
        made = _function(reader, args)
    elif type(args) is not tuple or args:
        raise ProtocolError('pickle: %s made with arguments' % found.kind)
    else:
        made = Record(found.kind, None)
    reader.made(made)
    return at


def _function(reader, args):
    if type(args) is not tuple or len(args) != 3:
        raise ProtocolError('pickle: a _Function is not made of three fields')
    made = Record('_Function', dict(zip(('name', 'args', 'kwargs'), args)))
    reader.place(made, args)
    return made


def _build(reader, at):
    state = reader.stack.pop()
    target = reader.stack[-1]
    if target is UNKNOWN:
        return at
    if type(target) is not Record or target.fields is not None or type(state) is not dict:
        raise ProtocolError('pickle: %s as the fields of %s' % (name_of(state), name_of(target)))
    reader.check_open(target)
    reader.place(target, (state,))
    target.fields = state
    return at


def _reduce(reader, at):
    args = reader.stack.pop()
    found = reader.stack.pop()
    made = None
    if found is UNKNOWN:
        made = UNKNOWN
    elif type(found) is Global and found.kind in _CALLS and type(args) is tuple:
        made = _CALLS[found.kind](reader, args)
    if made is None:
        made = reader.refused_or_unknown('a call of %s that is not known', name_of(found))
    reader.stack.append(made)
    return at


def _call_stat(_reader, args):
    """Return a Record of kind 'stat' with the fields that nodes need."""
    if len(args) != 2 or type(args[0]) is not tuple or type(
            args[1]) is not dict or not 10 <= len(args[0]) <= 64:
        return None
    numbers, more = args
    fields = {'mode': numbers[0], 'size': numbers[6],
              'atime': more.get('st_atime', numbers[7]), 'mtime': more.get('st_mtime', numbers[8])}
    return None if any(type(value) not in NUMBERS
                       for value in fields.values()) else Record('stat', fields)


def _call_set(reader, args):
    if len(args) != 1 or type(args[0]) is not list:
        return None
    made = Set(args[0])
    reader.place(made, args)
    return made


def _call_encode(reader, args):
    if len(args) != 2 or type(args[0]) is not text_type or type(
            args[1]) is not text_type or args[1] != u'latin1':
        return None
    reader.to_encode -= len(args[0])        # a memo could ask for the same text again and again
    if reader.to_encode < 0:
        raise ProtocolError('pickle: more bytes encoded than it has')
    return args[0].encode('latin-1')


def _call_bytes(_reader, args):
    return None if args else b''


_CALLS = {'stat': _call_stat, 'set': _call_set, 'encode': _call_encode, 'bytes': _call_bytes}


# objects of users, where they are allowed: all of them are UNKNOWN

def _unknown_of_mark(reader, at):
    reader.pop_mark()
    reader.stack.append(UNKNOWN)
    return at


def _inst(reader, at):
    for _ in ('module', 'name'):
        at += len(reader.line(at, reader.limits.line_size)) + 1
    return _unknown_of_mark(reader, at)


def _newobj_ex(reader, at):
    if len(reader.stack) < 3:
        raise ProtocolError('pickle: an object without its class')
    reader.stack[-3:] = (UNKNOWN,)
    return at


def _extension(size):
    def push(reader, at):
        reader.take(at, size)
        reader.stack.append(UNKNOWN)
        return at + size
    return push


def _dup(reader, at):
    reader.stack.append(reader.stack[-1])
    return at


def _unknown_bytes(reader, at, size):
    reader.take(at, size)
    return UNKNOWN


def _refused(reader, at):
    code = SIZE1.unpack_from(reader.data, at - 1)[0]
    raise ProtocolError('pickle: opcode 0x%02x at byte %d is not accepted' % (code, at - 1))


OBJECT_OPCODES = {0x63: _global, 0x93: _stack_global, 0x81: _newobj, 0x62: _build, 0x52: _reduce}
USER_OPCODES = {0x32: _dup, 0x91: _unknown_of_mark, 0x6f: _unknown_of_mark, 0x69: _inst,
                0x92: _newobj_ex, 0x96: sized(SIZE8, _unknown_bytes), 0x82: _extension(1),
                0x83: _extension(2), 0x84: _extension(4)}


def table(*groups):
    """Return the table of opcodes: indexed by an element of the data, it gives a function."""
    functions = [_refused] * 256
    for group in groups:
        for code in group:
            functions[code] = group[code]
    return dict((chr(code), functions[code]) for code in range(256)) if PY2 else functions


STRICT = table(opcodes.OPCODES, OBJECT_OPCODES)
LENIENT = table(opcodes.OPCODES, OBJECT_OPCODES, USER_OPCODES)
