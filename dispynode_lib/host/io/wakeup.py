"""Wakes a thread that waits for descriptors."""
from __future__ import absolute_import, division, print_function

import os

from dispynode_lib.host.descriptors import set_blocking, set_cloexec

ONCE = b'\1' + 7 * b'\0'                    # an eventfd takes numbers of 8 bytes


class Wakeup(object):
    """A descriptor that is readable from wake() on until drain()."""

    def __init__(self, for_signals=False):
        """`for_signals`: signal.set_wakeup_fd(`write_end`) is to write to it, single bytes."""
        if hasattr(os, 'eventfd') and not for_signals:
            self.write_end = self._read_end = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            return
        self._read_end, self.write_end = os.pipe()
        for fd in (self._read_end, self.write_end):
            set_cloexec(fd)
            set_blocking(fd, False)

    def fileno(self):
        """Return the descriptor to wait for."""
        return self._read_end

    def wake(self):
        """Make it readable. Safe from signal handlers and from any thread."""
        try:
            os.write(self.write_end, ONCE)
        except EnvironmentError:
            return                          # the pipe is full: it is readable

    def drain(self):
        """Wait for the next wake() again."""
        try:
            os.read(self._read_end, 4096)
        except EnvironmentError:
            return                          # another signal has come in between
