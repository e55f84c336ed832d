"""Setup and cleanup functions of both generations, renewal, and shutting the node down from cleanup."""
from __future__ import absolute_import, division, print_function

import json
import os
import signal
import subprocess
import time
import unittest

from dispynode_lib.host import compat
from dispynode_lib.host.io.streams import reset_at_close
from tests.functional.test_loop_waits import WaitingCase
from tests.support.computation import Computation, Refused, read_frame
from tests.support.dialects import DIALECTS, Dialect
from tests.support.nodecase import NATIVE, PY2, TIMEOUT, NodeCase
from tests.support.nodeprocess import NodeProcess
from tests.support.pickled import Call, loads
from tests.support.scheduler import FakeScheduler
from tests.support.waiting import wait_until

MODERN = NATIVE
LEGACY = Dialect('4.8.7', PY2, 2 if PY2 else 4)
CODE = '''
import os, sys, time

def helper(value):
    return value * 2

def setup(path, value=1, status=0):
    global made
    made = helper(value)
    os.environ['SET_BY_SETUP'] = str(value)
    module = type(sys)('made_module')
    module.made = made
    sys.modules['made_module'] = module
    note(path, 'setup in %s by %d' % (os.path.basename(os.getcwd()) == os.path.basename(dispy_job_path), os.getpid()))
    return status

def cleanup(path, *_rest):
    note(path, 'cleanup of %s by %d' % (globals().get('made'), os.getpid()))

def note(path, text):
    with open(path, 'a') as stream:
        stream.write(text + '\\n')

def compute():
    import made_module
    return made, made_module.made, os.environ.get('SET_BY_SETUP'), os.getppid()

def wait(seconds):
    time.sleep(seconds)
'''


def setting_up(computation, *args):
    """Return a connection on which SETUP was sent."""
    return computation.scheduler.connection('SETUP', MODERN.setup(computation.id, args), timeout=TIMEOUT)


