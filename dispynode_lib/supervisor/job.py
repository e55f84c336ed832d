"""One job process: waits for its job, calls the user's function, reports, exits."""
from __future__ import absolute_import, division, print_function

import os
import sys
import time

from dispynode_lib.supervisor import pickling, tracebacks
from dispynode_lib.supervisor.computation import compile_source, to_text
from dispynode_lib.supervisor.descriptors import read_frame, write_pieces
from dispynode_lib.supervisor.signals import end_by_alarm, ignore_interrupts
from dispynode_lib.wire import control

FINISHED, TERMINATED = b'11', b'9'
LARGEST_RESULT = 0xF0000000                 # bytes; the frames around it count up to 4 GiB
LINGER = 5                                  # seconds that threads and helper processes of a finished job may take


class Failure(Exception):
    """The job cannot be done; the text is for its author."""


def serve(fd, computation):
    """Be a job process: wait for a job on the channel `fd`, do it, report it.

    Returns without having done any if the node closes the channel: it needs no more.
    """
    frame = read_frame(fd)
    if frame is None:
        return
    _name, args, kwargs, code, uid, job_hash = control.unpack(frame)
    frame = None
    started = time.time()
    computation.api.start_job(uid, job_hash, started, fd)
    sys.stdout, sys.stderr = computation.stdout, computation.stderr
    pickles = [args, kwargs]
    args = kwargs = None                    # _load_arguments() gives their bytes back
    try:
        try:
            pieces, exception = _call(computation, pickles, code), None
        finally:
            ignore_interrupts()
    except BaseException:                   # the user's code may raise anything
        pieces, exception = None, _failure_text(sys.exc_info())
    _report(fd, computation, pieces, exception, started, time.time())
    _end_helpers()


def _call(computation, pickles, code):
    """Call the user's function; return the pickled result in pieces."""
    if computation.failure is not None:
        computation.run_code()              # failed in the supervisor, so here too: the job tells its author
    namespace = computation.namespace
    if code:
        exec(compile_source(bytes(code), '<job>'), namespace)
    args, kwargs = _load_arguments(pickles, computation.python2)
    function = namespace.get(computation.name)
    if function is None:
        raise Failure(u'the code of the computation defines no function "%s"' % to_text(computation.name))
    return _pickle_result(function(*args, **kwargs), computation.protocol)


def _report(fd, computation, pieces, exception, started, ended):
    """Send the one frame that says how the job ended.

    The one place to hand over a big result some other way than through the channel.
    """
    computation.api.is_over = True
    send_done(lambda parts: write_pieces(fd, parts), FINISHED if exception is None else TERMINATED, pieces,
              (computation.stdout.value(), computation.stderr.value(), exception,
               repr(started).encode('ascii'), repr(ended).encode('ascii')))


def _end_helpers():
    """Let threads of the job end, and end what the multiprocessing module runs for it, as far as both go quickly.

    This process does not exit the usual way, which would do so.
    """
    if 'threading' not in sys.modules and 'multiprocessing.util' not in sys.modules:
        return
    end_by_alarm(LINGER)
    try:
        if 'multiprocessing.util' in sys.modules:
            _end_subprocesses(sys.modules['multiprocessing'], sys.modules['multiprocessing.util'])
        shutdown = getattr(sys.modules.get('threading'), '_shutdown', None)
        if shutdown is not None:
            shutdown()
    except Exception:                       # objects of the user's
        os.write(2, tracebacks.describe(sys.exc_info(), u'after the end of a job').encode('utf-8', 'replace'))


def _end_subprocesses(multiprocessing, util):
    for process in multiprocessing.active_children():
        if process.daemon and process._parent_pid == os.getpid():
            process.terminate()
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
        raise Failure(tracebacks.describe(sys.exc_info(), u'the arguments of the job cannot be loaded'))


def _pickle_result(value, protocol):
    try:
        pieces = pickling.pickle(value, protocol)
    except Exception:                       # as in _load_arguments()
        raise Failure(tracebacks.describe(
            sys.exc_info(), u'the result, of type %s, cannot be pickled' % type(value).__name__))
    size = sum([len(piece) for piece in pieces])
    if size > LARGEST_RESULT:
        raise Failure(u'the result has %d bytes when pickled; %d can be sent' % (size, LARGEST_RESULT))
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
