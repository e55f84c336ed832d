"""Pickles as dispy peers write them, written and read without the pickle module.

The tests need both spellings (Python 2 and Python 3 peers) on every Python, and must not
depend on the code they test.
"""
from __future__ import absolute_import, division, print_function

import struct

TEXT = type(u'')
NUMBERS = (int, type(1 << 70))


class Binary(bytes):
    """Bytes that are no text (on Python 2 a plain str counts as text)."""


class Record(object):
    """An instance of a class of the module dispy, or of any other class that was read."""

    def __init__(self, kind, **fields):
        self.kind = kind
        self.__dict__.update(fields)

    def fields(self):
        """Return the attributes as a dict."""
        return dict((key, value) for key, value in self.__dict__.items() if key != 'kind')

    def __repr__(self):
        return '<%s %r>' % (self.kind, self.fields())


class Call(object):
    """A value made by calling a global: `how` is b'R' (REDUCE) or NEWOBJ's b'\\x81'."""

    def __init__(self, module, name, args, how=b'R'):
        self.module, self.name, self.args, self.how = module, name, args, how


class Form(object):
    """How a peer writes: python2 (bool) and pickle protocol (int)."""

    def __init__(self, python2=False, protocol=3, module='dispy'):
        self.python2 = python2
        self.protocol = 2 if python2 else protocol
        self.module = module

    def dumps(self, value):
        """Return `value` as this peer pickles it."""
        pieces = [b'\x80', struct.pack('<B', self.protocol)]
        body = []
        self._write(value, body.append)
        body = b''.join(body) + b'.'
        if self.protocol >= 4:
            pieces.append(b'\x95' + struct.pack('<Q', len(body)))
        pieces.append(body)
        return b''.join(pieces)

    def _write(self, value, put):
        if value is None:
            put(b'N')
        elif value is True or value is False:
            put(b'\x88' if value else b'\x89')
        elif isinstance(value, NUMBERS):
            put(self._integer(value))
        elif isinstance(value, float):
            put(b'G' + struct.pack('>d', value))
        elif isinstance(value, (bytes, bytearray, TEXT)):
            put(self._string(value))
        elif isinstance(value, Record):
            put(self._global(self.module, value.kind) + b')\x81')
            self._write(value.fields(), put)
            put(b'b')
        elif isinstance(value, Call):
            put(self._global(value.module, value.name))
            self._write(value.args, put)
            put(value.how)
        else:
            self._container(value, put)

    def _container(self, value, put):
        if isinstance(value, dict):
            items = [part for item in value.items() for part in item]
            begin, end = b'}(', b'u'
        elif isinstance(value, tuple):
            items = value
            begin, end = (b'(', b't') if value else (b')', b'')
        elif isinstance(value, list):
            items = value
            begin, end = b'](', b'e'
        elif isinstance(value, (set, frozenset)):
            if self.protocol < 4:
                module = '__builtin__' if self.python2 else 'builtins'
                return self._write(Call(module, 'set', (sorted(value, key=repr),)), put)
            items = value
            begin, end = b'\x8f(', b'\x90'
        else:
            raise TypeError('no way to write %r' % (value,))
        put(begin)
        for item in items:
            self._write(item, put)
        put(end)

    def _integer(self, value):
        if 0 <= value < 256:
            return b'K' + struct.pack('<B', value)
        if 0 <= value < 65536:
            return b'M' + struct.pack('<H', value)
        if -(1 << 31) <= value < 1 << 31:
            return b'J' + struct.pack('<i', value)
        if self.python2 and -(1 << 63) <= value < 1 << 63:
            return ('I%d\n' % value).encode('ascii')
        size = value.bit_length() // 8 + 1
        digits = '%0*x' % (size * 2, value % (1 << (8 * size)))
        return b'\x8a' + struct.pack('<B', size) + bytes(bytearray.fromhex(digits))[::-1]

    def _string(self, value):
        if self.python2:
            if isinstance(value, TEXT):
                value = value.encode('utf-8')
            if len(value) < 256:
                return b'U' + struct.pack('<B', len(value)) + bytes(value)
            return b'T' + struct.pack('<i', len(value)) + bytes(value)
        if isinstance(value, TEXT) or (bytes is str and not isinstance(value, Binary)):
            data = value.encode('utf-8') if isinstance(value, TEXT) else value
            if self.protocol >= 4 and len(data) < 256:
                return b'\x8c' + struct.pack('<B', len(data)) + data
            return b'X' + struct.pack('<I', len(data)) + data
        if len(value) < 256:
            return b'C' + struct.pack('<B', len(value)) + bytes(value)
        return b'B' + struct.pack('<I', len(value)) + bytes(value)

    def _global(self, module, name):
        if self.protocol >= 4:
            return self._string(TEXT(module)) + self._string(TEXT(name)) + b'\x93'
        return ('c%s\n%s\n' % (module, name)).encode('ascii')


class Global(object):
    """A global found in a pickle; nothing is imported."""

    def __init__(self, module, name):
        self.module, self.name = module, name

    def make(self, args):
        """Return what stands for an instance: a Record with the arguments as `args`."""
        if self.name == 'set':
            return set(args[0])
        return Record(self.name, args=args) if args else Record(self.name)


