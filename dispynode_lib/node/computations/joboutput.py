"""Output of supervisors and jobs to descriptors 1 and 2, passed on without blocking them."""
from __future__ import absolute_import, division, print_function

import os
import stat

from dispynode_lib.host.compat import set_cloexec
from dispynode_lib.host.descriptors import set_blocking
from dispynode_lib.host.io.writer import Writer, write_all
from dispynode_lib.log import Log

log = Log('dispynode.joboutput')

STANDARD_ERROR = 2
READ_SIZE = 65536


class JobOutput(object):
    """A pipe to the node in place of its standard error, if that is one that may be full.

    fd   what supervisors and jobs are to have as descriptors 1 and 2
    """

    def __init__(self, loop):
        self.fd = STANDARD_ERROR
        self._read_end = self._writer = None
        if not _may_be_full(STANDARD_ERROR):
            return
        self._read_end, self.fd = _pipe()
        set_blocking(self._read_end, False)
        self._writer = Writer(lambda data: write_all(STANDARD_ERROR, data), _left_out)
        loop.call_soon(loop.watch, self._read_end, self._pass_on)

    def _pass_on(self, _events):
        try:
            self._writer.put(os.read(self._read_end, READ_SIZE))
        except EnvironmentError as error:
            log.debug('reading what jobs write to standard error: %s', error)

    def finish(self, timeout):
        """Wait up to `timeout` seconds until all is written."""
        if self._writer is not None:
            self._writer.finish(timeout)


def _may_be_full(fd):
    try:
        found = os.fstat(fd)
    except EnvironmentError:
        return False
    return not stat.S_ISREG(found.st_mode) and found.st_rdev != os.stat(os.devnull).st_rdev


def _pipe():
    """Return (read end, write end); where Linux allows, writers outlive the node."""
    read_end, write_end = os.pipe()
    try:
        both = os.open('/proc/self/fd/%d' % write_end, os.O_RDWR)
        os.close(write_end)
        write_end = both
    except EnvironmentError as error:
        log.debug('a pipe without an end of file: %s', error)
    for fd in (read_end, write_end):
        set_cloexec(fd)
    return read_end, write_end


def _left_out(count):
    return b'dispynode: pieces of what jobs wrote to standard error that are left out: %d\n' % count
