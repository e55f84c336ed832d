"""The way of a request to its handler, and of a fault to the peer."""
from __future__ import absolute_import, division, print_function

from dispynode_lib.errors import PeerGone, ProtocolError
from dispynode_lib.host.compat import to_bytes
from dispynode_lib.node.requests.callers import fault

ADMINISTRATION = 'NODE_INFO', 'NODE_STATUS', 'SET_CPUS', 'SERVICE_TIME', 'SERVE_CLIENTS'
ABOUT_KEPT = ('PENDING_JOBS', 'RETRIEVE_JOB', 'RESEND_JOB_RESULTS', 'CLOSE')


class Dispatcher(object):
    """Has requests handled by those who may ask; whatever happens, the peer is answered.

    A handler is a function of a Request that runs in a worker's thread and may take its time; it
    returns True if it keeps the connection to answer later.
    """

    def __init__(self, identity, open_to_all, administration, table, job_at_once, knows_token,
                 complaints, penalties):
        """Dispatch by these tables, and ask these functions:

        open_to_all     {opcode: handler} of requests not about a computation; they need no token
        administration  function -> requests.admin.Administration, which checks tokens itself
        table           {opcode: handler} of the others
        job_at_once     function JOB request -> False if it would have to wait; the loop's thread
        knows_token     function token (bytes) -> whether replies are kept for who sends it
        """
        self._identity, self._open_to_all, self._table = identity, open_to_all, table
        self._administration = administration
        self._job_at_once, self._knows_token = job_at_once, knows_token
        self._complaints, self._penalties = complaints, penalties

    def handle(self, request):
        """Answer one request, by a refusal if that fails; return True if its connection is kept.

        Raises PeerGone, ProtocolError.
        """
        return self._guarded(self._handle, request, False)

    def job_at_once(self, request):
        """Answer a JOB without waiting: return False, having done nothing, if that cannot be."""
        return self._guarded(self._job_at_once, request, True)

    @staticmethod
    def _guarded(handler, request, failed):
        """Return handler(request); after a fault refuse the request, and return `failed`."""
        try:
            return handler(request)
        except (PeerGone, ProtocolError):
            raise
        except Exception as error:
            refusal = fault(request, error)
            if refusal is not None:
                request.reply(refusal)
            return failed

    def _handle(self, request):
        if request.opcode in self._open_to_all:
            return self._open_to_all[request.opcode](request)
        if request.opcode in ADMINISTRATION:
            return self._administration().handle(request)
        if not request.authorised and not self._knows_of_old(request):
            if self._identity.is_earlier(request.token):
                raise ProtocolError('%s with the token of an earlier run: the client has not heard '
                                    'of the restart yet' % request.opcode)
            self._complaints.note(request.address[0], 'wrong secret',
                                  '%s with the token of another secret' % request.opcode)
            self._penalties.wrong_secret(request.address[0])
            return False
        handler = self._table.get(request.opcode)
        if handler is None:
            request.reply(b'NAK (invalid command: %s)' % to_bytes(request.opcode))
            raise ProtocolError('unknown request %s' % request.opcode)
        return handler(request)

    def _knows_of_old(self, request):
        """Return whether it asks for replies kept since a restart, by the token of before."""
        return request.opcode in ABOUT_KEPT and self._knows_token(request.token)
