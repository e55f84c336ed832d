"""Pickles of Python 3 clients on Python 2: text is text and bytes are bytes on both sides."""
from __future__ import absolute_import, division, print_function

import io
import pickle
import struct
import sys
import types

NEWEST = 5
TEXT = type(u'')

# Python 3's name of a module or class -> Python 2's; the rest have the same
MODULES = {'builtins': '__builtin__', 'copyreg': 'copy_reg', 'queue': 'Queue', '_io': 'io',
           '_thread': 'thread'}
NAMES = {'str': 'unicode', 'bytes': 'str', 'range': 'xrange'}

# what classes of these modules are made from are names and numbers written as text
TEXT_MODULES = ('decimal', 'fractions', 'array', 'uuid', '__builtin__', 'exceptions')


class NotHere(ImportError):
    """The pickle needs what Python 2 does not have; the text is for the job's author."""


class Loader(pickle.Unpickler):
    """The standard library's reader with the opcodes of protocols 3 to 5."""

    dispatch = dict(pickle.Unpickler.dispatch)
    find_stand_in = None

    def __init__(self, data):
        self._stream = io.BytesIO(data)
        pickle.Unpickler.__init__(self, self._stream)

    def find_class(self, module, name):
        """Return the class or function that a pickle names."""
        found = self.find_stand_in(module, name) if self.find_stand_in else None
        if found is not None:
            return found
        here = MODULES.get(module, module)
        try:
            __import__(here)
            return getattr(sys.modules[here],
                           NAMES.get(name, name) if module == 'builtins' else name)
        except (ImportError, AttributeError):
            raise NotHere(
                'it needs "%s" of the module "%s", which the Python %s of this node does not have; '
                'the client runs Python 3' % (name, module, sys.version.split()[0]))

    def _take(self, form):
        return struct.unpack(form, self.read(struct.calcsize(form)))[0]

    def load_proto(self):
        """PROTO: everything up to protocol 5 can be read."""
        proto = ord(self.read(1))
        if proto > NEWEST:
            raise NotHere('the pickle has protocol %d; this node reads up to %d' % (proto, NEWEST))

    def load_frame(self):
        """FRAME: says nothing that matters here."""
        self.read(8)

    def load_short_binbytes(self):
        self.append(self.read(self._take('<B')))

    def load_binbytes(self):
        self.append(self.read(self._take('<L')))

    def load_binbytes8(self):
        self.append(self.read(self._take('<Q')))

    def load_short_binunicode(self):
        self.append(self.read(self._take('<B')).decode('utf-8'))

    def load_binunicode8(self):
        self.append(self.read(self._take('<Q')).decode('utf-8'))

    def load_bytearray8(self):
        self.append(bytearray(self.read(self._take('<Q'))))

    def load_buffer(self):
        """NEXT_BUFFER: data outside of the pickle, which dispy never sends."""
        raise NotHere('the pickle refers to a buffer outside of it')

    def load_readonly_buffer(self):
        """READONLY_BUFFER: what is on the stack will do."""

    def load_empty_set(self):
        self.append(set())

    def load_additems(self):
        mark = self.marker()
        self.stack[mark - 1].update(self.stack[mark + 1:])
        del self.stack[mark:]

    def load_frozenset(self):
        mark = self.marker()
        self.stack[mark:] = [frozenset(self.stack[mark + 1:])]

    def load_memoize(self):
        self.memo[repr(len(self.memo))] = self.stack[-1]

    def load_stack_global(self):
        name, module = self.stack.pop(), self.stack.pop()
        self.append(self.find_class(str(module), str(name)))

    def load_newobj(self):
        """NEWOBJ: the class may be of the old kind here, if the source says so."""
        args = self.stack.pop()
        self.stack[-1] = _new(self.stack[-1], args, {})

    def load_newobj_ex(self):
        kwargs, args = self.stack.pop(), self.stack.pop()
        self.stack[-1] = _new(self.stack[-1], args, _native_keys(kwargs))

    def load_build(self):
        """BUILD: names of attributes are native strings here."""
        state = self.stack[-1]
        if isinstance(state, tuple) and len(state) == 2:
            state = tuple(_native_keys(part) for part in state)
        self.stack[-1] = _native_keys(state)
        pickle.Unpickler.load_build(self)


