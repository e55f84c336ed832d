"""What signals do to a node with running jobs, as a client sees it."""
from __future__ import absolute_import, division, print_function

import os
import signal
import socket
import unittest

from tests.support.computation import Refused
from tests.support.operatorcase import MARKED, OperatorCase, read

STOPPED = 'the node was stopped before the job had ended'
STUBBORN = 'def never():\n    import time\n    while True:\n        try:\n            time.sleep(60)\n        except BaseException:\n            pass\n'


class Signals(OperatorCase):

    def running(self, node, count=2):
        """Start jobs that wait for a file; return (scheduler, computation, jobs) once they run."""
        scheduler = self.scheduler(node)
        self.addCleanup(scheduler.close)
        computation = scheduler.open(MARKED, 'wait')
        jobs = [computation.submit(self.mark_path) for _ in range(count)]
        self.wait(lambda: len(
            [name for name in os.listdir(self.folder) if name.startswith('mark-')]) == count)
        return scheduler, computation, jobs

    @property
    def mark_path(self):
        return os.path.join(self.folder, 'mark')

    def release_jobs(self):
        open(self.mark_path, 'w').close()

    def test_interrupt_lets_computations_finish(self):
        with self.node('-c', '2') as node:
            scheduler, computation, jobs = self.running(node)
            node.signal(signal.SIGINT)
            node.wait_log('draining')
            with self.assertRaises(Refused):
                scheduler.open(MARKED, 'wait')
            self.release_jobs()
            for job in jobs:
                self.assertEqual(job.wait().status, 11)
            self.assertEqual(computation.run(self.mark_path).status, 11)    # it is still open
            computation.close()
            self.assertEqual(node.wait_exit(), 0)

    def test_drain_timeout_bounds_it(self):
        with self.node('-c', '2', '--drain_timeout', '0.5', '--stop_timeout', '30') as node:
            scheduler, _computation, jobs = self.running(node)
            node.signal(signal.SIGINT)
            self.assertEqual(node.wait_exit(), 0)
            node.wait_log('draining has taken 0.5 s')
            self.assertEqual([job.wait().status for job in jobs], [9, 9])
            scheduler.wait_for('TERMINATED')

    def test_second_interrupt_stops(self):
        with self.node('-c', '2') as node:
            scheduler, _computation, jobs = self.running(node)
            node.signal(signal.SIGINT)
            node.wait_log('draining')
            node.signal(signal.SIGINT)
            self.assertEqual(node.wait_exit(), 0)
            self.assertEqual([job.wait().status for job in jobs], [9, 9])
            scheduler.wait_for('TERMINATED')

    def test_an_end_at_once_in_the_middle_of_a_cleanup_says_so(self):
        code = MARKED + '''
def cleanup(path=%r):
    open(path + '.cleaning', 'w').close()
    wait(path)
''' % self.mark_path
        with self.node('-c', '2', '--stop_timeout', '60') as node:
            scheduler = self.scheduler(node)
            self.addCleanup(scheduler.close)
            scheduler.open(code, 'wait', cleanup='cleanup')
            node.signal(signal.SIGTERM)
            self.wait(lambda: os.path.exists(self.mark_path + '.cleaning'))
            node.signal(signal.SIGINT)
            node.wait_exit()
            node.wait_log('stopped at once, before all had ended')
            self.release_jobs()

    def test_terminate_tells_jobs_and_scheduler(self):
        with self.node('-c', '2') as node:
            scheduler, _computation, jobs = self.running(node)
            node.signal(signal.SIGTERM)
            self.assertEqual(node.wait_exit(), 0)
            ends = [job.wait() for job in jobs]
            self.assertEqual([(end.status, end.exception) for end in ends], [(9, STOPPED)] * 2)
            scheduler.wait_for('TERMINATED')

    def test_a_job_that_its_client_cancels_is_told_no_reason(self):
        with self.node('-c', '1') as node:
            _scheduler, computation, jobs = self.running(node, 1)
            computation.terminate(jobs[0])
            self.assertEqual((jobs[0].wait().status, jobs[0].wait().exception), (9, None))

    def test_grace_lets_running_jobs_finish_and_starts_no_new_ones(self):
        with self.node('-c', '2', '--grace', '600') as node:
            scheduler, computation, jobs = self.running(node, 1)
            node.signal(signal.SIGTERM)
            self.assertEqual(scheduler.wait_for('NODE_CPUS').value['cpus'], 0)
            with self.assertRaises(Refused):
                computation.submit(self.mark_path)
            self.release_jobs()
            self.assertEqual(jobs[0].wait().status, 11)
            self.assertEqual(node.wait_exit(), 0)       # the computation was never closed
            scheduler.wait_for('TERMINATED')

    def test_grace_has_an_end(self):
        with self.node('-c', '1', '--grace', '0.5') as node:
            _scheduler, _computation, jobs = self.running(node, 1)
            node.signal(signal.SIGTERM)
            self.assertEqual(node.wait_exit(), 0)
            self.assertEqual((jobs[0].wait().status, jobs[0].wait().exception), (9, STOPPED))
            node.wait_log('draining has taken 0.5 s: running jobs are stopped')

    def test_second_terminate_ends_the_grace(self):
        with self.node('-c', '1', '--grace', '600') as node:
            scheduler, _computation, jobs = self.running(node, 1)
            node.signal(signal.SIGTERM)
            scheduler.wait_for('NODE_CPUS')
            node.signal(signal.SIGTERM)
            self.assertEqual(node.wait_exit(), 0)
            self.assertEqual((jobs[0].wait().status, jobs[0].wait().exception), (9, STOPPED))

    def test_terminate_keeps_replies_that_nobody_takes(self):
        with self.node('-c', '2') as node:
            scheduler, _computation, _jobs = self.running(node)
            scheduler.stop_listening()
            node.signal(signal.SIGTERM)
            self.assertEqual(node.wait_exit(), 0)
        with self.node('-c', '2'):
            self.assertEqual(self.status()['undelivered'], 2)

    def test_stop_timeout_bounds_stubborn_jobs(self):
        with self.node('-c', '1', '--stop_timeout', '1') as node:
            scheduler = self.scheduler(node)
            self.addCleanup(scheduler.close)
            computation = scheduler.open(STUBBORN, 'never')
            computation.submit()
            node.signal(signal.SIGTERM)
            self.assertEqual(node.wait_exit(), 0)

    def test_abort_ends_at_once(self):
        with self.node('-c', '1') as node:
            self.running(node, 1)
            node.signal(signal.SIGABRT)
            self.assertEqual(node.wait_exit(), 0)

    def test_warning_of_a_batch_system_lets_jobs_finish_only(self):
        with self.node('-c', '2') as node:
            scheduler, computation, jobs = self.running(node)
            node.signal(signal.SIGUSR1)
            self.assertEqual(scheduler.wait_for('NODE_CPUS').value['cpus'], 0)
            with self.assertRaises(Refused):
                computation.submit(self.mark_path)
            self.release_jobs()
            self.assertEqual([job.wait().status for job in jobs], [11, 11])
            self.assertEqual(node.wait_exit(), 0)       # the computation was never closed
            scheduler.wait_for('TERMINATED')

    def test_d_shows_nothing_of_jobs_that_do_well(self):
        with self.node('-d', '-c', '1') as node:
            _scheduler, computation, jobs = self.running(node, 1)
            self.release_jobs()
            jobs[0].wait()
            of = 'job %d of computation %d' % (jobs[0].uid, computation.id)
            node.wait_log('%s: the client has the reply' % of)
            told = [
                line.partition(of)[2].lstrip(': ') for line in node.log().splitlines() if of in line
            ]
            self.assertEqual([text.split()[0]
                              for text in told], ['accepted', 'runs', 'finished', 'the'], told)
            self.assertEqual(told[1], 'runs in process %d' % jobs[0].wait().value)
            computation.close()
            node.wait_log('ended: 1 job: 1 finished')

    def test_signals_are_not_told(self):
        for number, name in ((signal.SIGTERM, 'SIGTERM'), (signal.SIGINT, 'SIGINT'),
                             (signal.SIGUSR1, 'SIGUSR1')):
            with self.node() as node:
                node.signal(number)
                node.wait_exit()
                node.wait_log('dispynode.cli: %s: this node is to end' % name)

    def test_dump_writes_state_and_stacks(self):
        with self.node('-c', '1') as node:
            self.running(node, 1)
            node.signal(signal.SIGUSR2)
            node.wait_log('thread dispynode-loop')
            node.wait_log('"phase": "SERVING"')
            self.assertEqual(self.status()['busy'], 1)

    def test_hangup_rereads_what_can_change(self):
        path = os.path.join(self.folder, 'node.cfg')
        with open(path, 'w') as target:
            target.write('[dispynode]\ncpus = 1\n')
        with self.node('--config', path) as node:
            scheduler = self.scheduler(node)
            self.addCleanup(scheduler.close)
            scheduler.open(MARKED, 'wait')
            with open(path, 'w') as target:
                target.write(
                    '[dispynode]\ncpus = 2\ndebug = True\nservice_start = 00:00\nservice_end = '
                    '23:59\n'
                    'ping_interval = 60\n')
            node.signal(signal.SIGHUP)
            self.assertEqual(scheduler.wait_for('NODE_CPUS').value['cpus'], 2)
            node.wait_log('service hours: start 00:00, end 23:59')
            node.wait_log('ping_interval is 60.0 now')
            with open(path, 'w') as target:
                target.write('[dispynode]\ncpus = many\n')
            node.signal(signal.SIGHUP)
            node.wait_log('the options stay as they are')
            self.assertEqual(self.status()['cpus'], 2)

    def test_hangup_says_msg_timeout_is_10_now_and_uses_it_nowhere(self):
        path = os.path.join(self.folder, 'node.cfg')
        self.write(path, 'msg_timeout = 100', 'secret = one')
        with self.node('--config', path) as node:
            self.write(path, 'msg_timeout = 0.3', 'secret = one')
            node.signal(signal.SIGHUP)
            node.wait_log('msg_timeout is 0.3 now')
            silent = socket.create_connection(('127.0.0.1', node.port))
            node.wait_log('no request within 0.3 s')
            silent.close()
            self.assertNotIn('restart', node.log())

    def test_another_cleanup_timeout_was_neither_taken_nor_said_to_need_a_restart(self):
        path = os.path.join(self.folder, 'node.cfg')
        self.write(path, 'cleanup_timeout = 50')
        with self.node('--config', path) as node:
            self.write(path, 'cleanup_timeout = 40')
            node.signal(signal.SIGHUP)
            node.wait_log('cleanup_timeout is 40.0 now')
            self.assertNotIn('restart', node.log())

    def test_hangup_says_nothing_of_options_that_cannot_change(self):
        path = os.path.join(self.folder, 'node.cfg')
        self.write(path, 'name = one', 'job_time = 5', 'allow = 127.0.0.0/8')
        with self.node('--config', path, env={'DISPYNODE_SECRET': 'mine'}) as node:
            node.signal(signal.SIGHUP)
            node.wait_log('the options have been read')
            self.assertNotIn('restart', node.log())  # the secret of the environment counts still
            self.write(path, 'name = two', 'allow = 127.0.0.0/8, 10.0.0.0/8',
                       'http_allow = 10.0.0.0/8', 'job_memory = 1g', 'ping_interval = 20')
            node.signal(signal.SIGHUP)
            node.wait_log('--allow, --job_time, --job_memory, --name, --http_allow needs a restart')
            node.wait_log('ping_interval is 20.0 now')
            self.assertEqual(node.log().count('restart'), 1)

    @staticmethod
    def write(path, *lines):
        with open(path, 'w') as target:
            target.write('\n'.join(('[dispynode]',) + lines) + '\n')

    def test_hangup_under_nohup_is_nothing(self):
        old = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            node = self.node()
            node.__enter__()
        finally:
            signal.signal(signal.SIGHUP, old)
        node.signal(signal.SIGHUP)
        self.told('status')
        self.assertNotIn('SIGHUP', node.log())
        node.__exit__(None, None, None)

    def test_log_file_can_be_rotated(self):
        path = os.path.join(self.folder, 'log')
        with self.node('--log_file', path, wait=False) as node:
            self.wait(lambda: os.path.exists(path) and 'serves at' in read(path))
            os.rename(path, path + '.1')
            self.told('cpus', '1')
            self.wait(lambda: os.path.exists(path) and 'operator: cpus 1' in read(path))
            os.rename(path, path + '.2')
            node.signal(signal.SIGHUP)
            self.wait(lambda: os.path.exists(path) and 'SIGHUP' in read(path))
            self.assertEqual(node.log(), '')

    def test_log_as_json(self):
        import json
        with self.node('--log_format', 'json', '-d', '-c', '1') as node:
            _scheduler, computation, jobs = self.running(node, 1)
            self.release_jobs()
            jobs[0].wait()
            node.wait_log('"computation": %d' % computation.id)
            lines = [json.loads(line) for line in node.log().splitlines()]
            self.assertTrue([line for line in lines if line.get('computation') == computation.id])
            self.assertTrue(all(line['level'] and line['time'] and line['logger']
                                for line in lines))


if __name__ == '__main__':
    unittest.main()
