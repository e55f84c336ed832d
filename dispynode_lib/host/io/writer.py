"""Writer of lines in a thread of its own: a full pipe blocks that thread only."""
from __future__ import absolute_import, division, print_function

import collections
import errno
import os
import select
import threading
import time

from dispynode_lib.host.compat import PY2, WOULD_BLOCK, monotonic, start_thread
from dispynode_lib.log import WARNING, Record

ROOM = 1 << 20                              # bytes of lines that may wait


class Writer(object):
    """Queue of lines, taken from any thread without blocking, and written in order.

    What there is no room for, and what cannot be written, is counted and the number told in one
    line. Once there was no room, lines are left out until all that wait have been written: so the
    number stands in their place.
    """

    def __init__(self, write, told, name='log'):
        """`write(data)`: writes bytes, may take any time, returns whether it could; `told(count)`:
        the line as bytes.

        name   of the thread
        """
        self._write, self._told, self._name = write, told, name
        self._lock = threading.Lock()       # for what follows; not held while something is written
        self._lines = collections.deque()
        self._size = self._left_out = 0     # bytes that wait; lines to be told of
        self._full = self._busy = False
        self._thread = None
        self._ready = threading.Lock()      # released when there is something to write
        self._ready.acquire()

    def put(self, data):
        """Have `data` (bytes) written; returns at once."""
        with self._lock:
            if self._full or self._size and self._size + len(data) > ROOM:
                self._full = True
                self._left_out += 1
                return
            self._lines.append(data)
            self._size += len(data)
            idle, self._busy = not self._busy, True
        if idle:
            self._wake()

    def finish(self, timeout):
        """Wait up to `timeout` seconds until all is written; return whether so."""
        deadline = monotonic() + timeout
        while self._busy and monotonic() < deadline:
            time.sleep(0.0002)
        return not self._busy

    def _wake(self):
        if self._thread is not None:
            self._ready.release()
            return
        try:
            self._thread = start_thread(self._name, self._run)
        except threading.ThreadError:       # no more threads to be had
            self._write_all()

    def _run(self):
        while True:
            self._write_all()
            self._ready.acquire()

    def _write_all(self):
        told = False
        while True:
            with self._lock:
                count, data = 0, self._lines.popleft() if self._lines else None
                if data is None:
                    if told or not self._left_out:
                        self._busy = False
                        return
                    told, count, self._left_out, self._full = True, self._left_out, 0, False
            done = self._write(self._told(count) if data is None else data)
            with self._lock:
                self._size -= len(data or b'')
                self._left_out += 0 if done else count or 1


def to_stream(stream):
    """Return a function that writes bytes to a Python stream or None, and returns whether so."""
    try:
        fd = stream.fileno()
    except (EnvironmentError, AttributeError, ValueError):  # none, a closed one or one in memory
        return lambda data: _write_to(stream, data)
    return lambda data: write_all(fd, data)


def _write_to(stream, data):
    try:
        stream.write(data if PY2 else data.decode(stream.encoding))
        stream.flush()
    except (EnvironmentError, AttributeError, ValueError):
        return False
    return True


def write_all(fd, data):
    """Write bytes to a descriptor, however long that takes; return whether it could be done."""
    while data:
        try:
            data = data[os.write(fd, data):]
        except EnvironmentError as error:
            if error.errno in WOULD_BLOCK:
                _await_room(fd)
            elif error.errno != errno.EINTR:
                return False                # closed, or the disk is full
    return True


def _await_room(fd):
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    try:
        poll.poll()
    except (EnvironmentError, select.error):        # a signal (2.7)
        return


def left_out(count, what=u'log'):
    """Return the Record that `count` lines could not be written."""
    return Record(WARNING, 'dispynode.log',
                  u'lines of the %s that could not be written and are left out: %d' % (what, count))
