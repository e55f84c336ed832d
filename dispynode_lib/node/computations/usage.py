"""What job processes of one computation used: told when they are reaped, mostly after the jobs."""
from __future__ import absolute_import, division, print_function

import os

from dispynode_lib.errors import ProtocolError
from dispynode_lib.host.compat import to_bytes
from dispynode_lib.host.wording import signal_name
from dispynode_lib.wire import control

NOTHING_KNOWN = None, None, None, None
MOST_UNSETTLED = 10000  # ended jobs of which the supervisor may still have to tell


class Usage(object):
    """Usage of one computation; the loop's thread, but for reading the attributes.

    cpu_seconds   CPU time of all jobs of which it is known
    peak_memory   bytes, of the job that needed most; None if that is known of none
    """

    def __init__(self, computation, supervision, history, ledger):
        """`history` (node.shared.history), `ledger` (None: there is none): they are told."""
        self._computation, self._supervision = computation, supervision
        self._history, self._ledger = history, ledger
        self._unsettled = {}                # number of a job process -> history.PastJob
        self._checksum = None
        self.cpu_seconds, self.peak_memory = 0.0, None

    def checksum(self):
        """Return the SHA-256 of the computation's code in hexadecimal, None for a program."""
        code = self._computation.request.code
        if self._checksum is None and code:
            import hashlib                  # brings libcrypto: not for nodes that keep no ledger
            self._checksum = hashlib.sha256(to_bytes(code)).hexdigest()
        return self._checksum

    def job_ended(self, child, past):
        """Note a job's end (history.PastJob) in the process `child`, None if it never had one."""
        link = self._supervision.link
        if child is None or child.used is not None or (
                link is None or child.link not in (None, link)):
            self._settle(
                past, child.used if child is not None and child.used is not None else NOTHING_KNOWN)
            return
        if len(self._unsettled) >= MOST_UNSETTLED:
            self.expect_nothing()
        self._unsettled[child.number] = past

    def on_used(self, data, children):
        """Take a `used` frame. Raises ProtocolError.

        children   {number: node.computations.link.Child} of those whose jobs have not ended
        """
        for number, used in read_used(data):
            past, child = self._unsettled.pop(number, None), children.get(number)
            if past is not None:
                self._settle(past, used)
            elif child is not None:
                child.used = used

    def expect_nothing(self):
        """The supervisor has gone: what it has not told will not be known."""
        unsettled, self._unsettled = self._unsettled, {}
        for past in unsettled.values():
            self._settle(past, NOTHING_KNOWN)

    def _settle(self, past, used):
        past.cpu_seconds, past.peak_memory, past.exit_status, past.signal = used
        if past.cpu_seconds is not None:
            self.cpu_seconds = round(self.cpu_seconds + past.cpu_seconds, 6)
            self.peak_memory = max(self.peak_memory or 0, past.peak_memory)
            self._history.job_used(past)
        if self._ledger is not None:
            self._ledger.job(self._computation, past)


def read_used(data):
    """Return [(number, (CPU time, peak memory, exit status, signal's name))]; or None each.

    A job that told its result has no exit status: the one of its process is dispynode's. Raises
    ProtocolError.
    """
    size = control.USED.size
    if len(data) % size:
        raise ProtocolError('a used frame of %d bytes' % len(data))
    found = []
    for at in range(0, len(data), size):
        number, status, seconds, peak = control.USED.unpack_from(data, at)
        known = 0 <= seconds < 1e12 and 0 <= peak < 1e18        # a NaN is not
        found.append((number, ((round(seconds, 6), int(peak)) if known else
                               (None, None)) + _ending(number, status)))
    return found


def _ending(number, status):
    if status == control.LOST:
        return None, None
    if os.WIFSIGNALED(status):
        return None, signal_name(os.WTERMSIG(status))
    code = os.WEXITSTATUS(status)
    return None if number < control.FIRST_PROGRAM and code in control.TOLD else code, None
