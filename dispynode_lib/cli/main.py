"""The command line: options, log, signals and exit status of the node."""
from __future__ import absolute_import, division, print_function

import errno
import gc
import os
import select
import sys
import threading

from dispynode_lib import __version__, options
from dispynode_lib.code import packed
from dispynode_lib.errors import OptionError, StartError
from dispynode_lib.host import compat
from dispynode_lib.host.compat import signal
from dispynode_lib.host.io.wakeup import Wakeup
from dispynode_lib.host.process import inherited
from dispynode_lib.log import Log

INTERRUPTED_STATUS = 130                    # as shells tell of SIGINT
LAST_WAIT = 2.0  # seconds that a node told to stop at once may still take
LAST_LINES = 1.0  # seconds that the end waits for what the node still has to say

ENDING = ('SIGQUIT', 'SIGXCPU', 'SIGPWR')   # as SIGTERM, where the system has them
MEANINGLESS = ('SIGALRM', 'SIGVTALRM', 'SIGPROF', 'SIGIO', 'SIGSTKFLT')

# How a node ends, each more urgent than the one before
RUN, DRAIN, STOP, AT_ONCE = range(4)
MEANINGS = {DRAIN: 'this node is to end when its work is done', STOP: 'this node is to end',
            AT_ONCE: 'this node is to end at once'}


def program():
    """Be the program `dispynode`: call main() and end this process with its status.

    It ends at once: threads of the node may still wait somewhere, and Python taking itself apart
    around them takes 20 ms and can fail.
    """
    inherited.put_right()
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
        return _main(sys.argv[1:], True) if argv is None else _main(argv)
    except (OptionError, StartError) as error:
        say(_last_line(error), to_error=True)
        return error.status
    except KeyboardInterrupt:               # before the node has its signal handlers, or in --check
        return INTERRUPTED_STATUS
    except Exception as error:              # the top of the program
        lacking = _lacking(error)
        if lacking is None:
            sys.excepthook(*sys.exc_info())
        else:
            say(_last_line(lacking), to_error=True)
        return os.EX_SOFTWARE


def _lacking(error):
    """Return what a node says that has too few descriptors, threads or memory; None: a fault."""
    number = error.errno if isinstance(error, EnvironmentError) else None
    if number in (errno.EMFILE, errno.ENFILE):
        return u'too few descriptors: %s; raise the limit of open files ("ulimit -n" tells it)' % (
            error,)
    no_thread = isinstance(error, threading.ThreadError) and 'thread' in str(error)
    if number == errno.EAGAIN or no_thread:
        return u'too few processes or threads: %s; raise the limit ("ulimit -u" tells it)' % (
            error,)
    if number == errno.ENOMEM or isinstance(error, MemoryError):
        return u'out of memory; "ulimit -v" tells the limit'
    return None


def _main(argv, is_own=False):
    """`is_own`: this process is nothing but the program."""
    _require_files()
    chosen = read_options(argv)
    if argv == sys.argv[1:]:
        chosen.secret_shown = not inherited.hide_arguments([chosen.secret, chosen.admin_secret])
    if chosen.help or chosen.version:
        from dispynode_lib.options import parser
        say(parser.help_text() if chosen.help else _version_text())
        return 0
    if chosen.print_file is not None:
        from dispynode_lib.cli import printed
        return printed.show(chosen.print_file, say)
    if chosen.save_config is not None:
        from dispynode_lib.options import configfile
        configfile.save(chosen, say)
        return 0
    chosen.finish()
    chosen.make_paths_absolute()
    if chosen.ctl:
        from dispynode_lib.cli import ctl
        return ctl.main(chosen, say)
    if chosen.check:
        from dispynode_lib.cli import check
        return check.main(chosen, say)
    return _start(options.plain(chosen) if is_own else chosen, argv)


def _require_files():
    """Raise OptionError in an archive: other processes are started from this one's files."""
    folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if packed.importer is None and not os.path.isdir(folder):
        raise OptionError(
            u'this program does not run inside an archive, %s; unpack it, or use the one file' %
            compat.to_text(os.path.dirname(folder)))


