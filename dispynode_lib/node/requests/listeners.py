"""The node's listeners: one for connections at each TCP port, one for all datagrams."""
from __future__ import absolute_import, division, print_function

import errno
import select
import socket

from dispynode_lib.errors import ProtocolError
from dispynode_lib.host.compat import accept, socketserver, start_thread
from dispynode_lib.host.io.streams import close_quietly, would_block
from dispynode_lib.host.io.wakeup import Wakeup
from dispynode_lib.host.network import datagrams
from dispynode_lib.log import Log
from dispynode_lib.wire import framing

log = Log('dispynode.server')

ACCEPT_AGAIN = 0.1                          # seconds without descriptors


class Listener(socketserver.ThreadingTCPServer):
    """A TCP listener: the loop's thread accepts, for there is nothing to wait for.

    The Reception has threads for requests; a connection whose request is not there needs none.
    """

    def __init__(self, sock, reception, loop):
        """`sock`: TCP socket that listens; accepting begins with start()."""
        self.address_family = sock.family
        socketserver.ThreadingTCPServer.__init__(
            self, sock.getsockname(), None, bind_and_activate=False)
        self.socket.close()
        self.socket = sock
        self._reception = reception
        self._loop = loop
        self._stopping = False
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)      # connections inherit that

    def start(self):
        """Begin to accept; any thread."""
        self._loop.call_soon(self._watch)

    def pause(self):
        """Accept no more; who connects waits for the next node. Any thread."""
        self._stopping = True
        self._loop.call_soon(self._loop.unwatch, self.fileno())

    def stop(self):
        """Accept no more, close the listener soon; any thread."""
        self._stopping = True
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except EnvironmentError as error:
            log.debug('closing a listener: %s', error)
        self._loop.call_soon(self._close)

    def _watch(self):
        if not self._stopping:
            self._loop.watch(self.fileno(), self._accept)

    def _accept(self, _events):
        """Accept one connection; the next one after the other callbacks that are due."""
        self._handle_request_noblock()

    def _close(self):
        self._loop.unwatch(self.fileno())
        self.server_close()

    # -- what socketserver calls for each connection

    def get_request(self):
        """Return a connection and its peer's address. Without descriptors, accepting pauses."""
        try:
            return accept(self.socket, self.address_family)
        except EnvironmentError as error:
            if not self._stopping and not would_block(error) and error.errno != errno.ECONNABORTED:
                self._reception.cannot_accept(error)
                self._loop.unwatch(self.fileno())
                self._loop.call_later(ACCEPT_AGAIN, self._watch)
            raise

    def verify_request(self, request, client_address):
        """Return whether its peer is listened to."""
        return self._reception.is_welcome(client_address[0])

    def process_request(self, request, client_address):
        """Hand over a connection: a thread gets it when its request is there."""
        self._reception.take(request, client_address)

    def handle_error(self, request, client_address):
        """Log the fault; the connection is closed, the listener goes on."""
        log.exception('a connection from %s', client_address[0])

    def shutdown_request(self, request):
        """Close a connection that was not handed over."""
        close_quietly(request)


class DatagramListener(object):
    """One thread for the datagrams of all ports: pings and notices by UDP."""

    def __init__(self, socks, handle, complaints, is_allowed):
        """`socks`: sockets of host.network.datagrams; `handle(opcode, argument, arrival)`.

        complaints, is_allowed   as Reception's
        """
        self._socks = socks
        self._handle = handle
        self._complaints = complaints
        self._is_allowed = is_allowed
        self._stopping = False
        self._wakeup = Wakeup()

    def follow(self, socks):
        """Take the datagrams of these sockets from now on, and close others; any thread."""
        self._socks = socks
        self._wakeup.wake()

    def start(self):
        """Start the thread."""
        return start_thread('udp', self._run)

    def _run(self):
        poll, by_fd = select.poll(), {}
        poll.register(self._wakeup, select.POLLIN)
        while not self._stopping:
            self._register(poll, by_fd, self._socks)
            for fd, _events in self._wait(poll):
                if fd in by_fd:
                    self._receive(by_fd[fd])
                else:
                    self._wakeup.drain()

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
            if self._is_allowed is not None and not self._is_allowed(arrival.source):
                self._complaints.note(arrival.source, 'not allowed',
                                      'a datagram from outside of what --allow names')
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
        self._wakeup.wake()

    def close(self):
        """Close the sockets."""
        for sock in self._socks:
            close_quietly(sock)
