"""Sentences about how a process ended."""
from __future__ import absolute_import, division, print_function

import os
import signal


def signal_name(number):
    """Return 'SIGKILL' for 9, and so on; 'signal 77' for one without a name."""
    for name in dir(signal):
        if name.startswith('SIG') and not name.startswith('SIG_') and getattr(signal, name) == number:
            return name
    return 'signal %d' % number


def describe_exit(status):
    """Return one sentence (text) for a job that ended without giving its result.

    status   as os.waitpid gives it, or None if it is not known
    """
    if status is None:
        return u'the job ended without giving its result, and how it ended is not known'
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        hint = u' (the system may have run out of memory)' if number == signal.SIGKILL else u''
        return u'the job was killed by %s before it gave its result%s' % (signal_name(number), hint)
    return u'the job ended its process with exit status %d before it gave its result (os._exit?)' \
        % os.WEXITSTATUS(status)
