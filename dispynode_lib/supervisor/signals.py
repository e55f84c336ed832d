"""Signals of a supervisor and of its job processes."""
from __future__ import absolute_import, division, print_function

import os
import signal

from dispynode_lib.supervisor.descriptors import close_quietly, wake_pipe

# Python's own settings, which programs written in it expect; a job gets them back
KEPT_IGNORED = tuple(getattr(signal, name) for name in ('SIGPIPE', 'SIGXFSZ', 'SIGXFZ') if hasattr(signal, name))
UNCATCHABLE = (signal.SIGKILL, signal.SIGSTOP)


class Stopped(BaseException):
    """The node wants this supervisor to end while user code runs."""


class Signals(object):
    """Turns SIGCHLD into a byte in a pipe, SIGTERM into a flag, and ignores SIGINT."""

    def __init__(self):
        self.read_end, self._write_end = wake_pipe()
        self.stop_asked = False
        self.in_user_code = False
        self._to_reset = ()

    def install(self):
        """Set the handlers; again after user code, which may have set its own."""
        self._to_reset = tuple(
            number for number in range(1, signal.NSIG)
            if number not in UNCATCHABLE and number not in KEPT_IGNORED
            and signal.getsignal(number) not in (signal.SIG_DFL, None))
        signal.set_wakeup_fd(self._write_end)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, self._on_child)
        signal.signal(signal.SIGTERM, self._on_term)
        if hasattr(signal, 'pthread_sigmask'):
            signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def _on_child(self, _number, _frame):
        """Nothing: the byte in the pipe tells the poll loop."""

    def _on_term(self, _number, _frame):
        self.stop_asked = True
        if self.in_user_code:
            raise Stopped('the node ends this computation')

    def drain(self):
        """Empty the pipe."""
        try:
            os.read(self.read_end, 4096)
        except EnvironmentError:
            return                          # empty already, or interrupted: the next poll shows

    def become_job(self):
        """In a new job process: give every signal the meaning it has when Python starts."""
        signal.set_wakeup_fd(-1)
        for number in self._to_reset:
            signal.signal(number, signal.SIG_DFL)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        close_quietly(self.read_end)
        close_quietly(self._write_end)
