"""What each opcode of a pickle does: one small function for each.

A function is called with the Reader and the position after the opcode, changes the stack, and returns
the position of the next opcode (FINISHED after the last). Nothing here imports, calls or builds anything
but plain values and the classes of `records`; nothing recurses; each step costs at most what the opcode
itself or the items it takes off the stack cost. Source: docs/protocol.rst, "Opcodes to support".
"""
from __future__ import absolute_import, division, print_function

import binascii
import struct
from _codecs import escape_decode, raw_unicode_escape_decode

from dispynode_lib.errors import ProtocolError
from dispynode_lib.host.compat import PY2, text_type
from dispynode_lib.wire.records import ALWAYS, CLASSES, CONTAINERS, GLOBALS, UNKNOWN, Global, Record, Set, Unknown, name_of

HIGHEST_PROTOCOL = 5
FINISHED = -1

_SIZE1 = struct.Struct('<B')
_SIZE2 = struct.Struct('<H')
_SIZE4 = struct.Struct('<L')
_SIZE8 = struct.Struct('<Q')
_INT4 = struct.Struct('<i')
_FLOAT = struct.Struct('>d')


class Reader(object):
    """The state of reading one pickle."""

    __slots__ = ('data', 'size', 'stack', 'marks', 'memo', 'records', 'unknown', 'limits',
                 'python2', 'protocol', 'depths', 'placed', 'to_encode')

    def __init__(self, data, records, unknown, limits):
        """Take the bytes or view `data`, and what `pickles.load` was told to accept."""
        self.data = data
        self.size = len(data)
        self.stack = []
        self.marks = []             # stacks below each open MARK
        self.memo = {}
        self.records = records
        self.unknown = unknown
        self.limits = limits
        self.python2 = False
        self.protocol = 0
        self.depths = {}            # id of a container that holds containers: its depth
        self.placed = set()         # ids of containers that lie in another one: they are complete
        self.to_encode = self.size  # letters that `_codecs encode` may still turn into bytes

    def take(self, at, size):
        """Return `size` bytes from `at` (bytes or a view)."""
        if size > self.size - at:
            raise ProtocolError('pickle: %d bytes announced, %d left' % (size, self.size - at))
        return self.data[at:at + size]

    def line(self, at, limit):
        """Return the bytes from `at` up to the next newline, at most `limit` of them."""
        step = 64
        while True:
            chunk = bytes(self.data[at:at + step])
            end = chunk.find(b'\n')
            if 0 <= end <= limit:
                return chunk[:end]
            if len(chunk) < step or step > limit:
                raise ProtocolError('pickle: a line is not ended or too long')
            step *= 4

    def pop_mark(self):
        """Return the items above the last MARK; the stack below it is the stack again."""
        items = self.stack
        self.stack = self.marks.pop()
        return items

    def refused_or_unknown(self, text, *args):
        """Return UNKNOWN for something outside the accepted set if that is allowed, else raise ProtocolError."""
        if self.unknown:
            return UNKNOWN
        raise ProtocolError('pickle: ' + text % args)

    def place(self, parent, items):
        """Note that `items` are put into container `parent`; keep the depth within its limit."""
        depth = 0
        for item in items:
            if type(item) in CONTAINERS:
                self.placed.add(id(item))
                depth = max(depth, self.depths.get(id(item), 1))
        if not depth:
            return
        depth += 1
        if depth > self.limits.depth:
            raise ProtocolError('pickle: nested deeper than %d' % self.limits.depth)
        if depth > self.depths.get(id(parent), 1):
            self.depths[id(parent)] = depth
        self.check_open(parent)

    def check_open(self, container):
        """Refuse to change a container that already lies in one: what that makes could be a cycle."""
        if id(container) in self.placed and not self.unknown:
            raise ProtocolError('pickle: a container is changed after it was used')

    def extend(self, target, items):
        """Put `items` into a list or Set."""
        if type(target) is list:
            members = target
        elif type(target) is Set:
            members = target.items
        elif target is UNKNOWN:
            return
        else:
            raise ProtocolError('pickle: items added to %s' % name_of(target))
        self.check_open(target)
        self.place(target, items)
        members.extend(items)

    def add_pairs(self, target, items):
        """Put the keys and values that alternate in `items` into a dict; keys become text."""
        if target is UNKNOWN:
            return
        if type(target) is not dict or len(items) % 2:
            raise ProtocolError('pickle: %d keys and values for %s' % (len(items), name_of(target)))
        self.check_open(target)
        self.place(target, items[1::2])
        pairs = iter(items)
        for key in pairs:
            if type(key) is not text_type:
                key = self.key(key)
            target[key] = next(pairs)

    def key(self, key):
        """Return the key to use for one that is not text: hashing what peers send could take any time."""
        if type(key) is bytes:
            return key.decode('latin-1')
        if self.unknown:
            return Unknown()
        raise ProtocolError('pickle: %s as a key' % name_of(key))