def read_options(argv, config_path=None, environment=None):
    """Return the Options of command line, environment and config file; finish() is still to do.

    config_path   where the file of --config lies, for a process that has changed its folder
    environment   dict in place of that of this process, from which secrets have been removed
    Raises OptionError.
    """
    from dispynode_lib.options import parser
    chosen = parser.parse(argv)
    chosen.config = config_path or chosen.config
    environment = os.environ if environment is None else environment
    if chosen.config is not None or any(name.startswith('DISPYNODE_') for name in environment):
        from dispynode_lib.options import configfile
        configfile.apply(chosen, environment)
    return chosen


def _start(chosen, argv):
    """Be the node, perhaps in the background; return the exit status."""
    background = None
    try:
        if chosen.ensure:
            from dispynode_lib.cli import ctl
            if ctl.is_healthy(chosen):
                return 0
        tls = _take_rights(chosen)
        from dispynode_lib.host import surroundings
        surroundings.require(chosen)
        if chosen.detach or chosen.ensure:
            background = _detach(chosen)
        return _serve(chosen, argv, background, tls)
    except StartError as error:
        status = error.status
        if chosen.ensure and status == os.EX_TEMPFAIL:
            status = 0                      # somebody else was quicker
        else:
            _say_last(_last_line(error))
        if background is not None:
            background.report(status)
        return status


def _take_rights(chosen):
    """Read what only the starter may, then be --user; return a Tls or None. Raises StartError."""
    tls = None
    if chosen.certfile:
        from dispynode_lib.host.network.tls import Tls
        tls = Tls(chosen.certfile, chosen.keyfile)
    if chosen.user:
        from dispynode_lib.host.io import logs
        # logs: this user may perhaps not read the program, to say so
        from dispynode_lib.host.process import accounts
        accounts.become(chosen.user, [path for path in (chosen.log_file, chosen.pid_file,
                                                        chosen.ledger) if path])
    return tls


def _detach(chosen):
    """Go into the background; return the Background there. Raises StartError."""
    from dispynode_lib.host.io import logfile
    from dispynode_lib.host.process import detach
    from dispynode_lib.node.operator import statefolder
    chosen.daemon = True
    statefolder.make(chosen)
    if not chosen.log_file:
        chosen.log_file = statefolder.log_path(chosen)
        logfile.keep_small(chosen.log_file)
    return detach.detach(logfile.open_or_refuse(compat.to_native(chosen.log_file)))


def say(text, to_error=False):
    """Write `text` to standard output or error as its encoding allows, if somebody reads it.

    Raises StartError where standard output takes nothing, such as a file on a full disk.
    """
    stream = sys.stderr if to_error else sys.stdout
    if stream is None:                      # closed by who started this process
        return
    encoding = getattr(stream, 'encoding', None) or 'utf-8'
    data = compat.to_text(text).encode(encoding, 'backslashreplace')
    try:
        stream.write(data if compat.PY2 else data.decode(encoding))
        stream.flush()
    except EnvironmentError as error:
        if not to_error and error.errno != errno.EPIPE:
            raise StartError(u'standard output: %s' % error.strerror, os.EX_CANTCREAT)


def _last_line(error):
    from dispynode_lib.host.io import logs
    return u'%sdispynode: %s\n' % (u'<3>' if logs.goes_to_journal() else u'', error)


def _say_last(text):
    """Write to standard error within a time limit: signals no longer end this process."""
    from dispynode_lib.host.io import logs
    last = logs.StandardError(logs.bare_line)
    last.say(text)
    last.finish(LAST_LINES)


def _version_text():
    from dispynode_lib.code import image
    return 'dispynode %s (build %s, %s, Python %s)\n' % (
        (__version__,) + image.build() + (compat.PYTHON_VERSION,))


