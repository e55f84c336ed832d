"""The reception: holds connections until their request is there, and has it handled."""
from __future__ import absolute_import, division, print_function

import collections
import errno
import functools
import threading

from dispynode_lib.errors import PeerGone, ProtocolError
from dispynode_lib.host.compat import PY2, set_cloexec
from dispynode_lib.host.io.loop import READ
from dispynode_lib.host.io.streams import (
    Stream, close_quietly, is_at_end, read_rest, reset_at_close, wanted, would_block)
from dispynode_lib.host.io.workers import Workers
from dispynode_lib.log import Log
from dispynode_lib.node.access.guard import descriptor_limit, limit_for
from dispynode_lib.wire import framing
from dispynode_lib.wire.framing import LENGTH, PRE_AUTH_LIMIT, TOKEN_SIZE

log = Log('dispynode.server')

HEAD = TOKEN_SIZE + 4
JOB, FILE, RETRIEVE = b'JOB:', b'FILEXFER:', b'RETRIEVE_JOB:'
GET = b'GET '                                # HTTP; no token begins like this
HTTP_LIMIT = 16384                          # bytes of an HTTP request
READ_SIZE = 16384
BIG_JOB = 256 * 1024  # bytes of a JOB from which on its arguments go to a file
# threads at most: for short requests, for big ones that are read, pages, files and kept results on
# their way, jobs that wait for a CPU
REQUESTS, READERS, PAGES, FILES, JOBS = 48, 64, 4, 32, 32
NOT_LET_IN = 'not let in'
NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Connection(object):
    """An accepted connection, until its request is complete enough to be handled."""

    __slots__ = ('sock', 'address', 'data', 'size', 'authorised', 'timer', 'wants')

    def __init__(self, sock, address):
        self.sock = sock
        self.address = address              # (address, port, ...) of the peer
        self.data = b''
        self.size = None                    # bytes of the first frame
        self.authorised = False
        self.timer = None                   # by its time the whole head must be there
        self.wants = READ  # what the socket waits for: a TLS handshake may want to write

    def advance(self, is_token):
        """Read what is there. Return True when a thread may go on with it.

        is_token   function bytes -> bool: is that this node's token
        Raises PeerGone at end of file, ProtocolError for what is no request.
        """
        while True:
            try:
                data = self.sock.recv(READ_SIZE if self.size is
                                      None else min(READ_SIZE, HEAD + self.size - len(self.data)))
            except EnvironmentError as error:
                if not would_block(error):
                    raise PeerGone('reading: %s' % error)
                self.wants = wanted(error, READ)
                return False
            if not data:
                raise PeerGone('closed after %d bytes' % len(self.data) if self.data else '')
            self.data += data
            if self.size is None and self.data[:4] == GET:
                if _is_whole_http(self.data):
                    return True
            elif self.size is None and len(self.data) >= HEAD:
                self._read_head(is_token)
            if self.size is not None and len(self.data) >= HEAD + min(self.size, PRE_AUTH_LIMIT):
                return True                                     # what is bigger has the right token

    def _read_head(self, is_token):
        self.size = LENGTH.unpack_from(self.data, TOKEN_SIZE)[0]
        self.authorised = is_token(self.data[:TOKEN_SIZE])
        if self.size > PRE_AUTH_LIMIT and not self.authorised:
            raise ProtocolError(
                'wrong secret, or not a dispy client: a first frame of %d bytes' % self.size)


def _is_whole_http(data):
    return b'\r\n\r\n' in data or b'\n\n' in data or len(data) > HTTP_LIMIT


class Request(object):
    """One request: its opcode and argument, and the connection to answer on."""

    __slots__ = ('opcode', 'argument', 'stream', 'address', 'authorised', 'token', 'big')

    def __init__(self, opcode, argument, stream, address, authorised, token, big=None):
        self.opcode = opcode                # text without the colon
        self.argument = argument            # bytes or memoryview
        self.stream = stream
        self.address = address              # the peer's (address, port, ...)
        self.authorised = authorised
        self.token = token
        self.big = big                      # bigfiles.Arguments, if those of this JOB are in a file

    def local_address(self):
        """Return the node's address (text) on which the request came."""
        return self.stream.sock.getsockname()[0]

    def reply(self, payload):
        """Send one frame. Raises PeerGone."""
        self.stream.send_frame(payload)

    def need_peer(self):
        """Raise PeerGone if the peer has closed: it waited too long, and may ask again."""
        if is_at_end(self.stream.sock):
            raise PeerGone('%s: its peer has given up waiting' % self.opcode)

    def close(self):
        """Close the connection."""
        close_quietly(self.stream.sock)


