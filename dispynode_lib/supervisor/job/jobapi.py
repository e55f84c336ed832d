"""Functions that user code may call: early results, files to the client, the node's log."""
from __future__ import absolute_import, division, print_function

from dispynode_lib.supervisor.processes.descriptors import write_pieces
from dispynode_lib.supervisor.processes.lean import to_bytes
from dispynode_lib.wire import control


class JobApi(object):
    """Makes the functions for one computation; in a job process it knows the job, too."""

    def __init__(self, computation, emit):
        """`emit`: function(level number, logger name, text as bytes) to the node's log."""
        self.computation = computation
        self._emit = emit
        self.job = None  # in a job process: (channel, uid and hash as they came, start time)
        self.is_over = False                # the job has ended: what threads of it say is lost

    def add_functions(self, namespace):
        """Put them into the namespace of the user's code."""
        namespace['dispy_provisional_result'] = self.provisional_result
        namespace['dispy_send_file'] = self.send_file
        namespace['dispynode_logger'] = LazyLogger(self)

    def prepare(self, source):
        """Load what the functions need that `source` names: else each job would."""
        if b'dispy_provisional_result' in source or b'dispy_send_file' in source:
            __import__('dispynode_lib.supervisor.job.sending')
        if b'dispynode_logger' in source:
            __import__('logging')

    def emit(self, level, name, text):
        """Bring a log record to the node."""
        if self.job is None:
            self._emit(level, name, text)
        elif not self.is_over:
            write_pieces(self.job[0], [control.pack(b'log', b'%d' % level, to_bytes(name), text)])

    def provisional_result(self, result, timeout=10, relay=False):
        """Send `result` to the client meanwhile; return 0 if it was delivered, else -1."""
        from dispynode_lib.supervisor.job import sending
        return sending.provisional_result(self, result, timeout, relay)

    def send_file(self, path, timeout=10, relay=False):
        """Send the file at `path` to the client; return 0 if it was delivered, -1 if not."""
        from dispynode_lib.supervisor.job import sending
        return sending.send_file(self, path, timeout, relay)


class LazyLogger(object):
    """Lazy logging.Logger: `logging` is imported when it is used, for it makes forks dearer."""

    def __init__(self, api):
        self._api = api

    def __getattr__(self, name):
        if name.startswith('__'):
            raise AttributeError(name)
        logger = _make_logger(self.__dict__['_api'])
        self.__dict__.update((key, getattr(logger, key)) for key in dir(logger)
                             if not key.startswith('__'))
        return getattr(logger, name)


def _make_logger(api):
    import logging

    class NodeHandler(logging.Handler):
        """Brings records to the node's log."""

        def emit(self, record):
            try:
                text = self.format(record)
                api.emit(record.levelno, record.name, to_bytes(text))
            except Exception:               # logging must never end a job
                self.handleError(record)

    logger = logging.Logger('dispynode.job', logging.DEBUG)
    logger.addHandler(NodeHandler())
    return logger