def _proto(reader, at):
    reader.protocol = _SIZE1.unpack_from(reader.data, at)[0]
    if reader.protocol > HIGHEST_PROTOCOL:
        raise ProtocolError('pickle: protocol %d is unknown' % reader.protocol)
    return at + 1


def _frame(_reader, at):
    return at + 8


def _stop(reader, at):
    if reader.marks or len(reader.stack) != 1:
        raise ProtocolError('pickle: %d objects at its end' % len(reader.stack))
    if at != reader.size:
        raise ProtocolError('pickle: %d bytes after its end' % (reader.size - at))
    return FINISHED


def _refused(reader, at):
    code = _SIZE1.unpack_from(reader.data, at - 1)[0]
    raise ProtocolError('pickle: opcode 0x%02x at byte %d is not accepted' % (code, at - 1))


# numbers

def _constant(value):
    def push(reader, at):
        reader.stack.append(value)
        return at
    return push


def _fixed(form):
    width, unpack = form.size, form.unpack_from

    def push(reader, at):
        reader.stack.append(unpack(reader.data, at)[0])
        return at + width
    return push


def _decimal(text):
    digits = text[1:] if text[:1] in (b'-', b'+') else text
    if not digits.isdigit():
        raise ProtocolError('pickle: a decimal number is malformed')
    return int(text)


def _int(reader, at):
    text = reader.line(at, reader.limits.digits)
    reader.stack.append(text == b'01' if text in (b'00', b'01') else _decimal(text))
    return at + len(text) + 1


def _long(reader, at):
    text = reader.line(at, reader.limits.digits + 1)
    reader.stack.append(_decimal(text[:-1] if text.endswith(b'L') else text))
    return at + len(text) + 1


def _float(reader, at):
    text = reader.line(at, 64)
    reader.stack.append(float(text))
    return at + len(text) + 1


if PY2:
    def _little_endian(raw):
        """Return the signed integer in little-endian bytes."""
        raw = bytes(raw)[::-1]
        value = int(binascii.hexlify(raw), 16)
        return value - (1 << 8 * len(raw)) if raw[0] >= '\x80' else value
else:
    def _little_endian(raw):
        """Return the signed integer in little-endian bytes."""
        return int.from_bytes(raw, 'little', signed=True)


def _integer(reader, at, size):
    raw = reader.take(at, size)
    if size > reader.limits.integer_size:
        return reader.refused_or_unknown('an integer of %d bytes', size)
    return _little_endian(raw) if size else 0


# strings

def _sized(form, make):
    """Return the function for an opcode with a size, then so many bytes; `make` gives the value."""
    width, unpack = form.size, form.unpack_from

    def push(reader, at):
        size = unpack(reader.data, at)[0]
        at += width
        reader.stack.append(make(reader, at, size))
        return at + size
    return push


def _bytes(reader, at, size):
    return bytes(reader.take(at, size))


def _byte_string(reader, at, size):
    reader.python2 = True                   # nothing else writes these
    return bytes(reader.take(at, size))


def _text(reader, at, size):
    return _utf8(reader.take(at, size))


