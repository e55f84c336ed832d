"""Why peers were turned away: counted by cause, and logged without flooding the log."""
from __future__ import absolute_import, division, print_function

import logging
import threading

from dispynode_lib.host.compat import monotonic, to_text

log = logging.getLogger('dispynode.peers')

INTERVAL = 60.0                             # seconds between two lines about the same peer and cause
REMEMBERED = 1000                           # (peer, cause) pairs


class Complaints(object):
    """Counts and logs refusals; any thread."""

    def __init__(self):
        self._lock = threading.Lock()
        self._last = {}                     # (address, cause) -> (monotonic time of the last line, left out)
        self._counts = {}
        self._latest = {}                   # cause -> (address, text)

    def note(self, address, cause, text):
        """Count one refusal of the peer at `address` and log it: at most one line a minute for a cause."""
        now = monotonic()
        with self._lock:
            self._counts[cause] = self._counts.get(cause, 0) + 1
            self._latest[cause] = address, text
            last, left_out = self._last.get((address, cause), (None, 0))
            if last is not None and now - last < INTERVAL:
                self._last[(address, cause)] = (last, left_out + 1)
                return
            if len(self._last) >= REMEMBERED:
                self._last.clear()
            self._last[(address, cause)] = (now, 0)
        more = u' (%d more like it since the last such line)' % left_out if left_out else u''
        log.warning('%s: %s: %s%s', address, cause, printable(text), more)

    def counts(self):
        """Return {cause: number of times}."""
        with self._lock:
            return dict(self._counts)

    def sentences(self):
        """Return [text], one for each cause: how often, and the latest peer and reason."""
        with self._lock:
            entries = [(cause, count) + self._latest[cause] for cause, count in sorted(self._counts.items())]
        return [u'%s: %d times, the last time %s: %s' % (cause, count, to_text(address), printable(text))
                for cause, count, address, text in entries]


def printable(text):
    """Return `text` with control characters escaped, at most 300 characters of it."""
    text = to_text(text if isinstance(text, (bytes, type(u''))) else str(text))
    return u''.join(letter if letter >= u' ' and letter != u'\x7f' else u'\\x%02x' % ord(letter)
                    for letter in text[:300])
