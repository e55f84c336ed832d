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
INTERRUPTED_STATUS = 130                    # as shells tell of SIGINT
LAST_WAIT = 2.0                             # seconds that a node told to stop at once may still take

# How a node ends, each more urgent than the one before
RUN, DRAIN, STOP, AT_ONCE = range(4)


def program():
    """Be the program `dispynode`: call main() and end this process with its status.

    It ends at once: threads of the node may still wait somewhere, and Python taking itself apart around
    them takes 20 ms and can fail.
    """
    status = main()
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except EnvironmentError:
            continue                        # nobody reads it any more
    os._exit(status)


def main(argv=None):
    """Do what the command line asks for; return the exit status.

    argv   list without the program's name; by default that of this process
    """
    try:
        return _main(sys.argv[1:] if argv is None else argv)
    except OptionError as error:
        return _complain(error, USAGE_STATUS)
    except KeyboardInterrupt:               # before the node has its signal handlers, or in --check
        return INTERRUPTED_STATUS


def _main(argv):
    chosen = options.parse(argv)
    if chosen.help or chosen.version:
        say(options.help_text() if chosen.help else _version_text())
        return 0
    chosen.finish()
    _set_up_log(chosen.debug)
    if chosen.check:
        from dispynode_lib import check
        return check.main(chosen, say)
    return _serve(chosen)


def say(text, to_error=False):
    """Write `text` to standard output or error, as far as its encoding goes; a reader that has gone is no error."""
    stream = sys.stderr if to_error else sys.stdout
    if stream is None:                      # closed by who started this process
        return
    encoding = getattr(stream, 'encoding', None) or 'utf-8'
    data = compat.to_text(text).encode(encoding, 'backslashreplace')
    try:
        stream.write(data if compat.PY2 else data.decode(encoding))
        stream.flush()
    except EnvironmentError:
        return


def _complain(error, status):
    """Write one line about `error` to standard error; return `status`."""
    say(u'dispynode: %s\n' % error, to_error=True)
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
    _open_standard_descriptors()
    from dispynode_lib.node.node import Node
    signals = Signals()
    signals.install()
    try:
        node = Node(chosen)
        node.on_end = signals.wake
        node.start()
    except StartError as error:
        return _complain(error, error.status)
    follow(node, signals)
    return node.exit_status


def _open_standard_descriptors():
    """Give descriptors 0 to 2 to /dev/null if they are closed, so that no socket gets them."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except EnvironmentError:
            os.open(os.devnull, os.O_RDWR)      # takes the lowest free number, which is `fd`


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
        # the system may give a signal to any thread: this wakes the main thread all the same
        signal.set_wakeup_fd(self._write_end)

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

    def close(self):
        """Give the descriptors back; after that no handler may be left installed."""
        os.close(self._read_end)
        os.close(self._write_end)

    def wait(self):
        """Wait until wake() is called or a signal comes; it may also return without a reason."""
        try:
            select.select([self._read_end], [], [])
            os.read(self._read_end, 4096)
        except (EnvironmentError, select.error):
            return                          # interrupted by a signal (2.7)


def follow(node, signals):
    """Wait until `node` has ended, and pass on what signals ask for.

    node      has drain(), stop(at_once=False), which return soon, and wait(timeout) -> ended
    signals   a Signals
    """
    done = RUN
    while not node.wait(0):
        wanted = signals.wanted
        if wanted == done:
            signals.wait()
            continue
        done = wanted
        if wanted == DRAIN:
            node.drain()
            continue
        node.stop(at_once=wanted == AT_ONCE)
        if wanted == AT_ONCE:
            node.wait(LAST_WAIT)
            return
