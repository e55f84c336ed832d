"""Targets of the log, and formats of its lines."""
from __future__ import absolute_import, division, print_function

import os
import sys
import time

from dispynode_lib.host.compat import to_native, to_text
from dispynode_lib.host.io.writer import Writer, left_out, to_stream
from dispynode_lib.log import CRITICAL, DEBUG, ERROR, INFO, WARNING, Record, output

CLEAR_LINE = u'\r\x1b[K' if os.environ.get('TERM', 'dumb') != 'dumb' else u'\n'
PRIORITIES = (CRITICAL, 2), (ERROR, 3), (WARNING, 4), (INFO, 6), (0, 7)       # sd-daemon(3)


def set_up(options):
    """Send the log where `options` say; return the target. Raises StartError."""
    line = json_line if options.log_format == u'json' else plain_line
    if line is json_line:                   # now: later there may be no descriptor for it
        line(Record(INFO, '', '', None))
    if line is plain_line and not options.log_file and goes_to_journal():
        line = journal_line
    if options.log_file:
        from dispynode_lib.host.io.logfile import LogFile
        target = LogFile(to_native(options.log_file), line)
    else:
        target = StandardError(line)
    output.handler = lambda record: target.write(line(record))
    output.finish = target.finish
    set_debug(options.debug)
    return target


def set_debug(debug):
    """Log each message, or not."""
    output.level = DEBUG if debug else INFO


class StandardError(object):
    """Writes to standard error, or another stream, without waiting for it."""

    def __init__(self, line, stream=None):
        """`line(Record)`: its text. `prompt()`: text that waits for input; may be set."""
        self.prompt = lambda: u''
        self._stream = sys.stderr if stream is None else stream
        self._encoding = getattr(self._stream, 'encoding', None) or 'utf-8'
        self._writer = Writer(to_stream(self._stream),
                              lambda count: self._encoded(line(left_out(count)) + u'\n'))
        self.finish = self._writer.finish

    def write(self, line):
        """Write one line (text), in the place of the prompt, which follows it."""
        prompt = self.prompt()
        self.say(CLEAR_LINE + line + u'\n' + prompt if prompt else line + u'\n')

    def say(self, text):
        """Write text."""
        self._writer.put(self._encoded(text))

    def _encoded(self, text):
        return text.encode(self._encoding, 'backslashreplace')

    def goes_to(self, stream):
        """Return whether what is written there is seen at the same place."""
        try:
            found, ours = os.fstat(stream.fileno()), os.fstat(self._stream.fileno())
        except (EnvironmentError, AttributeError, ValueError):
            return False
        return (found.st_dev, found.st_ino) == (ours.st_dev, ours.st_ino)


def plain_line(record):
    """Return the line for a Record: local time, level, logger, message; then its traceback."""
    text = u'%s,%03d %s %s: %s' % (time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(
        record.created)), record.created % 1 * 1000, record.level_name(), record.logger,
                                   to_text(record.message))
    return text + u'\n' + _traceback(record) if record.exc_info else text


def journal_line(record):
    """Return the text for a Record in systemd's journal: a priority before each line."""
    text = u'%s: %s' % (record.logger, to_text(record.message))
    if record.exc_info:
        text += u'\n' + _traceback(record)
    priority = u'<%d>' % [number for level, number in PRIORITIES if record.level >= level][0]
    return priority + text.replace(u'\n', u'\n' + priority)


def goes_to_journal():
    """Return whether standard error is the stream that systemd has connected to its journal."""
    try:
        found = os.fstat(2)
    except EnvironmentError:
        return False
    return os.environ.get('JOURNAL_STREAM') == '%d:%d' % (found.st_dev, found.st_ino)


def bare_line(record):
    """Return the message of a Record."""
    return to_text(record.message)


def json_line(record):
    """Return a JSON object: time, level, logger, message, computation and job if named."""
    import re
    from dispynode_lib.host import plainjson
    message = to_text(record.message)
    fields = [('time', time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created)) + '.%03dZ' %
               (record.created % 1 * 1000)), ('level', record.level_name()),
              ('logger', record.logger)]
    for name in ('computation', 'job'):
        found = re.search(r'\b%s (\d+)\b' % name, message)
        if found:
            fields.append((name, int(found.group(1))))
    fields.append(('message', message))
    if record.exc_info:
        fields.append(('traceback', _traceback(record)))
    return plainjson.dumps_pairs(fields)


def _traceback(record):
    """Return the traceback of a Record, or what can be told of it without a file to read and
    without much memory: where those are short, a fault is not to become another one."""
    try:
        return _whole_traceback(*record.exc_info)
    except (EnvironmentError, MemoryError, ImportError):
        kind, error, frames = record.exc_info
        lines = []
        while frames is not None:
            lines.append(u'  File "%s", line %d' % (
                to_text(frames.tb_frame.f_code.co_filename), frames.tb_lineno))
            frames = frames.tb_next
        return u'\n'.join(lines + [u'%s: %s' % (kind.__name__, to_text(str(error)))])


def _whole_traceback(kind, error, frames):
    import traceback
    return u''.join(to_text(line)
                    for line in traceback.format_exception(kind, error, frames)).rstrip(u'\n')
