"""Opcodes of plain values in a pickle: one small function for each.

A function is called with the Reader and the position after the opcode, changes the stack, and
returns the position of the next opcode, FINISHED after the last. Nothing recurses; each step costs
at most what the opcode itself and the items it takes off the stack cost. Source: docs/protocol.rst,
"Opcodes to support".
"""
from __future__ import absolute_import, division, print_function

import struct
from _codecs import escape_decode, raw_unicode_escape_decode

from dispynode_lib.errors import ProtocolError
from dispynode_lib.host.compat import PY2
from dispynode_lib.wire.pickle.records import Set

HIGHEST_PROTOCOL = 5
FINISHED = -1

SIZE1 = struct.Struct('<B')
SIZE2 = struct.Struct('<H')
SIZE4 = struct.Struct('<L')
SIZE8 = struct.Struct('<Q')
INT4 = struct.Struct('<i')
FLOAT = struct.Struct('>d')


def _proto(reader, at):
    protocol = SIZE1.unpack_from(reader.data, at)[0]
    if protocol > HIGHEST_PROTOCOL:
        raise ProtocolError('pickle: protocol %d is unknown' % protocol)
    reader.protocol = max(protocol, reader.protocol)
    return at + 1


def _frame(_reader, at):
    return at + 8


def _stop(reader, at):
    if reader.marks or len(reader.stack) != 1:
        raise ProtocolError('pickle: %d objects at its end' % len(reader.stack))
    if at != reader.size:
        raise ProtocolError('pickle: %d bytes after its end' % (reader.size - at))
    return FINISHED


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
        value = int(raw.encode('hex'), 16)
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

def sized(form, make):
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
    return utf8(reader.take(at, size))


if PY2:
    def utf8(raw):
        return bytes(raw).decode('utf-8')           # Python 2 lets lone surrogates pass by itself
else:
    def utf8(raw):
        return str(raw, 'utf-8', 'surrogatepass')   # names of files may hold lone surrogates


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
    if len(reader.marks) >= reader.limits.marks:
        raise ProtocolError('pickle: nested deeper than %d' % reader.limits.depth)
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


def _put(reader, index):
    if not 0 <= index <= reader.size:
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

def _tuple_of(count):
    def push(reader, at):
        stack = reader.stack
        if len(stack) < count:
            raise ProtocolError('pickle: a tuple of %d without its items' % count)
        items = tuple(stack[-count:])
        reader.place(items, items)
        del stack[-count:]
        reader.made(items)
        return at
    return push


def _all_of_mark(kind):
    def push(reader, at):
        items = kind(reader.pop_mark())
        reader.place(items, items)
        reader.made(items)
        return at
    return push


def _empty_list(reader, at):
    reader.made([])
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
    reader.made(Set([]))
    return at


def _empty_dict(reader, at):
    reader.made({})
    return at


def _dict(reader, at):
    items = reader.pop_mark()
    target = {}
    reader.add_pairs(target, items)
    reader.made(target)
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


OPCODES = {
    0x80: _proto, 0x95: _frame, 0x2e: _stop,
    0x4e: _constant(None), 0x88: _constant(True), 0x89: _constant(False),
    0x49: _int, 0x4a: _fixed(INT4), 0x4b: _fixed(SIZE1), 0x4d: _fixed(SIZE2), 0x4c: _long,
    0x8a: sized(SIZE1, _integer), 0x8b: sized(SIZE4, _integer), 0x46: _float, 0x47: _fixed(FLOAT),
    0x53: _string, 0x55: sized(SIZE1, _byte_string), 0x54: sized(SIZE4, _byte_string),
    0x56: _unicode, 0x58: sized(SIZE4, _text), 0x8d: sized(SIZE8, _text),
    0x8c: sized(SIZE1, _text), 0x43: sized(SIZE1, _bytes), 0x42: sized(SIZE4, _bytes),
    0x8e: sized(SIZE8, _bytes),
    0x28: _mark, 0x30: _pop, 0x31: _pop_mark, 0x94: _memoize,
    0x70: _memo_by_line(_put), 0x71: _memo_by(SIZE1, _put), 0x72: _memo_by(SIZE4, _put),
    0x67: _memo_by_line(_get), 0x68: _memo_by(SIZE1, _get), 0x6a: _memo_by(SIZE4, _get),
    0x29: _constant(()), 0x85: _tuple_of(1), 0x86: _tuple_of(2), 0x87: _tuple_of(3),
    0x74: _all_of_mark(tuple), 0x5d: _empty_list, 0x6c: _all_of_mark(list), 0x61: _append,
    0x65: _appends, 0x8f: _empty_set, 0x90: _appends,
    0x7d: _empty_dict, 0x64: _dict, 0x73: _setitem, 0x75: _setitems,
}
