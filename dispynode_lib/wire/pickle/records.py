"""What pickles of peers are made of, besides plain values."""
from __future__ import absolute_import, division, print_function

from dispynode_lib.host.compat import integer_types, text_type

MODULES = ('dispy', '__main__')         # a dispy.py run as a command calls its classes __main__ X
CLASSES = ('_Compute', '_XferFile', '_Function', '_DispyJob_', '_JobReply', 'DispyNodeAvailInfo')
ALWAYS = ('encode', 'bytes')            # how protocol 2 of Python 3 spells bytes; harmless


class Limits(object):
    """What a pickle may hold at most."""

    __slots__ = ('opcodes', 'depth', 'keys', 'containers', 'marks', 'digits', 'integer_size',
                 'line_size')

    def __init__(self, opcodes=1000000, depth=64, keys=1000, containers=400000):
        """Set the limits.

        opcodes         number of opcodes; a message with 10,000 files has about 600,000
        depth           containers inside each other
        keys            of a dict: somebody could choose them so that each is slow to find
        containers      lists, tuples, dicts and objects: a byte of a pickle makes one that takes a
                        hundred
        """
        self.opcodes = opcodes
        self.depth = depth
        self.keys = keys
        self.containers = containers
        self.marks = 2 * depth      # open at once: each has its container
        self.digits = 32            # characters of a decimal number
        self.integer_size = 16      # bytes of a binary integer
        self.line_size = 255        # bytes of a line that names a module or a class


class Form(object):
    """How a pickle was written: by Python 2 (it holds byte strings), and in which protocol."""

    __slots__ = ('python2', 'protocol')

    def __init__(self, python2, protocol):
        self.python2 = python2
        self.protocol = protocol


class Record(object):
    """An object of a dispy class, or 'stat': its kind and a dict of fields."""

    __slots__ = ('kind', 'fields')

    def __init__(self, kind, fields):
        self.kind = kind
        self.fields = fields


class Set(object):
    """A set; its members are a list, because nobody needs to compare them."""

    __slots__ = ('items',)

    def __init__(self, items):
        self.items = items


class Unknown(object):
    """Placeholder for an object that the reader does not know; UNKNOWN is the usual one."""

    __slots__ = ()


UNKNOWN = Unknown()


class Global(object):
    """A class or function that a pickle may name."""

    __slots__ = ('kind',)

    def __init__(self, kind):
        self.kind = kind


GLOBALS = dict(((module, name), Global(name)) for module in MODULES for name in CLASSES)
GLOBALS['_codecs', 'encode'] = Global('encode')
GLOBALS['os', 'stat_result'] = GLOBALS['os', '_make_stat_result'] = Global('stat')
GLOBALS['__builtin__', 'set'] = GLOBALS['builtins', 'set'] = Global('set')
GLOBALS['__builtin__', 'bytes'] = GLOBALS['builtins', 'bytes'] = Global('bytes')

CONTAINERS = frozenset((list, tuple, dict, Set, Record))

_NAMES = {dict: 'a dict', list: 'a list', tuple: 'a tuple', Set: 'a set', bytes: 'bytes',
          text_type: 'a text', bool: 'a truth value', float: 'a float', type(None): 'None',
          Unknown: 'an unknown object', Global: 'a class'}
for _type in integer_types:
    _NAMES[_type] = 'an integer'


def name_of(value):
    """Return the type of `value` as a message names it: 'a text', 'an integer'."""
    if type(value) is Record:
        return 'a %s object' % value.kind
    return _NAMES.get(type(value), 'an object')
