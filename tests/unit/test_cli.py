"""The command line program: exit statuses, its one line of complaint, and what signals do."""
from __future__ import absolute_import, division, print_function

import errno
import os
import signal
import sys
import threading
import types
import unittest

from dispynode_lib import __version__
from dispynode_lib.cli import main
from dispynode_lib.errors import StartError
from dispynode_lib.host import compat
from dispynode_lib.log import output


class Stream(object):
    """Stands for a standard stream; keeps what is written."""

    def __init__(self, encoding='utf-8', broken=False, number=errno.EPIPE):
        self.encoding, self.broken, self.number, self.parts = encoding, broken, number, []

    def write(self, data):
        if self.broken:
            raise EnvironmentError(self.number, os.strerror(self.number))
        if not isinstance(data, str):
            raise TypeError(type(data))
        self.parts.append(data)

    def flush(self):
        return None

    def text(self):
        return compat.to_text(''.join(self.parts))


class WithStreams(unittest.TestCase):

    def setUp(self):
        self._streams = sys.stdout, sys.stderr
        self.out, self.err = sys.stdout, sys.stderr = Stream(), Stream()

    def tearDown(self):
        sys.stdout, sys.stderr = self._streams


class Statuses(WithStreams):

    def test_wrong_option(self):
        self.assertEqual(main.main(['--cpus', 'x']), 64)
        self.assertTrue(self.err.text().startswith('dispynode: --cpus x: give '))
        self.assertEqual(self.err.text().count('\n'), 1)
        self.assertEqual(self.out.text(), '')

    def test_letters_that_the_terminal_does_not_know(self):
        sys.stderr = Stream('ascii')
        self.assertEqual(main.main([u'caf\xe9']), 64)
        self.assertIn(u'caf\\xe9', sys.stderr.text())
        sys.stderr = Stream('utf-8')
        main.main([u'caf\xe9'])
        self.assertIn(u'caf\xe9', sys.stderr.text())

    def test_help_and_version(self):
        self.assertEqual(main.main(['--help']), 0)
        self.assertIn('--node_port', self.out.text())
        self.assertEqual(main.main(['--version']), 0)
        last = self.out.text().splitlines()[-1]
        self.assertTrue(last.startswith('dispynode %s (build ' % __version__), last)
        self.assertTrue(last.endswith('Python %s)' % compat.PYTHON_VERSION), last)
        self.assertEqual(self.err.text(), '')

    def test_output_that_nobody_reads(self):
        sys.stdout = Stream(broken=True)
        self.assertEqual(main.main(['--version']), 0)
        sys.stdout = None
        self.assertEqual(main.main(['--version']), 0)
        sys.stderr = None
        self.assertEqual(main.main(['--nonsense']), 64)

    def test_output_for_which_a_disk_has_no_room_is_a_failure(self):
        for words in (['--print', 'init'], ['--save_config'], ['--help']):
            sys.stdout, sys.stderr = Stream(broken=True, number=errno.ENOSPC), Stream()
            self.assertEqual(main.main(words), 73)
            self.assertEqual(sys.stderr.text(),
                             'dispynode: standard output: No space left on device\n')

    def failing(self, error):
        """Have the program fail with `error`; return the status."""
        self.addCleanup(setattr, main, '_main', main._main)

        def fail(_argv):
            raise error
        main._main = fail
        return main.main([])

    def test_interrupt_shows_no_traceback(self):
        self.assertEqual(self.failing(KeyboardInterrupt()), 130)
        self.assertEqual(self.err.text(), '')

    def test_what_the_host_has_too_little_of_is_told_in_one_line(self):
        for error, word in ((EnvironmentError(errno.EMFILE, 'Too many open files'), 'ulimit -n'),
                            (EnvironmentError(errno.EAGAIN, 'Try again'), 'ulimit -u'),
                            (threading.ThreadError("can't start new thread"), 'ulimit -u'),
                            (MemoryError(), 'out of memory')):
            sys.stderr = Stream()
            self.assertEqual(self.failing(error), 70)
            self.assertIn(word, sys.stderr.text())
            self.assertEqual(sys.stderr.text().count('\n'), 1)

    def test_a_fault_has_its_traceback_and_its_status(self):
        self.assertEqual(self.failing(ValueError('odd')), 70)
        self.assertIn('ValueError: odd', self.err.text())


class FakeNode(object):
    """Records what it was told; ends after `turns` looks at it."""

    exit_status = 0
    is_replaced = False
    error = None
    made = []

    def __init__(self, options=None, turns=1000, ends_at=None):
        self.options, self.turns, self.ends_at = options, turns, ends_at
        self.told = []
        self.on_end = None
        FakeNode.made.append(self)

    def start(self):
        if self.error:
            raise self.error
        self.turns = 0

    def drain(self):
        self.told.append('drain')

    def drain_jobs(self):
        self.told.append('drain jobs')

    def terminate(self, may_keep):
        self.told.append('terminate, may keep jobs' if may_keep else 'terminate')

    def dump(self):
        self.told.append('dump')

    def reload(self):
        self.told.append('reload')

    def stop(self, at_once=False):
        self.told.append('stop at once' if at_once else 'stop')

    def wait(self, timeout):
        self.turns -= 1
        return self.turns < 0 or (self.told and self.told[-1] == self.ends_at)


class FakeSignals(object):
    """Plays a history: one signal (name of a handler) each time the main thread waits."""

    def __init__(self, *history):
        self.signals = main.Signals()
        self.history = list(history)

    def __getattr__(self, name):
        return getattr(self.signals, name)

    def wait(self):
        name = self.history.pop(0)
        if name is not None:
            name, _colon, number = name.partition(':')
            getattr(self.signals, '_on_' + name)(getattr(signal, number, 0), None)

    def close(self):
        close(self.signals)


