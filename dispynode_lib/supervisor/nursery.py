"""The nursery: the process from which supervisors are forked. It does nothing else.

So opening a computation costs a fork and not the start of a Python, and supervisors share their
memory. It is also why a node goes on with the code it was started with when its files are replaced.
"""
from __future__ import absolute_import, division, print_function

import os
import stat
import struct
import sys

from dispynode_lib.host import proc
from dispynode_lib.host.descriptors import is_readable
from dispynode_lib.supervisor import keeping, supervisor
from dispynode_lib.supervisor.imports import preload
from dispynode_lib.supervisor.job import job, output, surroundings
from dispynode_lib.supervisor.job.computation import Computation
from dispynode_lib.supervisor.processes import stopping
from dispynode_lib.supervisor.processes.descriptors import (
    Receiver, close_quietly, close_strangers, move_out_of_reach, read_some, socket_pair,
    take_standard)
from dispynode_lib.supervisor.processes.lean import signal, to_native
from dispynode_lib.wire import control

PID = struct.Struct('>l')
LOAD_TIMEOUT = 5                            # seconds that a module may take to be imported
# the computation that is rehearsed
CODE = b'def rehearsal(number):\n    return number\n'
ARGUMENT, NO_KEYWORDS = b'\x80\x02K\x01\x85.', b'\x80\x02}.'     # pickles of (1,) and {}
SETTINGS = {'id': b'0', 'type': b'1', 'name': b'rehearsal', 'code': CODE, 'folder': b'.',
            'python2': b'0', 'protocol': b'3', 'setup_accepts': b'0', 'limits': b''}


def main():
    """Serve the node's requests for supervisors by descriptor 0, a socket. Does not return."""
    if os.getpgrp() != os.getpid():
        os.setpgrp()                        # an interrupt from the terminal is for the node
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)       # nobody asks for the status of a supervisor
    mark = os.environ.get(proc.MARK, '')
    if os.environ.get(control.BIND_NOW[0]) == control.BIND_NOW[1]:
        del os.environ[control.BIND_NOW[0]]             # it is not the user's
    control_fd = take_standard()
    close_strangers((control_fd,))
    receiver, listeners = Receiver(control_fd), keeping.Listeners()
    preload.begin().install()               # supervisors inherit it
    surroundings.prepare()
    stopping.adopt()  # for supervisors that a job kills; and it makes ready for theirs
    rehearse()
    _tell(control_fd, os.getpid())          # all is well
    supervisors, left = set(), []
    while True:
        load_some(left, control_fd)
        fd = receiver.receive_fd()
        if fd is not None and (listeners.take(fd) or take_names(fd, left)):
            continue
        fds = fd, receiver.receive_fd()
        if None in fds:
            stopping.end_descendants(supervisors)   # left by supervisors that have died
            listeners.wait_for_node(lambda: end_left(supervisors, mark))
            os._exit(0)                     # the node has gone; each supervisor sees that by itself
        supervisors.add(_fork(receiver, listeners, control_fd, fds))


def end_left(supervisors, mark):
    """End what supervisors have left that have died, while there is no node.

    supervisors   pids of all that were forked here
    mark          by which all is known that nurseries of this state folder have started: a job
                  whose supervisor another one has forked is now a child of our own parent
    """
    below = stopping.descendants(os.getpid())
    if below is None or any(relative.parent == os.getpid() and relative.pid not in supervisors
                            for relative in below):
        stopping.end_descendants(supervisors)
    for relative in stopping.leaders_below(os.getppid()):
        if proc.is_marked(relative.pid, [mark]):
            stopping.kill_session(relative)


def take_names(fd, left):
    """If `fd` is a pipe add the names of modules in it to list `left`; return whether it is one."""
    if not stat.S_ISFIFO(os.fstat(fd).st_mode):
        return False
    names = to_native(read_some(fd, control.PIPE_SIZE)).split(',')
    close_quietly(fd)
    left += [name for name in names if control.is_module_name(name)]
    return True


def load_some(left, control_fd):
    """Load modules from `left`, which is emptied, while the node wants nothing."""
    if not left:
        return
    preloaded = preload.begin()
    while left and not is_readable(control_fd):
        error = in_time(preloaded.load, left.pop(0))
        if error is not None:
            output.complain('nursery: a module cannot be loaded ahead of jobs: %s' % error)
    preloaded.settle()


def in_time(load, name):
    """Return load(name), interrupted after LOAD_TIMEOUT: the node waits for this process."""
    def interrupt(_number, _frame):
        raise EnvironmentError('it takes longer than %d seconds to import' % LOAD_TIMEOUT)

    signal.signal(signal.SIGALRM, interrupt)
    signal.alarm(LOAD_TIMEOUT)
    try:
        return load(name)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)


def _fork(receiver, listeners, control_fd, fds):
    """Fork a supervisor with `fds` (control, channels); tell and return its number, or 0."""
    try:
        pid = os.fork()
    except EnvironmentError:
        pid = -1
    if not pid:
        receiver.close()
        listeners.forget()
        os.setpgrp()
        supervisor.run(*fds)
    for fd in fds:
        close_quietly(fd)
    _tell(control_fd, max(0, pid))
    return pid


def _tell(control_fd, pid):
    try:
        os.write(control_fd, PID.pack(pid))
    except EnvironmentError:
        os._exit(0)                         # the node has gone


def rehearse():
    """Rehearse: do a computation and a job of no use in this process, and undo what they changed.

    What Python does when code runs for the first time (modules it imports, types it completes, byte
    code it adapts to what it meets) is there for all supervisors and jobs then; each of them would
    do it again, and pay for the pages that it changes. Without it a computation takes 1.3 times as
    long to open, a job has 5 % more page faults (3.13).
    """
    main, path, argv, environment = sys.modules['__main__'], sys.path[:], sys.argv[:], dict(
        os.environ)
    finders = sys.meta_path[:]
    near, far = socket_pair()
    far = move_out_of_reach(far)
    try:
        computation = Computation(dict(dict.fromkeys(control.OPEN_KEYS, b''), **SETTINGS), None)
        computation.open()
        computation.run_setup(b'none', None)
        job.rehearse(far, computation, ARGUMENT, NO_KEYWORDS)
        read_some(near, 4096)
    finally:
        sys.modules['__main__'] = main
        sys.path[:], sys.argv[:], sys.meta_path[:] = path, argv, finders
        for name in set(os.environ) - set(environment):
            del os.environ[name]
        os.environ.update(environment)
        close_quietly(near)
        close_quietly(far)