if PY2:
    def _utf8(raw):
        return bytes(raw).decode('utf-8')           # Python 2 lets lone surrogates pass by itself
else:
    def _utf8(raw):
        return str(raw, 'utf-8', 'surrogatepass')   # names of files may hold lone surrogates


def _unknown_bytes(reader, at, size):
    reader.take(at, size)
    return UNKNOWN


def _string(reader, at):
    text = reader.line(at, reader.size)
    if len(text) < 2 or text[:1] != text[-1:] or text[:1] not in (b"'", b'"'):
        raise ProtocolError('pickle: a string without its quotes')
    reader.python2 = True
    reader.stack.append(escape_decode(text[1:-1])[0])
    return at + len(text) + 1


def _unicode(reader, at):
    text = reader.line(at, reader.size)
    reader.stack.append(raw_unicode_escape_decode(text)[0])
    return at + len(text) + 1


# the stack and the memo

def _mark(reader, at):
    reader.marks.append(reader.stack)
    reader.stack = []
    return at


def _pop(reader, at):
    if reader.stack:
        reader.stack.pop()
    else:
        reader.pop_mark()
    return at


def _pop_mark(reader, at):
    reader.pop_mark()
    return at


def _dup(reader, at):
    reader.stack.append(reader.stack[-1])
    return at


def _put(reader, index):
    if index > reader.size:
        raise ProtocolError('pickle: memo number %d' % index)
    reader.memo[index] = reader.stack[-1]


def _get(reader, index):
    if index not in reader.memo:
        raise ProtocolError('pickle: nothing under memo number %d' % index)
    reader.stack.append(reader.memo[index])


def _memo_by(form, action):
    width, unpack = form.size, form.unpack_from

    def use(reader, at):
        action(reader, unpack(reader.data, at)[0])
        return at + width
    return use


def _memo_by_line(action):
    def use(reader, at):
        text = reader.line(at, reader.limits.digits)
        action(reader, _decimal(text))
        return at + len(text) + 1
    return use


def _memoize(reader, at):
    memo = reader.memo
    memo[len(memo)] = reader.stack[-1]
    return at


# containers

def _empty_tuple(reader, at):
    reader.stack.append(())
    return at


def _tuple_of(count):
    def push(reader, at):
        stack = reader.stack
        if len(stack) < count:
            raise ProtocolError('pickle: a tuple of %d without its items' % count)
        items = tuple(stack[-count:])
        reader.place(items, items)
        stack[-count:] = (items,)
        return at
    return push


def _tuple(reader, at):
    items = tuple(reader.pop_mark())
    reader.place(items, items)
    reader.stack.append(items)
    return at


def _empty_list(reader, at):
    reader.stack.append([])
    return at


def _list(reader, at):
    items = reader.pop_mark()
    reader.place(items, items)
    reader.stack.append(items)
    return at


def _append(reader, at):
    item = reader.stack.pop()
    reader.extend(reader.stack[-1], (item,))
    return at


def _appends(reader, at):
    items = reader.pop_mark()
    reader.extend(reader.stack[-1], items)
    return at


def _empty_set(reader, at):
    if 'set' not in reader.records and not reader.unknown:
        raise ProtocolError('pickle: a set is not accepted here')
    reader.stack.append(Set([]))
    return at


def _empty_dict(reader, at):
    reader.stack.append({})
    return at


def _dict(reader, at):
    items = reader.pop_mark()
    target = {}
    reader.add_pairs(target, items)
    reader.stack.append(target)
    return at


def _setitem(reader, at):
    value = reader.stack.pop()
    key = reader.stack.pop()
    reader.add_pairs(reader.stack[-1], (key, value))
    return at


def _setitems(reader, at):
    items = reader.pop_mark()
    reader.add_pairs(reader.stack[-1], items)
    return at


# objects

def _find(reader, module, name):
    found = GLOBALS.get((module, name))
    if found is None or not (found.kind in reader.records or found.kind in ALWAYS):
        found = reader.refused_or_unknown('global %s %s is not accepted here', _printable(module), _printable(name))
    reader.stack.append(found)


