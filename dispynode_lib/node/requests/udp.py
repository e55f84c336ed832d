"""The thread that reads datagrams."""
from __future__ import absolute_import, division, print_function

import select
import socket

from dispynode_lib.errors import ProtocolError
from dispynode_lib.host.network import datagrams
from dispynode_lib.host.compat import start_thread
from dispynode_lib.log import Log
from dispynode_lib.host.io.streams import close_quietly
from dispynode_lib.wire import framing

log = Log('dispynode.udp')


class DatagramListener(object):
    """One thread for the datagrams of all ports: pings and notices by UDP."""

    def __init__(self, socks, handle, complaints):
        """`socks`: sockets of host.network.datagrams; `handle(opcode, argument, arrival)`."""
        self._socks = socks
        self._handle = handle
        self._complaints = complaints
        self.is_allowed = None              # as Reception's
        self._stopping = False
        self._wake, self._woken = socket.socketpair()

    def follow(self, socks):
        """Take the datagrams of these sockets from now on, and close others; any thread."""
        self._socks = socks
        self._wake.send(b'x')

    def start(self):
        """Start the thread."""
        return start_thread('udp', self._run)

    def _run(self):
        poll, by_fd = select.poll(), {}
        poll.register(self._woken.fileno(), select.POLLIN)
        while not self._stopping:
            self._register(poll, by_fd, self._socks)
            for fd, _events in self._wait(poll):
                if fd in by_fd:
                    self._receive(by_fd[fd])
                else:
                    self._woken.recv(64)

    @staticmethod
    def _register(poll, by_fd, socks):
        for fd, sock in list(by_fd.items()):
            if sock not in socks:
                poll.unregister(fd)
                close_quietly(by_fd.pop(fd))
        for sock in socks:
            if sock.fileno() not in by_fd:
                by_fd[sock.fileno()] = sock
                poll.register(sock.fileno(), select.POLLIN)

    @staticmethod
    def _wait(poll):
        try:
            return poll.poll()
        except (EnvironmentError, select.error):                # a signal (2.7)
            return ()

    def _receive(self, sock):
        try:
            data, arrival = datagrams.receive(sock)
        except EnvironmentError as error:
            log.debug('receiving a datagram: %s', error)
            return
        try:
            if self.is_allowed is not None and not self.is_allowed(arrival.source):
                self._complaints.note(arrival.source, 'not allowed', 'a datagram from outside of what --allow names')
                return
            opcode, argument = framing.split(data)
            self._handle(opcode, argument, arrival)
        except ProtocolError as error:
            self._complaints.note(arrival.source, 'bad datagram', error)
        except Exception:
            log.exception('handling a datagram from %s', arrival.source)

    def stop(self):
        """End the thread; its sockets stay open for sending until close()."""
        self._stopping = True
        self._wake.send(b'x')

    def close(self):
        """Close the sockets."""
        for sock in self._socks:
            close_quietly(sock)
