"""Removing a folder with all that jobs have made of it: locked, very deep, full of links."""
from __future__ import absolute_import, division, print_function

import errno
import os
import stat

from dispynode_lib.host import files
from dispynode_lib.host.compat import random_hex
from dispynode_lib.log import Log

log = Log('dispynode.removal')

MOVED = '.removed-%s-%d'  # folders inside are moved to the top before their turn: no path gets long


def remove_tree(top):
    """Remove the folder `top` with all in it, following no link; log what stays."""
    waiting, emptied = [top], []
    moved, mark = 0, str(random_hex(8))
    while waiting:
        folder = waiting.pop()
        emptied.append(folder)
        for name in _names(folder):
            path = os.path.join(folder, name)
            if not _is_folder(path):
                files.remove(path)
                continue
            moved += 1
            place = os.path.join(top, MOVED % (mark, moved))
            waiting.append(place if folder != top and move(path, place) else path)
    for folder in reversed(emptied):
        try:
            os.rmdir(folder)
        except EnvironmentError as error:
            _note(folder, error)


def _names(folder):
    try:
        os.chmod(folder, 0o700)             # a job may have locked it
        return os.listdir(folder)
    except EnvironmentError as error:
        _note(folder, error)
        return []


def _is_folder(path):
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except EnvironmentError:
        return False


def move(path, place):
    """Rename the folder `path`, which may be locked; return whether that went well."""
    try:
        os.chmod(path, 0o700)               # moving a folder means writing into it
        os.rename(path, place)
        return True
    except EnvironmentError as error:
        log.debug('moving %s: %s', path, error)
        return False


def _note(path, error):
    if error.errno != errno.ENOENT:
        log.warning('removing %s: %s', path, error)
