"""Tells a service manager such as systemd that the node is ready, lives, or stops (sd_notify)."""
from __future__ import absolute_import, division, print_function

import os
import socket

from dispynode_lib.host.compat import set_cloexec, to_bytes
from dispynode_lib.log import Log

log = Log('dispynode.notify')

VARIABLES = 'NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID'


class Notifier(object):
    """Sends lines such as READY=1 to whom the environment names; jobs do not inherit that.

    watchdog_interval   seconds between two WATCHDOG=1, None or 0 if none are wanted
    environment         dict of the variables by which it was made
    """

    def __init__(self):
        self.environment = dict(
            (name, os.environ.pop(name)) for name in VARIABLES if name in os.environ)
        path, timeout, process = [self.environment.get(name, '') for name in VARIABLES]
        mine = timeout.isdigit() and process in ('', str(os.getpid()))
        self.watchdog_interval = int(timeout) / 2e6 if mine else None
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
