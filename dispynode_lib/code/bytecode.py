"""The code of a module as Python keeps it beside the source file, or compiled.

Read as it is kept: to load it and write it again would cost 6 % of a start, and 2 % of the memory
of a node.
"""
from __future__ import absolute_import, division, print_function

import marshal
import os
import struct
import sys

from dispynode_lib.host.compat import PY2

if PY2:
    import imp
else:
    import _frozen_importlib_external as external


def read(name, path):
    """Return the code of the module in file `path` as marshal writes it: what Python keeps of it,
    or compiled."""
    try:
        code = _kept_on_python2(path) if PY2 else _kept(path)
    except EnvironmentError:
        code = None                         # nothing is kept: Python 3 does so now, if it may
    if code is not None:
        return code
    if not PY2:
        return marshal.dumps(external.SourceFileLoader(name, path).get_code(name))
    with open(path, 'rb') as source:
        return marshal.dumps(compile(source.read(), path, 'exec', 0, True))


def _kept(path):
    with open(external.cache_from_source(path), 'rb') as kept:
        data = kept.read()
    found = os.stat(path)
    mark = struct.pack('<LL', int(found.st_mtime) & 0xffffffff, found.st_size & 0xffffffff)
    flags = b'\0\0\0\0' if sys.version_info >= (3, 7) else b''
    head = external.MAGIC_NUMBER + flags + mark
    return data[len(head):] if data.startswith(head) else None


def _kept_on_python2(path):
    with open(path + ('o' if sys.flags.optimize else 'c'), 'rb') as kept:
        data = kept.read()
    head = imp.get_magic() + struct.pack('<L', int(os.stat(path).st_mtime) & 0xffffffff)
    return data[len(head):] if data.startswith(head) else None
