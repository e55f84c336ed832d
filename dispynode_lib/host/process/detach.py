"""Detaching into the background; the first process waits for the outcome."""
from __future__ import absolute_import, division, print_function

import os
import sys

from dispynode_lib.host.compat import set_cloexec


class Background(object):
    """The process in the background, as it sees who started it."""

    def __init__(self, write_end):
        self._write_end = write_end

    def report(self, status):
        """Tell the starter its exit status; it ends by that."""
        if self._write_end is None:
            return
        os.write(self._write_end, b'%d' % status)
        os.close(self._write_end)
        self._write_end = None
        if not status:
            sys.stderr.flush()
            # to the log: the starter's terminal is not ours any more
            os.dup2(2, sys.stderr.fileno())
            set_cloexec(sys.stderr.fileno())


def detach(log):
    """Return a Background in a new process without a terminal; the caller never returns.

    log   descriptor, for what jobs and Python itself write to standard error; it is closed
    To be called before there is any thread.
    """
    read_end, write_end = os.pipe()
    child = os.fork()
    if child:
        os.close(write_end)
        _wait(read_end, child)
    os.close(read_end)
    os.setsid()
    if os.fork():
        os._exit(0)                         # the node is nobody's child and gets no terminal
    set_cloexec(write_end)
    _leave_streams(log)
    os.chdir('/')
    return Background(write_end)


def _wait(read_end, child):
    """Wait for the node's report, then exit with the status that it tells."""
    os.waitpid(child, 0)
    told = b''
    while True:
        piece = os.read(read_end, 16)
        if not piece:
            break
        told += piece
    if not told:
        sys.stderr.write('dispynode: the node ended while it was starting; see its log\n')
    sys.stderr.flush()
    os._exit(int(told) if told else os.EX_SOFTWARE)


def _leave_streams(log):
    """Keep standard error for the one line that a failing start writes; give the rest away."""
    null = os.open(os.devnull, os.O_RDWR)
    sys.stderr.flush()
    kept = os.dup(2)
    set_cloexec(kept)
    for target, source in ((0, null), (1, null), (2, log)):
        os.dup2(source, target)
    for fd in (null, log):
        if fd > 2:
            os.close(fd)
    sys.stderr = os.fdopen(kept, 'w')
