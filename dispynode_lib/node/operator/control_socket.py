"""The command socket in the state folder, for the operator and programs of the same user."""
from __future__ import absolute_import, division, print_function

import errno
import os

from dispynode_lib.host import files
from dispynode_lib.host.network import unixsocket
from dispynode_lib.host.compat import WOULD_BLOCK, set_cloexec, to_text
from dispynode_lib.log import Log

log = Log('dispynode.commands')

LIMIT = 4096                                # bytes of a command
TIMEOUT = 5.0                               # seconds for a command to come


class ControlSocket(object):
    """Listens at a path (mode 0600): a line of words in, JSON out (status, text, data)."""

    def __init__(self, common, run, path):
        """`run(words)`: does a command, returns its Answer."""
        self._loop, self._workers = common.loop, common.workers
        self._run = run
        self._path = path
        self._sock = None

    def open(self):
        """Listen; without that the node works as well, and says so in the log."""
        try:
            files.remove(self._path)        # of a dead node: this one has its ports
            self._listen()
        except EnvironmentError as error:
            log.warning('no commands can be sent to this node: %s: %s', self._path, error)

    def renew(self):
        """Listen anew if the socket was removed; the watchdog's. Raises EnvironmentError."""
        if self._sock is not None and not os.path.lexists(self._path):
            self._listen()

    def _listen(self):
        sock = unixsocket.listen(self._path)
        sock.setblocking(False)
        self._loop.call_soon(self._watch, sock)

    def _watch(self, sock):
        old, self._sock = self._sock, sock
        if old is not None:
            self._loop.unwatch(old.fileno())
            old.close()
        self._loop.watch(sock.fileno(), self._accept)

    def _accept(self, _events):
        try:
            sock = self._sock.accept()[0]
        except EnvironmentError as error:
            if error.errno not in WOULD_BLOCK + (errno.EINTR, errno.ECONNABORTED):
                log.warning('taking a command: %s', error)
            return
        set_cloexec(sock.fileno())
        self._workers.run(self._serve, sock)

    def _serve(self, sock):
        try:
            sock.settimeout(TIMEOUT)
            words = to_text(_read_line(sock)).split()
            if not words:
                return
            log.debug('command: %s', ' '.join(words))
            from dispynode_lib.host import plainjson
            answer = self._run(words)
            sock.sendall(plainjson.dumps({u'status': answer.status, u'text': answer.text,
                                          u'data': answer.data}).encode('ascii') + b'\n')
        except EnvironmentError as error:
            log.info('a command: %s', error)
        finally:
            sock.close()

    def close(self):
        """Take no more commands; after the loop has ended."""
        if self._sock is not None:
            self._sock.close()


def _read_line(sock):
    data = b''
    while b'\n' not in data and len(data) < LIMIT:
        piece = sock.recv(LIMIT)
        if not piece:
            break
        data += piece
    return data.partition(b'\n')[0]


def ask(path, words, timeout):
    """Send a command (list of text) to the node at socket `path`; return the answer (dict).

    Raises EnvironmentError if no node is there, or it does not answer in `timeout` seconds.
    """
    import json
    sock = unixsocket.connect(path, timeout)
    try:
        sock.sendall(u' '.join(words).encode('utf-8') + b'\n')
        data = b''
        while True:
            piece = sock.recv(65536)
            if not piece:
                break
            data += piece
    finally:
        sock.close()
    if not data:
        raise EnvironmentError(errno.ECONNRESET, 'the node has closed the connection')
    return json.loads(to_text(data))