class SetupCleanup(NodeCase):

    options = ('-c', '2')

    def notes(self):
        if not os.path.exists(self.path):
            return []
        with open(self.path) as stream:
            return [line.rpartition(' by ')[0] for line in stream.read().splitlines()]

    def setUp(self):
        self.path = os.path.join(self.folder(), 'notes')

    def wait_notes(self, expected):
        wait_until(lambda: self.notes() == expected, TIMEOUT, lambda: '%r, there are %r' % (expected, self.notes()))

    def opened(self, dialect=MODERN, args=(), **settings):
        """Open a computation whose setup and cleanup get the path of the notes and `args`."""
        settings = dict({'setup': 'setup', 'cleanup': 'cleanup'}, **settings)
        if dialect.modern:
            return self.open(CODE, 'compute', dialect, setup_args=(self.path,) + args, **settings)
        for key in ('setup', 'cleanup'):
            if isinstance(settings[key], str):
                settings[key] = (settings[key], (self.path,) + (args if key == 'setup' else ()), {})
        return self.open(CODE, 'compute', dialect, **settings)

    def test_what_setup_makes_is_there_in_every_job(self):
        for dialect in (MODERN, LEGACY):
            computation = self.opened(dialect, (21,))
            found = [self.finished(computation.run())[:3] for _ in range(3)]
            self.assertEqual(found, [(42, 42, '21')] * 3)
            self.let_go(computation.scheduler)

    def test_results_of_stat_of_a_python_2_client_are_arguments_of_setup(self):
        code = '''
def setup(status):
    global size
    size = status.st_size
    return 0

def compute():
    return size
'''
        sent = self.file('data.txt', b'of the client')
        status = Call('os', '_make_stat_result', (tuple(int(value) for value in tuple(os.stat(sent))[:10]), {}))
        for release in ('4.8.7', '4.15.2'):
            dialect = Dialect(release, True, 2)
            settings = {'setup': 'setup', 'setup_args': (status,)} if dialect.modern else {'setup': ('setup', (status,), {})}
            computation = self.open(code, 'compute', dialect, files=[sent], **settings)
            self.assertEqual(self.finished(computation.run()), 13)
            self.let_go(computation.scheduler)

    def test_setup_and_cleanup_run_once_in_the_process_that_jobs_are_forked_from(self):
        for number, dialect in enumerate((MODERN, LEGACY)):
            self.path += str(number)
            computation = self.opened(dialect, (3,))
            parent = self.finished(computation.run())[3]
            computation.close()
            self.wait_notes(['setup in True', 'cleanup of 6'])
            with open(self.path) as stream:
                self.assertEqual(stream.read().count(' by %d\n' % parent), 2)
            self.let_go(computation.scheduler)

    def test_status_numbers_1_and_2_are_success_for_newer_clients_only(self):
        for status, dialect, good in ((0, LEGACY, True), (1, LEGACY, False), (2, LEGACY, False), (0, MODERN, True),
                                      (1, MODERN, True), (2, MODERN, True), (3, MODERN, False), (None, MODERN, False)):
            try:
                computation = self.opened(dialect, (1, status))
                self.assertEqual(self.finished(computation.run())[0], 2)
                found = True
            except Refused as refused:
                found = False
                self.assertIn(b'"setup" failed', refused.answer)
            self.assertEqual(found, good, (status, dialect))
            self.let_go(self.schedulers[-1])

    def scheduler(self, *args, **settings):
        scheduler = super(SetupCleanup, self).scheduler(*args, **settings)
        self.schedulers = getattr(self, 'schedulers', []) + [scheduler]
        return scheduler

    def test_a_failing_setup_brings_its_traceback_and_ends_the_computation(self):
        code = 'def deep(): raise ValueError("no luck")\ndef setup(): deep()\ndef f(): return 1\n'
        scheduler = self.scheduler()
        with self.assertRaises(Refused) as caught:
            scheduler.open(code, 'f', setup='setup')
        text = caught.exception.answer.decode('utf-8')
        self.assertIn('ValueError: no luck', text)
        self.assertIn('in deep', text)
        self.assertNotIn('dispynode_lib', text)
        with self.assertRaises(Refused):
            scheduler.computations[-1].submit()
        self.wait_files([])
        self.node.wait_log(u'\n    ValueError: no luck\n')    # lines that can be read

    def test_d12_setup_may_call_other_functions_and_blocks_nobody(self):
        code = ('import os, time\ndef helper(path):\n    while not os.path.exists(path): time.sleep(0.01)\n'
                'def setup(path):\n    helper(path)\n    return 0\ndef f(): return 1\n')
        for dialect in (MODERN, LEGACY):
            scheduler = self.scheduler(dialect)
            path = os.path.join(self.folder(), 'go')
            setup = 'setup' if dialect.modern else ('setup', (path,), {})
            slow = scheduler.open(code, 'f', setup=setup, send_setup=False)
            with scheduler.connection('SETUP', dialect.setup(slow.id, (path,)), timeout=TIMEOUT) as waiting:
                other = scheduler.open('def f(): return 2', 'f')
                self.assertEqual(self.finished(other.run()), 2)
                self.file('go', folder=os.path.dirname(path))
                self.assertEqual(read_frame(waiting), b'ACK')
            self.assertEqual(self.finished(slow.run()), 1)
            self.let_go(scheduler)

    def test_a_setup_that_is_missing(self):
        with self.assertRaises(Refused) as caught:
            self.open('def f(): return 1', 'f', setup='nowhere')
        self.assertIn(b'nowhere', caught.exception.answer)

    def test_setup_of_an_unknown_computation_is_answered(self):
        scheduler = self.scheduler()
        for dialect in DIALECTS:
            self.assertEqual(scheduler.call('SETUP', dialect.setup(12345, ())), b'invalid computation')

    def test_setup_without_a_setup_function_is_accepted_and_may_be_repeated(self):
        computation = self.open('def f(): return 1', 'f', send_setup=True)
        computation.setup()
        self.assertEqual(self.finished(computation.run()), 1)

    def test_a_second_setup_does_not_run_again(self):
        computation = self.opened()
        with self.assertRaises(Refused):
            computation.setup(self.path)
        self.assertEqual(self.notes(), ['setup in True'])
        self.assertEqual(self.finished(computation.run())[0], 2)

    def test_a_compute_that_comes_again_on_another_connection_keeps_its_computation(self):
        """The first connection is lost while the code is compiled."""
        scheduler = self.scheduler()
        record = scheduler.compute_record('def f(): return 1\n' + 'x = [1, 2, 3]\n' * 100000, 'f')
        computation, path = Computation(scheduler, record), self.file('empty')
        scheduler.computations.append(computation)
        with scheduler.connection('COMPUTE', record) as first:
            wait_until(lambda: computation.send_file(path) == 0, TIMEOUT)       # it is known there
            with scheduler.connection('COMPUTE', record, timeout=TIMEOUT) as second:
                reset_at_close(first)
                first.close()
                self.assertEqual(loads(read_frame(second)), 2)
        self.node.wait_log('computation %d (f) of 127.0.0.1 opened' % record.id, TIMEOUT)
        computation.setup()
        for _job in range(3):
            self.assertEqual(self.finished(computation.run()), 1)

    def test_cleanup_runs_without_setup_and_without_jobs(self):
        computation = self.opened(LEGACY, setup=None)
        computation.close()
        self.wait_notes(['cleanup of None'])

    def test_cleanup_runs_once_when_jobs_are_terminated(self):
        computation = self.opened()
        job = computation.scheduler.open(CODE, 'wait').submit(60)
        other = job.computation
        computation.close()
        other.close()
        self.assertIsNone(job.wait(TIMEOUT).exception)
        self.wait_notes(['setup in True', 'cleanup of 2'])

    def test_cleanup_runs_although_the_supervisor_died(self):
        computation = self.opened()
        parent = self.finished(computation.run())[3]
        os.kill(parent, signal.SIGKILL)
        wait_until(lambda: 'supervisor %d ended unexpectedly' % parent in self.node.log(), TIMEOUT)
        computation.close()
        self.wait_notes(['setup in True', 'cleanup of None'])

    def test_setup_runs_again_in_the_place_of_a_supervisor_that_died(self):
        computation = self.opened(args=(5,))
        parent = self.finished(computation.run())[3]
        os.kill(parent, signal.SIGKILL)
        wait_until(lambda: 'supervisor %d ended unexpectedly' % parent in self.node.log(), TIMEOUT)
        self.assertEqual(self.finished(computation.run())[0], 10)
        computation.close()
        self.wait_notes(['setup in True'] * 2 + ['cleanup of 10'])

    def test_a_failing_cleanup_is_only_logged(self):
        computation = self.open('def cleanup(): raise ValueError("oh dear")\ndef f(): return 1', 'f', cleanup='cleanup')
        self.finished(computation.run())
        computation.close()
        self.node.wait_log('oh dear', TIMEOUT)
        self.wait_files([])

    def test_a_failing_cleanup_cannot_write_lines_of_its_own_into_the_log(self):
        computation = self.open(
            'def cleanup(): raise ValueError("x\\n2030-01-01 00:00:00,000 ERROR dispynode.node: forged '
            '\\x1b[31m")\ndef f(): return 1', 'f', cleanup='cleanup')
        self.finished(computation.run())
        computation.close()
        self.node.wait_log('cleanup failed', TIMEOUT)
        self.wait_files([])
        log = self.node.log()
        self.assertIn(u'forged', log)
        self.assertEqual([line for line in log.splitlines() if line.startswith(u'2030')], [])
        self.assertNotIn(u'\x1b', log)

    def test_a_failing_cleanup_is_told_once(self):
        computation = self.open('def cleanup(): raise KeyError("oh dear")\ndef f(): return 1', 'f',
                                cleanup='cleanup')
        computation.close()
        self.node.wait_log('KeyError', TIMEOUT)
        self.wait_files([])
        lines = self.node.log().splitlines()
        self.assertEqual(len([line for line in lines if line.strip().startswith('KeyError')]), 1)

    def test_close_interrupts_a_setup_that_does_not_end(self):
        code = ('import time\ndef setup(path):\n    open(path, "w").close()\n    time.sleep(1000)\n'
                'def f(): return 1\n')
        computation, before = self.open(code, 'f', setup='setup', send_setup=False), self.node.log()
        with setting_up(computation, self.path) as waiting:
            wait_until(lambda: os.path.exists(self.path), TIMEOUT)
            computation.close()
            self.assertNotEqual(read_frame(waiting), b'ACK')
        self.wait_files([])
        self.node.wait_log('setup of computation %d has ended with' % computation.id)
        self.assertNotIn('Traceback', self.node.log()[len(before):])

    def test_close_ends_a_setup_that_catches_what_is_to_interrupt_it(self):
        code = '''
import time
def setup(path):
    while True:
        try:
            open(path, 'w').close()
            time.sleep(1000)
        except BaseException:
            pass
def f(): return 1
'''
        computation = self.open(code, 'f', setup='setup', send_setup=False)
        with setting_up(computation, self.path) as waiting:
            wait_until(lambda: os.path.exists(self.path), TIMEOUT)
            computation.close()
            self.assertNotEqual(read_frame(waiting), b'ACK')
        self.wait_files([])

    def test_a_setup_is_answered_though_close_comes_before_it_has_begun(self):
        code = 'import time\ndef setup(path): time.sleep(1000)\ndef f(): return 1\n'
        for _ in range(10):
            computation = self.open(code, 'f', setup='setup', send_setup=False)
            with setting_up(computation, self.path) as waiting:
                computation.close()
                self.assertNotEqual(read_frame(waiting), b'ACK')
        self.wait_files([])

    def test_a_failing_node_leaves_no_process_and_cleanup_runs(self):
        with NodeProcess('-c', '1', '--orphan_timeout', '0') as node:
            scheduler = FakeScheduler(node, MODERN)
            computation = scheduler.open(CODE, 'compute', setup='setup', cleanup='cleanup', setup_args=(self.path,))
            self.finished(computation.run())
            node.kill()
            self.wait_notes(['setup in True', 'cleanup of 2'])
            node.assert_no_processes(TIMEOUT)
            scheduler.close()

    def test_close_false_runs_cleanup_and_another_setup_follows(self):
        computation = self.opened(args=(1,))
        scheduler = computation.scheduler
        sent = self.file('data', b'kept')
        computation.send_file(sent)
        parent = self.finished(computation.run())[3]
        self.assertEqual(computation.close(close=False), b'ACK')
        message = scheduler.wait_for('NODE_CLOSED', timeout=TIMEOUT).value
        self.assertEqual(sorted(message), ['auth', 'compute_id', 'node_addr', 'node_auth'])
        self.assertEqual((message['compute_id'], message['auth'], message['node_addr']),
                         (computation.id, computation.auth, '127.0.0.1'))
        self.assertEqual(bytes(message['node_auth']), scheduler.token())
        self.assertEqual(self.notes(), ['setup in True', 'cleanup of 2'])
        self.assertIn('data', [os.path.basename(name) for name in self.files_of()])
        computation.setup(self.path, 4)
        found = self.finished(computation.run())
        self.assertEqual(found[0], 8)
        self.assertNotEqual(found[3], parent)
        computation.close()
        self.wait_notes(['setup in True', 'cleanup of 2', 'setup in True', 'cleanup of 8'])
        self.wait_files([])

    def test_close_false_stops_jobs_first(self):
        computation = self.open(CODE, 'wait')
        job = computation.submit(60)
        computation.close(close=False)
        self.assertEqual(job.wait(TIMEOUT).status, 9)
        computation.scheduler.wait_for('NODE_CLOSED', timeout=TIMEOUT)
        computation.setup()
        self.finished(computation.run(0))

    def test_the_end_follows_a_renewal_without_a_second_cleanup(self):
        computation = self.opened()
        computation.close(close=False)
        computation.close()
        self.wait_notes(['setup in True', 'cleanup of 2'])
        self.wait_files([])
        self.assertEqual(self.notes(), ['setup in True', 'cleanup of 2'])


