"""A node is killed in the middle of a request: what its client, which got no answer, finds of the
next one, and what becomes of jobs."""
from __future__ import absolute_import, division, print_function

import os
import threading
import unittest

from tests.support.computation import Computation, Refused, load_result
from tests.support.dialects import Dialect
from tests.support.nodecase import NATIVE, PY2, TIMEOUT
from tests.support.nodeprocess import PROJECT, NodeProcess, free_port
from tests.support.scheduler import FakeScheduler
from tests.support.waiting import wait_until

CODE = '''
import os, time

def note(path, word):
    with open(path, 'a') as notes:
        notes.write(word + '\\n')

def setup(path):
    note(path, 'setup')
    while not os.path.exists(path + '.setup'):
        time.sleep(0.01)
    return 0

def cleanup(path=%r):
    note(path, 'cleanup')

def f(path, name, size=0):
    note(path, 'begun ' + name)
    while not os.path.exists(path + '.' + name):
        time.sleep(0.01)
    note(path, 'ended ' + name)
    return name, 'x' * size
'''
LEGACY = Dialect('4.8.7', PY2, 2 if PY2 else 4)
DYING = os.path.join(PROJECT, 'tests', 'support', 'dying.py')
OPENED = 'node.operation Operation.opened '
SET_UP = 'node.computations.supervision Supervision.set_up after'


class Case(unittest.TestCase):

    def start(self, point, dialect=NATIVE, *options):
        """Start a node that is to die at `point` once arm() was called, and a client."""
        port = free_port()
        self.node = node = NodeProcess(
            '-c', '4', '--client_release', '%s@%d' % (dialect.release, port), *options,
            program=DYING, env={'DISPYNODE_TEST_DIES': point})
        node.env['DISPYNODE_TEST_ARMED'] = armed = node.folder + '.armed'
        self.arm = lambda: open(armed, 'w').close()
        node.__enter__()
        self.addCleanup(node.__exit__, None, None, None)
        self.addCleanup(lambda: os.path.exists(armed) and os.unlink(armed))
        node.wanted_port = node.port
        self.path = os.path.join(node.folder, 'notes')
        self.code = CODE % self.path
        self.scheduler = FakeScheduler(node, dialect, port=port)
        self.addCleanup(self.scheduler.close)
        return self.scheduler

    def notes(self):
        if not os.path.exists(self.path):
            return []
        with open(self.path) as notes:
            return notes.read().splitlines()

    def let_end(self, *names):
        for name in names:
            open('%s.%s' % (self.path, name), 'w').close()

    def cut_off(self, request, *args):
        """Make a request; the node dies of it, and the connection breaks."""
        self.arm()
        with self.assertRaises((EnvironmentError, EOFError, Refused)):
            answer = request(*args)
            if answer is None:
                raise EOFError('closed without an answer')
        self.node.wait_exit()

    def meanwhile(self, request, *args):
        """Begin a request while there is no node; return the list that will have its answer."""
        answers = []

        def ask():
            try:
                answers.append(request(*args))
            except EnvironmentError as error:
                answers.append(error)
        thread = threading.Thread(target=ask)
        thread.start()
        self.addCleanup(thread.join)
        return answers

    def restart(self, *requests):
        """Make requests while there is no node, start the next one, and return the answers."""
        answers = [self.meanwhile(*request) for request in requests]
        self.node.start()
        wait_until(lambda: all(answers), TIMEOUT, self.node.log_tail)
        return [answer for answer, in answers]

    def is_shown_again(self):
        """Wait until the client was told of a number of CPUs that rises: it sends COMPUTE then."""
        self.scheduler.wait_for('NODE_CPUS', timeout=TIMEOUT, match=lambda value: value['cpus'] == 3)
        self.scheduler.wait_for('NODE_CPUS', timeout=TIMEOUT, match=lambda value: value['cpus'] == 4)

    def computation(self, **settings):
        """Return a computation that is not opened yet."""
        if self.scheduler.node_sign is None:
            self.scheduler.ping()
        record = self.scheduler.compute_record(self.code, 'f', **settings)
        return Computation(self.scheduler, record)

    def result(self, job):
        """Return the result of a job, of which there is one reply."""
        reply = job.wait(TIMEOUT)
        self.assertEqual((reply.status, len(job.replies)), (11, 1), reply)
        return load_result(reply.result)

    def wait_record(self, computation, words):
        """Wait until the node has noted that about a computation."""
        path = os.path.join(self.node.folder, '.node-%d' % self.node.port, 'computations',
                            '%d' % computation.id)

        def noted():
            with open(path, 'rb') as source:
                return words in source.readline()
        wait_until(noted, TIMEOUT)

    def runs(self, computation, name='one'):
        """Assert that the computation takes a job, which runs once."""
        self.let_end(name)
        self.assertEqual(self.result(computation.submit(self.path, name))[0], name)
        self.assertEqual(self.notes().count('begun ' + name), 1)


