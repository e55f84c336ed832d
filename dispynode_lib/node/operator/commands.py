"""The operator's commands: the same at the terminal and through the control socket."""
from __future__ import absolute_import, division, print_function

import functools
import os

from dispynode_lib.options import table
from dispynode_lib.errors import OptionError
from dispynode_lib.host import resources
from dispynode_lib.host.io.loop import gather
from dispynode_lib.host.wording import counted
from dispynode_lib.log import Log
from dispynode_lib.node.shared.complaints import fault_text
from dispynode_lib.node.shared import state as states
from dispynode_lib.node.operator.status import describe
from dispynode_lib.node.shared.state import one_for_each_scheduler

log = Log('dispynode.commands')

ASKING = 'status', 'why'                    # change nothing


class Answer(object):
    """Answer of a command: exit status (0: done), text for people, data (plain) for programs."""

    def __init__(self, text, data=None, status=0):
        self.text, self.status = text, status
        self.data = data if data is not None else {'text': text.strip(), 'done': status == 0}


class Commands(object):
    """Does commands; each may take its time (not for the loop's thread)."""

    def __init__(self, common, orders, status, service, notices, announcer):
        self._options, self._state, self._orders = common.options, common.state, orders
        self._status, self._service = status, service
        self._notices, self._announcer = notices, announcer
        self._table = {                     # name -> (method, most words after it)
            'status': (self.status, 0), 'stop': (self.stop, 0), 'start': (self.start, 0),
            'cpus': (self.cpus, 1),
            'release': (self.release, 1), 'drain': (self.drain, 0), 'quit': (self.quit, 0),
            'restart': (self.restart, 0),
            'exit': (self.quit, 0),
            'why': (self.why, 0),
        }

    def run(self, words):
        """Do the command `words` (list of text), the name first; return the Answer."""
        try:
            return self._run(words)
        except OptionError as error:
            return Answer(u'%s\n' % error, status=os.EX_USAGE)
        except Exception as error:
            log.exception('command %s', words[0])
            return Answer(u'%s: %s; its log says more\n' % (words[0], fault_text(error)),
                          status=os.EX_SOFTWARE)

    def _run(self, words):
        command, most = self._table.get(words[0].lower() if words else '', (None, 0))
        if command is None:
            return Answer(u"'%s': there is no such command; there are %s\n" % (
                u' '.join(words), u', '.join(sorted(self._table))), status=os.EX_USAGE)
        if len(words) > 1 + most:
            return Answer(u"'%s': give %s\n" %
                          (u' '.join(words), (u'one word after %s' if most else u'nothing after %s')
                           % words[0]), status=os.EX_USAGE)
        if words[0].lower() not in ASKING:
            log.info('command of the operator: %s', ' '.join(words))
        return command(*words[1:])

    def status(self):
        """Tell everything about the node."""
        found = self._status.gather()
        return Answer(describe(found), found)

    def why(self):
        """Tell why no job runs."""
        busy = self._state.counts()['busy']
        if busy:
            lines = [u'it is not idle: %s' % _running(busy)]
        else:
            lines = self._status.why_idle(0)
        return Answer(u'\n'.join(lines) + u'\n', {'why_idle': lines, 'busy': busy})

    def stop(self):
        """Take no new computations and jobs; running jobs go on."""
        changed = self._state.set_phase(states.PAUSED)
        if self._state.phase() != states.PAUSED:
            return Answer(u'the node is %s\n' % self._state.phase().lower(), status=1)
        self._notices.cpus_to_all(0)
        running = self._state.used_cpus()
        return Answer(u'service %s; %s\n' %
                      (u'stopped' if changed else u'was stopped already', _running(running)))

    def start(self):
        """Take computations and jobs again."""
        changed = self._state.set_phase(states.SERVING)
        if self._state.phase() != states.SERVING:
            return Answer(u'the node is %s\n' % self._state.phase().lower(), status=1)
        self._notices.cpus_to_all(self._state.cpus() if self._service.is_open() else 0)
        if changed:
            self._announcer.begin()
            self._orders.reschedule()
        return Answer(u'service %s%s\n' % (
            u'restarted' if changed else u'was not stopped',
            u'' if self._service.is_open() else u'; it is outside service hours'))

    def cpus(self, text=None):
        """Offer another number of CPUs, or tell how many are offered."""
        options = self._options
        if text is not None:
            try:
                wanted = table.cpus(text) if text.strip() != u'0' else 0
            except ValueError as error:
                raise OptionError(u'cpus %s: %s' % (text, error))
            total = max(resources.host_cpus(), options.usable_cpus)
            cpus = 0 if wanted == 0 else resources.cpus_to_use(wanted, options.usable_cpus, total)
            if cpus is None:
                raise OptionError(
                    u'cpus %s: this host has %s; give 0 to %d, or a negative number to leave so '
                    u'many free' % (text, counted(total, u'CPU'), total))
            self._orders.set_cpus(cpus)
        cpus = self._state.cpus()
        return Answer(u'%s offered, %d busy\n' % (counted(cpus, u'CPU'), self._state.used_cpus()),
                      {'cpus': cpus})

    def release(self, which=None):
        """Close computations whose scheduler is silent; `which` (an id, or all): at once."""
        computations = self._state.computations()
        if which is not None and which != u'all':
            computations = [one for one in computations if u'%d' % one.id == which]
            if not computations:
                raise OptionError(u'release %s: there is no such computation' % which)
        if which is not None:
            return self._close(computations, lambda computation: None)
        answering = self._ask_schedulers(computations)
        return self._close(computations,
                           lambda computation: self._reason_to_stay(computation, answering))

    def _reason_to_stay(self, computation, answering):
        jobs = len(self._state.jobs(computation.id))
        if jobs:
            return u'it has %s' % counted(jobs, u'running job')
        if computation.scheduler in answering:
            return u'its scheduler at %s port %d answers' % computation.scheduler
        return None

    def _ask_schedulers(self, computations):
        """Send a pulse to each scheduler; return the set of those that answer."""
        pulses = dict((one.scheduler, functools.partial(self._notices.pulse, one))
                      for one in one_for_each_scheduler(computations))
        answers = gather(pulses, self._options.msg_timeout + 1.0)
        return set(scheduler for scheduler, (_reply, error) in answers.items() if error is None)

    def _close(self, computations, reason_to_stay):
        lines, closed = [], []
        for computation in computations:
            reason = reason_to_stay(computation)
            if reason is not None:
                lines.append(u'computation %d (%s) stays: %s; "release %d" closes it all the same' %
                             (computation.id, computation.name, reason, computation.id))
                continue
            self._notices.terminated(computation)
            computation.close(terminate=True,
                              why=u'the operator of the node has closed the computation')
            closed.append(computation.id)
            lines.append(u'computation %d (%s) is closed' % (computation.id, computation.name))
        return Answer(u'\n'.join(lines or [u'no computation is open']) + u'\n',
                      {'closed': closed, 'text': lines})

    def drain(self):
        """End the node when the open computations have been closed."""
        self._orders.drain()
        return Answer(u'draining: waiting for %s\n' % counted(
            len(self._state.computations()), u'open computation'))

    def restart(self):
        """Replace the node by the program that is on disk; jobs go on."""
        if not self._options.orphan_timeout:
            return Answer(
                u'--orphan_timeout is 0: jobs would end; use quit, and start the node again\n',
                status=1)
        why = self._orders.restart()
        if why is not None:
            return Answer(
                u'not restarted, for the program on disk does not start: %s; mend it, and try '
                u'again\n' % why, status=1)
        return Answer(u'restarting\n')

    def quit(self):
        """End the node now."""
        self._orders.stop()
        return Answer(u'stopping\n')


def _running(number):
    return u'%s %s running' % (counted(number, u'job'), u'is' if number == 1 else u'are')
