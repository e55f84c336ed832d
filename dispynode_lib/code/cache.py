"""Compiled modules of the one file, kept from one start to the next as Python keeps a tree's.

They lie in a folder of this user's own, ~/.cache/dispynode, if there can be one; nobody else may
write there. Without it each start compiles, which takes some tenths of a second.
"""
from __future__ import absolute_import, division, print_function

import marshal
import os
import sys
from binascii import crc32

PRIVATE = 0o22                              # of a mode: what others may not have


class CodeCache(object):
    """Cache of compiled modules for the program at `path` and this Python."""

    def __init__(self, path):
        self._key = path, sys.version, sys.flags.optimize
        self._file = None
        self._codes = {}
        folder = cache_folder()
        if folder is not None:
            self._file = os.path.join(
                folder, '%08x.code' %
                (crc32(repr(self._key).encode('ascii', 'backslashreplace')) & 0xffffffff))
            self._codes = self._load()

    def _load(self):
        try:
            with open(self._file, 'rb') as kept:
                key, codes = marshal.load(kept)
            return codes if key == self._key else {}
        except (EnvironmentError, EOFError, ValueError, TypeError):
            return {}

    def get(self, name, source):
        """Return the marshalled code of a module with this source, None if it is not kept."""
        mark, code = self._codes.get(name, (None, None))
        return code if mark == mark_of(source) else None

    def save(self, modules):
        """Keep the code of `modules` {name: (path, source, code or None)}, as far as that works."""
        codes = dict((name, (mark_of(source), code))
                     for name, (_path, source, code) in modules.items() if code is not None)
        if self._file is None or sys.dont_write_bytecode or all(
                self._codes.get(name) == codes[name] for name in codes):
            return
        self._codes.update(codes)
        # only now: what is imported before there is a cache is compiled
        from dispynode_lib.host import files
        try:
            files.make_folder(os.path.dirname(self._file))
            files.write(self._file, marshal.dumps((self._key, self._codes)))
        except EnvironmentError:
            return


def mark_of(source):
    """Return what tells one source text from another."""
    return len(source), crc32(
        source if isinstance(source, bytes) else source.encode('ascii', 'replace'))


def cache_folder():
    """Return the folder, which need not exist; None if no place is this user's own."""
    base = os.environ.get('XDG_CACHE_HOME') or ''
    home = base if base.startswith('/') else os.environ.get('HOME') or ''
    folder = os.path.join(home if home == base else os.path.join(home, '.cache'), 'dispynode')
    if not home.startswith('/'):
        return None
    return folder if _is_own(home) and _is_own(folder, True) else None


def _is_own(folder, may_be_missing=False):
    try:
        found = os.lstat(folder)
    except EnvironmentError:
        return may_be_missing
    return found.st_uid == os.geteuid() == os.getuid() and not found.st_mode & PRIVATE \
        and found.st_mode & 0o170000 == 0o040000
