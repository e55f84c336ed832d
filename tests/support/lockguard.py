"""Find what blocks, or leaves the module, while the lock of NodeState is held.

    state = NodeState(2)
    guard = lockguard.install(state)
    ... use the state, from any threads ...
    guard.check()               # AssertionError with each violation

While a thread holds the lock, its interpreter reports every call to us (sys.setprofile). Allowed
are functions of the state's own module and of threading (its Condition); builtin functions that
touch no file, socket, process or clock to wait on. So callbacks, log records and I/O are all seen.
"""
from __future__ import absolute_import, division, print_function

import sys
import threading

THREADING_FILE = threading.__file__.replace('.pyc', '.py')
OWN_FILE = __file__.replace('.pyc', '.py')

# modules whose builtin functions, and whose objects' methods, do what must not be done
BLOCKING = ('_io', 'io', 'posix', '_posixsubprocess', '_socket', 'socket', '_ssl', 'select',
            'signal', '_thread', 'thread', 'fcntl', 'file')
BLOCKING_NAMES = ('open', 'sleep', 'input', 'raw_input', '__import__')
HARMLESS = ('get_ident', 'getpid', 'allocate_lock', 'locked', 'release', '__exit__')


class GuardedLock(object):
    """A Lock that has its holder watched."""

    def __init__(self, guard):
        self._guard = guard
        self._lock = threading.Lock()
        self._former = None

    def acquire(self, *args):
        """Like Lock.acquire."""
        taken = self._lock.acquire(*args)
        if taken:
            self._former = sys.getprofile()
            sys.setprofile(self._guard.profile)
        return taken

    def release(self):
        """Like Lock.release."""
        sys.setprofile(self._former)
        self._lock.release()

    def locked(self):
        """Like Lock.locked."""
        return self._lock.locked()

    def __enter__(self):
        return self.acquire()

    def __exit__(self, *_exc):
        self.release()


class Guard(object):
    """Collects violations."""

    def __init__(self, allowed_file):
        self._allowed = (allowed_file, THREADING_FILE, OWN_FILE)
        self.violations = []

    def profile(self, frame, event, what):
        """Called by the interpreter for each call while the lock is held."""
        if event == 'call':
            code = frame.f_code
            if code.co_filename.replace('.pyc', '.py') not in self._allowed:
                self._note(frame.f_back, '%s of %s' % (code.co_name, code.co_filename))
        elif event == 'c_call' and frame.f_code.co_filename not in (THREADING_FILE, OWN_FILE):
            owner = getattr(what, '__self__', None)
            modules = (getattr(what, '__module__', None), type(owner).__module__,
                       type(owner).__name__)
            name = getattr(what, '__name__', '')
            if name in BLOCKING_NAMES or (
                    name not in HARMLESS and any(module in BLOCKING for module in modules)):
                self._note(frame, '%s of %s' % (name, modules[0] or modules[1]))

    def _note(self, frame, called):
        self.violations.append('%s, line %d calls %s while the lock is held' % (
            frame.f_code.co_name, frame.f_lineno, called))

    def check(self):
        """Raise AssertionError if anything was done that must not be done under the lock."""
        if self.violations:
            raise AssertionError('\n'.join(self.violations))


def install(state):
    """Replace the lock of `state`, and Conditions on it, by watched ones; return the Guard."""
    guard = Guard(sys.modules[type(state).__module__].__file__.replace('.pyc', '.py'))
    former, kind = None, type(threading.Lock())
    for name, value in sorted(vars(state).items()):
        if isinstance(value, kind):
            if former is not None:
                raise AssertionError('%s has two locks' % type(state).__name__)
            former = value
            lock = GuardedLock(guard)
            setattr(state, name, lock)
    if former is None:
        raise AssertionError('%s has no lock' % type(state).__name__)
    condition = type(threading.Condition(threading.Lock()))
    for name, value in sorted(vars(state).items()):
        if isinstance(value, condition):
            setattr(state, name, threading.Condition(lock))
    return guard
