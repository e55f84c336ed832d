"""Keeps a dead node's listeners open: connections wait for the next one, no client is refused."""
from __future__ import absolute_import, division, print_function

import _socket
import errno
import os

from dispynode_lib.host.descriptors import is_readable, send_fd
from dispynode_lib.supervisor.job.output import complain
from dispynode_lib.supervisor.processes.descriptors import accept, close_quietly, listen
from dispynode_lib.supervisor.processes.lean import PYTHON2
from dispynode_lib.supervisor.processes.timers import monotonic
from dispynode_lib.wire import control

SO_ACCEPTCONN = getattr(_socket, 'SO_ACCEPTCONN', 30)
LOOK = 1.0                                  # seconds between looks whether a supervisor is left


class Listeners(object):
    """The descriptors of the node's listeners."""

    def __init__(self):
        self._fds = []
        self._sock = self._place = None     # where the next node asks for them, once there are some
        self._timeout, self._path = 0.0, None
        timeout, colon, path = os.environ.pop(control.KEEPER, '').partition(':')
        if colon:
            self._timeout, self._path = float(timeout), path

    def take(self, fd):
        """Keep `fd` if it is a listener; return whether so. Close those that are shut down."""
        if not is_listening(fd):
            return False
        for one in set(self._fds).difference(self._open()):
            self._fds.remove(one)
            close_quietly(one)
        self._fds.append(fd)
        if self._sock is None and self._path is not None:
            # now: the next node may be there before this process sees the end of its own
            self._listen()
        return True

    def _listen(self):
        try:
            try:
                os.unlink(self._path)
            except EnvironmentError as error:
                if error.errno != errno.ENOENT:
                    raise
            self._sock = listen(self._path)
            self._place = os.stat(self._path).st_ino
        except EnvironmentError as error:
            complain('nursery: clients would be refused after the death of the node: %s: %s' %
                     (self._path, error))

    def forget(self):
        """Close them; in a new supervisor."""
        for fd in self._fds:
            close_quietly(fd)
        if self._sock is not None:
            self._sock.close()

    def wait_for_node(self, look):
        """The node has gone: give the listeners to the next one, if it comes in time, and while
        there are supervisors; call `look()` now and then."""
        if self._sock is None:
            return
        deadline = monotonic() + self._timeout
        while monotonic() < deadline and self._open() and self._is_of_use():
            if not is_readable(self._sock.fileno(), LOOK):
                look()
                continue
            if give(self._sock, self._open()):
                break
            deadline = monotonic() + self._timeout      # it has died, too

    def _open(self):
        """Return those that listen: a node that stops shuts them down."""
        return [fd for fd in self._fds if is_listening(fd)]

    def _is_of_use(self):
        """Return whether there is a supervisor, and no later process like this one."""
        try:
            names = os.listdir(os.path.join(os.path.dirname(self._path), control.SUPERVISORS))
            return os.stat(self._path).st_ino == self._place and any(
                not name.endswith(control.CLEANED) for name in names)
        except EnvironmentError:
            return False


def give(sock, fds):
    """Give the listeners to the node that connects; return whether that ends this."""
    connection = accept(sock)
    try:
        for fd in fds:
            send_fd(connection, fd)
        connection.sendall(control.KEPT_ALL)
        return connection.recv(1) == control.KEEP_NO_MORE
    except EnvironmentError:
        return False
    finally:
        connection.close()


def is_listening(fd):
    """Return whether descriptor `fd` is a socket that listens."""
    try:
        sock = _socket.fromfd(fd, _socket.AF_UNIX,
                              _socket.SOCK_STREAM) if PYTHON2 else _socket.socket(fileno=os.dup(fd))
    except EnvironmentError:
        return False
    try:
        return bool(sock.getsockopt(_socket.SOL_SOCKET, SO_ACCEPTCONN))
    except EnvironmentError:
        return False
    finally:
        sock.close()
