"""Who has the node: for `why` and `status`."""
from __future__ import absolute_import, division, print_function

import time

from dispynode_lib.host.compat import monotonic
from dispynode_lib.host.wording import duration
from dispynode_lib.node.timed import duties


def owner(state, options, history):
    """Return a dict of plain values about the scheduler that has the node, None if none has."""
    scheduler = state.scheduler()
    if scheduler is None:
        return None
    opened = [history.opened_at(computation.id) for computation in state.computations()]
    silent_for, given_up_in = duties.silence(state, options, monotonic()) or (None, None)
    return {'address': scheduler[0], 'port': scheduler[1], 'for': max(0.0, time.time() - min(opened)) if opened else None,
            'silent_for': silent_for, 'given_up_in': given_up_in}


def describe_owner(told):
    """Return what owner() tells as text."""
    text = u'%s port %d' % (told['address'], told['port'])
    if told['for'] is not None:
        text += u' for ' + duration(told['for'])
    if told['silent_for'] is not None:
        text += u', silent for %s; %s; --ctl release frees the node now' % (
            duration(told['silent_for']), u'it is never given up (--zombie_interval 0)' if told['given_up_in'] is None
            else u'it will be given up in ' + duration(told['given_up_in']))
    return text


def sentence(told, refusal):
    """Return a text on who has the node: `told` as owner() tells it, `refusal` as NodeState.refusal() does."""
    if told is not None:
        return u'busy with the scheduler at ' + describe_owner(told)
    return u'it waits for a client: none has opened a computation' if refusal is None else refusal[1]
