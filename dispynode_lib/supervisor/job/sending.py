"""Messages of a job to its client: provisional results and files.

Loaded when a job first asks for it, or ahead of the jobs if their code names it: most jobs send
nothing.
"""
from __future__ import absolute_import, division, print_function

import errno
import os
import select
import time

from dispynode_lib.errors import DispynodeError, PeerGone
from dispynode_lib.host.network import connections
from dispynode_lib.supervisor.pickles import pickling
from dispynode_lib.supervisor.processes.lean import to_bytes, to_text
from dispynode_lib.wire import framing, replies
from dispynode_lib.wire.control import PROVISIONAL
from dispynode_lib.wire.peers import Peer
from dispynode_lib.wire.pickle import pickles

CHUNK = 1024000  # bytes between two offsets (docs/protocol.rst, "The file dialogue")
ANSWER_LIMIT = 4096
WARNING = 30
LOGGER = 'dispynode.job'
DELIVERED, NOT_DELIVERED = 0, -1


def provisional_result(api, result, timeout, relay):
    """Send `result` as a provisional one; return 0 if the client took it, -1 if not.

    Raises what pickling the result raises.
    """
    pickle = b''.join(pickling.pickle(result, api.computation.protocol))
    return _deliver(api, timeout, relay, 'a provisional result', _give_result, pickle)


def send_file(api, path, timeout, relay):
    """Send the file at `path`; return 0 if the client has all of it, -1 if not."""
    return _deliver(api, timeout, relay, 'file %s' % (path,), _give_file, path)


def _deliver(api, timeout, relay, what, give, thing):
    if api.job is None:
        api.emit(WARNING, LOGGER, b'setup and cleanup cannot send anything: they belong to no job')
        return NOT_DELIVERED
    address, port = _destination(api.computation, relay)
    sock = None
    try:
        sock = connections.connect(address, port, timeout, _tls(api.computation))
        give(sock, api, thing)
    except (EnvironmentError, DispynodeError) as error:
        text = '%s was not delivered to %s port %d: %s' % (what, address, port, error)
        api.emit(WARNING, LOGGER, to_bytes(text))
        return NOT_DELIVERED
    finally:
        if sock is not None:
            sock.close()
    return DELIVERED


def _destination(computation, relay):
    """Return (address, port): behind a shared scheduler the client's, unless `relay`."""
    if computation.client_ip_addr and not relay:
        return computation.client_ip_addr, int(computation.client_port)
    return computation.scheduler_ip_addr, int(computation.job_result_port)


def _tls(computation):
    """Return the function that makes a socket a TLS one, None without certificate."""
    if not computation.certfile:
        return None
    from dispynode_lib.host.network.tls import Tls
    return Tls(computation.certfile, computation.keyfile or None).as_client


def _reply_of(api, write, result):
    """Return the job's present state as a message, made by `write`."""
    _fd, uid, job_hash, started = api.job
    return write(_peer(api), int(bytes(uid)), to_text(job_hash),
                 to_text(api.computation.node_ip_addr), PROVISIONAL, result, None, None, None,
                 started, time.time())


def _peer(api):
    return Peer(None, api.computation.python2, api.computation.protocol)


def _give_result(sock, api, result):
    sock.sendall(framing.frame(_reply_of(api, replies.job_reply, result)))
    answer = bytes(framing.read_frame(sock, ANSWER_LIMIT))
    if answer != b'ACK':
        raise PeerGone('it answered %r' % answer)


def _give_file(sock, api, path):
    with open(path, 'rb') as stream:
        status = os.fstat(stream.fileno())
        limit = int(api.computation.max_file_size)
        if limit and status.st_size > limit:
            raise PeerGone('it has %d bytes; --max_file_size allows %d' % (status.st_size, limit))
        message = replies.file_transfer(_peer(api), to_text(os.path.abspath(path)),
                                        to_text(_folder_below(path)), status, to_text(os.sep))
        sock.sendall(framing.frame(message))
        sock.sendall(framing.frame(_reply_of(api, replies.job_reply_object, None)))
        _send_content(sock, stream, status.st_size, api.computation.whole_records == '1')


def _folder_below(path):
    """Return the folder of `path` relative to the working directory, `.` if it lies outside."""
    folder = os.path.relpath(os.path.dirname(os.path.abspath(path)))
    outside = folder == os.pardir or folder.startswith(os.pardir + os.sep)
    return os.curdir if outside else folder


def _send_content(sock, stream, size, whole_records):
    """Hold the dialogue of section "The file dialogue" as its sender, in constant memory."""
    sent = 0
    while True:
        offset = pickles.load(framing.read_frame(sock, ANSWER_LIMIT))[0]
        if offset == size:
            return                          # all of it, or the client has the same file already
        if offset != sent:
            raise PeerGone('it asks for offset %r after %d bytes' % (offset, sent))
        count = min(CHUNK, size - sent)
        _send_part(sock, stream, sent, count, whole_records)
        sent += count


def _send_part(sock, stream, offset, count, whole_records):
    """Send `count` bytes of a file from `offset`, past this process if possible."""
    secured = hasattr(sock, 'do_handshake')
    if not hasattr(os, 'sendfile') or secured:
        stream.seek(offset)
        data = stream.read(count)
        if secured and whole_records:
            from dispynode_lib.host.network.tls import send_whole_records
            send_whole_records(sock, data)
        else:
            sock.sendall(data)
        given = len(data)
    else:
        given = _send_directly(sock, stream.fileno(), offset, count)
    if given != count:
        raise PeerGone('the file became shorter while it was sent')


def _send_directly(sock, fd, offset, count):
    poll, sent = None, 0
    while sent < count:
        try:
            part = os.sendfile(sock.fileno(), fd, offset + sent, count - sent)
        except EnvironmentError as error:
            if error.errno != errno.EAGAIN:
                raise
            if poll is None:
                poll = select.poll()
                poll.register(sock, select.POLLOUT)
            patience = sock.gettimeout()
            if not poll.poll(None if patience is None else patience * 1000):
                raise PeerGone('it took nothing for %g s' % patience)
            continue
        if not part:
            break
        sent += part
    return sent
