"""The menu at the terminal; reading it never blocks signals."""
from __future__ import absolute_import, division, print_function

import os
import select

from dispynode_lib.host.compat import monotonic, to_text

STDIN = 0
COMMANDS = (u'quit', u'exit', u'drain', u'stop', u'start', u'release', u'cpus', u'why')
PROMPT = u'dispynode (quit, drain, stop, start, release, cpus, why, status): '
MENU = u"""
Enter "quit" or "exit" to end dispynode, "drain" to end it when running computations have been closed,
  "stop" to stop service, "start" to restart service,
  "release" to check and close computations, "cpus" or "cpus N" to change the CPUs used,
  "why" to see why it is idle, anything else to get status: """
ASK_CPUS = u'Number of CPUs (negative: leave so many free): '
END_OF_INPUT = u'\nCtrl-D: the node goes on; "quit" ends it now, "drain" when its work is done\n'
MUTED = 1.0  # seconds until the next look while the node is in the background


class Console(object):
    """Reads lines of standard input, a terminal, and prints what the commands say."""

    def __init__(self, node, say):
        """`node`: has command(words, done); `say(text)` prints."""
        self._node, self._say = node, say
        self._line = u''
        self._asks_cpus = False
        self._prompt = u''                  # what stands in the last line of the terminal
        self._muted_until = 0.0
        self._open = True
        self._show_menu()

    def wants(self):
        """Return (descriptors to wait for, seconds to wait or None)."""
        if not self._open:
            return (), None
        wait = self._muted_until - monotonic()
        return ((), wait) if wait > 0 else ((STDIN,), None)

    def read(self, ready):
        """Do what was typed, if standard input is among the descriptors `ready`."""
        if STDIN not in ready:
            return
        if not self._in_foreground():
            self._muted_until = monotonic() + MUTED     # the terminal is somebody else's now
            self._open = not self.hung_up()
            return
        try:
            data = os.read(STDIN, 4096)
        except EnvironmentError:
            data = b''                      # the terminal has gone
        if not data:
            self._end_of_input()
            return
        self._prompt = u''
        lines = (self._line + to_text(data)).split(u'\n')
        self._line = lines.pop()
        for line in lines:
            self._do(line.split())

    def _end_of_input(self):
        self._open = not self.hung_up()
        if self._open:
            self._say(END_OF_INPUT)
            self._ask(PROMPT)

    def prompt(self):
        """Return the prompt to be shown behind a line of the log, '' for none. Any thread."""
        return self._prompt if self._prompt and self._in_foreground() else u''

    def come_back(self):
        """Show the prompt: this process was stopped by Ctrl-Z and goes on."""
        self._muted_until = 0.0
        if self.prompt():
            self._say(self._prompt)

    @staticmethod
    def hung_up():
        """Return whether the terminal was closed."""
        poll = select.poll()
        poll.register(STDIN, 0)
        return any(events & (select.POLLHUP | select.POLLERR | select.POLLNVAL)
                   for _fd, events in poll.poll(0))

    @staticmethod
    def _in_foreground():
        try:
            return os.tcgetpgrp(STDIN) == os.getpgrp()
        except EnvironmentError:
            return False

    def _do(self, words):
        if self._asks_cpus:
            self._asks_cpus = False
            words = [u'cpus'] + words
        elif words == [u'cpus']:
            self._asks_cpus = True
        if not words or words[0].lower() not in COMMANDS:
            words = [u'status']             # as the original's menu says: anything else
        self._node.command(words, self._show)

    def _show(self, answer):
        self._say(answer.text)
        if self._asks_cpus:
            self._ask(ASK_CPUS)
        else:
            self._show_menu()

    def _show_menu(self):
        self._say(MENU)
        self._prompt = PROMPT

    def _ask(self, prompt):
        self._say(prompt)
        self._prompt = prompt
