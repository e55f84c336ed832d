"""One job process: waits for its job, calls the user's function, reports, exits."""
from __future__ import absolute_import, division, print_function

import os
import signal
import sys
import time

from dispynode_lib.supervisor import pickling, tracebacks
from dispynode_lib.supervisor.computation import compile_source, to_native
from dispynode_lib.supervisor.descriptors import keep_private, read_frame, write_pieces
from dispynode_lib.supervisor.output import TextOutput
from dispynode_lib.wire import control

FINISHED, TERMINATED = b'11', b'9'
LARGEST_RESULT = 0xF0000000                 # bytes; the frames around it count up to 4 GiB
LINGER = 5                                  # seconds for helper processes of the job to be ended


class Interrupted(Exception):
    """The job was told to stop before it had begun."""


class Failure(Exception):
    """The job cannot be done; the text is a sentence for its author."""


class JobProcess(object):
    """The life of one job process, from just after the fork."""

    def __init__(self, fd, computation):
        """`fd`: the channel to the node."""
        self._fd = fd
        self._computation = computation
        self._trouble = None
        self._stdout = self._stderr = None

    def prepare(self):
        """Do whatever can be done before the job comes."""
        keep_private(self._fd)
        if 'random' in sys.modules:
            sys.modules['random'].seed()    # by itself it does so since Python 3.7 only
        try:
            self._computation.enter_folder()
        except EnvironmentError as error:
            self._trouble = 'cannot enter the folder of the computation: %s' % error
        if sys.path[:1] != ['.']:
            sys.path.insert(0, '.')
        self._stdout, self._stderr = TextOutput('<stdout>'), TextOutput('<stderr>')

    def serve(self):
        """Wait for the job, do it, report it; or return when the node needs no job done."""
        frame = read_frame(self._fd)
        if frame is None:
            return
        name, args, kwargs, code, uid, job_hash = control.unpack(frame)
        if bytes(name) != b'job':
            raise Failure('a job process got frame %r' % bytes(name))
        frame = None
        self._computation.api.start_job(int(bytes(uid)), to_native(job_hash), self._emit)
        sys.stdout, sys.stderr = self._stdout, self._stderr
        started = time.time()
        outcome = self._do([args, kwargs], bytes(code))
        self._send_done(outcome, started, time.time())
        self._end_helpers()

    def _do(self, pickles, code):
        """Return (result pieces or None, exception text or None)."""
        try:
            try:
                return self._call(pickles, code), None
            finally:
                signal.signal(signal.SIGINT, signal.SIG_IGN)
        except BaseException:               # the user's code may raise anything
            return None, _failure_text(sys.exc_info())

    def _call(self, pickles, code):
        computation = self._computation
        if self._trouble is not None:
            raise Failure(self._trouble)
        if computation.failure is not None:
            computation.run_code()          # failed in the supervisor, so here too: the job tells its author
        namespace = computation.namespace
        if code:
            exec(compile_source(code, '<job>'), namespace)
        args, kwargs = _load_arguments(pickles, computation.python2)
        function = namespace.get(computation.name)
        if function is None:
            raise Failure('the code of the computation defines no function "%s"' % computation.name)
        return _pickle_result(function(*args, **kwargs), computation.protocol)

    def _emit(self, level, name, text):
        self._write([control.pack(b'log', b'%d' % level, name.encode('utf-8'), text)])

    def _write(self, pieces):
        write_pieces(self._fd, pieces)

    def _send_done(self, outcome, started, ended):
        """Send the one frame that says how the job ended.

        The one place to hand over a big result some other way than through the channel.
        """
        pieces, exception = outcome
        send_done(self._write, FINISHED if exception is None else TERMINATED, pieces,
                  (self._stdout.value(), self._stderr.value(), exception,
                   repr(started).encode('ascii'), repr(ended).encode('ascii')))

    def _end_helpers(self):
        """End what the multiprocessing module runs for the job: this process does not exit the usual way."""
        util = sys.modules.get('multiprocessing.util')
        if util is None:
            return
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(LINGER)
        util._run_finalizers(0)


def send_done(write, status, pieces, texts, number=None):
    """Send a `done` frame.

    write    function that takes a list of bytes-like pieces
    pieces   the pickled result in pieces; None for no result
    texts    the parts after it, bytes or None
    number   of the job process, for the control socket; on a job's own channel it is left out
    """
    head = [b'done', status] if number is None else [b'done', number, status]
    before, after = control.pack(*head)[4:], control.pack(*texts)[4:]
    if pieces is None:
        size = control.NOTHING
        pieces, length = (), 0
    else:
        size = length = sum([len(piece) for piece in pieces])
    total = len(before) + 4 + length + len(after)
    start = control.LENGTH.pack(total) + before + control.LENGTH.pack(size)
    write([start] + list(pieces) + [after])


def _load_arguments(pickles, python2):
    """Return (args, kwargs); empties the list `pickles`, so that their bytes are given back."""
    kwargs, args = pickles.pop(), pickles.pop()
    try:
        return pickling.unpickle(args, python2), pickling.unpickle(kwargs, python2)
    except Exception:                       # pickles may call anything
        raise Failure('the arguments of the job cannot be loaded: %s' % tracebacks.describe_last(sys.exc_info()))


def _pickle_result(value, protocol):
    try:
        pieces = pickling.pickle(value, protocol)
    except Exception:                       # as in _load_arguments()
        raise Failure('the result, of type %s, cannot be pickled: %s' % (
            type(value).__name__, tracebacks.describe_last(sys.exc_info())))
    size = sum([len(piece) for piece in pieces])
    if size > LARGEST_RESULT:
        raise Failure('the result has %d bytes when pickled; %d can be sent' % (size, LARGEST_RESULT))
    return pieces


def _failure_text(error_info):
    """Return the `exception` of a job that failed, as bytes."""
    kind, error = error_info[:2]
    sentence = None
    if isinstance(error, Failure):
        return error.args[0].encode('utf-8', 'replace')
    if isinstance(error, SystemExit):
        sentence = u'the job called sys.exit(%s)' % _shown(error.code)
    elif isinstance(error, KeyboardInterrupt):
        sentence = u'the job was interrupted'
    elif isinstance(error, MemoryError):
        sentence = u'the job ran out of memory'
    return tracebacks.describe(error_info, sentence).encode('utf-8', 'replace')


def _shown(value):
    try:
        return u'' if value is None else u'%r' % (value,)
    except Exception:                       # a class of the user's
        return u'...'
