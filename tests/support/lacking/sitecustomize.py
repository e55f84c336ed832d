"""Takes away from every Python below what DISPYNODE_TEST_LACKS names: proc, prctl, affinity,
psutil, linux (the name of the system and all that only Linux has). With PYTHONPATH at this folder
Python imports this first of all.

psutil, where it is installed, is left with what it needs: on another system it would ask that.
"""
from __future__ import absolute_import, division, print_function

import errno
import os
import sys

try:
    import builtins
except ImportError:
    import __builtin__ as builtins

LACKS = os.environ.get('DISPYNODE_TEST_LACKS', '').split()
HIDDEN = '/proc', '/sys/fs/cgroup', '/sys/kernel/mm'
SYSTEM = 'freebsd14'


def hiding(function, error=OSError):
    """Return a function of paths that finds none of HIDDEN."""
    def hidden(path, *args, **kwargs):
        name = path.decode('utf-8', 'replace') if isinstance(path, bytes) else path
        if hasattr(name, 'startswith') and any((name + '/').startswith(folder + '/')
                                               for folder in HIDDEN):
            raise error(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return function(path, *args, **kwargs)
    return hidden


def hide_proc():
    """Let nobody see /proc, nor what else the kernel tells by files; psutil sees it under another
    name."""
    try:
        import psutil                       # it reads /proc once
        psutil.PROCFS_PATH = '//proc'
    except ImportError:
        pass
    for module, names in ((os, ('open', 'listdir', 'stat', 'lstat', 'readlink', 'access')),
                          (builtins, ('open', ))):
        for name in names:
            setattr(module, name,
                    hiding(getattr(module, name), IOError if module is builtins else OSError))
    import io
    io.open = builtins.open if str is not bytes else hiding(io.open, IOError)


def hide_prctl():
    """The C library has none."""
    import _ctypes
    find = _ctypes.dlsym

    def dlsym(library, name):
        if name == 'prctl':
            raise OSError('undefined symbol: prctl')
        return find(library, name)

    _ctypes.dlsym = dlsym
    import ctypes
    lookup = ctypes.CDLL.__getattr__

    def attribute(library, name):
        if name == 'prctl':
            raise AttributeError(name)
        return lookup(library, name)

    ctypes.CDLL.__getattr__ = attribute


def hide_affinity():
    """Nobody may ask for it."""
    def denied(_pid):
        raise EnvironmentError(errno.EPERM, os.strerror(errno.EPERM))

    os.sched_getaffinity = denied


def hide_linux():
    """Be another system: another name, and none of what only Linux has."""
    import select
    import signal
    import socket
    import _socket
    modules = [select, signal, socket, _socket, os]
    try:
        import _signal
        import posix
        modules += [_signal, posix]
    except ImportError:
        pass
    for module in modules:
        for name in ('epoll', 'SIGPWR', 'SIGSTKFLT', 'SIGRTMIN', 'SIGRTMAX', 'IP_PKTINFO',
                     'SO_PASSCRED', 'SO_PEERCRED', 'SO_BINDTODEVICE', 'TCP_INFO', 'waitid',
                     'sched_getaffinity', 'pidfd_open', 'MSG_CMSG_CLOEXEC'):
            if hasattr(module, name):
                delattr(module, name)
    sys.platform = SYSTEM


if 'psutil' in LACKS:
    sys.modules['psutil'] = None
if 'proc' in LACKS or 'linux' in LACKS:
    hide_proc()
if 'prctl' in LACKS or 'linux' in LACKS:
    hide_prctl()
if 'affinity' in LACKS:
    hide_affinity()
if 'linux' in LACKS:
    hide_linux()
