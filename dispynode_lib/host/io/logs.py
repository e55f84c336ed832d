"""Targets of the log, and formats of its lines."""
from __future__ import absolute_import, division, print_function

import os
import stat
import sys
import time

from dispynode_lib.errors import StartError
from dispynode_lib.host.compat import set_cloexec, to_bytes, to_native, to_text
from dispynode_lib.host.io.writer import Writer, to_stream, write_all
from dispynode_lib.log import CRITICAL, DEBUG, ERROR, INFO, WARNING, Record, output

CLEAR_LINE = u'\r\x1b[K' if os.environ.get('TERM', 'dumb') != 'dumb' else u'\n'
PRIORITIES = (CRITICAL, 2), (ERROR, 3), (WARNING, 4), (INFO, 6), (0, 7)       # sd-daemon(3)
KEPT_SIZE = 1 << 20  # bytes of the log of a node in the background that are carried over


def set_up(options):
    """Send the log where `options` say; return the target. Raises StartError."""
    line = json_line if options.log_format == u'json' else plain_line
    if line is plain_line and not options.log_file and goes_to_journal():
        line = journal_line
    target = LogFile(to_native(options.log_file), line) if options.log_file else StandardError(line)
    output.handler = lambda record: target.write(line(record))
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
                              lambda count: self._encoded(line(_left_out(count)) + u'\n'))
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


class LogFile(object):
    """Appends to a file without waiting for it; follows its name when it was moved."""

    def __init__(self, path, line, option=u'--log_file'):
        """`line` as in StandardError; `option` names the file. Raise StartError."""
        self._path, self._line = path, line
        self._what = u'log' if option == u'--log_file' else option.strip(u'-')
        self._fd = self._file = None
        self._follow(open_or_refuse(self._path, option))
        self._writer = Writer(self._append,
                              lambda count: to_bytes(line(_left_out(count, self._what))) + b'\n',
                              str(self._what))
        self.finish = self._writer.finish

    def _follow(self, fd):
        found = os.fstat(fd)
        old, self._fd, self._file, self._told = self._fd, fd, (found.st_dev, found.st_ino), False
        if old is not None:
            os.close(old)

    def _append(self, data):
        """Write to the file of that name, or else to the one that had it."""
        try:
            if self._is_moved():
                self._follow(open_log(self._path))
        except EnvironmentError as error:
            data = self._tell_once(error) + data
        return write_all(self._fd, data)

    def _tell_once(self, error):
        """Return the line (bytes) that the file cannot be made anew, empty if told before."""
        told, self._told = self._told, True
        return b'' if told else to_bytes(
            self._line(
                Record(
                    WARNING, 'dispynode.log',
                    u'%s was moved away and cannot be made anew: %s; the %s goes on where it was '
                    u'moved '
                    u'to; let who moves it make a new one that the user of the node may write' %
                    (to_text(self._path), error.strerror or error, self._what)))) + b'\n'

    def _is_moved(self):
        try:
            found = os.stat(self._path)
        except EnvironmentError:
            return True
        return (found.st_dev, found.st_ino) != self._file

    def write(self, line):
        """Write one line (text)."""
        self._writer.put(to_bytes(line) + b'\n')

    @staticmethod
    def goes_to(_stream):
        """Return False: nobody sees it at once."""
        return False


def open_or_refuse(path, option=u'--log_file'):
    """Open a log as open_log() does, but raise StartError."""
    try:
        return open_log(path)
    except EnvironmentError as error:
        raise StartError(
            u'%s %s: it cannot be written: %s; make room or give access there, or choose another '
            u'file' % (option, to_text(path), error.strerror or error), os.EX_CANTCREAT)


def open_log(path):
    """Return a descriptor that appends to `path`, closed on exec. Raises EnvironmentError.

    A FIFO is opened for reading as well: else this would wait until somebody reads it.
    """
    try:
        access = os.O_RDWR if stat.S_ISFIFO(os.stat(path).st_mode) else os.O_WRONLY
    except EnvironmentError:
        access = os.O_WRONLY                # it is made
    fd = os.open(path, access | os.O_APPEND | os.O_CREAT, 0o640)
    set_cloexec(fd)
    return fd


def _left_out(count, what=u'log'):
    return Record(WARNING, 'dispynode.log',
                  u'lines of the %s that could not be written and are left out: %d' % (what, count))


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
    return u'{%s}' % u', '.join(u'%s: %s' % (plainjson.dumps(name), plainjson.dumps(value))
                                for name, value in fields)


def _traceback(record):
    import traceback
    return u''.join(to_text(line)
                    for line in traceback.format_exception(*record.exc_info)).rstrip(u'\n')


def keep_small(path):
    """Move a large log of earlier runs aside: PATH.1 takes the place of the one before it."""
    try:
        if os.path.getsize(path) > KEPT_SIZE:
            os.rename(path, path + '.1')
    except EnvironmentError:
        return                              # there is none
