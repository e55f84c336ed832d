"""A node is killed in the middle of a request: what its client, which got no answer, finds of the
next one, and what becomes of jobs."""
from __future__ import absolute_import, division, print_function

import os
import threading
import unittest

from tests.support.computation import Computation, Refused, load_result, read_frame
from tests.support.dialects import Dialect
from tests.support.nodecase import NATIVE, PY2, TIMEOUT
from tests.support.nodeprocess import PROJECT, NodeProcess
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

def f(path, name, size=0, more=b'', printed=0):
    print('x' * printed)
    note(path, 'begun ' + name)
    while not os.path.exists(path + '.' + name):
        time.sleep(0.01)
    note(path, 'ended ' + name)
    return name, 'x' * size
'''
PROGRAM = '''
import sys
with open(%r, 'a') as notes:
    notes.write('ran\\n')
print(len(sys.argv[1]))
'''
LEGACY = Dialect('4.8.7', PY2, 2 if PY2 else 4)
DYING = os.path.join(PROJECT, 'tests', 'support', 'dying.py')
OPENED = 'node.operation Operation.opened '
SET_UP = 'node.computations.supervision Supervision.set_up after'


class Case(unittest.TestCase):

    def start(self, point, dialect=NATIVE, *options):
        """Start a node that is to die at `point` once arm() was called, and a client."""
        self.scheduler = scheduler = FakeScheduler(None, dialect)
        self.addCleanup(scheduler.close)
        self.node = scheduler.node = node = NodeProcess(
            '-c', '4', '--client_release', '%s@%d' % (dialect.release, scheduler.port), *options,
            program=DYING, env={'DISPYNODE_TEST_DIES': point})
        node.env['DISPYNODE_TEST_ARMED'] = armed = node.folder + '.armed'
        self.arm = lambda: open(armed, 'w').close()
        node.begin(self)
        self.addCleanup(lambda: os.path.exists(armed) and os.unlink(armed))
        self.path = os.path.join(node.folder, 'notes')
        self.code = CODE % self.path
        scheduler.node_ip_addr, scheduler.node_port = node.ip_addr, node.port
        return scheduler

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
        for cpus in (3, 4):
            self.scheduler.wait_for(
                'NODE_CPUS', timeout=TIMEOUT, match=lambda value: value['cpus'] == cpus)

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
        self.scheduler.wait_for('PING', timeout=TIMEOUT, match=lambda ping: ping['sign'] != sign
                                and ping['version'] == NATIVE.release)
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
        self.node.wait_record(computation.id, b'"answered": true')
        self.node.kill()
        self.node.start()
        # pings end the first look; it would have been told by then
        self.scheduler.wait_for('PING', 2, timeout=TIMEOUT)
        self.runs(computation)
        self.assertEqual(self.scheduler.messages('NODE_CPUS'), [])
        self.assertEqual(computation.close(), b'ACK')
        self.node.wait_log('the node is free')

    def test_a_client_that_sets_up_again_and_is_cut_off_sees_the_node_again_while_a_job_runs(self):
        self.start('node.requests.opening Opening._set_up before')
        computation = self.computation(setup='setup')
        self.let_end('setup')
        self.assertEqual(self.scheduler.ask('COMPUTE', computation.record), 4)
        computation.setup(self.path)
        self.node.wait_record(computation.id, b'"answered": true')
        job = computation.submit(self.path, 'one')
        wait_until(lambda: 'begun one' in self.notes(), TIMEOUT)
        self.assertEqual(self.scheduler.ask('COMPUTE', computation.record), 4)  # it forgot the node
        self.node.wait_record(computation.id, b'"answered": false')
        self.cut_off(computation.setup, self.path)
        self.node.start()
        self.is_shown_again()
        computation.setup(self.path)
        self.node.wait_record(computation.id, b'"answered": true')
        self.let_end('one')
        self.assertEqual(self.result(job)[0], 'one')
        self.runs(computation, 'two')
        self.assertEqual(self.notes().count('setup'), 1)

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

    def test_a_JOB_that_overtakes_the_CLOSE_of_a_client_cut_off_in_SETUP_is_not_lost_to_it(self):
        self.start(SET_UP)
        computation = self.computation(setup='setup')
        self.assertEqual(self.scheduler.ask('COMPUTE', computation.record), 4)
        self.cut_off(computation.setup, self.path)
        job = computation.make_job(self.path, 'one')
        self.restart((computation.send, job))
        self.assertEqual(computation.close(), b'ACK')
        self.let_end('setup', 'one')
        self.assertEqual(self.result(job)[0], 'one')

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

    def test_half_a_file_is_sent_again_and_nothing_of_it_stays(self):
        path = os.path.join(self.start(OPENED + 'after').node.folder, 'sent')
        with open(path, 'wb') as target:
            target.write(b'x' * 3000000)
        computation = self.scheduler.open(self.code, 'f')
        record = self.scheduler.file_record(path, '', computation.id)
        with self.scheduler.connection('FILEXFER', record) as connection:
            read_frame(connection)
            connection.sendall(b'x' * 500000)
            self.node.kill()
        self.node.start()
        self.assertEqual(computation.send_file(path), 3000000)
        folder, = [where for where, _folders, names in os.walk(self.node.folder) if 'sent' in names
                   and where != self.node.folder]
        self.runs(computation)
        self.assertEqual(os.path.getsize(os.path.join(folder, 'sent')), 3000000)
        self.assertEqual(computation.close(), b'ACK')
        wait_until(lambda: not os.path.exists(folder), TIMEOUT)

    def test_a_client_that_has_gone_meanwhile_does_not_keep_the_node(self):
        self.start(OPENED + 'after')
        computation = self.computation()
        self.cut_off(self.scheduler.call, 'COMPUTE', computation.record)
        closing = self.meanwhile(computation.close)
        self.node.start()
        wait_until(lambda: closing, TIMEOUT)
        self.scheduler.stop_listening()
        self.node.wait_log('the node is free', TIMEOUT)


class JobTest(Case):
    """A job runs once, and its client takes one reply, wherever its node dies.

    Where that is after the client has taken the reply, and before it was noted, it comes again.
    """

    def start_with_one(self, point, **settings):
        """Start a node that will die at `point`, with a computation; return that."""
        self.start(point)
        self.taken = []
        self.scheduler.answers['JOB_REPLY'] = self.answer
        self.computation_ = self.scheduler.open(self.code, 'f', **settings)
        return self.computation_

    def answer(self, message):
        """Answer a reply as clients do, that know a job until they have its reply."""
        first = message.value.uid not in self.taken
        self.taken.append(message.value.uid)
        return b'ACK' if first else b'NAK'

    def each(self, points):
        """Go through `points`: each is that of the node which is started when the one before has
        died."""
        computation = self.start_with_one(points[0])
        for number, point in enumerate(points):
            if number:
                self.node.env['DISPYNODE_TEST_DIES'] = point
                self.node.start()
            yield computation, '%d' % number, point
        self.node.start()

    def send(self, job):
        """Send a job; return whether it was acknowledged."""
        try:
            self.computation_.send(job)
        except (EnvironmentError, EOFError, Refused):
            return False
        return True

    def send_at_last(self, job):
        """Send a job until it is acknowledged, as a client does that is cut off: the next node may
        die before it has read it, too, or have no CPU for it yet."""
        wait_until(lambda: job.replies or self.send(job), TIMEOUT)

    def check(self, jobs, size=0):
        """Assert that each of {name: job} ran once and ended well, and that nothing is kept."""
        for name, job in jobs.items():
            value = load_result(job.wait(TIMEOUT).result)
            self.assertEqual((value[0], len(value[1])), (name, size))
            self.assertEqual(len(set([(reply.status, reply.result) for reply in job.replies])), 1)
            self.assertEqual(self.notes().count('begun ' + name), 1, name)
        wait_until(lambda: not self.computation_.pending_jobs()['pending'], TIMEOUT)
        self.assertEqual(self.computation_.close(), b'ACK')
        kept = os.path.join(self.node.folder, '.node-%d' % self.node.port, 'undelivered')
        wait_until(lambda: not os.path.isdir(kept) or not os.listdir(kept), TIMEOUT)

    def test_a_job_runs_once_wherever_it_stands_when_the_node_dies(self):
        jobs = {}
        for computation, name, point in self.each([
                'node.replies.journal Journal.add before',
                'node.replies.journal Journal.add after',
                'node.replies.journal Journal.note_accepted before',
                'node.replies.journal Journal.note_accepted after',
                'node.replies.journal Journal.note_process before',
                'node.replies.journal Journal.note_process after',
                'node.computations.link Child.send before',
                'node.computations.link Child.send after']):
            job = jobs[name] = computation.make_job(self.path, name)
            self.arm()
            accepted = self.send(job)
            self.node.wait_exit()
            self.let_end(name)
            if not accepted:
                self.meanwhile(self.send_at_last, job)
        self.check(jobs)

    def test_what_its_client_has_given_up_while_there_was_no_node_is_not_run(self):
        computation, other = self.start_with_one(OPENED + 'after'), self.computation()
        job = computation.make_job(self.path, 'one')
        self.node.kill()
        for opcode, record in (('JOB', job.record), ('COMPUTE', other.record)):
            with self.scheduler.connection(opcode, record):
                pass                        # its listener is open still
        self.let_end('one', 'two')
        self.node.start()
        self.assertEqual(computation.run(self.path, 'two').value[0], 'two')
        self.assertEqual(self.notes(), ['begun two', 'ended two'])
        self.assertEqual(self.result(computation.send(job))[0], 'one')
        self.assertEqual(self.notes().count('begun one'), 1)
        self.assertNotIn('%d' % other.id, self.node.log())

    def test_jobs_run_once_where_the_node_dies_between_a_fork_and_its_note(self):
        for when in ('before', 'after'):
            self.start_with_one('node.computations.jobs Jobs.on_child ' + when)
            self.arm()
            jobs, refused = {}, []
            for name in '0123':             # more than have processes that wait
                job = jobs[name] = self.computation_.make_job(self.path, name)
                if not self.send(job):
                    refused.append(job)
            self.node.wait_exit()
            self.let_end(*jobs)
            self.node.start()
            self.assertTrue(all([self.send(job) for job in refused]))
            self.check(jobs)

    def test_a_result_is_delivered_wherever_it_stands_when_the_node_dies(self):
        for size in (0, 100000, 200000, 1000000):
            jobs = {}
            for computation, name, point in self.each([
                    'node.computations.jobs Jobs._on_done before',
                    'node.replies.delivery Delivery.deliver before',
                    'node.replies.delivery Delivery.deliver after',
                    'node.replies.delivery Delivery._judge before',
                    'node.computations.jobs Jobs.settled before',
                    'node.computations.jobs Jobs.settled after']):
                job = jobs[name] = computation.submit(self.path, name, size)
                wait_until(lambda: 'begun ' + name in self.notes(), TIMEOUT)
                self.arm()
                self.let_end(name)
                self.node.wait_exit()
            self.check(jobs, size)
            self.node.stop()

    def test_a_job_is_stopped_once_wherever_TERMINATE_JOB_stands_when_the_node_dies(self):
        jobs = {}
        for computation, name, point in self.each([
                'node.computations.jobs Jobs.stop before',
                'node.replies.journal Journal.note_stopping before',
                'node.replies.journal Journal.note_stopping after',
                'node.computations.jobs Jobs._stop after']):
            job = jobs[name] = computation.submit(self.path, name)
            wait_until(lambda: 'begun ' + name in self.notes(), TIMEOUT)
            # of those before, the first two go on; a reply under way would come again
            wait_until(lambda: set(computation.jobs()) <= set(
                [jobs[one].uid for one in ('0', '1', name) if one in jobs]), TIMEOUT)
            self.arm()
            try:
                computation.terminate(job)
            except EnvironmentError:
                pass                        # it was read all the same
            self.node.wait_exit()
        self.let_end('0', '1')              # the request was lost with the node: they go on
        self.assertEqual([(jobs[name].wait(TIMEOUT).status, len(jobs[name].replies))
                          for name in '0123'], [(11, 1)] * 2 + [(9, 1)] * 2)

    def test_a_computation_is_closed_once_wherever_CLOSE_stands_when_the_node_dies(self):
        for point in ('node.requests.opening Opening._close before',
                      'node.replies.records Record.write before',
                      'node.replies.records Record.write after',
                      'node.computations.computation Computation._close after',
                      'node.computations.supervision Supervision.close before',
                      'node.computations.supervision Supervision.close after',
                      'node.computations.computation Computation._remove before',
                      'node.operation Operation.ended before',
                      'node.operation Operation.ended after'):
            computation = self.start_with_one(point, cleanup='cleanup')
            job = computation.submit(self.path, 'one')
            wait_until(lambda: 'begun one' in self.notes(), TIMEOUT)
            self.node.wait_record(computation.id, b'"answered": true')
            self.arm()
            try:
                done = computation.close() == b'ACK'
            except (EnvironmentError, EOFError):
                done = False
            self.node.wait_exit()
            self.node.start()
            if not done:
                self.assertEqual(computation.close(), b'ACK')
            self.assertEqual(job.wait(TIMEOUT).status, 9)
            self.scheduler.node_sign = None
            self.scheduler.ping(timeout=TIMEOUT)    # free
            folder = os.path.join(self.node.folder, '127.0.0.1')
            wait_until(lambda: not os.path.isdir(folder) or not os.listdir(folder), TIMEOUT)
            self.assertEqual(self.notes().count('cleanup'), 1, point)
            self.assertEqual(set(reply.status for reply in job.replies), set([9]))
            self.node.stop()

    def test_a_node_that_dies_while_it_takes_over_changes_nothing(self):
        self.start_with_one('node.heritage Heritage.take_over before')
        jobs = {}
        for name in ('one', 'two'):
            jobs[name] = self.computation_.submit(self.path, name)
            wait_until(lambda: 'begun ' + name in self.notes(), TIMEOUT)
        self.node.kill()
        self.let_end('one')
        for point in ('node.heritage Heritage.take_over before',
                      'node.heritage Heritage.take_over after',
                      'node.heritage Heritage._find after',
                      'node.computations.adoption Adopted.adopt after',
                      'node.computations.adoption Adopted.on_held before',
                      'node.computations.adoption Adopted.takes after'):
            self.node.env['DISPYNODE_TEST_DIES'] = point
            self.arm()
            self.node._launch()
            self.node.wait_exit(TIMEOUT)
        self.node.start()
        self.let_end('two')
        self.check(jobs)

    def dies(self, job, *names):
        """Send a job; the node dies of it. Start the next one; return the reply."""
        self.arm()
        self.assertTrue(self.send(job))
        self.let_end(*names)
        self.node.wait_exit(TIMEOUT)
        self.node.start()
        reply = job.wait(TIMEOUT)
        self.assertEqual(len(job.replies), 1)
        return reply

    def test_a_job_too_big_to_be_noted_is_answered_where_it_was_half_given(self):
        big = b'x' * 1000000
        for when in ('half', 'after'):
            computation = self.start_with_one('node.computations.link Child.send ' + when)
            job = computation.make_job(self.path, 'one', more=big)
            reply = self.dies(job)
            self.assertEqual(reply.status, 9)
            self.assertIn('while it gave the job to its process', reply.exception)
            self.runs(computation, 'two')
        job = computation.submit(self.path, 'three', more=big)
        wait_until(lambda: 'begun three' in self.notes(), TIMEOUT)
        self.node.kill()                    # one that was given goes on
        self.node.start()
        self.let_end('three')
        self.assertEqual(self.result(job)[0], 'three')

    def test_a_job_with_big_arguments_in_a_file_is_run_once(self):
        for when in ('before', 'after'):
            computation = self.start_with_one('node.computations.link Child.send ' + when)
            job = computation.make_job(self.path, 'one', 0, b'x' * 1000000)
            self.assertEqual(self.dies(job, 'one').value[0], 'one')
            self.assertEqual(self.notes().count('begun one'), 1)

    def test_much_output_cut_off_while_it_was_read_is_answered_once(self):
        for when in ('before', 'after'):
            computation = self.start_with_one('node.computations.link Link._read ' + when)
            job = computation.make_job(self.path, 'one', printed=3000000)
            reply = self.dies(job, 'one')
            self.assertEqual((reply.status, self.notes().count('begun one')),
                             (11 if when == 'before' else 9, 1), reply.exception)
            self.runs(computation, 'two')

    def test_a_program_with_big_arguments_is_run_or_answered_once(self):
        for point in ('node.replies.journal Journal.note_process after',
                      'node.computations.jobs Jobs._start_program after'):
            self.start(point)
            program = os.path.join(self.node.folder, 'tool.py')
            with open(program, 'w') as target:
                target.write(PROGRAM % self.path)
            computation = self.computation_ = self.scheduler.open_program(program)
            reply = self.dies(computation.make_job(*['x' * 100000] * 10))
            self.assertIn((reply.status, self.notes()), ((11, ['ran']), (9, [])), reply.exception)
            self.assertEqual(computation.run('xxx').stdout.strip(), b'3')


if __name__ == '__main__':
    unittest.main()
