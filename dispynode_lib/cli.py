"""The command line: options, log, signals and exit status of the node."""
from __future__ import absolute_import, division, print_function

import os
import select
import signal
import sys

from dispynode_lib import __version__, options
from dispynode_lib.errors import OptionError, StartError
from dispynode_lib.host import compat

USAGE_STATUS = 64                           # sysexits.h: EX_USAGE
LAST_WAIT = 2.0                             # seconds that a node told to stop at once may still take

# How a node ends, each more urgent than the one before
RUN, DRAIN, STOP, AT_ONCE = range(4)


def main(argv=None):
    """Do what the command line asks for; return the exit status.

    argv   list without the program's name; by default that of this process
    """
    try:
        chosen = options.parse(sys.argv[1:] if argv is None else argv)
        if chosen.help or chosen.version:
            return _print(options.help_text() if chosen.help else _version_text())
        chosen.finish()
    except OptionError as error:
        return _complain(error, USAGE_STATUS)
    _set_up_log(chosen.debug)
    if chosen.check:
        from dispynode_lib import check
        return check.main(chosen)
    return _serve(chosen)


def _print(text):
    """Write `text` to standard output; a reader that has gone is no error."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except EnvironmentError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)    # for the flush at exit
    return 0


def _complain(error, status):
    """Write one line about `error` to standard error; return `status`."""
    line = u'dispynode: %s\n' % error
    if compat.PY2:
        line = line.encode('utf-8')
    try:
        sys.stderr.write(line)
        sys.stderr.flush()
    except EnvironmentError:
        return status                       # nobody listens; the status still tells
    return status


def _version_text():
    return 'dispynode %s (Python %s)\n' % (__version__, compat.PYTHON_VERSION)


def _set_up_log(debug):
    """Send the log to standard error, one line a record."""
    import logging
    logging.raiseExceptions = debug         # a terminal that went away must not disturb a node
    logging.logProcesses = logging.logMultiprocessing = False
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter('%(asctime)s %(levelname)s %(name)s: %(message)s'))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.DEBUG if debug else logging.INFO)


def _serve(chosen):
    """Run a node until it ends; return its exit status."""
    from dispynode_lib.node.node import Node
    node = Node(chosen)
    signals = Signals()
    signals.install()
    try:
        node.start()
    except StartError as error:
        return _complain(error, error.status)
    node.on_end = signals.wake
    follow(node, signals)
    return node.exit_status


class Signals(object):
    """Notes what signals ask for and wakes the main thread; the handlers do nothing else.

    wanted   RUN, DRAIN, STOP or AT_ONCE: how the node is to end
    """

    def __init__(self):
        self.wanted = RUN
        self._read_end, self._write_end = os.pipe()
        import fcntl
        for fd in (self._read_end, self._write_end):
            compat.set_cloexec(fd)
            fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_NONBLOCK)

    def install(self):
        """Take over the signals that end a node."""
        signal.signal(signal.SIGINT, self._on_interrupt)
        signal.signal(signal.SIGTERM, self._on_terminate)
        signal.signal(signal.SIGABRT, self._on_abort)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)

    def _on_interrupt(self, _number, _frame):
        """SIGINT: drain; each further one is more urgent."""
        self._want(min(self.wanted + 1, AT_ONCE))

    def _on_terminate(self, _number, _frame):
        self._want(max(self.wanted, STOP))

    def _on_abort(self, _number, _frame):
        self._want(AT_ONCE)

    def _want(self, wanted):
        self.wanted = wanted
        self.wake()

    def wake(self):
        """Make wait() return. Safe from handlers and from any thread."""
        try:
            os.write(self._write_end, b'w')
        except EnvironmentError:
            return                          # the pipe is full: wait() will return anyway

    def wait(self, timeout):
        """Wait until wake() is called, at most `timeout` seconds or without limit if None."""
        try:
            select.select([self._read_end], [], [], timeout)
            os.read(self._read_end, 4096)
        except (EnvironmentError, select.error):
            return                          # interrupted (2.7) or timed out: the caller looks again


def follow(node, signals):
    """Wait until `node` has ended, and pass on what signals ask for.

    node      has drain(), stop(at_once=False), which return soon, and wait(timeout) -> ended
    signals   a Signals
    """
    done = RUN
    while not node.wait(0):
        wanted = signals.wanted
        if wanted > done:
            done = wanted
            if wanted == DRAIN:
                node.drain()
            else:
                node.stop(at_once=wanted == AT_ONCE)
            continue
        if done == AT_ONCE:
            node.wait(LAST_WAIT)
            return
        signals.wait(None)
