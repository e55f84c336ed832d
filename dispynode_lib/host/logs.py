"""Where the log goes and how its lines look."""
from __future__ import absolute_import, division, print_function

import os
import sys
import threading
import time

from dispynode_lib.errors import StartError
from dispynode_lib.host.compat import PY2, set_cloexec, to_bytes, to_native, to_text
from dispynode_lib.log import DEBUG, INFO, output

CANNOT_CREATE = 73                          # sysexits.h
KEPT_SIZE = 1 << 20                         # bytes of the log of a node in the background that are carried over


def set_up(options):
    """Send the log where `options` (log_file, log_format, debug) say; return the target. Raises StartError."""
    target = LogFile(to_native(options.log_file)) if options.log_file else StandardError()
    line = json_line if options.log_format == u'json' else plain_line
    output.handler = lambda record: target.write(line(record))
    set_debug(options.debug)
    return target


def set_debug(debug):
    """Log each message, or not."""
    output.level = DEBUG if debug else INFO


class StandardError(object):
    """Writes to standard error."""

    def __init__(self):
        self._stream = sys.stderr
        self._lock = threading.Lock()

    def write(self, line):
        """Write one line (text); a terminal that went away must not disturb a node."""
        stream = self._stream
        encoding = getattr(stream, 'encoding', None) or 'utf-8'
        data = (line + u'\n').encode(encoding, 'backslashreplace')
        try:
            with self._lock:
                stream.write(data if PY2 else data.decode(encoding))
                stream.flush()
        except (EnvironmentError, AttributeError, ValueError):
            return                          # closed, or there is none

    def reopen(self):
        """Nothing to do: who gave us standard error sees to it."""


class LogFile(object):
    """Appends to a file; goes on in a new one when somebody has moved or removed it."""

    def __init__(self, path):
        """Raise StartError if the file cannot be written."""
        self._lock = threading.Lock()
        self._path = os.path.abspath(path)
        self._fd = self._file = None
        try:
            self._open()
        except EnvironmentError as error:
            raise StartError(u'--log_file %s: it cannot be written: %s; make room or give access there, or choose another file'
                             % (to_text(path), error.strerror or error), CANNOT_CREATE)

    def _open(self):
        fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        set_cloexec(fd)
        found = os.fstat(fd)
        old, self._fd, self._file = self._fd, fd, (found.st_dev, found.st_ino)
        if old is not None:
            os.close(old)

    def reopen(self):
        """Open the file anew if there is another one, or none, under its name."""
        with self._lock:
            self._follow()

    def _follow(self):
        try:
            found = os.stat(self._path)
            if (found.st_dev, found.st_ino) == self._file:
                return
        except EnvironmentError:
            found = None                    # moved away
        try:
            self._open()
        except EnvironmentError:
            return                          # go on in the old file: better than to lose lines

    def write(self, line):
        """Write one line (text)."""
        try:
            with self._lock:
                self._follow()
                os.write(self._fd, to_bytes(line) + b'\n')
        except EnvironmentError:
            return                          # the disk is full: a node goes on


def plain_line(record):
    """Return the text for a Record: local time, level, logger and message; a traceback in further lines."""
    text = u'%s,%03d %s %s: %s' % (
        time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(record.created)), record.created % 1 * 1000,
        record.level_name(), record.logger, to_text(record.message))
    return text + u'\n' + _traceback(record) if record.exc_info else text


def json_line(record):
    """Return one JSON object: time, level, logger, message, and computation and job if the message names them."""
    import re
    from dispynode_lib.host import plainjson
    message = to_text(record.message)
    fields = [('time', time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))
               + '.%03dZ' % (record.created % 1 * 1000)), ('level', record.level_name()), ('logger', record.logger)]
    for name in ('computation', 'job'):
        found = re.search(r'\b%s (\d+)\b' % name, message)
        if found:
            fields.append((name, int(found.group(1))))
    fields.append(('message', message))
    if record.exc_info:
        fields.append(('traceback', _traceback(record)))
    return u'{%s}' % u', '.join(u'%s: %s' % (plainjson.dumps(name), plainjson.dumps(value)) for name, value in fields)


def _traceback(record):
    import traceback
    return u''.join(to_text(line) for line in traceback.format_exception(*record.exc_info)).rstrip(u'\n')


def keep_small(path):
    """Move a large log of earlier runs aside: PATH.1 takes the place of the one before it."""
    try:
        if os.path.getsize(path) > KEPT_SIZE:
            os.rename(path, path + '.1')
    except EnvironmentError:
        return                              # there is none
