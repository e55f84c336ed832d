"""Puts right what whoever starts a program may leave it: closed descriptors, ignored and blocked signals."""
from __future__ import absolute_import, division, print_function

import os
import signal
import sys

from dispynode_lib.host.compat import unblock_signals

STREAMS = (('stdin', 'r'), ('stdout', 'w'), ('stderr', 'w'))


def put_right():
    """Do it, before anything else is opened or started."""
    open_descriptors()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)       # ignored: nobody could wait for a process
    unblock_signals()


def open_descriptors():
    """Give descriptors 0 to 2 to /dev/null if they are closed, so that no socket gets them; programs inherit them."""
    for fd, (name, mode) in enumerate(STREAMS):
        try:
            os.fstat(fd)
        except EnvironmentError:
            import fcntl
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is `fd`
            fcntl.fcntl(fd, fcntl.F_SETFD, 0)
            if getattr(sys, name) is None:
                setattr(sys, name, os.fdopen(fd, mode))
