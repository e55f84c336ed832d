"""The code of a module as Python keeps it beside the source file, or compiled.

Read as it is kept: to load it and write it again would cost 6 % of a start, and 2 % of the memory
of a node. Nothing is imported here that is not loaded before a start: see KeptImporter.
"""
from __future__ import absolute_import, division, print_function

import marshal
import os
import struct
import sys

from dispynode_lib.code.packed import PACKAGE_FILE, Importer

PY2 = sys.version_info[0] == 2

if PY2:
    import imp
else:
    import _imp
    import _frozen_importlib_external as external

PACKAGE = 'dispynode_lib.'


class KeptImporter(Importer):
    """Imports unchanged modules of the tree by the code that Python 3 has kept, and no others.

    Python itself would look through each folder and ask for each ending of names: 10 % of a start.
    """

    def __init__(self):
        super(KeptImporter, self).__init__({})
        self.once = True

    def find_spec(self, name, path=None, target=None):
        """Return the spec of a module, None for one that Python has to find."""
        if not path or not name.startswith(PACKAGE):
            return None
        place = '%s/%s' % (path[0], name.rpartition('.')[2])
        place += PACKAGE_FILE if os.path.isdir(place) else '.py'
        cached = external.cache_from_source(place)
        try:
            code = _kept(place, cached)
        except EnvironmentError:
            return None                     # there is none, or this tree is an archive
        if code is None:
            return None
        self.modules[name] = place, None, code
        spec = super(KeptImporter, self).find_spec(name)
        spec.cached = cached                # else it is found out again
        return spec

    def get_code(self, name):
        """Return the code object of a module; it names the file where that lies now."""
        code = super(KeptImporter, self).get_code(name)
        _imp._fix_co_filename(code, self.modules[name][0])
        return code


def install():
    """Have the tree imported as it is kept, where this Python can."""
    if not PY2:
        sys.meta_path.insert(0, KeptImporter())


def read(name, path):
    """Return the code of the module in file `path` as marshal writes it, kept or compiled."""
    try:
        code = _kept_on_python2(path) if PY2 else _kept(path, external.cache_from_source(path))
    except EnvironmentError:
        code = None                         # nothing is kept: Python 3 does so now, if it may
    if code is not None:
        return code
    if not PY2:
        return marshal.dumps(external.SourceFileLoader(name, path).get_code(name))
    with open(path, 'rb') as source:
        return marshal.dumps(compile(source.read(), path, 'exec', 0, True))


def _kept(path, cached):
    """Return the code in file `cached`, None if it is not that of the source in file `path` now."""
    fd = os.open(cached, os.O_RDONLY)       # a file object would take twice as long
    try:
        size = os.fstat(fd).st_size
        data = os.read(fd, size)
    finally:
        os.close(fd)
    found = os.stat(path)
    mark = struct.pack('<LL', int(found.st_mtime) & 0xffffffff, found.st_size & 0xffffffff)
    flags = b'\0\0\0\0' if sys.version_info >= (3, 7) else b''
    head = external.MAGIC_NUMBER + flags + mark
    return data[len(head):] if data.startswith(head) and len(data) == size else None


def _kept_on_python2(path):
    with open(path + ('o' if sys.flags.optimize else 'c'), 'rb') as kept:
        data = kept.read()
    head = imp.get_magic() + struct.pack('<L', int(os.stat(path).st_mtime) & 0xffffffff)
    return data[len(head):] if data.startswith(head) else None
