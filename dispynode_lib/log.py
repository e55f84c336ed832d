"""What the node tells its operator. The module logging takes 1 MB and 12 ms of each start."""
from __future__ import absolute_import, division, print_function

import sys
import time

DEBUG, INFO, WARNING, ERROR, CRITICAL = 10, 20, 30, 40, 50
NAMES = {DEBUG: 'DEBUG', INFO: 'INFO', WARNING: 'WARNING', ERROR: 'ERROR', CRITICAL: 'CRITICAL'}


class Output(object):
    """Where records go: `handler(Record)`, which raises nothing, gets those from `level` on;
    `finish(seconds)` waits until they are written."""

    def __init__(self):
        self.level = WARNING
        self.handler = _to_standard_error
        self.finish = lambda seconds: True


class Record(object):
    """One thing told: created (epoch seconds), level, logger, message, exc_info (or None)."""

    __slots__ = ('created', 'level', 'logger', 'message', 'exc_info')

    def __init__(self, level, logger, message, exc_info=None):
        self.created = time.time()
        self.level, self.logger, self.message, self.exc_info = level, logger, message, exc_info

    def level_name(self):
        """Return how lines name the level."""
        return NAMES.get(self.level) or 'Level %d' % self.level


class Log(object):
    """Says things under a name; arguments are put into `text` only when somebody reads it."""

    def __init__(self, name):
        self.name = name

    def debug(self, text, *args):
        """Of interest to who looks for a fault."""
        if output.level <= DEBUG:
            self._tell(DEBUG, text, args)

    def info(self, text, *args):
        """Tell what happens in the ordinary course."""
        self.log(INFO, text, *args)

    def warning(self, text, *args):
        """Something is not as it should be; the node goes on."""
        self.log(WARNING, text, *args)

    def error(self, text, *args):
        """Something that was asked for cannot be done."""
        self.log(ERROR, text, *args)

    def exception(self, text, *args):
        """A fault of the node itself: with the traceback of the exception being handled."""
        if output.level <= ERROR:
            self._tell(ERROR, text, args, sys.exc_info())

    def log(self, level, text, *args):
        """Say it at a level, 1 to 50."""
        if level >= output.level:
            self._tell(level, text, args)

    def _tell(self, level, text, args, exc_info=None):
        try:
            message = text % args if args else text
        except (TypeError, ValueError):     # UnicodeError is a ValueError
            message = '%r %% %r' % (text, args)
        output.handler(Record(level, self.name, message, exc_info))


def _to_standard_error(record):
    """Write what is told before anybody has said where to."""
    try:
        sys.stderr.write('%s\n' % (record.message,))
    except (EnvironmentError, AttributeError, ValueError):
        return                              # closed, or there is none


output = Output()
