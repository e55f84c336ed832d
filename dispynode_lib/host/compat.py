"""Differences between Python versions and systems, told apart only here."""
from __future__ import absolute_import, division, print_function

import errno
import os
import select
import socket
import struct
import sys
import threading
import time

from dispynode_lib.host.descriptors import set_cloexec
from dispynode_lib.texts import path_bytes, to_bytes, to_native, to_path, to_text      # noqa: F401

PY2 = sys.version_info[0] == 2
PYTHON_VERSION = '%d.%d.%d' % sys.version_info[:3]
SYSTEM = sys.platform
LINUX = SYSTEM.startswith('linux')
CAN_RECVMSG = hasattr(socket.socket, 'recvmsg')
AT_ONCE = 64  # events that epoll tells at once; by default there is room for 1023: 12 KB
TELLS_ARRIVALS = CAN_RECVMSG and LINUX      # at which of its addresses a datagram arrived

if PY2:
    text_type = unicode                                             # noqa: F821
    integer_types = (int, long)                                     # noqa: F821
    import SocketServer as socketserver
    import signal
    import thread as _thread
else:
    text_type = str
    integer_types = (int,)
    import socketserver
    import _signal as signal                # without the enumerations: 0.3 % of a node's memory
    import _thread

try:
    from _sha1 import sha1                # hashlib would bring libcrypto: 3 MB and 5 ms
except ImportError:
    try:
        from _sha import new as sha1
    except ImportError:
        from hashlib import sha1

try:
    from _heapq import heapify, heappop, heappush       # noqa: F401; the C half: 30 KB less
except ImportError:
    from heapq import heapify, heappop, heappush        # noqa: F401

try:
    from _operator import _compare_digest as compare_digest
except ImportError:
    try:
        from operator import _compare_digest as compare_digest
    except ImportError:                                             # 2.7.5 has none
        def compare_digest(left, right):
            """Return whether two byte strings are equal, in constant time."""
            left, right = bytearray(left), bytearray(right)
            difference = len(left) ^ len(right)
            for one, other in zip(left, right):
                difference |= one ^ other
            return difference == 0

if hasattr(time, 'monotonic'):
    monotonic = time.monotonic
else:
    CLOCK_MONOTONIC = (('linux', 1), ('freebsd', 4), ('dragonfly', 4), ('netbsd', 3),
                       ('openbsd', 3), ('darwin', 6), ('sunos', 4))

    def _find_monotonic():
        """Return a clock for 2.7 that setting the host's does not change; coarse without ctypes."""
        try:
            import _ctypes
            call, times = _ctypes.call_function, struct.Struct('ll')
            function = _ctypes.dlsym(_ctypes.dlopen(None, 0), 'clock_gettime')
            number = [number for system, number in CLOCK_MONOTONIC
                      if sys.platform.startswith(system)][0]
        except (IndexError, ImportError, EnvironmentError, AttributeError, TypeError):
            return lambda: os.times()[4]

        def monotonic():
            """Return seconds since some moment."""
            # a new one each time: another thread may ask meanwhile
            buffer = bytes(bytearray(times.size))
            call(function, (number, buffer))
            seconds, billionths = times.unpack(buffer)
            return seconds + billionths * 1e-9
        return monotonic
    monotonic = _find_monotonic()
    threading._time = monotonic             # by which its waits with a time limit go
get_thread_id = _thread.get_ident

WOULD_BLOCK = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EINPROGRESS, errno.EALREADY)


def random_hex(count):
    """Return `2 * count` hexadecimal digits (text) from the system's random source."""
    return u''.join(u'%02x' % byte for byte in bytearray(os.urandom(count)))


def fraction():
    """Return a random number from 0 to 1."""
    high, low = bytearray(os.urandom(2))
    return (high << 8 | low) / 65535.0


def import_or_none(name):
    """Return the standard module `name`, None if this Python was built without it."""
    try:
        return __import__(name)
    except ImportError:
        return None


def unblock_signals():
    """Let all signals reach this process; before it has threads."""
    if hasattr(signal, 'pthread_sigmask'):
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        return
    try:
        import _ctypes
        function = _ctypes.dlsym(_ctypes.dlopen(None, 0), 'sigprocmask')
        _ctypes.call_function(function, (2, bytes(bytearray(128)), None))  # SIG_SETMASK, no signal
    except (ImportError, EnvironmentError, AttributeError, TypeError):
        return                              # 2.7 without ctypes