class RenewalTest(WaitingCase):

    def test_close_false_while_another_supervisor_is_started_is_answered_and_the_job_runs(self):
        computation = self.open('def f(): return 7', 'f')
        nursery = wait_until(lambda: self.children_of(self.node.pid))[0]
        supervisor = wait_until(lambda: self.children_of(nursery))[0]
        self.stopped(nursery)
        os.kill(supervisor, signal.SIGKILL)
        self.node.wait_log('supervisor %d ended unexpectedly' % supervisor, TIMEOUT)
        job = computation.submit()          # for which another one is asked for, in vain so far
        self.assertEqual(computation.close(terminate_pending=False, close=False), b'ACK')
        self.assert_lives()                 # so the loop has dealt with it
        self.go_on(nursery)
        computation.scheduler.wait_for('NODE_CLOSED', timeout=TIMEOUT)
        computation.setup()
        self.assertEqual(self.finished(job.wait(TIMEOUT)), 7)


ENDLESS = '''
import atexit, time

def endless():
    open(%r, 'w').close()
    time.sleep(1000)

def stubborn():
    while True:
        try:
            endless()
        except BaseException:
            pass

def registering():
    atexit.register(endless)
    return 0

def f():
    return 1
'''


class Closed(NodeCase):

    def setUp(self):
        self.begun = os.path.join(self.folder(), 'begun')

    def close_while_it_runs(self, **settings):
        """Close a computation whose end takes for ever; return it."""
        computation = self.open(ENDLESS % self.begun, 'f', **settings)
        computation.close()
        wait_until(lambda: os.path.exists(self.begun), TIMEOUT)
        return computation

    def ctl(self, *words):
        return compat.to_text(subprocess.check_output(self.node.command() + ['--ctl'] + list(words)))


