"""The code of a module as Python keeps it beside the source file, or compiled.

Read as it is kept: to load it and write it again would cost 6 % of a start, and 2 % of the memory
of a node. What is compiled here is without docstrings, and kept as that of ``python -OO``: 2 % of
the memory. Nothing is imported here that is not loaded before a start: see KeptImporter.
"""
from __future__ import absolute_import, division, print_function

import marshal
import os
import struct
import sys

from dispynode_lib.code.packed import PACKAGE_FILE, WITHOUT_DOCSTRINGS, Importer

PY2 = sys.version_info[0] == 2

if PY2:
    import imp
else:
    import _imp
    import _frozen_importlib_external as external

PACKAGE = 'dispynode_lib.'
OPTIMIZATIONS = ['2', '']                   # of what is kept; the one that was found last is first


class KeptImporter(Importer):
    """Imports unchanged modules of the tree by the code that is kept, or by what it compiles itself.

    What Python keeps in another form, or of another text, is left to Python.

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
        try:
            code = _kept_or_compiled(name, place)
        except EnvironmentError:
            return None                     # there is no such file, or this tree is an archive
        if code is None:
            return None
        self.modules[name] = place, None, code
        return super(KeptImporter, self).find_spec(name)

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
    if not PY2:
        code = _kept_or_compiled(name, path)
        return code or marshal.dumps(external.SourceFileLoader(name, path).get_code(name))
    try:
        code = _kept_on_python2(path)
    except EnvironmentError:
        code = None                         # nothing is kept
    if code is not None:
        return code
    with open(path, 'rb') as source:
        return marshal.dumps(compile(source.read(), path, 'exec', 0, True))


def _kept_or_compiled(name, path):
    """Return the same on Python 3, None where Python keeps what is old, or in another form.

    What is compiled is kept, if it can be.
    """
    head, is_kept = _head(os.stat(path)), False
    for optimization in OPTIMIZATIONS:
        try:
            code = _kept(external.cache_from_source(path, optimization=optimization), head)
        except EnvironmentError:
            continue                        # there is none
        if code is not None:
            if optimization != OPTIMIZATIONS[0]:
                OPTIMIZATIONS.reverse()
            return code
        is_kept = is_kept or not optimization
    return None if is_kept else _compiled(name, path, head)


def _compiled(name, path, head):
    with open(path, 'rb') as source:
        code = marshal.dumps(compile(source.read(), path, 'exec', 0, True, *WITHOUT_DOCSTRINGS))
    if not sys.dont_write_bytecode:
        external.SourceFileLoader(name, path).set_data(
            external.cache_from_source(path, optimization='2'), head + code)
    return code


def _head(found):
    """Return the first bytes of the file with the code of a source; `found`: its os.stat()."""
    flags = b'\0\0\0\0' if sys.version_info >= (3, 7) else b''
    return external.MAGIC_NUMBER + flags + struct.pack('<LL', int(found.st_mtime) & 0xffffffff,
                                                       found.st_size & 0xffffffff)


def _kept(cached, head):
    """Return the code in file `cached`, None if it does not begin with `head`."""
    fd = os.open(cached, os.O_RDONLY)       # a file object would take twice as long
    try:
        size = os.fstat(fd).st_size - len(head)
        code = os.read(fd, size) if os.read(fd, len(head)) == head else b''
    finally:
        os.close(fd)
    return code if code and len(code) == size else None


def _kept_on_python2(path):
    with open(path + ('o' if sys.flags.optimize else 'c'), 'rb') as kept:
        data = kept.read()
    head = imp.get_magic() + struct.pack('<L', int(os.stat(path).st_mtime) & 0xffffffff)
    return data[len(head):] if data.startswith(head) else None
