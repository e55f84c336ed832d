"""Answers to clients that look for nodes: one to each, again where none arrived, and none that is
not needed."""
from __future__ import absolute_import, division, print_function

from dispynode_lib.host.compat import fraction, monotonic
from dispynode_lib.node.shared.allowance import Allowance

AGAIN = 1.0  # seconds in which one client gets one answer: it asks in several ways at once
REMEMBERED = 200                            # clients
# seconds, more or less: when many nodes answer, a client cannot take all
BACK_OFF = (2.0, 4.0, 8.0)


class Answers(object):
    """Sends PONGs through notices; the loop's thread."""

    def __init__(self, common, notices, visitors, announcer, nursery, clock=monotonic,
                 random=fraction):
        self._state, self._loop = common.state, common.loop
        self._notices, self._visitors = notices, visitors
        self._announcer, self._nursery = announcer, nursery
        self._clock, self._random = clock, random
        self._allowance = Allowance(1, 1 / AGAIN, REMEMBERED)       # for (sign, source)

    def give(self, ping, source, own, connected):
        """Answer a PING that came from `source` to `own` (addresses), unless that has just been
        done. Any thread.

        connected   whether it came on a connection
        """
        self._loop.call_soon(self._give, ping, source, own, connected)

    def _give(self, ping, source, own, connected):
        if self._state.refusal_of(ping,
                                  source) is not None or not self._is_first(ping.sign, source):
            return                          # somebody was faster
        self._visitors.answered((source, ping.port), ping.version, ping.ip_addrs, connected)
        self._announcer.answered(ping, source)
        self._send(ping, source, own, 0)
        self._nursery.prepare()

    def forget(self):
        """Answer whoever asks from now on, for the node is free. Any thread."""
        self._loop.call_soon(self._allowance.forget)

    def _is_first(self, sign, source):
        # relays have no sign
        return sign is None or self._allowance.take((sign, source), self._clock())

    def _send(self, ping, source, own, attempt):
        """Answer at all addresses of the client."""
        if self._state.refusal_of(ping, source) is not None:
            return
        messages, errors = self._notices.answers(ping, source, own), []

        def sent(error):
            errors.append(error)
            if len(errors) == len(messages):
                self._sent(ping, source, own, attempt, errors)
        for target, payload in messages:
            self._notices.send(target, payload, sent)

    def _sent(self, ping, source, own, attempt, errors):
        """Note whether an answer has arrived anywhere; if not, try again later."""
        arrived = None in errors
        self._visitors.unreached((source, ping.port), None if arrived else errors[0])
        if not arrived and attempt < len(BACK_OFF):
            self._loop.call_later(BACK_OFF[attempt] * (0.5 + self._random()),
                                        self._send, ping, source, own, attempt + 1)