def _serve(chosen, argv, background, tls):
    """Run a node until it ends; return its exit status. Raises StartError."""
    from dispynode_lib.host.io import logs
    gc.disable()                            # what is made until the node serves, stays
    target = logs.set_up(chosen)
    try:
        return _run(chosen, argv, background, tls, target)
    finally:
        target.finish(LAST_LINES)


def _run(chosen, argv, background, tls, target):
    # it may be closed before the node serves
    at_terminal = not chosen.daemon and sys.stdin and os.isatty(0)
    try:
        node, signals = _started(chosen, tls)
    finally:
        compat.collect_from_now_on()
    node.fault_on_disk = lambda: _fault_on_disk(chosen, argv)
    if background is not None:
        target.finish(LAST_LINES)           # who started it may look into the log now
        background.report(0)
    follow(node, signals, _console(node, target) if at_terminal else None,
           lambda: reload_config(argv, node))
    if node.is_replaced:
        from dispynode_lib.code.image import replace
        target.finish(LAST_LINES)
        replace(chosen, argv)
    return node.exit_status


def _fault_on_disk(chosen, argv):
    from dispynode_lib.code import image
    return image.fault_on_disk(chosen, argv)


def _started(chosen, tls):
    """Return (the Node, which serves, the Signals). Raises StartError."""
    from dispynode_lib.node.node import Node
    signals = Signals()
    signals.install()
    node = Node(chosen, tls)
    node.on_end = signals.wake
    node.is_wanted = lambda: signals.wanted == RUN
    node.start()
    return node, signals


def _console(node, target):
    """Return the Console, which writes to the terminal without waiting for it."""
    from dispynode_lib.cli.console import Console
    from dispynode_lib.host.io import logs
    screen = target if target.goes_to(sys.stdout) else logs.StandardError(
        logs.bare_line, sys.stdout)
    console = Console(node, screen.say)
    if screen is target:
        target.prompt = console.prompt
    return console


def reload_config(argv, node):
    """Read the config file again on SIGHUP; a wrong one changes nothing and is told in the log,
    which sees by itself that its file was moved."""
    from dispynode_lib.host.io import logs
    log, old = Log('dispynode.cli'), node.options
    try:
        new = read_options(argv, old.config, dict(old.environment))
        if old.folder is not None:
            new.make_paths_absolute(old.folder)
        new.finish(with_secret=False)
    except OptionError as error:
        log.error('SIGHUP: the options stay as they are: %s', error)
        return
    try:
        new.read_secret()
    except OptionError as error:
        log.warning('SIGHUP: the secret stays as it is: %s', error)
        new.secret = old.secret
    logs.set_debug(new.debug)
    node.change(new)
    log.info('SIGHUP: the log is open, the options have been read')


def _meaningless():
    """Return the numbers of signals that mean nothing to a node, but would end it."""
    named = [getattr(signal, name) for name in MEANINGLESS if hasattr(signal, name)]
    if hasattr(signal, 'SIGRTMIN'):
        named += range(signal.SIGRTMIN, signal.SIGRTMAX + 1)
    return named


def _pass_over(_number, _frame):
    """Handle a signal that means nothing."""


