"""TLS as dispy's clients do it: all share one certificate, which is also the list of CAs.

Imported only if a certificate was given: `ssl` takes 10 ms and 3 MB.
Source: docs/protocol.rst, "TLS".
"""
from __future__ import absolute_import, division, print_function

import os
import socket
import ssl
import time

from dispynode_lib.errors import PeerGone, StartError
from dispynode_lib.host import compat
from dispynode_lib.host.network import connections

# bytes of data in a record at most, and a little more than comes with them
RECORD, OVERHEAD = 16384, 64
SHORTEST, LONGEST = 0.00005, 0.01           # seconds between two looks at it


class Tls(object):
    """Wraps sockets on both sides; the handshake is left to the first reads and writes."""

    def __init__(self, certfile, keyfile):
        """`certfile`, `keyfile`: paths (PEM); None: the key is in `certfile`. Raises StartError."""
        if not hasattr(ssl, 'SSLContext'):
            raise StartError(
                '--certfile: this Python has no modern TLS; use Python 2.7.9 or later, or no '
                '--certfile', os.EX_CONFIG)
        try:
            self._server = _context(server=True)
            self._server.load_cert_chain(certfile, keyfile)
            self._client = _context(server=False)
            self._client.load_verify_locations(certfile)
        except EnvironmentError as error:
            names = certfile if keyfile is None else '%s, --keyfile %s' % (certfile, keyfile)
            raise StartError('--certfile %s: %s; give a certificate and its private key in PEM form'
                             % (names, error.strerror or error), os.EX_CONFIG)

    def as_server(self, sock):
        """Return `sock` (connected, non-blocking) as the server's end of a TLS connection."""
        return self._server.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)

    def as_client(self, sock):
        """Return `sock` (connected) as a client's end; the peer must have the shared file."""
        return self._client.wrap_socket(sock, do_handshake_on_connect=False)


def send_whole_records(sock, data):
    """Send `data` (bytes) by records, each a segment of its own: no reader sees a part of one.

    That takes a round trip for each record; elsewhere than on Linux they go out as ever. Raises
    EnvironmentError, and PeerGone if the peer's host acknowledges nothing within the socket's
    timeout.
    """
    if not compat.LINUX:
        sock.sendall(data)
        return
    view, begin = memoryview(data), 0
    while begin < len(data):
        segment = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
        end = begin + min(RECORD, max(OVERHEAD, segment - OVERHEAD))
        sock.sendall(view[begin:end])
        begin = end
        _wait_acknowledged(sock)


def _wait_acknowledged(sock):
    patience, waited, wait = sock.gettimeout(), 0.0, SHORTEST
    while connections.unacknowledged(sock):
        if patience is not None and waited >= patience:
            raise PeerGone('it took nothing for %g s' % patience)
        time.sleep(wait)
        waited += wait
        wait = min(2 * wait, LONGEST)


def _context(server):
    if hasattr(ssl, 'PROTOCOL_TLS_SERVER'):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_SSLv23)
        context.options |= ssl.OP_NO_SSLv2 | ssl.OP_NO_SSLv3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE if server else ssl.CERT_REQUIRED
    if server:
        _send_no_tickets(context)
    return context


def _send_no_tickets(context):
    """Older clients take the ticket that follows a TLS 1.3 handshake for an error."""
    if hasattr(context, 'num_tickets'):
        context.num_tickets = 0
    else:
        context.options |= getattr(ssl, 'OP_NO_TLSv1_3', 0)
