"""Read pickles of peers without ever running or importing anything, and write plain ones.

The reader knows the opcodes and the few globals of docs/protocol.rst, "Serialization"; whatever
else a pickle holds is an error or, where a message may carry objects of users, UNKNOWN. Its work
and memory grow with the size of the input only, and it does not recurse.
"""
from __future__ import absolute_import, division, print_function

import struct
from itertools import repeat

from dispynode_lib.errors import ProtocolError
from dispynode_lib.host.compat import PY2, integer_types, text_type, to_text
from dispynode_lib.wire.pickle.objects import LENIENT, STRICT
from dispynode_lib.wire.pickle.opcodes import FLOAT, SIZE4
from dispynode_lib.wire.pickle.reader import Reader
from dispynode_lib.wire.pickle.records import Form, Limits, Record, Set

LIMITS = Limits()
USER_LIMITS = Limits(8000000, 1000, 1000, 800000)        # where objects of users may lie


def load(data, records=(), unknown=False, limits=None):
    """Return (value, Form) of the pickle in `data`.

    data        bytes, or a view (memoryview; on Python 2 buffer)
    records     kinds allowed: names of records.CLASSES, 'stat', 'set'
    unknown     True: objects outside the accepted set become UNKNOWN, and keys of dicts that are
                no strings an Unknown each
    limits      default LIMITS, or with `unknown` USER_LIMITS
    Strings of Python 2 peers stay bytes, except keys of dicts, which are always text; sets become
    Set, objects Record. Raises ProtocolError, with one line, for whatever is wrong.
    """
    reader = Reader(data, records, unknown, limits or (USER_LIMITS if unknown else LIMITS))
    data = reader.data
    functions = LENIENT if unknown else STRICT
    at = 0
    try:
        for _ in repeat(None, reader.limits.opcodes):
            at = functions[data[at]](reader, at + 1)
            if at < 0:
                return reader.stack[0], Form(reader.python2, reader.protocol)
    except (IndexError, struct.error):
        raise ProtocolError('pickle: it ends too early, or an opcode finds nothing to work on')
    except UnicodeError:
        raise ProtocolError('pickle: a text is not encoded as it should be')
    except ValueError:
        raise ProtocolError('pickle: a number or string is malformed')
    raise ProtocolError('pickle: more than %d opcodes' % reader.limits.opcodes)


def load_first(data, key):
    """Return (value of `key` if it is a pickled dict's first, the Form), or (None, None).

    For a SETUP with a huge second value: nothing behind the beginning is read.
    """
    reader = Reader(data, (), True, LIMITS)
    at = 0
    try:
        for _ in range(16):
            at = LENIENT[reader.data[at]](reader, at + 1)
            if at < 0:
                break
            stack = reader.stack
            if len(stack) == 3 and len(reader.marks) == 1:
                first = stack[0].decode('latin-1') if type(stack[0]) is bytes else stack[0]
                if first != key:
                    return None, None
                return stack[1], Form(reader.python2, reader.protocol)
    except (ProtocolError, IndexError, struct.error, ValueError):
        pass                                        # load() will tell what is wrong
    return None, None


def dump(value, python2):
    """Return the pickle (bytes) of a plain value of ours, without memo and frames.

    value       None, bool, int, float, text, bytes, list, tuple, dict with string keys, Set, Record
    python2     True for a Python 2 peer: every string is a byte string, text in UTF-8, and the
                protocol 2; else it is 3
    """
    out = [b'\x80\x02' if python2 else b'\x80\x03']
    _write(out.append, value, python2)
    out.append(b'.')
    return b''.join(out)


_BYTE = [struct.pack('B', _code) for _code in range(256)]


def integer(value):
    """Return the opcodes (bytes) for an int."""
    if 0 <= value < 0x100:
        return b'K' + _BYTE[value]
    if 0 <= value < 0x10000:
        return struct.pack('<cH', b'M', value)
    if -0x80000000 <= value < 0x80000000:
        return struct.pack('<ci', b'J', value)
    size = value.bit_length() // 8 + 1
    return b'\x8a' + _BYTE[size] + little_endian(value, size)


if PY2:
    def little_endian(value, size):
        """Return a signed integer in `size` bytes."""
        digits = '%0*x' % (2 * size, value & (1 << 8 * size) - 1)
        return digits.decode('hex')[::-1]
else:
    def little_endian(value, size):
        """Return a signed integer in `size` bytes."""
        return value.to_bytes(size, 'little', signed=True)


def binary_head(size, python2):
    """Return the opcode and length in front of a byte string of `size` bytes."""
    if size < 0x100:
        return (b'U' if python2 else b'C') + _BYTE[size]
    return (b'T' if python2 else b'B') + SIZE4.pack(size)


def binary(raw, python2):
    """Return the opcodes (bytes) for a byte string."""
    return binary_head(len(raw), python2) + raw


def text(value, python2):
    """Return the opcodes (bytes) for a text; to Python 2 it is a byte string."""
    raw = utf8(value)
    if python2:
        return binary_head(len(raw), True) + raw
    return b'X' + SIZE4.pack(len(raw)) + raw


def utf8(value):
    """Return text in UTF-8, lone surrogates as pickle writes them."""
    if PY2:
        return value.encode('utf-8')
    return value.encode('utf-8', 'surrogatepass')


def _write(put, value, python2):
    kind = type(value)
    if value is None:
        put(b'N')
    elif kind is bool:
        put(b'\x88' if value else b'\x89')
    elif kind in integer_types:
        put(integer(value))
    elif kind is float:
        put(b'G' + FLOAT.pack(value))
    elif kind is text_type:
        put(text(value, python2))
    elif kind is bytes:
        put(binary(value, python2))
    else:
        _write_container(put, kind, value, python2)


def _write_container(put, kind, value, python2):
    if kind is dict:
        put(b'}(')
        for key in value:
            put(text(to_text(key), python2))
            _write(put, value[key], python2)
        put(b'u')
    elif kind is tuple:
        put(b'(')
        _write_all(put, value, python2)
        put(b't')
    elif kind is list:
        put(b'](')
        _write_all(put, value, python2)
        put(b'e')
    elif kind is Set:
        put(b'c__builtin__\nset\n](' if python2 else b'cbuiltins\nset\n](')
        _write_all(put, value.items, python2)
        put(b'e\x85R')
    else:
        _write_record(put, value, python2)


def _write_all(put, values, python2):
    for value in values:
        _write(put, value, python2)


def _write_record(put, record, python2):
    if type(record) is not Record:
        raise TypeError('%r is no plain value' % (record,))
    fields = record.fields
    if record.kind == 'stat':
        put(b'cos\n_make_stat_result\n' if python2 else b'cos\nstat_result\n')
        numbers = [fields['mode'], 0, 0, 1, 0, 0, fields['size']]
        times = [fields['atime'], fields['mtime'], fields['mtime']]
        _write(put, tuple(numbers + [int(time) for time in times]), python2)
        _write(put, dict(zip(('st_atime', 'st_mtime', 'st_ctime'), times)), python2)
        put(b'\x86R')
        return
    put(('cdispy\n%s\n' % record.kind).encode('ascii'))
    if record.kind == '_Function':
        _write(put, (fields['name'], fields['args'], fields['kwargs']), python2)
        put(b'\x81')
        return
    put(b')\x81')
    _write(put, fields, python2)
    put(b'b')