class CleanupTimeout(Closed):

    options = ('-c', '2', '--cleanup_timeout', '2')

    def wait_warning(self, computation, what, signal_name):
        self.node.wait_log('computation %d (f): its %s still runs' % (computation.id, what), TIMEOUT)
        self.node.wait_log('its supervisor gets %s' % signal_name, TIMEOUT)
        self.node.wait_log('computation %d (f) ended' % computation.id, TIMEOUT)
        wait_until(lambda: len([line for line in self.node.processes().values() if '--supervise' in line]) <= 1, TIMEOUT,
                   lambda: 'the end of the supervisor; there are %s' % self.node.processes())

    def test_a_cleanup_function_that_never_returns_leaves_its_supervisor_for_ever(self):
        self.wait_warning(self.close_while_it_runs(cleanup='endless'), 'cleanup', 'SIGTERM')

    def test_a_cleanup_function_that_catches_everything_is_killed(self):
        computation = self.close_while_it_runs(cleanup='stubborn')
        self.wait_warning(computation, 'cleanup', 'SIGKILL')
        wait_until(lambda: 'cleaning up' not in self.ctl('status'), TIMEOUT)

    def test_a_function_for_the_end_of_python_that_never_returns(self):
        self.wait_warning(self.close_while_it_runs(setup='registering'), 'cleanup', 'SIGTERM')

    def test_a_setup_that_runs_still_when_its_computation_is_closed_without_force(self):
        computation = self.open(ENDLESS % self.begun, 'f', setup='stubborn', send_setup=False)
        with setting_up(computation) as waiting:
            wait_until(lambda: os.path.exists(self.begun), TIMEOUT)
            computation.close(terminate_pending=False)
            self.assertNotEqual(read_frame(waiting), b'ACK')
        self.wait_warning(computation, 'setup', 'SIGTERM')

    def test_a_renewal_does_not_wait_for_ever(self):
        computation = self.open(ENDLESS % self.begun, 'f', cleanup='endless')
        computation.close(close=False)
        computation.scheduler.wait_for('NODE_CLOSED', timeout=TIMEOUT)
        self.assertEqual(self.finished(computation.run()), 1)
        wait_until(lambda: 'cleaning up' not in self.ctl('status'), TIMEOUT)


