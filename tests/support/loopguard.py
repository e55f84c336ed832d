"""Runs a node and tells what its loop's thread may have to wait for: python loopguard.py PROGRAM
[OPTIONS].

Watched in that thread are sleeping, waiting for conditions, threads and processes, sockets that
block, names that are looked up, files that are opened or removed; and locks that any other thread
holds meanwhile. Each place is told once, by a line on standard error that begins with MARK;
NodeProcess fails the test by it. Python 3 only.
"""
from __future__ import absolute_import, division, print_function

import builtins
import os
import runpy
import select
import socket
import sys
import threading
import time
import traceback

MARK = 'the loop waits: '
HERE = os.path.abspath(__file__)

# (function, module) of the node that may do a little of it in the loop's thread, and why
ALLOWED = {
    ('take_result', 'bigfiles'): 'opens a file of the state folder and takes its name away',
    ('_map', 'journal'): 'makes 64 KB of a file, once for 64 jobs at a time',
    ('_read_memory', 'resources'): 'opens /proc/meminfo, which lies on no disk',
    ('_read_cpu', 'resources'): 'opens /proc/stat, which lies on no disk',
    ('start', 'threading'): 'a new thread, which says that it runs',
}
FILE_CALLS = ('open', 'listdir', 'unlink', 'remove', 'rename', 'mkdir', 'rmdir', 'fsync',
              'makedirs')
SOCKET_CALLS = ('accept', 'connect', 'recv', 'recv_into', 'recvfrom', 'recvmsg', 'send', 'sendall',
                'sendto', 'sendmsg')

_get_ident = threading.get_ident
_new_lock = threading.Lock
_here = threading.local()
_told = set()
_loop = [None]                              # number of the loop's thread
_held_while_waiting, _taken_by_loop = {}, {}        # places where locks are made -> where that was

# modules: a lock of the first may be held when one of the second is taken, else it is held alone;
# the log may always be written (docs/architecture.rst, "Locks")
INSIDE = (('nursery', 'workers'),)
LEAF = 'writer'


def where():
    """Return the functions of the node that are being called, innermost first, as [(function,
    module, line)]."""
    found, frame = [], sys._getframe(2)
    while frame is not None and len(found) < 12:
        path = frame.f_code.co_filename
        if path != HERE:
            found.append((frame.f_code.co_name, os.path.basename(path)[:-3], frame.f_lineno))
        frame = frame.f_back
    return found


def shown(places):
    """Return them as text."""
    return ' < '.join('%s.%s:%d' % (module, function, line)
                      for function, module, line in places[:6])


def tell(what, places):
    """Write one line, once for each place."""
    if any(place[:2] in ALLOWED for place in places) or (what, places[0]) in _told:
        return
    _told.add((what, places[0]))
    os.write(2, ('%s%s in %s\n' % (MARK, what, shown(places))).encode('ascii', 'replace'))


def waiting(what, but=None):
    """This thread may have to wait now; the lock `but` is not held meanwhile."""
    places = where()
    if _get_ident() == _loop[0]:
        tell(what, places)
        return
    if any(place[:2] in ALLOWED for place in places):
        return
    for lock in getattr(_here, 'held', ()):
        if lock is not but:
            _held_while_waiting.setdefault(lock.place, (what, places))
            judge(lock.place)


def judge(place):
    """Tell of a lock that the loop's thread takes and another thread holds while it waits."""
    if place in _held_while_waiting and place in _taken_by_loop:
        what, places = _held_while_waiting[place]
        tell('the lock made at %s is held during %s (%s) and taken' % (place, what, shown(places)),
             _taken_by_loop[place])


class Lock(object):
    """A threading.Lock that knows where it was made, and who holds it."""

    def __init__(self):
        self._lock, self._holder = _new_lock(), None
        maker = [entry for entry in where() if entry[1] != 'threading'][:1]
        self.place, self.module = shown(maker), maker[0][1]
        self._is_signal = False  # taken where it is made: who takes it again waits for its release

    def acquire(self, blocking=True, timeout=-1):
        """As that of a Lock."""
        if blocking and _get_ident() == _loop[0] and self.place not in _taken_by_loop:
            _taken_by_loop[self.place] = where()
            judge(self.place)
        held = _here.__dict__.setdefault('held', [])
        for other in held if blocking and self.module != LEAF else ():
            if (other.module, self.module) not in INSIDE:
                tell(
                    'the lock made at %s is held and that of %s is taken' %
                    (other.place, self.place), where())
        self._is_signal = self._is_signal or sys._getframe(1).f_code.co_name == '__init__'
        taken = self._lock.acquire(blocking, timeout)
        if taken and not self._is_signal:
            held.append(self)
            self._holder = held
        return taken

    def release(self):
        """As that of a Lock, by any thread."""
        holder, self._holder = self._holder, None
        if holder is not None and self in holder:
            holder.remove(self)
        self._lock.release()

    def locked(self):
        """As that of a Lock."""
        return self._lock.locked()

    def __enter__(self):
        return self.acquire()

    def __exit__(self, *_error):
        self.release()


class Poll(object):
    """A select.poll that tells when it waits."""

    def __init__(self):
        self._poll = _new_poll()
        self.register, self.unregister, self.modify = self._poll.register, self._poll.unregister, self._poll.modify

    def poll(self, timeout=None):
        """As that of a poll."""
        if timeout is None or timeout > 0:
            waiting('poll')
        return self._poll.poll(timeout)


_new_poll = select.poll


def watch(owner, name, may_wait=lambda *_args, **_more: True):
    """Have waiting() called before each call of a function that may wait."""
    function = getattr(owner, name, None)
    if function is None:
        return

    def watched(*args, **more):
        if may_wait(*args, **more):
            waiting(name)
        return function(*args, **more)
    setattr(owner, name, watched)


def watch_condition():
    """The same for Condition.wait, which gives its own lock back; Event.wait is made from it."""
    function = threading.Condition.wait

    def wait(self, timeout=None):
        if timeout is None or timeout > 0:
            waiting('Condition.wait', self._lock)
        return function(self, timeout)
    threading.Condition.wait = wait


def install():
    """Watch all of it; the loop's thread is the one that runs host.io.loop.Loop."""
    threading.Lock, select.poll = Lock, Poll
    watch_condition()
    watch(time, 'sleep')
    watch(select, 'select', lambda _read, _write, _other, timeout=None: timeout != 0)
    watch(threading.Thread, 'join')
    watch(os, 'waitpid', lambda _pid, options: not options & os.WNOHANG)
    watch(socket, 'getaddrinfo')
    # as os.urandom() of PyPy does
    watch(builtins, 'open', lambda path, *_args, **_more: path != '/dev/urandom')
    for name in FILE_CALLS:
        watch(os, name)
    for name in SOCKET_CALLS:
        watch(socket.socket, name, lambda sock, *_args, **_more: sock.gettimeout() != 0)
    from dispynode_lib.host.io.loop import Loop
    run = Loop.run

    def run_watched(self):
        _loop[0] = _get_ident()
        run(self)
    Loop.run = run_watched


def main():
    """Be the node."""
    del sys.argv[0]
    sys.path[0] = os.path.dirname(os.path.abspath(sys.argv[0]))
    try:
        install()
    except Exception:
        traceback.print_exc()
        os.write(2, (MARK + 'nobody knows: the guard does not work\n').encode('ascii'))
        raise
    runpy.run_path(sys.argv[0], run_name='__main__')


if __name__ == '__main__':
    main()
