"""Starts a program: by the system's own spawn call where Python has it, else fork and exec."""
from __future__ import absolute_import, division, print_function

import errno
import os

from dispynode_lib.host.descriptors import set_cloexec
from dispynode_lib.supervisor.processes.descriptors import close_quietly, private_pipe, read_some
from dispynode_lib.supervisor.processes.lean import signal

# What this process ignores and what Python ignores; a program expects the system's own settings
DEFAULT_SIGNALS = tuple(getattr(signal, name)
                        for name in ('SIGINT', 'SIGPIPE', 'SIGXFSZ', 'SIGTERM', 'SIGCHLD', 'SIGHUP',
                                     'SIGQUIT') if hasattr(signal, name))
# Where the library knows what all are to be, it does not ask the system what each one is
ALL_SIGNALS = sorted(getattr(signal, 'valid_signals', tuple)())
HAS_SPAWN = hasattr(os, 'posix_spawn')
SHELL = '/bin/sh'


def spawn(argv, environment, stdout, stderr):
    """Start `argv` in a session of its own, standard input empty; return its pid.

    argv            list whose first item is the path of the executable
    environment     dict
    stdout, stderr  descriptors
    Raises EnvironmentError if it cannot be started.
    """
    try:
        return _start(argv, environment, stdout, stderr)
    except EnvironmentError as error:
        if error.errno != errno.ENOEXEC:
            raise
    # a script without `#!`, as shells do
    return _start([SHELL] + argv, environment, stdout, stderr)


def _start(argv, environment, stdout, stderr):
    if not HAS_SPAWN:
        return _fork_and_exec(argv, environment, stdout, stderr)
    actions = ((os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
               (os.POSIX_SPAWN_DUP2, stdout, 1), (os.POSIX_SPAWN_DUP2, stderr, 2))
    settings = {'file_actions': actions, 'setsigmask': (), 'setsigdef': ALL_SIGNALS}
    try:
        return os.posix_spawn(argv[0], argv, environment, setsid=True, **settings)
    except NotImplementedError:             # a C library without POSIX_SPAWN_SETSID
        return os.posix_spawn(argv[0], argv, environment, setpgroup=0, **settings)


def _fork_and_exec(argv, environment, stdout, stderr):
    """The same by hand; the program's side tells through a pipe why it could not start."""
    read_end, write_end = private_pipe()
    try:
        pid = os.fork()
        if not pid:
            _become_program(argv, environment, stdout, stderr, write_end)
        os.close(write_end)
        write_end = None
        trouble = read_some(read_end, 64)
    finally:
        close_quietly(read_end)
        if write_end is not None:
            close_quietly(write_end)
    if not trouble:
        return pid
    os.waitpid(pid, 0)
    raise EnvironmentError(int(trouble), os.strerror(int(trouble)))


def _become_program(argv, environment, stdout, stderr, write_end):
    """In the forked process: execute `argv`, or tell the error number; does not return."""
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in DEFAULT_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        if hasattr(signal, 'pthread_sigmask'):
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
        null = os.open(os.devnull, os.O_RDONLY)
        set_cloexec(null)
        os.dup2(null, 0)
        os.dup2(stdout, 1)
        os.dup2(stderr, 2)
        os.execve(argv[0], argv, environment)
    except EnvironmentError as error:
        os.write(write_end, b'%d' % error.errno)
    finally:
        os._exit(127)
