"""One job process: waits for its job, calls the user's function, reports, exits."""
from __future__ import absolute_import, division, print_function

import os
import sys
from time import time as now

from dispynode_lib.supervisor.job import bigframes, tracebacks
from dispynode_lib.supervisor.job.computation import compile_source
from dispynode_lib.supervisor.processes.descriptors import read_some, write_pieces
from dispynode_lib.supervisor.processes.lean import to_bytes, to_text
from dispynode_lib.supervisor.pickles.pickling import pickle
from dispynode_lib.supervisor.processes.signals import end_by_alarm, ignore_interrupts
from dispynode_lib.wire import control
from dispynode_lib.wire.control import LENGTH, unpack

LARGEST_RESULT = 0xF0000000                 # bytes; the frames around it count up to 4 GiB
LINGER = 5  # seconds that threads and helper processes of a finished job may take
# Exit statuses. A job that has told the node how it ended ends its process with one of the latter
# two: the supervisor says nothing of such an end unless it is asked
NOT_NEEDED, (TOLD_WELL, TOLD_FAILURE) = 0, control.TOLD
READ_SIZE = 65536


class Failure(Exception):
    """The job cannot be done; the text is for its author."""


def serve(fd, computation):
    """Be a job process: wait for a job on the channel `fd`, do it, report it.

    Return the exit status for this process; NOT_NEEDED if the node closes the channel without a
    job. This is the path of every job; each function called, each object touched for the first time
    costs a fresh process a page fault or two, so there are few of them.
    """
    try:
        data = os.read(fd, READ_SIZE)
    except EnvironmentError:
        data = read_some(fd, READ_SIZE)
    if not data:
        return NOT_NEEDED
    # a second frame would be the same job, from the next node (docs, "When the node dies")
    if len(data) > 4 and len(data) - 4 >= LENGTH.unpack_from(data)[0]:
        kind, uid, job_hash, code, kwargs, args = unpack(data[4:4 + LENGTH.unpack_from(data)[0]])
    else:
        args = bigframes.BigFrame(fd, data)     # itself the arguments: the part that is read last
        kind, uid, job_hash, code, kwargs = args.first_parts(5)
        if kind == b'filejob':
            args = args.part()
    started = now()
    computation.api.job = fd, uid, job_hash, started
    computation.finalizers.begin()
    sys.stdout, sys.stderr = computation.stdout, computation.stderr
    pickles = [bigframes.ArgumentsFile(args) if kind == b'filejob' else args, kwargs]
    data = args = kwargs = None             # _call() gives their memory back
    exception = None
    try:
        try:
            pieces = _call(computation, pickles, code)
        finally:
            ignore_interrupts()
    except BaseException:                   # the user's code may raise anything
        status = _status_of_child(computation, sys.exc_info()[1])
        if status is not None:
            return status
        pieces, exception = None, _failure_text(sys.exc_info())
    _report(fd, computation, pieces, exception, started)
    if len(sys.modules) != computation.modules_before:
        _look_at_modules(computation, exception is not None)
    if (_has_threads() or 'multiprocessing.util' in sys.modules
            or computation.finalizers.are_wanted()):
        _end_as_programs_do(computation)
    return TOLD_WELL if exception is None else TOLD_FAILURE


def _status_of_child(computation, error):
    """Return the exit status of a process that the job forked and that called sys.exit(), as
    programs end; None if `error` is the job's own failure."""
    if not isinstance(error, SystemExit) or os.getppid() == computation.supervisor:
        return None
    if error.code is None or isinstance(error.code, int):
        return (error.code or 0) & 255
    return 1


def rehearse(fd, computation, args, kwargs):
    """Do a job of `computation` in this process, and report it on `fd`."""
    computation.api.job = fd, b'0', b'', now()
    _report(fd, computation, _call(computation, [args, kwargs], b''), None, now())


def _call(computation, pickles, code):
    """Call the user's function; return the pickled result in pieces.

    pickles   [arguments, keyword arguments]; it is emptied
    """
    computation.enter_folder()  # an earlier job, or who tidies up /tmp, may have removed it
    if computation.failure is not None:
        computation.run_code()  # failed in the supervisor, so here too: the job tells its author
    namespace = computation.namespace
    if code:
        exec(compile_source(code, '<job>', computation.python2), namespace)
    try:
        load = computation.load
        kwargs = load(pickles.pop())
        args = pickles.pop()
        args = load(args) if isinstance(args, bytes) else args.last_part(load)
    except Exception:                       # pickles may call anything
        raise Failure(
            tracebacks.describe(
                sys.exc_info(),
                u'the arguments of the job cannot be loaded by the Python %s of this node' %
                sys.version.split()[0]))
    if computation.name not in namespace:
        raise Failure(
            u'the code of the computation defines no function "%s"' % to_text(computation.name))
    value = namespace[computation.name](*args, **kwargs)
    try:
        pieces = pickle(value, computation.protocol)
    except Exception:                       # as above
        raise Failure(tracebacks.describe(
            sys.exc_info(), u'the result, of type %s, cannot be pickled' % type(value).__name__))
    return pieces