class OpeningTest(Case):
    """The client has got no answer, and gives the node up."""

    def test_a_client_cut_off_in_COMPUTE_uses_the_node_again(self):
        for dialect in (NATIVE, LEGACY):
            self.start(OPENED + 'after', dialect)
            computation = self.computation()
            self.cut_off(self.scheduler.call, 'COMPUTE', computation.record)
            self.assertEqual(self.restart((computation.close, )), [b'ACK'])
            self.is_shown_again()
            self.assertEqual(self.scheduler.ask('COMPUTE', computation.record), 4)
            if dialect.setup_always:
                computation.setup()
            self.runs(computation)
            self.assertEqual(computation.close(), b'ACK')
            self.node.wait_log('the node is free')

    def test_one_whose_CLOSE_found_no_node_uses_it_again_too(self):
        for dialect in (NATIVE, LEGACY):
            self.start(OPENED + 'after', dialect)
            computation = self.computation()
            self.cut_off(self.scheduler.call, 'COMPUTE', computation.record)
            self.node.start()
            self.is_shown_again()
            self.assertEqual(self.scheduler.ask('COMPUTE', computation.record), 4)
            self.runs(computation)
            self.assertEqual(computation.close(), b'ACK')

    def test_a_client_cut_off_before_its_COMPUTE_was_noted_hears_of_the_next_node(self):
        self.start(OPENED + 'before')
        computation = self.computation()
        sign = self.scheduler.node_sign
        self.cut_off(self.scheduler.call, 'COMPUTE', computation.record)
        answer, = self.restart((computation.close, ))
        self.assertIsInstance(answer, EnvironmentError)         # reset: its token is not known
        ping = self.scheduler.wait_for('PING', timeout=TIMEOUT,
                                       match=lambda ping: ping['version'] == NATIVE.release).value
        self.assertNotEqual(ping['sign'], sign)
        self.scheduler.node_sign = None
        self.runs(self.scheduler.open(self.code, 'f'))

    def test_another_computation_of_the_client_goes_on_meanwhile(self):
        for when in ('before', 'after'):
            self.start(OPENED + when)
            other = self.scheduler.open(self.code, 'f')
            job = other.submit(self.path, 'two')
            wait_until(lambda: 'begun two' in self.notes(), TIMEOUT)
            computation = self.computation()
            self.cut_off(self.scheduler.call, 'COMPUTE', computation.record)
            self.assertEqual(self.restart((computation.close, )), [b'ACK'])
            self.is_shown_again()
            self.assertEqual(self.scheduler.ask('COMPUTE', computation.record), 4)
            computation.setup()
            self.runs(computation)
            self.let_end('two')
            self.assertEqual(self.result(job)[0], 'two')
            self.assertEqual([other.close(), computation.close()], [b'ACK'] * 2)
            self.assertEqual(self.scheduler.messages('TERMINATED'), [])

    def test_a_client_that_notices_nothing_is_told_nothing(self):
        self.start(OPENED + 'after')
        computation = self.scheduler.open(self.code, 'f')
        self.wait_record(computation, b'"answered": true')
        self.node.kill()
        self.node.start()
        # pings end the first look; it would have been told by then
        self.scheduler.wait_for('PING', 2, timeout=TIMEOUT)
        self.runs(computation)
        self.assertEqual(self.scheduler.messages('NODE_CPUS'), [])
        self.assertEqual(computation.close(), b'ACK')
        self.node.wait_log('the node is free')

    def test_jobs_are_not_lost_to_the_CLOSE_of_a_client_cut_off_in_SETUP(self):
        for point in (SET_UP, 'node.requests.opening Opening._set_up before'):
            self.start(point)
            computation = self.computation(setup='setup', cleanup='cleanup')
            self.assertEqual(self.scheduler.ask('COMPUTE', computation.record), 4)
            self.let_end('one', *(['setup'] if point != SET_UP else ()))
            self.cut_off(computation.setup, self.path)
            job = computation.make_job(self.path, 'one')
            closed, accepted = self.restart((computation.close, ), (computation.send, job))
            self.assertEqual((closed, accepted), (b'ACK', job))
            self.let_end('setup')
            self.assertEqual(self.result(job)[0], 'one')
            wait_until(lambda: computation.close() and 'cleanup' in self.notes(), TIMEOUT)
            self.assertEqual([word for word in self.notes() if 'one' not in word],
                             ['setup', 'cleanup'])

    def test_an_old_client_cut_off_in_SETUP_has_its_jobs_run_after_it(self):
        self.start(SET_UP, LEGACY)
        computation = self.computation(setup=('setup', (self.path, ), {}))
        self.assertEqual(self.scheduler.ask('COMPUTE', computation.record), 4)
        self.cut_off(computation.setup)
        job = computation.make_job(self.path, 'one')
        self.restart((computation.send, job))
        self.let_end('setup', 'one')
        self.assertEqual(self.result(job)[0], 'one')
        self.assertEqual(self.notes(), ['setup', 'begun one', 'ended one'])

    def test_a_client_cut_off_in_FILEXFER_uses_the_node_again(self):
        path = os.path.join(os.path.dirname(os.path.abspath(__file__)), '__init__.py')
        for dialect in (NATIVE, LEGACY):
            for when in ('before', 'after'):
                self.start('node.files.folders Folder.receive ' + when, dialect)
                computation = self.computation(files=[path])
                self.assertEqual(self.scheduler.ask('COMPUTE', computation.record), 4)
                self.arm()
                computation.send_file(path) if when == 'after' else self.cut_off(
                    computation.send_file, path)
                self.node.wait_exit()
                answers = self.restart((computation.close, ), (computation.close, ))
                self.assertEqual(answers, [b'ACK'] * 2)
                self.is_shown_again()
                self.assertEqual(self.scheduler.ask('COMPUTE', computation.record), 4)
                self.assertEqual(computation.send_file(path), os.path.getsize(path))
                if dialect.setup_always:
                    computation.setup()
                self.runs(computation)

    def test_a_client_that_has_gone_meanwhile_does_not_keep_the_node(self):
        self.start(OPENED + 'after')
        computation = self.computation()
        self.cut_off(self.scheduler.call, 'COMPUTE', computation.record)
        closing = self.meanwhile(computation.close)
        self.node.start()
        wait_until(lambda: closing, TIMEOUT)
        self.scheduler.stop_listening()
        self.node.wait_log('the node is free', TIMEOUT)


if __name__ == '__main__':
    unittest.main()
