"""Penalties: addresses are shut out for a time after several wrong secrets."""
from __future__ import absolute_import, division, print_function

import collections
import socket
import threading

from dispynode_lib.host.network import net
from dispynode_lib.host.compat import monotonic, to_text
from dispynode_lib.host.wording import counted
from dispynode_lib.log import Log
from dispynode_lib.node.shared.common import Allowance

log = Log('dispynode.penalties')

FREE, RATE = 10, 0.1  # wrong secrets without consequence: at once, and a second
FIRST, LONGEST = 10.0, 3600.0  # seconds of the first time, doubled with each further one
FORGOTTEN = 86400.0                         # seconds after which the next time is a first one again
REMEMBERED = 1000                           # addresses


class Penalties(object):
    """Addresses shut out, never this host's own: its users cannot be told apart. Any thread."""

    def __init__(self, active=True, clock=monotonic):
        """`active`: whether there is a secret that could be guessed."""
        self._active, self._clock = active, clock
        self._lock = threading.Lock()
        self._allowance = Allowance(FREE, RATE, REMEMBERED)
        # key -> (until, how often), the one shut out last comes last
        self._shut = collections.OrderedDict()

    def wrong_secret(self, address):
        """Count a wrong secret from `address` (of a socket); it may be shut out by that."""
        key, now = _key(address) if self._active else None, self._clock()
        if key is None:
            return
        with self._lock:
            if self._allowance.take(key, now):
                return
            until, times = self._shut.get(key, (now, 0))
            if until > now:
                return                      # of a connection that was there before
            times = 1 if now - until > FORGOTTEN else times + 1
            until = now + min(LONGEST, FIRST * 2 ** min(times - 1, 20))
            self._shut.pop(key, None)
            self._shut[key] = until, times
            if len(self._shut) > REMEMBERED:
                self._shut.popitem(last=False)
        log.warning('%s: too many wrong secrets: not listened to for %.0f s', key, until - now)

    def reason(self, address):
        """Return why nothing of `address` (of a socket) is listened to (text), or None."""
        if not self._shut:
            return None
        with self._lock:
            left = self._shut.get(_key(address), (0.0, 0))[0] - self._clock()
        return (u'too many wrong secrets: not listened to for %.0f s more' % left
                if left > 0 else None)

    def sentences(self):
        """Return [text], one for each address that is shut out now."""
        with self._lock:
            now = self._clock()
            shut = [(key, until - now, times) for key, (until, times) in self._shut.items()
                    if until > now]
        return [
            u'%s is not listened to for %.0f s more: too many wrong secrets (shut out %s by now)' %
            (key, left, counted(times, u'time')) for key, left, times in shut]


def _key(address):
    """Return the key of a peer (text): address, of IPv6 the network of 64 bits; None: this host."""
    address = net.canonical(to_text(address))
    if address.startswith(u'::ffff:') and u'.' in address:
        address = address[7:]
    if net.is_loopback(address):
        return None
    if net.family_of(address) != socket.AF_INET6:
        return address
    packed = socket.inet_pton(socket.AF_INET6, str(address))
    return to_text(socket.inet_ntop(socket.AF_INET6, packed[:8] + b'\0' * 8)) + u'/64'