class Reader(object):
    """Reads one pickle; afterwards `protocol` and `opcodes` (a set) tell how it was written."""

    def __init__(self, data, text_strings=True):
        """`text_strings`: give Python 2 strings as text where they are UTF-8."""
        self.data = bytes(data)
        self.at = 0
        self.protocol = 0
        self.opcodes = set()
        self.text_strings = text_strings
        self.stack, self.marks, self.memo = [], [], {}

    def take(self, count):
        """Return the next `count` bytes."""
        piece = self.data[self.at:self.at + count]
        if len(piece) != count:
            raise ValueError('the pickle ends early: %r' % self.data[-60:])
        self.at += count
        return piece

    def number(self, form):
        """Return the next number of the struct form `form`."""
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self):
        """Return the text before the next line end."""
        end = self.data.index(b'\n', self.at)
        text = self.data[self.at:end].decode('ascii')
        self.at = end + 1
        return text

    def since_mark(self):
        """Take the values above the last MARK off the stack."""
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def load(self):
        """Return the value; ValueError if there is anything after it."""
        while True:
            opcode = self.take(1)
            self.opcodes.add(opcode)
            if opcode == b'.':
                break
            reader = READERS.get(opcode)
            if reader is None:
                raise ValueError('opcode %r at %d of %r' % (opcode, self.at - 1, self.data))
            reader(self)
        if self.at != len(self.data):
            raise ValueError('%d bytes after the pickle' % (len(self.data) - self.at))
        return self.stack.pop()

    def is_python2(self):
        """Tell whether every string was written as a Python 2 byte string."""
        text_or_bytes = set([b'X', b'\x8c', b'\x8d', b'C', b'B', b'\x8e'])
        return self.protocol <= 2 and not self.opcodes & text_or_bytes

    def _old_string(self, size):
        value = self.take(size)
        if self.text_strings:
            try:
                value = str(value.decode('utf-8'))
            except ValueError:
                pass
        self.stack.append(value)

    def _text(self, size):
        text = self.take(size).decode('utf-8')
        try:
            text = str(text)
        except ValueError:          # Python 2, not ASCII
            pass
        self.stack.append(text)

    def _bytes(self, size):
        self.stack.append(self.take(size))

    def _proto(self):
        self.protocol = self.number('<B')

    def _mark(self):
        self.marks.append(len(self.stack))

    def _integer_line(self):
        text = self.line()
        self.stack.append({'00': False, '01': True}[text] if text in ('00', '01') else int(text))

    def _long(self):
        data = self.take(self.number('<B'))
        value = 0
        for byte in reversed(bytearray(data)):
            value = value << 8 | byte
        if data and bytearray(data)[-1] & 128:
            value -= 1 << (8 * len(data))
        self.stack.append(value)

    def _tuple(self, count):
        values = self.stack[len(self.stack) - count:]
        del self.stack[len(self.stack) - count:]
        self.stack.append(tuple(values))

    def _set_items(self):
        values = self.since_mark()
        self.stack[-1].update(zip(values[::2], values[1::2]))

    def _set_item(self):
        value = self.stack.pop()
        key = self.stack.pop()
        self.stack[-1][key] = value

    def _append(self):
        value = self.stack.pop()
        self.stack[-1].append(value)

    def _stack_global(self):
        name = self.stack.pop()
        self.stack.append(Global(self.stack.pop(), name))

    def _call(self):
        args = self.stack.pop()
        self.stack.append(self.stack.pop().make(args))

    def _build(self):
        state = self.stack.pop()
        self.stack[-1].__dict__.update(state)

    def _remember(self, index):
        self.memo[index] = self.stack[-1]


READERS = {
    b'\x80': Reader._proto,
    b'\x95': lambda r: r.take(8),
    b'(': Reader._mark,
    b'N': lambda r: r.stack.append(None),
    b'\x88': lambda r: r.stack.append(True),
    b'\x89': lambda r: r.stack.append(False),
    b'I': Reader._integer_line,
    b'K': lambda r: r.stack.append(r.number('<B')),
    b'M': lambda r: r.stack.append(r.number('<H')),
    b'J': lambda r: r.stack.append(r.number('<i')),
    b'\x8a': Reader._long,
    b'G': lambda r: r.stack.append(r.number('>d')),
    b'U': lambda r: r._old_string(r.number('<B')),
    b'T': lambda r: r._old_string(r.number('<i')),
    b'X': lambda r: r._text(r.number('<I')),
    b'\x8c': lambda r: r._text(r.number('<B')),
    b'\x8d': lambda r: r._text(r.number('<Q')),
    b'C': lambda r: r._bytes(r.number('<B')),
    b'B': lambda r: r._bytes(r.number('<I')),
    b'\x8e': lambda r: r._bytes(r.number('<Q')),
    b')': lambda r: r.stack.append(()),
    b't': lambda r: r.stack.append(tuple(r.since_mark())),
    b'\x85': lambda r: r._tuple(1),
    b'\x86': lambda r: r._tuple(2),
    b'\x87': lambda r: r._tuple(3),
    b']': lambda r: r.stack.append([]),
    b'a': Reader._append,
    b'e': lambda r: (lambda values: r.stack[-1].extend(values))(r.since_mark()),
    b'}': lambda r: r.stack.append({}),
    b's': Reader._set_item,
    b'u': Reader._set_items,
    b'\x8f': lambda r: r.stack.append(set()),
    b'\x90': lambda r: (lambda values: r.stack[-1].update(values))(r.since_mark()),
    b'c': lambda r: r.stack.append(Global(r.line(), r.line())),
    b'\x93': Reader._stack_global,
    b'R': Reader._call,
    b'\x81': Reader._call,
    b'b': Reader._build,
    b'q': lambda r: r._remember(r.number('<B')),
    b'r': lambda r: r._remember(r.number('<I')),
    b'\x94': lambda r: r._remember(len(r.memo)),
    b'h': lambda r: r.stack.append(r.memo[r.number('<B')]),
    b'j': lambda r: r.stack.append(r.memo[r.number('<I')]),
}


def loads(data):
    """Return the value of a pickle of plain values and Records."""
    return Reader(data).load()
