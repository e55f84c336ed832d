"""Features of the host that a node relies on: without one a promise does not hold."""
from __future__ import absolute_import, division, print_function

import os

from dispynode_lib.errors import StartError
from dispynode_lib.host import compat, proc, resources

PR_GET_DUMPABLE = 3                         # of prctl: asks for something, changes nothing
HUGE_PAGES = '/sys/kernel/mm/transparent_hugepage/enabled'
WATCHED = ('job_memory', 'job_processes')   # options that need to see processes


def require(options):
    """Raise StartError for what a node, or what `options` ask for, cannot do without."""
    try:
        with open(os.devnull, 'rb'):
            os.urandom(1)
    except EnvironmentError as error:
        raise StartError(
            u'%s cannot be opened: %s; jobs need it: mount /dev, or make it by: mknod -m 666 %s c '
            u'1 3' % (os.devnull, error.strerror or error, os.devnull), os.EX_CONFIG)
    except NotImplementedError:
        raise StartError(
            u'this system gives no random numbers, which secrets need: is /dev/urandom there? '
            u'mount /dev', os.EX_CONFIG)
    for name in WATCHED:
        if getattr(options, name) and not can_watch():
            raise StartError(
                u'--%s: this host does not tell what a job uses: there is no /proc, nor psutil; '
                u'mount /proc, install psutil or leave the option out' % name, os.EX_CONFIG)


def can_watch():
    """Return whether the processes of a job, and their memory, can be told."""
    return proc.is_there() or resources.import_psutil() is not None


def unlike_linux():
    """Return a sentence on which promises do not hold on this system; None: it is Linux."""
    if compat.LINUX:
        return None
    return u'%s: this program is tested on Linux only; here %s' % (
        compat.SYSTEM, u'; '.join(loss for _name, lacks, loss in PROMISES if lacks() is not None)
        or u'nothing is known to be missing')


def _no_proc():
    if proc.is_there():
        return None
    return u'there is no /proc' + (u', psutil stands in for some of it'
                                   if resources.import_psutil() else u'')


def _no_prctl():
    ctypes = compat.import_or_none('ctypes')
    if ctypes is None:
        return u'this Python has no ctypes to ask by'
    try:
        return None if ctypes.CDLL(None).prctl(PR_GET_DUMPABLE, 0, 0, 0,
                                               0) >= 0 else u'this system refuses it'
    except (EnvironmentError, AttributeError):
        return u'this system has none'


def _no_cgroups():
    return None if resources.sees_cgroups() else u'none are mounted here'


def _no_ctypes():
    return u'this Python was built without it' if compat.import_or_none('ctypes') is None else None


def _no_ssl():
    ssl = compat.import_or_none('ssl')
    if ssl is None:
        return u'this Python was built without it'
    return None if hasattr(ssl, 'SSLContext') else u'that of this Python is too old'


def _no_huge_pages():
    if not os.path.exists(HUGE_PAGES):
        return u'this kernel has none'
    return None if resources.kernel_version() >= (
        6, 1) else u'only Linux 6.1 and later makes them when asked'


# name, function -> why it is missing or None, which promise does not hold then
PROMISES = (
    ('/proc', _no_proc,
     u'a job\'s processes outside of its process group may outlive it or a killed node, a secret '
     u'given on the command line stays visible, and who has a port is not told'),
    ('prctl', _no_prctl, u'processes that leave their parents may outlive their computation'),
    ('cgroups', _no_cgroups, u'a container\'s limit of CPUs is not seen (give -c)'),
    ('ctypes', _no_ctypes, u'memory is given back late, and clocks of Python 2.7 are coarse'),
    ('ssl', _no_ssl, u'--certfile cannot be used'),
    ('huge pages', _no_huge_pages, u'after a setup of 200 MB each job costs some 10 ms more'))