class Held(object):
    """Connections by descriptor, and by peer in the order in which they came; the loop's thread."""

    def __init__(self, limit):
        """`limit`: connections at most."""
        self.limit = limit
        self._connections = {}              # descriptor -> connection
        self._by_peer = {}                  # address -> OrderedDict of descriptors

    def __len__(self):
        return len(self._connections)

    def add(self, fd, connection):
        """Hold a connection."""
        self._connections[fd] = connection
        self._by_peer.setdefault(connection.address[0], collections.OrderedDict())[fd] = True

    def remove(self, fd):
        """Forget the connection with descriptor `fd`."""
        connection = self._connections.pop(fd)
        mine = self._by_peer[connection.address[0]]
        del mine[fd]
        if not mine:
            del self._by_peer[connection.address[0]]

    def to_drop(self):
        """Return the connection to drop: the oldest of who holds most; None: there is none."""
        if not self._by_peer:
            return None
        most = max(self._by_peer.values(), key=len)
        return self._connections[next(iter(most))]


class Reception(object):
    """Holds connections, without a thread, until their first frame is there for a worker."""

    def __init__(self, common, complaints, penalties, is_allowed, on_earlier, handle,
                 handle_at_once, serve_http, big_folder, tls=None, new_workers=Workers):
        """Receive by `common`, a node.shared.common.Common, for these parts:

        complaints      note(address, cause, text)
        penalties       node.access.penalties.Penalties
        is_allowed      function address -> whether it is listened to; None: everybody is
        on_earlier      function(address): a client came with the token of an earlier run
        handle          function request -> True if it keeps the connection
        handle_at_once  function JOB request -> False if it would have to wait
        serve_http      function connection that answers a GET
        big_folder      for arguments that are not to be held in memory
        tls             host.network.tls.Tls or None
        new_workers     function (threads at most, loop) -> Workers
        """
        self._loop, self._options, self._identity = common.loop, common.options, common.identity
        # threads of their own for what may take long: it keeps short requests waiting no longer
        # than a moment
        self._workers, self._readers, self._pages, files, jobs = [
            new_workers(limit, common.loop) for limit in (REQUESTS, READERS, PAGES, FILES, JOBS)]
        self._slow = ((FILE, files), (RETRIEVE, files), (JOB, jobs))
        self._handle, self._handle_at_once = handle, handle_at_once
        self._complaints, self._penalties = complaints, penalties
        self._is_allowed, self._on_earlier = is_allowed, on_earlier
        self._tls, self._serve_http, self._big_folder = tls, serve_http, big_folder
        self._held = Held(limit_for(descriptor_limit()[1]))

    def is_welcome(self, address):
        """Return whether a peer's address is listened to; a refusal is noted."""
        if self._is_allowed is not None and not self._is_allowed(address):
            self._complaints.note(address, 'not allowed',
                                  'a connection from outside of what --allow names')
            return False
        return not self._is_shut_out(address)

    def take(self, sock, address):
        """Begin with a connection just accepted; the loop's thread."""
        try:
            if PY2:
                set_cloexec(sock.fileno())
            sock.setblocking(False)
            if self._tls is not None:
                sock = self._tls.as_server(sock)
        except EnvironmentError as error:
            log.debug('a connection from %s: %s', address[0], error)
            close_quietly(sock)
            return
        connection = Connection(sock, address)
        if self._advance(connection):
            self._hold(connection)

    def _is_shut_out(self, address):
        reason = self._penalties.reason(address)
        if reason is not None:
            self._complaints.note(address, 'shut out', reason)
        return reason is not None

    def _advance(self, connection):
        """Return whether it has to wait; else it is served, or closed."""
        try:
            if not connection.advance(self._identity.is_present):
                return True
        except (PeerGone, ProtocolError) as error:
            if str(error):
                self._turn_away(connection, NOT_LET_IN if isinstance(error, ProtocolError)
                                else 'broken connection', error)
            close_quietly(connection.sock)
            return False
        # since it came: it is not told whether it is right
        if self._is_shut_out(connection.address[0]):
            close_quietly(connection.sock)
        elif connection.size is None:
            self._hand_on(self._pages, self._answer_http, connection)
        elif not self._serve_at_once(connection):
            self._hand_on(self._workers_for(connection), self._serve, connection)
        return False

    def _hand_on(self, workers, serve, connection):
        try:
            workers.run(serve, connection)
        except threading.ThreadError as error:          # and there is none yet that could do it
            self._complaints.note('this node', 'cannot start threads', error)
            close_quietly(connection.sock)

    def _workers_for(self, connection):
        """Return the Workers that are for such a request."""
        if len(connection.data) < HEAD + connection.size:
            return self._readers            # the rest of it has yet to come
        for opcode, workers in self._slow:
            if connection.data.startswith(opcode, HEAD):
                return workers
        return self._workers

    def _answer_http(self, connection):
        try:
            self._serve_http(connection)
        finally:
            close_quietly(connection.sock)

    def _serve_at_once(self, connection):
        """Do a request that need not wait, in this thread; return whether so."""
        data = connection.data
        if not data.startswith(
                JOB, HEAD) or len(data) != HEAD + connection.size or not connection.authorised:
            return False
        request = Request('JOB', data[HEAD + len(JOB):],
                          Stream(connection.sock, self._options.msg_timeout), connection.address,
                          True, None)
        try:
            if not self._handle_at_once(request):
                return False
        except (PeerGone, ProtocolError) as error:
            self._complain(connection, 'bad request', error)
        close_quietly(connection.sock)
        return True

    def _hold(self, connection):
        fd = connection.sock.fileno()
        if len(self._held) >= self._held.limit:
            self._drop_one('%d are open already' % self._held.limit)
        self._held.add(fd, connection)
        connection.timer = self._loop.call_later(self._options.msg_timeout, self._expire,
                                                 connection)
        self._watch(fd, connection)

    def _release(self, connection):
        fd = connection.sock.fileno()
        self._loop.unwatch(fd)
        connection.timer.cancel()
        self._held.remove(fd)

    def _drop_one(self, why):
        connection = self._held.to_drop()
        if connection is not None:
            self._release(connection)
            self._complain(connection, 'too many connections', why)
            close_quietly(connection.sock)

    def cannot_accept(self, error):
        """Make room: accepting has failed with `error`. The loop's thread."""
        self._complaints.note('this node', 'cannot accept connections', error)
        if error.errno in NO_DESCRIPTORS:
            self._drop_one('this node is out of descriptors')

    def _watch(self, fd, connection):
        # many may wait: a partial is smaller than a lambda
        self._loop.watch(fd, functools.partial(self._readable, connection), connection.wants)

    def _readable(self, connection, _events):
        fd = connection.sock.fileno()
        self._loop.unwatch(fd)
        if self._advance(connection):
            self._watch(fd, connection)
        else:
            connection.timer.cancel()
            self._held.remove(fd)

    def _expire(self, connection):
        self._release(connection)
        self._complain(connection, 'too slow', 'no request within %g s (%d bytes came)'
                       % (self._options.msg_timeout, len(connection.data)))
        close_quietly(connection.sock)

    def _serve(self, connection):
        keep = False
        try:
            request = self._read_request(connection)
            keep = self._handle(request)
        except (PeerGone, ProtocolError) as error:
            self._turn_away(connection, 'bad request', error)
        finally:
            if not keep:
                close_quietly(connection.sock)

    def _read_request(self, connection):
        stream = Stream(connection.sock, self._options.msg_timeout)
        data, size = connection.data, connection.size
        if size > BIG_JOB and data.startswith(JOB, HEAD):
            from dispynode_lib.node.files import bigfiles
            argument, big = bigfiles.receive_job(stream, data[HEAD:], size, self._big_folder)
            return Request('JOB', argument, stream, connection.address, True, data[:TOKEN_SIZE],
                           big)
        if len(data) >= HEAD + size:
            payload = data[HEAD:HEAD + size]
        else:
            payload = read_rest(stream, data[HEAD:], size)
        opcode, argument = framing.split(payload)
        return Request(opcode, argument, stream, connection.address, connection.authorised,
                       data[:TOKEN_SIZE])

    def _turn_away(self, connection, cause, error):
        """Close; by a reset to who knows an earlier run: he sends his job again then."""
        if not connection.authorised and self._identity.is_earlier(connection.data[:TOKEN_SIZE]):
            cause = 'token of an earlier run'
            reset_at_close(connection.sock)
            self._on_earlier(connection.address[0])
        elif cause == NOT_LET_IN:
            self._penalties.wrong_secret(connection.address[0])
        self._complain(connection, cause, error)

    def _complain(self, connection, cause, text):
        self._complaints.note(connection.address[0], cause, text)
