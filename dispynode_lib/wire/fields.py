"""Checks of single fields of messages; ProtocolError names the field."""
from __future__ import absolute_import, division, print_function

from dispynode_lib.errors import ProtocolError
from dispynode_lib.host.compat import integer_types, text_type
from dispynode_lib.wire.pickle.records import Record, Set, name_of

REQUIRED = object()

TEXT_LIMIT = 4096                   # characters of names, paths and addresses
WORD_LIMIT = 128                    # characters of signs, hashes and passwords of computations
ID_LIMIT = 2 ** 64
PORT_LIMIT = 2 ** 16

_WORD = u'0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-'
_ADDRESS = _WORD + u'.:%'


class Fields(object):
    """The fields of one message, and the checks by which they are read."""

    __slots__ = ('message', 'values', 'python2', 'protocol')

    def __init__(self, message, values, form):
        """`message`: its name, for errors; `values`: dict; `form`: the Form of its pickle."""
        self.message = message
        self.values = values
        self.python2 = form.python2
        self.protocol = form.protocol

    def fault(self, key, what):
        """Return the ProtocolError to raise."""
        return ProtocolError('%s: field %s is %s' % (self.message, key, what))

    def unexpected(self, key, value, wanted):
        """Return the ProtocolError for a value of another type."""
        return self.fault(
            key, 'missing' if value is REQUIRED else '%s, expected %s' % (name_of(value), wanted))

    def get(self, key, default=REQUIRED):
        """Return the value of a field, or `default`; REQUIRED if there is neither."""
        return self.values.get(key, default)

    def integer(self, key, low=0, high=ID_LIMIT, default=REQUIRED):
        """Return an int from `low` to below `high`; `default` as it is if there is none."""
        value = self.values.get(key, default)
        if type(value) not in integer_types:
            if value is default and value is not REQUIRED:
                return value
            raise self.unexpected(key, value, 'an integer')
        if not low <= value < high:
            raise self.fault(key, 'out of range')
        return value

    def port(self, key):
        """Return a TCP or UDP port."""
        return self.integer(key, 1, PORT_LIMIT)

    def text(self, key, default=REQUIRED, limit=TEXT_LIMIT):
        """Return a text without NUL; `default` as it is if the field is missing or None."""
        value = self.values.get(key, default)
        if type(value) is not text_type:
            if value is default and value is not REQUIRED:
                return value
            value = self._other_text(key, value, default)
        if value and (u'\0' in value or limit is not None and len(value) > limit):
            raise self.fault(key, 'too long or holds a NUL')
        return value

    def _other_text(self, key, value, default):
        if value is None and default is not REQUIRED:
            return default
        if type(value) is bytes and self.python2:
            return decoded(value)
        raise self.unexpected(key, value, 'a text')

    def code(self, key, default=REQUIRED):
        """Return source text of any length that can be written as UTF-8."""
        return self.name(key, default, None)

    def word(self, key, default=REQUIRED):
        """Return a text of ASCII letters, digits, '-' and '_'."""
        value = self.text(key, default, WORD_LIMIT)
        if value and value.strip(_WORD):
            raise self.fault(key, 'of unexpected letters')
        return value

    def word_of_release(self, key):
        """Return the text of a release."""
        value = self.text(key, limit=WORD_LIMIT)
        if value.strip(_WORD + u'.+'):
            raise self.fault(key, 'no release')
        return value

    def name(self, key, default=REQUIRED, limit=TEXT_LIMIT):
        """Return a function's name: a text without lone surrogates, which UTF-8 cannot hold."""
        value = self.text(key, default, limit)
        try:
            if value:
                value.encode('utf-8')
        except UnicodeError:
            raise self.fault(key, 'no valid text')
        return value

    def address(self, key, default=REQUIRED):
        """Return a host name or address."""
        value = self.text(key, default, 255)
        if value and (value.strip(_ADDRESS) or u'..' in value):
            raise self.fault(key, 'no address')
        return value

    def truth(self, key, default):
        """Return a truth value; 0, 1 and None will do."""
        value = self.values.get(key, default)
        if value is not None and type(value) is not bool and not (
                type(value) in integer_types and value in (0, 1)):
            raise self.unexpected(key, value, 'a truth value')
        return bool(value)

    def binary(self, key, default=REQUIRED):
        """Return bytes."""
        value = self.values.get(key, default)
        if type(value) is not bytes:
            raise self.unexpected(key, value, 'bytes')
        return value

    def number(self, key, low, high, default=REQUIRED):
        """Return a number from `low` to `high` as a float; `default` if missing or None."""
        value = self.values.get(key, default)
        if value is default and value is not REQUIRED or value is None and default is not REQUIRED:
            return default
        if type(value) is not float and type(value) not in integer_types:
            raise self.unexpected(key, value, 'a number')
        if not low <= value <= high:                # a NaN neither
            raise self.fault(key, 'out of range')
        return float(value)

    def sequence(self, key):
        """Return the items of a list, tuple or set as a list or tuple."""
        value = self.values.get(key, REQUIRED)
        if type(value) is Set:
            return value.items
        if type(value) is not list and type(value) is not tuple:
            raise self.unexpected(key, value, 'a list')
        return value


def decoded(raw):
    """Return the text that a Python 2 peer meant with a byte string."""
    try:
        return raw.decode('utf-8')
    except UnicodeError:
        return raw.decode('latin-1')


def fields_of(message, value, kind, form):
    """Return Fields of a Record that must be of `kind`; `kind` None: of a dict."""
    if kind is None:
        if type(value) is not dict:
            raise ProtocolError('%s: argument is %s, expected a dict' % (message, name_of(value)))
        return Fields(message, value, form)
    if type(value) is not Record or value.kind != kind or value.fields is None:
        raise ProtocolError(
            '%s: argument is %s, expected a %s object' % (message, name_of(value), kind))
    return Fields(message, value.fields, form)