def close(signals):
    """Give the descriptors of main.Signals back."""
    for fd in (signals.fileno(), signals.write_end):
        os.close(fd)


class Following(unittest.TestCase):

    def follow(self, history, ends_at):
        node = FakeNode(ends_at=ends_at)
        signals = FakeSignals(*history)
        main.follow(node, signals, None, node.reload)
        signals.close()
        self.assertEqual(signals.history, [])
        return node.told

    def test_interrupt_drains(self):
        self.assertEqual(self.follow(['interrupt'], 'drain'), ['drain'])

    def test_second_interrupt_stops(self):
        self.assertEqual(self.follow(['interrupt', 'interrupt'], 'stop'), ['drain', 'stop'])

    def test_third_interrupt_stops_at_once(self):
        self.assertEqual(self.follow(['interrupt'] * 3, None), ['drain', 'stop', 'stop at once'])

    def test_terminate(self):
        self.assertEqual(self.follow(['terminate'], 'terminate'), ['terminate'])
        self.assertEqual(self.follow(['interrupt', 'terminate'], 'terminate'),
                         ['drain', 'terminate'])

    def test_only_sigterm_may_keep_jobs(self):
        for number, told in (('SIGTERM', 'terminate, may keep jobs'), ('SIGQUIT', 'terminate')):
            self.assertEqual(self.follow(['terminate:' + number], told), [told])

    def test_second_terminate_ends_the_grace(self):
        self.assertEqual(self.follow(['terminate', 'terminate', 'terminate', 'abort'], None),
                         ['terminate', 'stop', 'stop at once'])

    def test_terminate_gives_no_grace_once_the_node_stops(self):
        self.assertEqual(self.follow(['interrupt', 'interrupt', 'terminate', 'abort'], None),
                         ['drain', 'stop', 'stop at once'])

    def test_interrupt_after_terminate(self):
        self.assertEqual(self.follow(['terminate', 'interrupt'], None),
                         ['terminate', 'stop at once'])

    def test_abort_does_not_wait_for_the_end(self):
        self.assertEqual(self.follow(['abort'], None), ['stop at once'])

    def test_warning_of_a_batch_system_drains_jobs(self):
        self.assertEqual(self.follow(['last_jobs'], 'drain jobs'), ['drain jobs'])
        self.assertEqual(self.follow(['interrupt', 'last_jobs'], 'drain jobs'),
                         ['drain', 'drain jobs'])
        self.assertEqual(self.follow(['last_jobs', 'interrupt'], 'stop'), ['drain jobs', 'stop'])
        self.assertEqual(self.follow(['last_jobs', 'terminate'], 'terminate'),
                         ['drain jobs', 'terminate'])

    def test_hangup_reloads_and_the_node_goes_on(self):
        self.assertEqual(self.follow(['wish:SIGHUP', 'interrupt'], 'drain'), ['reload', 'drain'])

    def test_dump(self):
        self.assertEqual(self.follow(['wish:SIGUSR2', 'terminate'], 'terminate'),
                         ['dump', 'terminate'])

    def test_waking_without_a_reason(self):
        self.assertEqual(self.follow([None, None, 'interrupt', None, 'terminate'], 'terminate'),
                         ['drain', 'terminate'])

    def test_node_that_ends_by_itself(self):
        node = FakeNode(turns=3)
        signals = FakeSignals(None, None, None)
        main.follow(node, signals)
        signals.close()
        self.assertEqual(node.told, [])


class WithSignals(unittest.TestCase):
    """Takes over the signals of the test process and gives them back."""

    def setUp(self):
        self._handlers = dict(
            (number, signal.getsignal(number))
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGABRT, signal.SIGPIPE,
                           signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP))
        self._wakeup = signal.set_wakeup_fd(-1)
        self.signals = main.Signals()
        self.signals.install()

    def tearDown(self):
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)
        close(self.signals)


class RealSignals(WithSignals):

    def test_handlers_wake_the_main_thread(self):
        for number, wanted in ((signal.SIGINT, main.DRAIN), (signal.SIGTERM, main.STOP),
                               (signal.SIGABRT, main.AT_ONCE)):
            os.kill(os.getpid(), number)
            self.signals.wait()
            self.assertEqual(self.signals.wanted, wanted)

    def test_wake_is_not_lost_and_not_blocked(self):
        for _ in range(100000):
            self.signals.wake()
        self.signals.wait()


class Serving(WithSignals, WithStreams):

    def setUp(self):
        WithStreams.setUp(self)
        WithSignals.setUp(self)
        self._log = output.level, output.handler
        self._module = sys.modules.get('dispynode_lib.node.node')
        fake = types.ModuleType('dispynode_lib.node.node')
        fake.Node = FakeNode
        sys.modules['dispynode_lib.node.node'] = fake

    def tearDown(self):
        output.level, output.handler = self._log
        FakeNode.error, FakeNode.exit_status = None, 0
        del sys.modules['dispynode_lib.node.node']
        if self._module is not None:
            sys.modules['dispynode_lib.node.node'] = self._module
        WithSignals.tearDown(self)
        WithStreams.tearDown(self)

    def test_status_of_the_node(self):
        FakeNode.exit_status = 7
        self.assertEqual(main.main(['--daemon', '-p', '5000']), 7)
        node = FakeNode.made[-1]
        self.assertEqual(node.options.node_port, 5000)
        self.assertTrue(callable(node.on_end))

    def test_node_that_cannot_start(self):
        FakeNode.error = StartError(u'port 5 is in use by caf\xe9; end that', 69)
        self.assertEqual(main.main([]), 69)
        self.assertEqual(self.err.text(), u'dispynode: port 5 is in use by caf\xe9; end that\n')


if __name__ == '__main__':
    unittest.main()
