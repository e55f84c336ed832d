"""--ledger: one line of JSON for each job and each computation that has ended."""
from __future__ import absolute_import, division, print_function

import time

from dispynode_lib.host import plainjson
from dispynode_lib.host.io import logfile
from dispynode_lib.log import Log

log = Log('dispynode.ledger')

LAST_LINES = 1.0  # seconds that the end of the node waits for lines to be written
TELL_INTERVAL = 60.0  # seconds between two lines in the log about lines that cannot be written


class Ledger(object):
    """The ledger; any thread, none waits for the file."""

    def __init__(self, path):
        """Raise StartError if `path` cannot be written."""
        self._told = None                   # when the log was told of trouble; the writer's thread
        self._file = logfile.LogFile(path, self._trouble, u'--ledger')

    def job(self, computation, past):
        """Note that a job (history.PastJob) of a Computation has ended."""
        self._write('job', computation, ('uid', past.uid),
                    ('start', past.ended - past.seconds), ('end', past.ended),
                    ('cpu_seconds', past.cpu_seconds), ('peak_memory', past.peak_memory),
                    ('outcome', past.outcome), ('limit', past.limit),
                    ('exit_status', past.exit_status), ('signal', past.signal))

    def computation(self, computation, opened):
        """Note that a computation, opened then, has gone with its files."""
        usage = computation.usage
        self._write('computation', computation, ('start', opened), ('end', time.time()),
                    ('cpu_seconds', usage.cpu_seconds), ('peak_memory', usage.peak_memory),
                    ('outcome', _ending(computation)), ('jobs', computation.outcomes))

    def finish(self):
        """Give what has been noted a moment to be written."""
        if not self._file.finish(LAST_LINES):
            log.warning('the last lines of --ledger could not be written in %g s', LAST_LINES)

    def _write(self, event, computation, *pairs):
        self._file.write(plainjson.dumps_pairs(
            (('event', event), ('computation', computation.id), ('client', client_of(computation)),
             ('name', computation.name), ('code', computation.usage.checksum())) + pairs))

    def _trouble(self, record):
        """Return the line for a log record on lines that could not be written; log it."""
        if self._told is None or not 0 <= record.created - self._told < TELL_INTERVAL:
            self._told = record.created
            log.warning('--ledger: %s', record.message)
        return plainjson.dumps_pairs(
            (('event', 'warning'), ('time', record.created), ('message', record.message)))


def client_of(computation):
    """Return the address of the program that opened a computation, not of a scheduler."""
    return (computation.request.client_reply_addr or computation.scheduler)[0]


def _ending(computation):
    if computation.closed_by_client:
        return 'closed'
    return 'silent' if computation.zombie else 'stopped'
