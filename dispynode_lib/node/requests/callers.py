"""Who asks about a computation, and the ends of requests."""
from __future__ import absolute_import, division, print_function

from dispynode_lib.errors import PeerGone, ProtocolError
from dispynode_lib.host.compat import compare_digest, to_bytes
from dispynode_lib.log import Log
from dispynode_lib.node.access.guard import may_speak
from dispynode_lib.node.shared.complaints import fault_text
from dispynode_lib.wire import replies
from dispynode_lib.wire.peers import Peer

log = Log('dispynode.requests')

ACK = b'ACK'
BEGIN_WAIT = 10.0                           # seconds that requests wait for a COMPUTE being done
# how a request is refused that fails by a fault of the node
BY_TEXT = ('COMPUTE', 'SETUP')
BY_NUMBER = ('FILEXFER', 'NODE_STATUS', 'SET_CPUS', 'SERVICE_TIME', 'SERVE_CLIENTS')


class Callers(object):
    """Finds the computation that a request is about, for those who may ask."""

    def __init__(self, common, complaints):
        self._state, self._identity = common.state, common.identity
        self._complaints = complaints

    def known(self, computation_id, request, timeout=BEGIN_WAIT):
        """Return the computation with that id if a request about it may come from that address.

        timeout   seconds that a COMPUTE may take that is still being done
        Return None if there is none, and where the address is not one of its callers, who is noted.
        """
        computation = self._state.computation(computation_id)
        if timeout and is_beginning(computation):
            computation.begun.wait(timeout)
            computation = self._state.computation(computation_id)
        if computation is None or may_speak(computation, request.address[0], self._identity):
            return computation
        self._complaints.note(
            request.address[0], '%s refused: address' % request.opcode,
            'computation %d belongs to %s' % (computation_id, computation.scheduler[0]))
        return None

    def asked(self, question, request):
        """Return known() of a question that comes with its `auth`, else None."""
        computation = self.known(question.compute_id, request)
        known = computation is not None and compare_digest(
            to_bytes(computation.auth), to_bytes(question.auth))
        return computation if known else None

    def note_refusal(self, request, computation_id, refused):
        """Count a refusal, unless known() has; return the peer's computation, or None."""
        computation = self._state.computation(computation_id)
        address = request.address[0]
        if computation is not None and not may_speak(computation, address, self._identity):
            return None
        self._complaints.note(address, '%s refused' % request.opcode, refused)
        return computation


def is_beginning(computation):
    """Return whether the COMPUTE of a computation, or None, is still being done."""
    return computation is not None and not computation.begun.is_set()


def read(request, reader, refusal):
    """Return the message in a request; for another one reply `refusal` and raise ProtocolError."""
    try:
        return reader(request.argument)
    except ProtocolError:
        request.reply(refusal)
        raise


def fault(request, error):
    """Log a fault of the node; return the payload that tells the peer of it, which would wait for
    ever, None if closing the connection does."""
    log.exception('%s of %s', request.opcode, request.address[0])
    if request.opcode in BY_TEXT:
        return to_bytes(fault_text(error))
    if request.opcode == 'JOB':
        return b'NAK (%s)' % to_bytes(fault_text(error))
    return replies.value(Peer(python2=True), -1) if request.opcode in BY_NUMBER else None


def answer(request, payload):
    """Answer a request whose connection was kept; return whether its peer is still there."""
    try:
        request.reply(payload)
        return True
    except PeerGone as gone:
        log.info('answering %s: %s', request.opcode, gone)
        return False
    finally:
        request.close()
