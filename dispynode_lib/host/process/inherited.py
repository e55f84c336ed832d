"""Inherited state of this process: descriptors, signals; secrets in its arguments."""
from __future__ import absolute_import, division, print_function

import os
import sys

from dispynode_lib.host import proc
from dispynode_lib.host.compat import signal, to_bytes, unblock_signals

STREAMS = (('stdin', 'r'), ('stdout', 'w'), ('stderr', 'w'))


def put_right():
    """Put descriptors and signals right, before anything else is opened or started."""
    open_descriptors()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)       # ignored: nobody could wait for a process
    unblock_signals()


def open_descriptors():
    """Give descriptors 0 to 2 to /dev/null if they are closed, so that no socket gets them."""
    for fd, (name, mode) in enumerate(STREAMS):
        try:
            os.fstat(fd)
        except EnvironmentError:
            import fcntl
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is `fd`
            fcntl.fcntl(fd, fcntl.F_SETFD, 0)
            if getattr(sys, name) is None:
                setattr(sys, name, os.fdopen(fd, mode))


def hide_arguments(secrets):
    """Overwrite arguments that are, or end with, a secret (texts or None); return if done.

    The process list shows them to every user of the host.
    """
    secrets = [to_bytes(secret) for secret in secrets if secret]
    if not secrets:
        return True
    try:
        fields = proc.stat_fields('self')
        begin, end = int(fields[proc.ARGUMENTS_BEGIN]), int(fields[proc.ARGUMENTS_END])
        memory = os.open('/proc/self/mem', os.O_RDWR)
    except (EnvironmentError, IndexError, ValueError):
        return False  # no /proc, or one that tells other processes nothing either
    try:
        os.lseek(memory, begin, os.SEEK_SET)
        words = os.read(memory, end - begin).split(b'\0')
        hidden = b'\0'.join([_hidden(word, secrets) for word in words])
        os.lseek(memory, begin, os.SEEK_SET)
        return os.write(memory, hidden) == end - begin
    except EnvironmentError:
        return False
    finally:
        os.close(memory)


def _hidden(word, secrets):
    """Return a word as long as before, without a secret: `-s SECRET`, `--secret=SECRET`."""
    for secret in secrets:
        option = word[:len(word) - len(secret)]
        if word.endswith(secret) and (not option or option.endswith(b'=')
                                      or len(option) == 2 and option[:1] == b'-'):
            return option + b'x' * len(secret)
    return word
