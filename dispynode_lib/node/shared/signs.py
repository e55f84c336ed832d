"""The signs that this node announced in earlier runs, kept in a file: a ping that has one of them is no client's."""
from __future__ import absolute_import, division, print_function

import os

from dispynode_lib.host.compat import to_text
from dispynode_lib.log import Log

log = Log('dispynode.signs')

KEPT = 200
SIZE = 40


def remembered(path, sign):
    """Return the signs (list of text) in the file `path`, after `sign` was added to it."""
    found = _read(path)
    partial = path + '.part'
    try:
        fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, 'wb') as target:
            target.write(u''.join([u'%s\n' % one for one in found[1 - KEPT:] + [sign]]).encode('ascii'))
        os.rename(partial, path)
    except EnvironmentError as error:
        log.warning('writing %s: %s', path, error)
    return found


def _read(path):
    try:
        with open(path, 'rb') as source:
            lines = to_text(source.read((SIZE + 1) * KEPT)).splitlines()
    except EnvironmentError:
        return []                           # the first run
    return [line for line in lines if len(line) == SIZE and not line.strip(u'0123456789abcdef')]
