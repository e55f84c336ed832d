"""Frames and authentication tokens of the network protocol.

Source: docs/protocol.rst, "Framing" and "Authentication token".
"""
from __future__ import absolute_import, division, print_function

import socket
import struct

from dispynode_lib.errors import PeerGone, ProtocolError
from dispynode_lib.host.compat import PY2, compare_digest, monotonic, sha1, to_bytes

TOKEN_SIZE = 40
DUMMY_TOKEN = b'x' * TOKEN_SIZE     # sent by a client that does not know the node's sign yet
LENGTH = struct.Struct('>L')
PRE_AUTH_LIMIT = 4096               # bytes of a frame from a peer that has not shown the secret

MAX_OPCODE = 32                     # characters; the longest real one has 18
VIEW_SIZE = 0x10000                 # larger arguments are not copied out of their frame
CHUNK_SIZE = 0x40000
OPCODE_LETTERS = b'ABCDEFGHIJKLMNOPQRSTUVWXYZ_'


def token(secret, sign):
    """Return the token (40 bytes) made from `secret` and the `sign` of its receiver (both text)."""
    digest = sha1(to_bytes(secret) + to_bytes(sign)).hexdigest()
    return digest if PY2 else digest.encode('ascii')


def same_token(given, expected):
    """Return whether two tokens (bytes) are equal, in constant time."""
    return compare_digest(bytes(given), bytes(expected))


def frame(payload):
    """Return `payload` (bytes) with its length in front."""
    return LENGTH.pack(len(payload)) + payload


def split(payload):
    """Return (opcode, argument) of a request: 'JOB' and the bytes after the colon.

    The argument of a big JOB is a view into `payload`, so that it is not copied; otherwise bytes.
    Raises ProtocolError if `payload` does not begin with an opcode.
    """
    head = bytes(payload[:MAX_OPCODE + 1])
    end = head.find(b':')
    opcode = head[:end]
    if end <= 0 or opcode.strip(OPCODE_LETTERS):
        raise ProtocolError('request without an opcode, %d bytes' % len(payload))
    if opcode == b'JOB' and len(payload) > VIEW_SIZE:
        return 'JOB', _view(payload, end + 1)
    return opcode if PY2 else opcode.decode('ascii'), bytes(payload[end + 1:])


def read_exact(sock, size, deadline=None):
    """Read `size` bytes from a blocking socket.

    deadline    compat.monotonic() time when to give up; None: the socket's own timeout counts
    Raises PeerGone if the peer closes, fails or is too slow.
    """
    pieces = []
    while size:
        pieces.append(_receive(sock, min(size, CHUNK_SIZE), deadline))
        size -= len(pieces[-1])
    return b''.join(pieces)


def read_frame(sock, limit, deadline=None):
    """Read one frame from a blocking socket; return its payload (bytes).

    limit       bytes that the payload may have
    Raises ProtocolError for a longer one, PeerGone as read_exact does.
    """
    size = LENGTH.unpack(read_exact(sock, 4, deadline))[0]
    if size > limit:
        raise ProtocolError('frame of %d bytes, allowed %d' % (size, limit))
    return read_exact(sock, size, deadline)


def _receive(sock, size, deadline):
    try:
        if deadline is not None:
            left = deadline - monotonic()
            if left <= 0:
                raise PeerGone('peer is too slow')
            sock.settimeout(left)
        data = sock.recv(size)
    except socket.timeout:
        raise PeerGone('peer is too slow')
    except EnvironmentError as error:
        raise PeerGone('connection failed: %s' % error)
    if not data:
        raise PeerGone('peer closed the connection')
    return data


def _view(payload, start):
    if PY2:
        return buffer(payload, start)                               # noqa: F821
    return memoryview(payload)[start:]
