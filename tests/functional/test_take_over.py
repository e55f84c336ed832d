"""A node is killed and started again, and no client and no running job notices."""
from __future__ import absolute_import, division, print_function

import os
import shutil
import signal
import subprocess
import threading
import unittest

from dispynode_lib.node.computations.link import SEND_TIMEOUT
from tests.support.computation import load_result
from tests.support.nodecase import NATIVE, TIMEOUT
from tests.support.nodeprocess import PROJECT, NodeProcess
from tests.support.processes import lives, stat_fields
from tests.support.scheduler import SILENT, FakeScheduler
from tests.support.waiting import clock, wait_until

LATER = os.path.join(PROJECT, 'tests', 'support', 'later.py')
CODE = '''
import os, time

def setup(path):
    note(path, 'setup')
    return 0

def cleanup(path):
    note(path, 'cleanup')

def note(path, word):
    with open(path, 'a') as notes:
        notes.write(word + '\\n')

def f(path, name, size=0, more=''):
    note(path, 'begun ' + name)
    while not os.path.exists(path + '.' + name):
        time.sleep(0.01)
    note(path, 'ended ' + name)
    return name, 'x' * size
'''


class TakeOverTest(unittest.TestCase):

    def start(self, *options, **settings):
        """Start a node and a client; return both, with its computation."""
        self.node = node = NodeProcess('-c', '2', *options)
        node.begin(self)
        self.path = os.path.join(node.folder, 'notes')
        self.scheduler = FakeScheduler(node, NATIVE)
        self.addCleanup(self.scheduler.close)
        self.computation = self.open(CODE, **settings)
        return node, self.scheduler, self.computation

    def open(self, code, **settings):
        """Open a computation; return it when the next node would know that it is set up."""
        computation = self.scheduler.open(code, 'f', **settings)
        self.node.wait_record(computation.id, b'"answered": true')
        return computation

    def notes(self):
        if not os.path.exists(self.path):
            return []
        with open(self.path) as notes:
            return notes.read().splitlines()

    def running(self, name, *more):
        """Submit a job; return it when it runs."""
        job = self.computation.submit(self.path, name, *more)
        wait_until(lambda: 'begun ' + name in self.notes(), TIMEOUT)
        return job

    def let_end(self, *names):
        for name in names:
            open('%s.%s' % (self.path, name), 'w').close()

    def result(self, job):
        """Return the result of a job, of which there is one reply."""
        reply = job.wait(TIMEOUT)
        self.assertEqual((reply.status, len(job.replies)), (11, 1), reply)
        return load_result(reply.result)

    def again(self):
        """Kill the node, and start the next one."""
        self.node.kill()
        self.node.start()

    def test_jobs_that_run_go_on_and_the_client_notices_nothing(self):
        self.start()
        first = self.running('one')
        self.again()
        second = self.running('two')
        self.let_end('one', 'two', 'three')
        self.assertEqual([self.result(job)[0] for job in (first, second)], ['one', 'two'])
        self.assertEqual(self.result(self.running('three'))[0], 'three')
        self.assertEqual(sorted(self.notes()), sorted(
            '%s %s' % pair for pair in [(word, name) for word in ('begun', 'ended') for name in ('one', 'two', 'three')]))

    def test_results_told_while_there_is_no_node_are_delivered_small_and_big(self):
        self.start()
        jobs = [self.running('small'), self.running('big', 1000000)]
        self.node.kill()
        self.let_end('small', 'big')
        wait_until(lambda: {'ended small', 'ended big'} <= set(self.notes()), TIMEOUT)
        self.node.start()
        self.assertEqual([len(self.result(job)[1]) for job in jobs], [0, 1000000])

    def test_twice_in_a_row(self):
        self.start()
        job = self.running('one')
        for _turn in range(3):
            self.again()
        self.let_end('one')
        self.assertEqual(self.result(job)[0], 'one')
        self.assertEqual(self.notes(), ['begun one', 'ended one'])

    def test_after_many_restarts_the_node_still_answers_while_a_job_with_much_to_read_runs(self):
        self.start()
        job = self.running('one', 0, 'x' * 50000)
        for _turn in range(6):
            self.again()
        begun = clock()
        self.let_end('two')
        self.assertEqual(self.result(self.running('two'))[0], 'two')
        self.assertLess(clock() - begun, SEND_TIMEOUT)
        self.let_end('one')
        self.assertEqual(self.result(job)[0], 'one')

    def test_a_job_can_be_terminated_and_the_computation_closed(self):
        _node, _scheduler, computation = self.start()
        job = self.running('one')
        self.again()
        computation.terminate(job)
        self.assertEqual(job.wait(TIMEOUT).status, 9)
        self.assertEqual(computation.close(), b'ACK')
        wait_until(lambda: not os.listdir(os.path.join(self.node.folder, '127.0.0.1'))
                   if os.path.isdir(os.path.join(self.node.folder, '127.0.0.1')) else True, TIMEOUT)

    def test_setup_is_not_run_again_and_cleanup_runs_once(self):
        self.start()
        computation = self.computation = self.open(
            CODE.replace('def cleanup(path):\n    note(path', 'def cleanup(path=%r):\n    note(path' % self.path),
            setup='setup', setup_args=(self.path,), cleanup='cleanup')
        self.let_end('one', 'two')
        self.result(self.running('one'))
        self.again()
        self.result(self.running('two'))
        self.again()
        self.assertEqual(computation.close(), b'ACK')
        wait_until(lambda: 'cleanup' in self.notes(), TIMEOUT)
        self.again()
        self.assertEqual([word for word in self.notes() if word in ('setup', 'cleanup')], ['setup', 'cleanup'])

    def test_a_cleanup_that_takes_longer_than_the_start_of_the_next_node_is_not_run_again(self):
        node, scheduler, _computation = self.start()
        code = CODE.replace('def cleanup(path):\n    note(path, ',
                            'def cleanup(path=%r):\n    f(path, ' % self.path)
        computation = self.computation = self.open(code, cleanup='cleanup')
        job = self.running('one')
        scheduler.answers['JOB_REPLY'] = SILENT     # so the next node still knows the job
        self.assertEqual(computation.close(), b'ACK')
        wait_until(lambda: 'begun cleanup' in self.notes(), TIMEOUT)
        self.again()
        scheduler.answers['JOB_REPLY'] = b'ACK'
        self.let_end('cleanup')
        self.assertEqual(job.wait(TIMEOUT).status, 9)
        node.wait_log('computation %d (f) ended' % computation.id)
        self.assertEqual(self.notes(), ['begun one', 'begun cleanup', 'ended cleanup'])

    def test_a_file_that_the_client_keeps_stays_and_a_sent_one_is_there(self):
        _node, _scheduler, computation = self.start(cleanup=False)
        path = os.path.join(self.node.folder, 'sent')
        with open(path, 'w') as target:
            target.write('content')
        computation.send_file(path)
        self.again()
        computation.send_file(path)
        self.assertEqual(computation.close(), b'ACK')

    def test_the_supervisor_dies_with_the_node_and_its_job_is_lost_and_the_next_runs(self):
        node, _scheduler, _computation = self.start()
        job = self.running('one')
        before = [pid for pid, command in node.processes().items() if '--supervise' in command]
        node.kill()
        for pid in before:
            try:
                os.kill(pid, signal.SIGKILL)
            except EnvironmentError:
                continue
        node.start()
        reply = job.wait(TIMEOUT)
        self.assertEqual((reply.status, len(job.replies)), (9, 1))
        self.assertIn('the node was killed', reply.exception)
        self.let_end('two')
        self.assertEqual(self.result(self.running('two'))[0], 'two')
        self.assertEqual([note for note in self.notes() if note == 'begun one'], ['begun one'])

    def test_limits_count_from_the_start_of_a_job(self):
        self.start('--job_time', '3')
        job = self.running('one')
        self.again()
        reply = job.wait(TIMEOUT)
        self.assertEqual(reply.status, 9)
        self.assertIn('--job_time allows 3', reply.exception)

    def test_nobody_is_refused_while_there_is_no_node(self):
        node, _scheduler, computation = self.start()
        self.let_end('one')
        self.result(self.running('one'))
        node.kill()
        answers = []
        client = threading.Thread(target=lambda: answers.append(computation.submit(self.path, 'two')))
        client.start()
        node.start()
        client.join()
        self.let_end('two')
        self.assertEqual(self.result(answers[0])[0], 'two')

    def test_restart_replaces_the_node_and_jobs_go_on(self):
        node, _scheduler, _computation = self.start()
        job, served = self.running('one'), node.log().count('serves at')
        command = node.command()
        command = command[:command.index('--daemon')] + [
            '--ctl', 'restart', '-p', str(node.port), '--dest_path_prefix', node.folder]
        self.assertEqual(subprocess.call(command), 0)
        command[command.index('restart')] = 'cpus'
        self.assertEqual(subprocess.call(command), 0)           # it has waited for the next node
        wait_until(lambda: node.log().count('serves at') > served, TIMEOUT)
        self.assertIsNone(node.process.poll())
        self.let_end('one', 'two')
        self.assertEqual(self.result(job)[0], 'one')
        self.assertEqual(self.result(self.running('two'))[0], 'two')
        self.assertEqual(self.notes(), ['begun one', 'ended one', 'begun two', 'ended two'])

    def test_sigterm_leaves_jobs_to_the_next_node_if_they_are_to_be_kept(self):
        node, _scheduler, _computation = self.start('--keep_jobs')
        job = self.running('one')
        node.signal(signal.SIGTERM)
        self.assertEqual(node.wait_exit(), 0)
        node.start()
        node.options.remove('--keep_jobs')
        self.let_end('one')
        self.assertEqual(self.result(job)[0], 'one')
        node.kill()
        node.start()

    def test_a_second_signal_while_it_leaves_its_jobs_ends_none(self):
        for numbers in ((signal.SIGTERM, ) * 2, (signal.SIGTERM, signal.SIGINT),
                        (signal.SIGINT, signal.SIGTERM)):
            node, _scheduler, _computation = self.start('--keep_jobs')
            job = self.running('one')
            for number in numbers:
                told = node.log().count('this node is to end')
                node.signal(number)
                wait_until(lambda: node.status is not None
                           or node.log().count('this node is to end') > told, TIMEOUT)
            node.wait_exit()
            node.start()
            self.assertNotIn('without tidying up', node.log())
            node.wait_log('has left its jobs to this one')
            node.options.remove('--keep_jobs')
            self.let_end('one')
            self.assertEqual(self.result(job)[0], 'one')
            self.assertEqual(self.scheduler.messages('TERMINATED'), [])
            node.kill()
            node.start()
            node.wait_log('without tidying up')
            os.unlink(self.path)

    def test_without_a_next_node_jobs_end_in_time(self):
        node, _scheduler, _computation = self.start('--orphan_timeout', '0.5')
        self.running('one')
        node.kill()
        node.assert_no_processes(TIMEOUT)
        node.start()

    def test_jobs_end_soon_where_the_state_folder_is_removed_while_there_is_no_node(self):
        node, _scheduler, _computation = self.start()
        self.running('one')
        before = list(node.processes())
        node.kill()
        state = os.path.join(node.folder, '.node-%d' % node.port)
        wait_until(lambda: not shutil.rmtree(state, True) and not os.path.exists(state), TIMEOUT)
        wait_until(lambda: not [pid for pid in before if lives(pid)], TIMEOUT)
        node.start()

    def journal_of(self, node):
        return os.path.join(node.folder, '.node-%d' % node.port, 'journal')

    def test_a_client_does_not_wait_for_ever_where_the_journal_was_removed_or_emptied(self):
        for spoil in (os.unlink, lambda path: open(path, 'w').close()):
            node, scheduler, _computation = self.start()
            self.running('one')
            before, sign = list(node.processes()), scheduler.node_sign
            node.kill()
            spoil(self.journal_of(node))
            node.start()
            node.wait_log('cannot be taken over: ')
            wait_until(lambda: not [pid for pid in before if lives(pid)], TIMEOUT)
            # its client takes it for another node, and gives up or repeats what it has there
            scheduler.wait_for('PING', match=lambda ping: ping['sign'] != sign)
            os.unlink(self.path)

    def test_no_process_that_has_a_job_gets_another_one_where_nothing_was_noted(self):
        node, _scheduler, _computation = self.start()
        self.running('one')
        before = list(node.processes())
        node.kill()
        with open(self.journal_of(node), 'r+b') as journal:
            journal.write(b'\0' * os.path.getsize(journal.name))
        node.start()
        self.let_end('two')
        self.assertEqual(self.result(self.running('two'))[0], 'two')
        wait_until(lambda: len([pid for pid in before if lives(pid)]) < 2, TIMEOUT)
        self.assertEqual(self.notes(), ['begun one', 'begun two', 'ended two'])

    def test_clean_ends_what_a_dead_node_has_left(self):
        node, _scheduler, _computation = self.start()
        self.running('one')
        node.kill()
        node.options.append('--clean')
        node.start()
        wait_until(lambda: not [command for command in node.processes().values() if '--supervise' in command], TIMEOUT)

    def test_a_job_told_as_lost_does_not_run_on_where_the_state_of_the_node_was_lost(self):
        node, _scheduler, _computation = self.start()
        job = self.running('one')
        node.kill()
        os.unlink(os.path.join(node.folder, '.node-%d' % node.port, 'state.json'))
        node.start()
        node.wait_log('state.json is damaged, or gone')
        wait_until(lambda: not [command for command in node.processes().values()
                                if '--supervise' in command], TIMEOUT)
        self.assertEqual(job.wait(TIMEOUT).status, 9)

    def test_jobs_of_a_supervisor_of_an_unknown_version_end_before_their_clients_are_told(self):
        node, _scheduler, _computation = self.start()
        job = self.running('one')
        before = [pid for pid, command in node.processes().items() if '--supervise' in command
                  and stat_fields(pid)[1:2] != ['%d' % node.pid]]       # without the nursery
        node.kill()
        node.program = LATER
        node.start()
        self.assertEqual(job.wait(TIMEOUT).status, 9)
        self.assertEqual([pid for pid in before if lives(pid)], [])
        node.wait_log('does not take this node for its own (version); its running jobs are lost')
        self.let_end('two')
        self.assertEqual(self.result(self.running('two'))[0], 'two')
        self.assertEqual(self.notes(), ['begun one', 'begun two', 'ended two'])

    def test_who_keeps_the_port_of_a_dead_node_and_its_jobs_is_told(self):
        node, _scheduler, _computation = self.start()
        self.running('one')
        node.kill()
        words = b', which keeps it and running jobs for the next node with files in ' + (
            node.folder.encode('ascii'))
        command = node.command()
        for more in (['--ctl', 'why'], ['--daemon']):
            process = subprocess.Popen(
                command[:command.index('--daemon')] + ['-i', '127.0.0.1', '-p', str(node.port)]
                + more + ['--dest_path_prefix', self.path + '.other'], stderr=subprocess.PIPE)
            self.assertIn(words, process.communicate()[1])
        node.start()

    def ctl(self, *words):
        """Run --ctl; return (its exit status, what it has written)."""
        node, command = self.node, self.node.command()
        process = subprocess.Popen(
            command[:command.index('--daemon')] + ['-p', str(node.port), '--dest_path_prefix',
                                                   node.folder, '--ctl'] + list(words),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        said = process.communicate()[0].decode('utf-8')
        return process.returncode, said.replace(os.path.realpath(node.folder), 'FOLDER')

    def test_who_asks_a_node_that_has_died_is_told_what_waits_for_the_next_one(self):
        node, _scheduler, _computation = self.start()
        job = self.running('one')
        second = self.open(CODE)
        node.kill()
        waiting = ('dispynode with files in FOLDER: not running: there is no node in '
                   'FOLDER/.node-%d; 2 computations wait for the next one: start it, or end them by '
                   '--ctl quit\n' % node.port)
        self.assertEqual([self.ctl('status'), self.ctl('drain')], [(3, waiting), (7, waiting)])
        node.start()
        self.let_end('one')
        self.assertEqual(self.result(job)[0], 'one')
        self.assertEqual(second.close(), b'ACK')

    def test_quit_ends_jobs_that_wait_for_the_next_node_which_tells_their_clients(self):
        node, _scheduler, _computation = self.start()
        job = self.running('one')
        before = list(node.processes())
        node.kill()
        self.assertEqual(self.ctl('quit'), (0, (
            'dispynode with files in FOLDER: there is no node in FOLDER/.node-%d; 1 computation, '
            'which waited for the next one, ended: its start tells their clients\n' % node.port)))
        wait_until(lambda: not [pid for pid in before if lives(pid)], TIMEOUT)
        self.assertEqual(self.ctl('quit')[0], 7)
        node.start()
        self.assertEqual((job.wait(TIMEOUT).status, len(job.replies)), (9, 1))
        self.let_end('two')
        self.assertEqual(self.result(self.running('two'))[0], 'two')

    def test_a_damaged_record_is_told_by_its_place(self):
        node, _scheduler, computation = self.start()
        job = self.running('one')
        node.kill()
        folder = os.path.join(node.folder, '.node-%d' % node.port, 'computations')
        open(os.path.join(folder, '%d' % computation.id), 'wb').close()
        node.start()
        node.wait_log('the computation in %s cannot be taken over: it is damaged' %
                      os.path.join(folder, '%d' % computation.id))
        node.wait_log('none of their records in %s is whole' % folder)
        self.assertEqual(job.wait(TIMEOUT + 20).status, 9)

    def test_one_damaged_record_ends_the_jobs_of_no_other_computation(self):
        node, _scheduler, damaged = self.start()
        lost = self.running('one')
        whole = self.computation = self.open(CODE)
        kept = self.running('two')
        node.kill()
        record = os.path.join(node.folder, '.node-%d' % node.port, 'computations',
                              '%d' % damaged.id)
        open(record, 'wb').close()
        node.start()
        node.wait_log('the computation in %s cannot be taken over: it is damaged' % record)
        self.let_end('two', 'three')
        self.assertEqual(self.result(kept)[0], 'two')
        self.assertEqual(self.result(self.running('three'))[0], 'three')
        self.assertEqual(lost.wait(TIMEOUT).status, 9)
        wait_until(lambda: sum('--supervise' in command for command in node.processes().values())
                   <= 5, TIMEOUT)
        wait_until(lambda: not os.path.exists(record), TIMEOUT)
        self.assertEqual(whole.close(), b'ACK')

    def test_a_record_of_another_release_is_not_misread(self):
        node, _scheduler, computation = self.start()
        job = self.running('one')
        node.kill()
        state = [name for name in os.listdir(node.folder) if name.startswith('.node-')][0]
        record = os.path.join(node.folder, state, 'computations', '%d' % computation.id)
        with open(record, 'rb') as source:
            data = source.read()
        with open(record, 'wb') as target:
            target.write(data.replace(b'"format": 1', b'"format": 99'))
        node.start()
        node.wait_log('cannot be taken over: its format is 99')
        self.assertEqual(job.wait(TIMEOUT + 20).status, 9)


if __name__ == '__main__':
    unittest.main()