def _report(fd, computation, pieces, exception, started):
    """Send the one frame that says how the job ended; a big result is handed over in a file."""
    computation.api.is_over = True
    over = computation.budget is not None and computation.budget.sentence()
    if over:
        pieces, exception = None, to_bytes(over)
    head = FINISHED if exception is None else TERMINATED
    if pieces is not None:
        size = sum(map(len, pieces))
        if size > LARGEST_RESULT:
            pieces = None
            exception = b'the result is too big: more than %d bytes when pickled' % LARGEST_RESULT
            head = TERMINATED
        elif size > bigframes.BIG_RESULT:
            name = bigframes.write_result(computation.big_folder, pieces)
            if name is not None:
                head, pieces = FINISHED_IN_FILE, [name]
    stdout, stderr = computation.stdout, computation.stderr
    frame = done_frame(head, pieces,
                       stdout.value() if stdout.is_used else b'',
                       stderr.value() if stderr.is_used else b'', exception, started, now())
    if over:
        frame.insert(0, control.pack(b'limit', to_bytes(control.JOB_OUTPUT), exception))
    try:
        write_pieces(fd, frame)
    except EnvironmentError:
        os._exit(0)                         # the node has gone: there is nobody to tell


def _look_at_modules(computation, failed):
    """Tell what the job has imported; look for finalizers in what was not loaded ahead."""
    learner = computation.learner
    if learner is not None and not failed:  # to describe a failure imports some, too
        learner.tell()
    if learner is None or not learner.has_given_all():
        computation.finalizers.look_into_modules(computation.folder)


def _has_threads():
    """Return whether the job has threads, or what is left of them, besides this one."""
    threading = sys.modules.get('threading')
    return threading is not None and len(threading._active) + len(threading._limbo) > 1


def _end_as_programs_do(computation):
    """Let threads and multiprocessing's helpers end, and call finalizers, if that is quick.

    This process does not exit the usual way, which would do so.
    """
    end_by_alarm(LINGER)
    try:
        if 'multiprocessing.util' in sys.modules:
            _end_subprocesses(sys.modules['multiprocessing'], sys.modules['multiprocessing.util'])
        shutdown = getattr(sys.modules.get('threading'), '_shutdown', None)
        if shutdown is not None:
            shutdown()
        if computation.finalizers.are_wanted():
            computation.finalizers.run(computation.namespace)
    except Exception:                       # objects of the user's
        os.write(2, to_bytes(tracebacks.describe(sys.exc_info(), u'after the end of a job')))


def _end_subprocesses(multiprocessing, util):
    util._run_finalizers(0)  # pools and managers first: they would replace what is gone
    for process in multiprocessing.active_children():
        if process.daemon and process._parent_pid == os.getpid():
            process.terminate()


def done_frame(head, pieces, stdout, stderr, exception, started, ended):
    """Return a `done` frame as a list of bytes-like pieces.

    head              FINISHED or TERMINATED
    pieces            the pickled result in pieces, which are not copied; None for no result
    stdout, stderr    bytes
    exception         UTF-8 or None
    started, ended    seconds since the epoch
    """
    tail = control.pack(stdout, stderr, exception, b'%.6f' % started, b'%.6f' % ended)[4:]
    if pieces is None:
        return [LENGTH.pack(len(head) + 4 + len(tail)), head, NO_RESULT, tail]
    size = sum(map(len, pieces))
    frame = [LENGTH.pack(len(head) + 4 + size + len(tail)), head, LENGTH.pack(size)]
    frame += pieces
    frame.append(tail)
    return frame


def _failure_text(error_info):
    """Return the `exception` of a job that failed, as bytes."""
    kind, error = error_info[:2]
    sentence = None
    if isinstance(error, Failure):
        return to_bytes(error.args[0])
    if isinstance(error, SystemExit):
        sentence = u'the job called sys.exit(%s)' % _shown(error.code)
    elif isinstance(error, KeyboardInterrupt):
        return to_bytes(
            tracebacks.describe_places(error_info, u'the job was interrupted (KeyboardInterrupt)'))
    elif isinstance(error, MemoryError):
        sentence = u'the job ran out of memory'
    return to_bytes(tracebacks.describe(error_info, sentence))


def _shown(value):
    try:
        return u'' if value is None else u'%r' % (value,)
    except Exception:                       # a class of the user's
        return u'...'


FINISHED, TERMINATED, FINISHED_IN_FILE = [
    control.pack(name, b'%d' % status)[4:]
    for name, status in ((b'done', control.FINISHED), (b'done', control.TERMINATED),
                         (b'filedone', control.FINISHED))]
NO_RESULT = LENGTH.pack(control.NOTHING)
