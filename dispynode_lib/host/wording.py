"""Numbers in sentences, and how a process ended."""
from __future__ import absolute_import, division, print_function

import os

from dispynode_lib.host.compat import signal


def counted(number, noun):
    """Return '1 client', '2 clients', '0 processes', '3 replies' (text)."""
    if number == 1:
        return u'1 %s' % noun
    if noun.endswith(u'y'):
        return u'%d %sies' % (number, noun[:-1])
    return u'%d %s%s' % (number, noun, u'es' if noun.endswith(u's') else u's')


def duration(seconds):
    """Return seconds as text such as 3.2 s, 12 min 5 s, 3 h 20 min, 2 d 4 h."""
    for size, name, smaller, small_name in ((86400, u'd', 3600, u'h'), (3600, u'h', 60, u'min'),
                                            (60, u'min', 1, u's')):
        if seconds >= size:
            return u'%d %s %d %s' % (seconds // size, name, seconds % size // smaller, small_name)
    return u'%.1f s' % seconds


def signal_name(number):
    """Return 'SIGKILL' for 9, and so on; 'signal 77' for one without a name."""
    for name in dir(signal):
        is_signal = name.startswith('SIG') and not name.startswith('SIG_')
        if is_signal and getattr(signal, name) == number:
            return name
    return 'signal %d' % number


def describe_exit(status):
    """Return one sentence (text) for a job that ended without giving its result.

    status   as os.waitpid gives it, or None if nobody was there to wait for it
    """
    if status is None:
        return u'the supervisor of the computation ended, and the job with it'
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        hint = u' (the system may have run out of memory)' if number == signal.SIGKILL else u''
        return u'the job was killed by %s before it gave its result%s' % (signal_name(number), hint)
    return u'the job ended its process with exit status %d before it gave its result (os._exit?)' \
        % os.WEXITSTATUS(status)
