"""Where the log goes and how its lines look."""
from __future__ import absolute_import, division, print_function

import logging
import os
import sys
import time

from dispynode_lib.errors import StartError
from dispynode_lib.host.compat import set_cloexec, to_bytes, to_native, to_text

CANNOT_CREATE = 73                          # sysexits.h
KEPT_SIZE = 1 << 20                         # bytes of the log of a node in the background that are carried over


def set_up(options):
    """Send the log where `options` (log_file, log_format, debug) say; return the handler. Raises StartError."""
    logging.raiseExceptions = options.debug     # a terminal that went away must not disturb a node
    logging.logProcesses = logging.logMultiprocessing = False
    handler = FileHandler(to_native(options.log_file)) if options.log_file else StandardError()
    handler.setFormatter(JsonFormatter() if options.log_format == u'json' else logging.Formatter(
        '%(asctime)s %(levelname)s %(name)s: %(message)s'))
    root = logging.getLogger()
    root.addHandler(handler)
    set_debug(options.debug)
    return handler


def set_debug(debug):
    """Log each message, or not."""
    logging.getLogger().setLevel(logging.DEBUG if debug else logging.INFO)


class StandardError(logging.StreamHandler):
    """Writes to standard error."""

    def __init__(self):
        logging.StreamHandler.__init__(self, sys.stderr)

    def reopen(self):
        """Nothing to do: who gave us standard error sees to it."""


class FileHandler(logging.Handler):
    """Appends to a file; goes on in a new one when somebody has moved or removed it."""

    def __init__(self, path):
        """Raise StartError if the file cannot be written."""
        logging.Handler.__init__(self)
        self._path = os.path.abspath(path)
        self._fd = self._file = None
        try:
            self._open()
        except EnvironmentError as error:
            raise StartError(u'--log_file %s: %s' % (to_text(path), error.strerror or error), CANNOT_CREATE)

    def _open(self):
        fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        set_cloexec(fd)
        found = os.fstat(fd)
        old, self._fd, self._file = self._fd, fd, (found.st_dev, found.st_ino)
        if old is not None:
            os.close(old)

    def reopen(self):
        """Open the file anew if there is another one, or none, under its name."""
        self.acquire()
        try:
            self._follow()
        finally:
            self.release()

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

    def emit(self, record):
        """Write one record."""
        try:
            self._follow()
            os.write(self._fd, to_bytes(to_text(self.format(record))) + b'\n')
        except EnvironmentError:
            self.handleError(record)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and computation and job if the message names them."""

    def __init__(self):
        logging.Formatter.__init__(self)
        import re
        self._names = [(name, re.compile(r'\b%s (\d+)\b' % name)) for name in ('computation', 'job')]

    def format(self, record):
        """Return the line."""
        from dispynode_lib.host import plainjson
        message = to_text(record.getMessage())
        fields = [('time', time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))
                   + '.%03dZ' % record.msecs), ('level', record.levelname), ('logger', record.name)]
        for name, pattern in self._names:
            found = pattern.search(message)
            if found:
                fields.append((name, int(found.group(1))))
        fields.append(('message', message))
        if record.exc_info:
            fields.append(('traceback', to_text(self.formatException(record.exc_info))))
        return u'{%s}' % u', '.join(u'%s: %s' % (plainjson.dumps(name), plainjson.dumps(value)) for name, value in fields)


def keep_small(path):
    """Move a large log of earlier runs aside: PATH.1 takes the place of the one before it."""
    try:
        if os.path.getsize(path) > KEPT_SIZE:
            os.rename(path, path + '.1')
    except EnvironmentError:
        return                              # there is none