def _printable(text):
    return ''.join(str(letter) if ' ' < letter < '\x7f' else '?' for letter in text[:60])


def _global(reader, at):
    module = reader.line(at, reader.limits.line_size)
    at += len(module) + 1
    name = reader.line(at, reader.limits.line_size)
    _find(reader, _utf8(module), _utf8(name))
    return at + len(name) + 1


def _stack_global(reader, at):
    name = reader.stack.pop()
    module = reader.stack.pop()
    if type(name) is not text_type or type(module) is not text_type:
        raise ProtocolError('pickle: a global named by %s and %s' % (name_of(module), name_of(name)))
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
    reader.stack.append(made)
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
    if len(args) != 2 or type(args[0]) is not tuple or type(args[1]) is not dict or not 10 <= len(args[0]) <= 64:
        return None
    numbers, more = args
    return Record('stat', {'mode': numbers[0], 'size': numbers[6],
                           'atime': more.get('st_atime', numbers[7]), 'mtime': more.get('st_mtime', numbers[8])})


def _call_set(reader, args):
    if len(args) != 1 or type(args[0]) is not list:
        return None
    made = Set(args[0])
    reader.place(made, args)
    return made


def _call_encode(reader, args):
    if len(args) != 2 or type(args[0]) is not text_type or args[1] not in (u'latin1', b'latin1'):
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


OPCODES = {
    0x80: _proto, 0x95: _frame, 0x2e: _stop,
    0x4e: _constant(None), 0x88: _constant(True), 0x89: _constant(False),
    0x49: _int, 0x4a: _fixed(_INT4), 0x4b: _fixed(_SIZE1), 0x4d: _fixed(_SIZE2), 0x4c: _long,
    0x8a: _sized(_SIZE1, _integer), 0x8b: _sized(_SIZE4, _integer), 0x46: _float, 0x47: _fixed(_FLOAT),
    0x53: _string, 0x55: _sized(_SIZE1, _byte_string), 0x54: _sized(_SIZE4, _byte_string),
    0x56: _unicode, 0x8c: _sized(_SIZE1, _text), 0x58: _sized(_SIZE4, _text), 0x8d: _sized(_SIZE8, _text),
    0x43: _sized(_SIZE1, _bytes), 0x42: _sized(_SIZE4, _bytes), 0x8e: _sized(_SIZE8, _bytes),
    0x28: _mark, 0x30: _pop, 0x31: _pop_mark, 0x94: _memoize,
    0x70: _memo_by_line(_put), 0x71: _memo_by(_SIZE1, _put), 0x72: _memo_by(_SIZE4, _put),
    0x67: _memo_by_line(_get), 0x68: _memo_by(_SIZE1, _get), 0x6a: _memo_by(_SIZE4, _get),
    0x29: _empty_tuple, 0x85: _tuple_of(1), 0x86: _tuple_of(2), 0x87: _tuple_of(3), 0x74: _tuple,
    0x5d: _empty_list, 0x6c: _list, 0x61: _append, 0x65: _appends, 0x8f: _empty_set, 0x90: _appends,
    0x7d: _empty_dict, 0x64: _dict, 0x73: _setitem, 0x75: _setitems,
    0x63: _global, 0x93: _stack_global, 0x81: _newobj, 0x62: _build, 0x52: _reduce,
}
USER_OPCODES = {
    0x32: _dup, 0x91: _unknown_of_mark, 0x6f: _unknown_of_mark, 0x69: _inst, 0x92: _newobj_ex,
    0x96: _sized(_SIZE8, _unknown_bytes), 0x82: _extension(1), 0x83: _extension(2), 0x84: _extension(4),
}


def table(opcodes):
    """Return what to index with an element of the data (an int, on Python 2 a letter) to get its function."""
    functions = [opcodes.get(code, _refused) for code in range(256)]
    return dict((chr(code), functions[code]) for code in range(256)) if PY2 else functions


STRICT = table(OPCODES)
LENIENT = table(dict(list(OPCODES.items()) + list(USER_OPCODES.items())))
