"""The log, or the ledger, in a file."""
from __future__ import absolute_import, division, print_function

import os
import stat

from dispynode_lib.errors import StartError
from dispynode_lib.host.compat import set_cloexec, to_bytes, to_text
from dispynode_lib.host.io.writer import Writer, left_out, write_all
from dispynode_lib.log import WARNING, Record

KEPT_SIZE = 1 << 20  # bytes of the log of a node in the background that are carried over


class LogFile(object):
    """Appends to a file without waiting for it; follows its name when it was moved."""

    def __init__(self, path, line, option=u'--log_file'):
        """`line` as in StandardError; `option` names the file. Raise StartError."""
        self._path, self._line = path, line
        self._what = u'log' if option == u'--log_file' else option.strip(u'-')
        self._fd = self._file = None
        self._follow(open_or_refuse(self._path, option))
        self._writer = Writer(self._append,
                              lambda count: to_bytes(line(left_out(count, self._what))) + b'\n',
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
                    u'moved to; let who moves it make a new one that the user of the node may '
                    u'write' %
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


def keep_small(path):
    """Move a large log of earlier runs aside: PATH.1 takes the place of the one before it."""
    try:
        if os.path.getsize(path) > KEPT_SIZE:
            os.rename(path, path + '.1')
    except EnvironmentError:
        return                              # there is none