for _number, _function in ((0x80, Loader.load_proto), (0x42, Loader.load_binbytes),
                           (0x43, Loader.load_short_binbytes), (0x8c, Loader.load_short_binunicode),
                           (0x8d, Loader.load_binunicode8), (0x8e, Loader.load_binbytes8),
                           (0x8f, Loader.load_empty_set), (0x90, Loader.load_additems),
                           (0x91, Loader.load_frozenset), (0x81, Loader.load_newobj),
                           (0x92, Loader.load_newobj_ex), (0x93, Loader.load_stack_global),
                           (0x94, Loader.load_memoize), (0x95, Loader.load_frame),
                           (0x96, Loader.load_bytearray8), (0x97, Loader.load_buffer),
                           (0x98, Loader.load_readonly_buffer), (0x62, Loader.load_build)):
    Loader.dispatch[struct.pack('B', _number)] = getattr(_function, '__func__', _function)


def _new(kind, args, kwargs):
    if isinstance(kind, getattr(types, 'ClassType', ())) and not args:
        return types.InstanceType(kind)
    return kind.__new__(kind, *args, **kwargs)


def _native_keys(state):
    if not isinstance(state, dict) or all(isinstance(key, str) for key in state):
        return state
    return dict((key.encode('utf-8') if isinstance(key, TEXT) else key, value)
                for key, value in state.items())


def load(data, find_stand_in=None):
    """Return the object in a pickle of a Python 3 client; see pickling.unpickle()."""
    loader = Loader(data)
    loader.find_stand_in = find_stand_in
    return loader.load()


class Writer(pickle.Pickler):
    """Writes what Python 3 reads as intended: protocol 2, with opcodes for bytes."""

    dispatch = dict(pickle.Pickler.dispatch)

    def save_str(self, value):
        """A `str` holds bytes."""
        if len(value) < 256:
            self.write(b'C' + struct.pack('<B', len(value)) + value)
        else:
            self.write(b'B' + struct.pack('<L', len(value)) + value)
        self.memoize(value)
    dispatch[str] = save_str

    def save_inst(self, value):
        """An instance of an old class: as of a new one, names of attributes as text."""
        if hasattr(value, '__getstate__') or hasattr(value, '__getinitargs__'):
            return pickle.Pickler.save_inst(self, value)
        self.save(value.__class__)
        self.write(pickle.EMPTY_TUPLE + pickle.NEWOBJ)
        self.memoize(value)
        self.save(_text_keys(value.__dict__))
        self.write(pickle.BUILD)
    dispatch[getattr(types, 'InstanceType', None)] = save_inst

    def save_reduce(self, func, args, state=None, listitems=None, dictitems=None, obj=None):
        """An object: names of attributes are text, and so is what makes numbers and the like."""
        if func is bytearray:
            args = (str(obj),)
        elif getattr(func, '__module__', None) in TEXT_MODULES:
            args = tuple(_as_text(arg) for arg in args)
        # __newobj__ and its like
        elif args and getattr(args[0], '__module__', None) in TEXT_MODULES:
            args = args[:1] + tuple(_as_text(arg) for arg in args[1:])
        if isinstance(state, tuple) and len(state) == 2:
            state = tuple(_text_keys(part) for part in state)
        return pickle.Pickler.save_reduce(self, func, args, _text_keys(state), listitems, dictitems,
                                          obj)


def _as_text(value):
    is_plain = type(value) is str and all(letter < '\x80' for letter in value)
    return value.decode('ascii') if is_plain else value


def _text_keys(state):
    if not isinstance(state, dict):
        return state
    return dict((key.decode('utf-8') if isinstance(key, str) else key, value)
                for key, value in state.items())


def dump(value):
    """Return the pickle of `value` for a Python 3 client. Raises whatever its classes raise."""
    target = io.BytesIO()
    Writer(target, 2).dump(value)
    return target.getvalue()
