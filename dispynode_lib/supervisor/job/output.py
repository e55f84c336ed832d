"""Output of jobs and programs, kept in bounded memory; output at the end of a process."""
from __future__ import absolute_import, division, print_function

import io
import os
import sys

from dispynode_lib.supervisor.processes.lean import PYTHON2, to_bytes

PART = 32 << 20  # bytes kept of the beginning and of the end of a long output
SLACK = 8 << 20                             # the end is cut only when it is so much longer


class Kept(object):
    """Collects bytes: all of them up to 64 MiB, of more the first and the last 32 MiB."""

    def __init__(self, part=PART, slack=SLACK):
        self._head = bytearray()
        self._tail = bytearray()
        self._part = part
        self._slack = slack
        self._left_out = 0

    def write(self, data):
        """Take `data` (bytes-like)."""
        if not self._tail and len(self._head) + len(data) <= self._part:
            self._head += data
            return
        self._write_tail(data)

    def _write_tail(self, data):
        step = self._part + self._slack
        room = self._part - len(self._head) if not self._tail else 0
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        for start in range(0, len(data), step):
            self._tail += data[start:start + step]
            if len(self._tail) > step:
                self._cut()

    def _cut(self):
        surplus = len(self._tail) - self._part
        if surplus > 0:
            del self._tail[:surplus]
            self._left_out += surplus

    def value(self):
        """Return what was kept as bytes; where something is missing, a line says how much."""
        self._cut()
        if not self._left_out:
            return bytes(self._head + self._tail) if self._tail else bytes(self._head)
        head_cut, tail_cut = _unfinished_at_end(self._head), _unstarted_at_start(self._tail)
        note = '\n[dispynode: %d bytes of output were left out here]\n' % (
            self._left_out + head_cut + tail_cut)
        return bytes(self._head[:len(self._head) - head_cut] + note.encode('ascii') +
                     self._tail[tail_cut:])


def _unstarted_at_start(data):
    """Return how many bytes at the start belong to a UTF-8 character that began before."""
    count = 0
    while count < min(3, len(data)) and data[count] & 0xC0 == 0x80:
        count += 1
    return count


def _unfinished_at_end(data):
    """Return how many bytes at the end belong to a UTF-8 character that is not complete."""
    for count in range(1, min(4, len(data)) + 1):
        byte = data[-count]
        if byte & 0xC0 == 0x80:
            continue
        needed = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1
        return count if needed > count else 0
    return 0


class BinaryOutput(io.BufferedIOBase):
    """The `buffer` of a TextOutput."""

    def __init__(self, text_output):
        super(BinaryOutput, self).__init__()
        self._output = text_output

    def writable(self):
        return True

    def write(self, data):
        data = memoryview(data).tobytes()
        self._output.write_bytes(data)
        return len(data)


class TextOutput(io.TextIOBase):
    """Stands for sys.stdout or sys.stderr in a job; on Python 2 it takes bytes as well as text."""

    encoding = 'utf-8'
    errors = 'backslashreplace'
    newlines = None
    line_buffering = False
    is_used = False
    mode = 'w'

    def __init__(self, name):
        super(TextOutput, self).__init__()
        self.name = name
        self._kept = Kept()
        self._buffer = None
        self.budget = None                  # limits.Budget, or None

    def writable(self):
        return True

    @property
    def buffer(self):
        if self._buffer is None:
            self._buffer = BinaryOutput(self)
        return self._buffer

    def write(self, text):
        """Take `text`; return its length."""
        if not isinstance(text, type(u'')) and not (PYTHON2 and isinstance(text, bytes)):
            raise TypeError('write() argument must be str, not %s' % type(text).__name__)
        self.write_bytes(to_bytes(text))
        return len(text)

    def write_bytes(self, data):
        """Take bytes."""
        self.is_used = True
        if self.budget is not None:
            self.budget.take(len(data))
        self._kept.write(data)

    def writelines(self, lines):
        for line in lines:
            self.write(line)

    def reconfigure(self, **_settings):
        """Accept what programs ask of a standard stream; there is nothing to change."""

    def getvalue(self):
        """Return what was written as text: the original's standard output is an io.StringIO."""
        return self.value() if PYTHON2 else self.value().decode('utf-8', 'replace')

    def value(self):
        """Return all that was written, as bytes in UTF-8."""
        return self._kept.value()


def forgive_letters():
    """Let setup print any character, whatever the locale of the node is."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, 'reconfigure'):
            stream.reconfigure(errors='backslashreplace', line_buffering=True)


def complain(text):
    """Write to the node's log by way of standard error; there may be none."""
    try:
        os.write(2, b'dispynode ' + to_bytes(text).rstrip() + b'\n')
    except EnvironmentError:
        return


def run_exit_functions():
    """Run what user code has registered with atexit, flush its streams; return if all went well."""
    try:
        import atexit
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:                   # the user's functions may raise anything
        return False
    return True


def leave(status):
    """Exit without finalizing the interpreter: threads of the user's may not end."""
    try:
        if not run_exit_functions():
            status = status or 1
    finally:
        os._exit(status)
