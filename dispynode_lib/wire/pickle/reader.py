"""The state of reading one pickle, and the rules that keep its cost within that of its size."""
from __future__ import absolute_import, division, print_function

from dispynode_lib.errors import ProtocolError
from dispynode_lib.host.compat import PY2, text_type
from dispynode_lib.wire.pickle.records import CONTAINERS, UNKNOWN, Set, Unknown, name_of


class Reader(object):
    """The state of reading one pickle."""

    __slots__ = ('data', 'size', 'stack', 'marks', 'memo', 'records', 'unknown', 'limits',
                 'python2', 'protocol', 'depths', 'placed', 'to_encode', 'containers')

    def __init__(self, data, records, unknown, limits):
        """Take the bytes or view `data`, and what `pickles.load` was told to accept."""
        self.data = _sliceable(data)
        self.size = len(data)
        self.stack = []
        self.marks = []             # stacks below each open MARK
        self.memo = {}
        self.records = records
        self.unknown = unknown
        self.limits = limits
        self.python2 = False
        self.protocol = 0
        self.depths = {}            # id of a container that holds containers: its depth, and itself
        self.placed = {}            # containers that lie in another one, by id: they are complete
        self.containers = 0         # made so far
        self.to_encode = self.size  # characters that `_codecs encode` may still turn into bytes

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

    def made(self, container):
        """Push a new container on the stack."""
        self.containers += 1
        if self.containers > self.limits.containers:
            raise ProtocolError(
                'pickle: more than %d lists, tuples, dicts and objects' % self.limits.containers)
        self.stack.append(container)

    def refused_or_unknown(self, text, *args):
        """Return UNKNOWN for what is not accepted, if allowed, else raise ProtocolError."""
        if self.unknown:
            return UNKNOWN
        raise ProtocolError('pickle: ' + text % args)

    def place(self, parent, items):
        """Check the nesting depth of `items` as they are put into container `parent`."""
        depth = 0
        for item in items:
            if type(item) in CONTAINERS:
                self.placed[id(item)] = item            # kept, so that the id stays its own
                known = self.depths.get(id(item))
                depth = max(depth, known[0] if known else 1)
        if depth:
            self._deepen(parent, depth + 1)

    def _deepen(self, parent, depth):
        if depth > self.limits.depth:
            raise ProtocolError('pickle: nested deeper than %d' % self.limits.depth)
        known = self.depths.get(id(parent))
        if known is None or depth > known[0]:
            self.depths[id(parent)] = (depth, parent)
        self.check_open(parent)                         # it may have been put into itself

    def check_open(self, container):
        """Raise ProtocolError for a change of a nested container, which could make a cycle."""
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
        if len(target) > self.limits.keys:
            self.refused_or_unknown('a dict of %d keys', len(target))
            target.clear()

    def key(self, key):
        """Return the key to use for one that is not text: objects of peers are not hashed."""
        if type(key) is bytes:
            return key.decode('latin-1')
        if self.unknown:
            return Unknown()
        raise ProtocolError('pickle: %s as a key' % name_of(key))


if PY2:
    def _sliceable(data):
        """Return `data` as something whose slices are bytes."""
        return data if type(data) in (bytes, buffer) else bytes(bytearray(data))  # noqa: F821
else:
    def _sliceable(data):
        """Return `data` as it is: slices of bytes and of views will do."""
        return data
