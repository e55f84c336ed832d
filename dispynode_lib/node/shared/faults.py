"""Refusals of requests that fail by a fault of the node: their peers would wait for ever."""
from __future__ import absolute_import, division, print_function

from dispynode_lib.host.compat import to_bytes
from dispynode_lib.wire import replies
from dispynode_lib.wire.peers import Peer

BY_TEXT = ('COMPUTE', 'SETUP')
BY_NUMBER = ('FILEXFER', 'NODE_STATUS', 'SET_CPUS', 'SERVICE_TIME', 'SERVE_CLIENTS')


def text(error):
    """Return one line (text) about an exception."""
    return u'the node failed: %r' % (error,)


def refusal(opcode, error):
    """Return the payload that says no to a request, None where closing the connection does."""
    if opcode in BY_TEXT:
        return to_bytes(text(error))
    if opcode == 'JOB':
        return b'NAK (%s)' % to_bytes(text(error))
    return replies.value(Peer(python2=True), -1) if opcode in BY_NUMBER else None