class Signals(Wakeup):
    """Notes what signals ask for and wakes the main thread; the handlers do nothing else.

    wanted      RUN, DRAIN, STOP or AT_ONCE: how the node is to end
    jobs_only   whether draining waits for running jobs only, not for open computations
    warm        whether running jobs may go on for --grace before the node stops
    asked       set of signals that ask for something else: SIGHUP, SIGUSR2, SIGCONT
    """

    def __init__(self):
        self.wanted = RUN
        self.jobs_only = self.warm = False
        self.number = None                  # of the signal that asked last
        self.asked = set()
        super(Signals, self).__init__(for_signals=True)

    def install(self):
        """Take over the signals that end a node, or ask something of it."""
        signal.signal(signal.SIGINT, self._on_interrupt)
        signal.signal(signal.SIGTERM, self._on_terminate)
        signal.signal(signal.SIGABRT, self._on_abort)
        signal.signal(signal.SIGUSR1, self._on_last_jobs)
        signal.signal(signal.SIGUSR2, self._on_wish)
        signal.signal(signal.SIGCONT, self._on_wish)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        for name in [name for name in ENDING if hasattr(signal, name)]:
            signal.signal(getattr(signal, name), self._on_terminate)
        for number in _meaningless():       # by a handler: what is ignored would be so in jobs, too
            signal.signal(number, _pass_over)
            signal.siginterrupt(number, False)
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:       # else: nohup
            signal.signal(signal.SIGHUP, self._on_wish)
        # the system may give a signal to any thread: this wakes the main thread all the same
        signal.set_wakeup_fd(self.write_end)

    def _on_interrupt(self, number, _frame):
        """Handle SIGINT: drain; each further one is more urgent."""
        self._want(min(self.wanted + 1, AT_ONCE), number)

    def _on_terminate(self, number, _frame):
        self.end(number)

    def end(self, number):
        """Ask for the end, as SIGTERM does, because of the signal `number`."""
        self.warm = self.wanted < STOP      # the second one works at once
        self._want(max(self.wanted, STOP), number)

    def _on_abort(self, number, _frame):
        self._want(AT_ONCE, number)

    def _on_last_jobs(self, number, _frame):
        """Handle SIGUSR1, by which batch systems warn before the end."""
        self.jobs_only = True
        self._want(max(self.wanted, DRAIN), number)

    def _on_wish(self, number, _frame):
        self.asked.add(number)
        self.wake()

    def _want(self, wanted, number):
        self.wanted, self.number = wanted, number
        self.wake()

    def wait(self, more=(), timeout=None):
        """Wait for wake(), a signal or a readable descriptor of `more`; return those that are.

        It may also return without a reason.
        """
        try:
            ready = select.select([self] + list(more), [], [], timeout)[0]
            if self in ready:
                ready.remove(self)
                self.drain()
            return ready
        except (EnvironmentError, select.error):
            return []                       # interrupted by a signal (2.7)


def follow(node, signals, console=None, on_hangup=None):
    """Wait until `node` has ended, and pass on what signals and the terminal ask for.

    node        has drain(), drain_jobs(), terminate(), stop(at_once=False), dump(), which return
                soon, and wait(timeout) -> ended
    signals     a Signals
    console     a Console or None
    on_hangup   function: the node goes on after SIGHUP
    """
    done = (RUN, False, False)
    while not node.wait(0):
        wanted = (signals.wanted, signals.jobs_only, signals.warm)
        if wanted != done:
            done = wanted
            _tell(signals.number, wanted[0])
            if not _pass_on(node, signals.number, *wanted):
                return
        elif signals.asked:
            _answer(node, signals, console, on_hangup)
        elif console is None:
            signals.wait()
        else:
            console.read(signals.wait(*console.wants()))


def _tell(number, wanted):
    from dispynode_lib.host.wording import signal_name
    Log('dispynode.cli').info('%s: %s', signal_name(number), MEANINGS[wanted])


def _pass_on(node, number, wanted, jobs_only, warm):
    """Have `node` do what is wanted; return False if its end is not to be waited for."""
    if wanted == DRAIN:
        if jobs_only:
            node.drain_jobs()
        else:
            node.drain()
        return True
    if warm and wanted == STOP:
        node.terminate(may_keep=number == signal.SIGTERM)
        return True
    node.stop(at_once=wanted == AT_ONCE)
    if wanted == AT_ONCE:
        if not node.wait(LAST_WAIT):
            Log('dispynode.cli').warning(
                'stopped at once, before all had ended: the next node does the rest')
        return False
    return True


def _answer(node, signals, console, on_hangup):
    asked = signals.asked.pop()
    if asked == signal.SIGUSR2:
        node.dump()
    elif asked == signal.SIGCONT:
        if console is not None:
            console.come_back()
    elif console is not None and console.hung_up():
        Log('dispynode.cli').info('the terminal was closed')
        signals.end(signal.SIGHUP)
    else:
        on_hangup()
