"""Complaints about peers: counted by cause, and logged without flooding the log."""
from __future__ import absolute_import, division, print_function

import collections
import threading

from dispynode_lib.host.compat import monotonic, to_text
from dispynode_lib.host.wording import counted
from dispynode_lib.log import Log
from dispynode_lib.node.shared.common import Allowance

log = Log('dispynode.peers')

INTERVAL = 60.0  # seconds between two lines about the same peer and cause
REMEMBERED = 1000                           # (peer, cause) pairs
BURST, RATE = 60, 0.5  # lines at once, and a second, for all peers and causes together
# what a terminal or an editor would act on, and what no encoding can write
ODD = ((0x00, 0x1f), (0x7f, 0x9f), (0x2028, 0x202e), (0x2066, 0x2069), (0xd800, 0xdfff),
       (0xfeff, 0xfeff))


class Complaints(object):
    """Counts and logs refusals; any thread."""

    def __init__(self):
        self._lock = threading.Lock()
        # (address, cause) -> (time of the last line, left out)
        self._last = collections.OrderedDict()
        self._causes = {}                   # cause -> (how often, latest address and text)
        self._lines = Allowance(BURST, RATE)
        self._unwritten = 0

    def note(self, address, cause, text):
        """Count one refusal of `address` and log it: a line a minute for a cause."""
        # an exception holds its frames
        now, text = monotonic(), text if isinstance(text, (bytes, type(u''))) else str(text)
        with self._lock:
            self._causes[cause] = self._causes.get(cause, (0,))[0] + 1, address, text
            last, left_out = self._last.get((address, cause), (None, 0))
            if last is not None and now - last < INTERVAL:
                self._last[(address, cause)] = (last, left_out + 1)
                return
            if not self._lines.take(None, now):
                self._unwritten += 1        # many peers at once, or many false sender addresses
                return
            self._last.pop((address, cause), None)
            if len(self._last) >= REMEMBERED:
                self._last.popitem(last=False)
            self._last[(address, cause)] = (now, 0)
            unwritten, self._unwritten = self._unwritten, 0
        more = u' (%d more like it since the last such line)' % left_out if left_out else u''
        if unwritten:
            more += u' (%s about other peers left out)' % counted(unwritten, u'line')
        log.warning('%s: %s: %s%s', printable(address), cause, printable(text), more)

    def counts(self):
        """Return {cause: number of times}."""
        with self._lock:
            return dict((cause, entry[0]) for cause, entry in self._causes.items())

    def sentences(self):
        """Return [text], one for each cause: how often, and the latest peer and reason."""
        with self._lock:
            entries = sorted(self._causes.items())
        return [u'%s: %s, the last time %s: %s' %
                (cause, counted(count, u'time'), printable(address), printable(text))
                for cause, (count, address, text) in entries]


def printable(text, limit=300):
    """Return `text` with control characters escaped, at most `limit` characters of it."""
    return u''.join([_shown(letter) for letter in to_text(text)[:limit]])


def _shown(letter):
    number = ord(letter)
    if 0x20 <= number < 0x7f or not any(first <= number <= last for first, last in ODD):
        return letter
    return u'\\x%02x' % number if number < 0x100 else u'\\u%04x' % number


def fault_text(error):
    """Return one line (text) about an exception, a fault of the node."""
    return u'the node failed: %r' % (error,)
