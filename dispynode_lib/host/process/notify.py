"""Tells a service manager such as systemd that the node is ready, lives, or stops (sd_notify)."""
from __future__ import absolute_import, division, print_function

import os
import socket

from dispynode_lib.host.compat import set_cloexec, to_bytes
from dispynode_lib.log import Log

log = Log('dispynode.notify')

VARIABLES = 'NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID'


def from_environment():
    """Return a Notifier, or None; jobs do not inherit what it is made from."""
    environment = dict((name, os.environ.pop(name)) for name in VARIABLES if name in os.environ)
    path, microseconds, process = [environment.get(name, '') for name in VARIABLES]
    if not path:
        return None
    mine = process in ('', str(os.getpid()))
    return Notifier(path, int(microseconds) / 1e6 if mine and microseconds.isdigit() else None,
                    environment)


class Notifier(object):
    """Sends lines such as READY=1.

    watchdog_interval   seconds between two WATCHDOG=1, None if none are wanted
    environment         dict of the variables by which it was made
    """

    def __init__(self, path, timeout, environment):
        self.environment = environment
        self.watchdog_interval = timeout / 2.0 if timeout else None
        self._path = '\0' + path[1:] if path[:1] == '@' else path

    def send(self, *lines):
        """Send lines (text); a manager that does not listen any more is no error."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            set_cloexec(sock.fileno())
            sock.setblocking(False)
            sock.sendto(to_bytes('\n'.join(lines + ('MAINPID=%d' % os.getpid(),))), self._path)
        except EnvironmentError as error:
            log.info('telling the service manager: %s', error)
        finally:
            sock.close()
