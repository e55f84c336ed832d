"""The node before this one: what it left is ended, or taken over (node/heritage)."""
from __future__ import absolute_import, division, print_function

import os
import select
import socket

from dispynode_lib.errors import PeerGone
from dispynode_lib.host.descriptors import recv_fd, set_cloexec
from dispynode_lib.host.io.streams import wait_for
from dispynode_lib.host.network import unixsocket
from dispynode_lib.log import Log, output
from dispynode_lib.node.computations import link
from dispynode_lib.node.operator.statefolder import KEEPER
from dispynode_lib.node.replies.records import Records
from dispynode_lib.node.replies import journal as journals
from dispynode_lib.wire import control

log = Log('dispynode.takeover')

LAST_LINES = 1.0                            # seconds for the log
TIMEOUT = 2.0                               # seconds for the keeper of listeners


class Before(object):
    """The node before this one, by the traces that this one finds at its start.

    records    node.replies.records.Records
    keeper     Keeper
    heritage   node.heritage.Heritage, None if there is nothing to go on with
    """

    def __init__(self, options, folder, identity):
        """Look in `folder`, the open StateFolder; `identity` gets the sign of before."""
        self.records = Records(folder.path, options.orphan_timeout, folder.generation)
        self.keeper = Keeper(folder.file(KEEPER), options.orphan_timeout)
        self.heritage = None
        before, records = folder.before()
        if records and options.orphan_timeout and not options.clean:
            from dispynode_lib.node import heritage     # few nodes find one
            self.heritage = heritage.find(before, records, self.records, folder.is_of_client)
        if self.heritage is not None:
            identity.keep_sign(self.heritage.sign, options)
            folder.keep_records(self.heritage.names)
        folder.sign, self._folder, self._supervisors = identity.sign, folder, None

    def begin(self):
        """End what is not to go on: this node has its ports, so no other one lives here."""
        self._folder.clean()
        if self.heritage is None:
            for sockets in self.records.supervisors().values():
                for _key, path in sockets:
                    link.end_supervisor(path)
            self.keeper.let_go()

    def give_up(self):
        """This start has failed: leave all as it was."""
        self.keeper.close()
        self._folder.close(clean=False)

    def hand_on(self, nursery, listeners):
        """Have the nursery keep `listeners` (dict by socket); end what was left."""
        self.keeper.hand_on(nursery, listeners)
        supervisors = self._supervisors = nursery.supervisors
        supervisors.mark, supervisors.is_replaced = self._folder.mark, self._folder.is_replaced
        supervisors.keeper_pids = self.keeper.pids
        self._folder.end_before = supervisors.end_before

    def settle(self, path, spool):
        """Keep a final reply for each job in the journal at `path`, if none of them goes on."""
        if self.heritage is None:
            journals.settle(path, spool)

    def set_aside(self, delivery):
        """Set aside what is not to go on; return the schedulers of before."""
        schedulers = self._folder.schedulers()
        if schedulers and self.heritage is None:
            delivery.hold_back()
        self._folder.set_aside()
        return schedulers

    def take_over(self, common, computations, folders, notices, journal, spool, big_folder):
        """Go on with what there is; the arguments are the node's parts. Raises StartError."""
        if self.heritage is not None:
            self._folder.begin()            # its generation, before it is used
            self.heritage.take_over(computations, folders, notices, common.state, common.loop,
                                    journal, spool, big_folder, self._supervisors)


def on_replaced():
    """Another node has taken this one's supervisors: all that is here is its own now. The loop's
    thread; it does nothing more."""
    log.error(
        'another node has taken over the computations of this one, which was stopped for too long; '
        'this one ends')
    output.finish(LAST_LINES)
    os._exit(os.EX_TEMPFAIL)


class Keeper(object):
    """The process that has kept the listeners of a dead node: the nursery of that one."""

    def __init__(self, path, timeout):
        """`path`: its socket; `timeout`: seconds that the one of this node is to wait."""
        self.wanted = '%g:%s' % (timeout, path) if timeout else None
        self._sock, self._pid, self.listeners = None, None, []
        try:
            self._sock = unixsocket.connect(path, TIMEOUT)
            self._pid = unixsocket.peer_pid(self._sock)
        except EnvironmentError:
            return                          # there is none, as nearly always
        try:
            self._sock.setblocking(True)    # on Python 2 what takes descriptors knows no time limit
            while True:
                wait_for(self._sock, select.POLLIN, TIMEOUT)
                fd = recv_fd(self._sock)
                if fd is None:
                    break
                self.listeners.append(socket_from(fd))
        except (EnvironmentError, PeerGone) as error:  # a byte without a descriptor: that is all
            log.debug('the listeners of the node before this one: %d, %s', len(self.listeners),
                      error)

    def hand_on(self, nursery, listeners):
        """Have the nursery keep what is in `listeners` (dict, sockets are its keys) from now on."""
        nursery.listeners, nursery.on_shared = lambda: list(listeners), self.let_go
        nursery.keeper = self.wanted

    def pids(self):
        """Return its pid as long as it is needed, in a list."""
        return [self._pid] if self._sock is not None and self._pid else []

    def let_go(self):
        """Let the process go, which is not needed any more. Any thread."""
        sock, self._sock = self._sock, None
        if sock is not None:
            try:
                sock.sendall(control.KEEP_NO_MORE)
            except EnvironmentError as error:
                log.debug('the keeper of listeners: %s', error)
            sock.close()

    def close(self):
        """Close what this node has of it; the process itself goes on."""
        if self._sock is not None:
            self._sock.close()
        for sock in self.listeners:
            sock.close()


def socket_from(fd):
    """Return the TCP socket with descriptor `fd`, which is closed."""
    sock = socket.fromfd(fd, socket.AF_INET, socket.SOCK_STREAM)
    if len(sock.getsockname()) == 4:
        sock.close()
        sock = socket.fromfd(fd, socket.AF_INET6, socket.SOCK_STREAM)
    os.close(fd)
    set_cloexec(sock.fileno())
    return sock
