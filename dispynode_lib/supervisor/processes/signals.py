"""Signals of a supervisor and of its job processes."""
from __future__ import absolute_import, division, print_function

import fcntl
import operator
import os
import select

from dispynode_lib.supervisor.processes.descriptors import wake_pipe
from dispynode_lib.supervisor.processes.lean import signal

# Python's own settings, which programs written in it expect; a job gets them back
LEFT_ALONE = tuple(
    getattr(signal, name) for name in ('SIGPIPE', 'SIGXFSZ', 'SIGXFZ', 'SIGKILL', 'SIGSTOP',
                                       'SIGINT', 'SIGCHLD', 'SIGTERM') if hasattr(signal, name))

HAS_MASK = hasattr(signal, 'pthread_sigmask')

# Takes two arguments and does nothing, for the byte in the pipe tells the poll loop; a function in
# Python would make each fork a little dearer
NO_HANDLER = operator.is_


class Stopped(BaseException):
    """Raised in user code of a supervisor that the node wants to end."""


class Signals(object):
    """Turns SIGCHLD into a byte in a pipe, SIGTERM into a flag, and ignores SIGINT."""

    def __init__(self):
        self.read_end, self._write_end = wake_pipe()
        self.stop_asked = False
        self._in_user_code = False
        self._watched = None                # a socket
        self._to_reset = ()
        self.children_held = False
        self.hand_over = None  # handover.HandOver, if this supervisor outlives its node
        self._alarm_set = False

    def install(self):
        """Set the handlers; again after user code, which may have set its own."""
        signal.set_wakeup_fd(self._write_end)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, NO_HANDLER)
        signal.signal(signal.SIGTERM, self._on_term)
        self.let_children_tell()

    def prepare_forks(self):
        """As install(), and note which handlers there are now: job processes do not get them."""
        self.install()
        usual = (signal.SIG_DFL, None)
        self._to_reset = (signal.SIGCHLD, signal.SIGTERM) + tuple(
            [number for number in range(1, signal.NSIG)
             if number not in LEFT_ALONE and signal.getsignal(number) not in usual])

    def hold_children(self):
        """Have SIGCHLD wait until let_children_tell(); return whether that can be had."""
        if HAS_MASK:
            signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGCHLD,))
            self.children_held = True
        return self.children_held

    def let_children_tell(self):
        """Let all signals come."""
        if HAS_MASK:
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
        self.children_held = False

    def _on_term(self, _number, _frame):
        self.stop_asked = True
        if self._in_user_code:
            raise Stopped('the node ends this computation')

    def run_user_code(self, fd, function, *args):
        """Call `function` of the user's, interrupted by SIGTERM or the end of socket `fd`.

        Raises Stopped if SIGTERM has come before: nothing would interrupt it.
        """
        flags = fcntl.fcntl(fd, fcntl.F_GETFL) & ~os.O_ASYNC
        try:
            self._watched, self._in_user_code = fd, True
            signal.signal(signal.SIGIO, self._on_socket)
            fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())
            fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_ASYNC)
            if self.stop_asked:
                raise Stopped('the node ends this computation')
            return function(*args)
        finally:
            self._in_user_code = False
            fcntl.fcntl(fd, fcntl.F_SETFL, flags)
            signal.signal(signal.SIGIO, signal.SIG_DFL)
            if self._alarm_set:
                self._alarm_set = False
                signal.alarm(0)
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
            self.install()

    def _on_socket(self, _number, _frame):
        poll = select.poll()
        poll.register(self._watched, 0)
        if not self._in_user_code or not poll.poll(0):
            return
        if self.hand_over is None or not self.hand_over.is_open:
            raise Stopped('the node has gone')
        if not self._alarm_set:
            self._alarm_set = True
            signal.signal(signal.SIGALRM, self._on_alarm)
            signal.alarm(max(1, int(self.hand_over.timeout)))

    def _on_alarm(self, _number, _frame):
        """End user code if its node has gone, and no other one waits for the end of it."""
        if self._in_user_code and not self.hand_over.is_asked_for():
            raise Stopped('the node has gone')
        signal.alarm(max(1, int(self.hand_over.timeout)))

    def drain(self):
        """Empty the pipe."""
        try:
            os.read(self.read_end, 4096)
        except EnvironmentError:
            return                          # empty already, or interrupted: the next poll shows

    def become_job(self):
        """In a new job process: give every signal the meaning it has when Python starts. Return the
        descriptors that it does not need."""
        signal.set_wakeup_fd(-1)
        if self.children_held:
            self.let_children_tell()
        for number in self._to_reset:
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        return self.read_end, self._write_end


def number_of(name):
    """Return the number of the signal called `name`."""
    return getattr(signal, name)


def ignore_interrupts():
    """Ignore SIGINT from now on."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def end_by_alarm(seconds):
    """Set an alarm that kills this process in `seconds`."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(seconds)