if hasattr(os, 'pread'):
    read_at = os.pread
    write_at = os.pwrite
else:
    _seeking = threading.Lock()

    def write_at(fd, data, offset):
        """Write `data` to a file from `offset` on; return how many bytes were written."""
        with _seeking:
            os.lseek(fd, offset, os.SEEK_SET)
            return os.write(fd, data)

    def read_at(fd, size, offset):
        """Return up to `size` bytes of a file from `offset` on; any thread."""
        with _seeking:
            os.lseek(fd, offset, os.SEEK_SET)
            return os.read(fd, size)


def _call_or_end(function, args):
    try:
        function(*args)
    except BaseException:                   # mostly for want of memory
        try:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(os.EX_SOFTWARE)


def start_thread(name, function, *args):
    """Start a daemon thread called `dispynode-NAME`; return it.

    A fault that reaches its top ends the process: without the loop, say, a node would seem to live
    and do nothing, for ever. Its jobs go on, and the next node takes them over.
    """
    thread = threading.Thread(target=_call_or_end, args=(function, args), name='dispynode-' + name)
    thread.daemon = True
    thread.start()
    return thread


def collect_from_now_on():
    """Have garbage collected, but pass over what is there already, where this Python can."""
    import gc
    if hasattr(gc, 'freeze'):
        gc.freeze()
    gc.enable()


def socket_of(fd):
    """Return the non-blocking AF_UNIX stream socket of descriptor `fd`, which it owns now."""
    if PY2:
        sock = socket.fromfd(fd, socket.AF_UNIX, socket.SOCK_STREAM)
        os.close(fd)
        set_cloexec(sock.fileno())
    else:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fd)
    sock.setblocking(False)
    return sock


def accept(listener, family):
    """Return a connection to a stream socket of `family` that listens, and its peer's address."""
    if PY2:
        return listener.accept()
    fd, address = listener._accept()        # accept() asks for two members of enumerations first
    return socket.socket(family, socket.SOCK_STREAM, 0, fd), address


class EpollPoller(object):
    """Waits for descriptors with epoll: its cost does not grow with their number."""

    READ, WRITE = 1, 4

    def __init__(self):
        self._epoll = poll = select.epoll()
        self.add, self.change, self.remove, self.close = (
            poll.register, poll.modify, poll.unregister, poll.close)

    def wait(self, timeout):
        """Return [(fd, events)]; `timeout`: seconds or None. Errors, hang-ups: READ|WRITE."""
        return self._epoll.poll(-1 if timeout is None else timeout, AT_ONCE)


class PollPoller(object):
    """The same with poll, where there is no epoll."""

    READ, WRITE = 1, 4

    def __init__(self):
        self._poll = poll = select.poll()
        self.add = self.change = poll.register
        self.remove, self.close = poll.unregister, lambda: None

    def wait(self, timeout):
        """Return [(fd, events)]; `timeout` in seconds or None."""
        return self._poll.poll(None if timeout is None else int(timeout * 1000) + 1)


Poller = EpollPoller if hasattr(select, 'epoll') else PollPoller


class Process(object):
    """A process started by spawn()."""

    def __init__(self, pid):
        self.pid = pid

    def wait(self):
        """Wait for its end."""
        try:
            os.waitpid(self.pid, 0)
        except EnvironmentError as error:
            if error.errno != errno.ECHILD:     # somebody else was sooner
                raise


def spawn(argv, stdin, env=None, output=2):
    """Start `argv`, first a path, with descriptor `stdin` as 0 and environment `env`, or ours.

    Return an object with pid and wait().
    `output` becomes its 1 and 2; whatever else has no close-on-exec is inherited.
    """
    if hasattr(os, 'posix_spawn'):          # the module subprocess would bring 1 MB of others
        return Process(
            os.posix_spawn(
                argv[0], argv, os.environ if env is None else env, file_actions=[
                    (os.POSIX_SPAWN_DUP2, stdin, 0), (os.POSIX_SPAWN_DUP2, output, 1),
                    (os.POSIX_SPAWN_DUP2, output, 2)
                ], setsigdef=[signal.SIGPIPE, signal.SIGXFSZ]))
    import subprocess
    return subprocess.Popen(argv, stdin=stdin, stdout=output, stderr=output, close_fds=not PY2,
                            env=env)