class CleaningUp(Closed):

    options = ('-c', '2', '--stop_timeout', '1')

    def test_status_tells_of_a_cleanup(self):
        computation = self.close_while_it_runs(cleanup='endless')
        found = json.loads(self.ctl('status', '--json'))['cleaning_up']
        self.assertEqual([(row['id'], row['name']) for row in found], [(computation.id, 'f')])
        self.assertTrue(0 <= found[0]['age'] <= time.time() - found[0]['since'], found)
        self.assertIn('cleaning up  %d (f) of 127.0.0.1, for ' % computation.id, self.ctl('status'))


class Shutdown(unittest.TestCase):

    CODE = '''
def cleanup():
    import __main__
    if hasattr(__main__, 'dispynode_shutdown'):
        dispynode_shutdown()
    else:
        dispynode_logger.warning('there is no dispynode_shutdown')
def f():
    return 'dispynode_shutdown' in globals()
'''

    def test_d19_cleanup_shuts_the_node_down_when_it_is_free(self):
        for dialect in (MODERN, LEGACY):
            with NodeProcess('--client_shutdown') as node:
                scheduler = FakeScheduler(node, dialect)
                computation = scheduler.open(self.CODE, 'f', cleanup='cleanup')
                other = scheduler.open('def f(): return 1', 'f')
                self.assertFalse(computation.run().value)
                computation.close()
                node.wait_log('draining', TIMEOUT)
                self.assertEqual(other.run().value, 1)
                other.close()
                self.assertEqual(node.wait_exit(TIMEOUT), 0)
                scheduler.close()

    def test_without_the_option_there_is_no_such_function(self):
        with NodeProcess() as node:
            scheduler = FakeScheduler(node, MODERN)
            scheduler.open(self.CODE, 'f', cleanup='cleanup').close()
            node.wait_log('there is no dispynode_shutdown', TIMEOUT)
            self.assertIsNone(node.status)
            scheduler.close()


if __name__ == '__main__':
    unittest.main()
