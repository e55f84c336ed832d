"""What a job used, and how it ended: in the status, on the page, in the metrics, in the ledger."""
from __future__ import absolute_import, division, print_function

import json
import os
import re
import socket
import unittest

from tests.support.operatorcase import OperatorCase, read

WORK = '''
def work(what, *args):
    import os, time
    if what == 'burn':
        while sum(os.times()[:2]) < args[0]:
            pass
    if what == 'fill':
        return len(b'x' * args[0])
    if what == 'kill':
        os.kill(os.getpid(), 9)
    if what == 'exit':
        os._exit(3)
    if what == 'fail':
        raise ValueError('no luck')
    if what == 'child':
        pid = os.fork()
        if not pid:
            while sum(os.times()[:2]) < args[0]:
                pass
            os._exit(0)
        os.waitpid(pid, 0)
    if what == 'wait':
        open(args[0], 'w').close()
        time.sleep(60)
'''
BURN, FILL = 0.3, 60 << 20


class UsageCase(OperatorCase):

    def get(self, path):
        """Return the body of a page."""
        sock = socket.create_connection(('127.0.0.1', self.port), 20)
        try:
            sock.sendall(('GET %s HTTP/1.0\r\n\r\n' % path).encode('ascii'))
            data, piece = b'', b'x'
            while piece:
                piece = sock.recv(65536)
                data += piece
        finally:
            sock.close()
        return data.decode('utf-8').partition('\r\n\r\n')[2]

    def program(self, scheduler, text):
        """Return an open computation whose program is the shell script `text`."""
        path = os.path.join(self.folder, 'program.sh')
        with open(path, 'w') as target:
            target.write('#!/bin/sh\n' + text)
        os.chmod(path, 0o755)
        return scheduler.open_program(path)


class UsageTest(UsageCase):

    def known(self, count):
        """Return {uid: what status tells of it} of `count` jobs, once it is known what all of them
        used."""
        def found():
            jobs = self.status()['recent_jobs']
            return len(jobs) == count and all(job['cpu_seconds'] is not None
                                              for job in jobs) and jobs
        return dict((job['uid'], job) for job in self.wait(found))

    def test_nobody_knows_what_a_job_used_and_how_it_ended(self):
        with self.node('-c', '1') as node:
            scheduler = self.scheduler(node)
            self.addCleanup(scheduler.close)
            computation = scheduler.open(WORK, 'work')
            runs = []
            for args in (('burn', BURN), ('child', BURN), ('fill', FILL), ('fail', ), ('exit', ),
                         ('kill', )):
                runs.append(computation.submit(*args))
                runs[-1].wait()
            jobs = self.known(len(runs))
            burnt, child, filled, failed, left, killed = [jobs[run.uid] for run in runs]
            self.assertTrue(BURN * 0.9 <= burnt['cpu_seconds'] < BURN + 2, burnt)
            # one that it waited for counts
            self.assertTrue(BURN * 0.9 <= child['cpu_seconds'], child)
            self.assertTrue(FILL <= filled['peak_memory'] < FILL + (100 << 20), filled)
            self.assertTrue(0 < burnt['peak_memory'] < filled['peak_memory'], burnt)
            self.assertEqual([(job['outcome'], job['exit_status'], job['signal'])
                              for job in (burnt, failed, left, killed)],
                             [('finished', None, None), ('failed', None, None), ('failed', 3, None),
                              ('failed', None, 'SIGKILL')])

    def test_what_a_program_used_and_its_exit_status(self):
        with self.node('-c', '1') as node:
            scheduler = self.scheduler(node)
            self.addCleanup(scheduler.close)
            program = self.program(scheduler, 'exit $1\n')
            runs = []
            for word in ('0', '113'):
                runs.append(program.submit(word))
                runs[-1].wait()
            jobs = self.known(2)
            self.assertEqual([jobs[run.uid]['exit_status'] for run in runs], [0, 113])
            self.assertTrue(all(job['peak_memory'] > 1 << 18 for job in jobs.values()), jobs)

    def test_metrics_and_page_tell_what_jobs_used(self):
        with self.node('-c', '1') as node:
            scheduler = self.scheduler(node)
            self.addCleanup(scheduler.close)
            computation = scheduler.open(WORK, 'work')
            for args in (('burn', BURN), ('fill', FILL)):
                computation.run(*args)
            jobs = self.known(2).values()
            found = dict(
                re.findall(r'^(dispynode_job_[a-z_]+(?:\{[^}]*\})?) ([-+.e0-9]+)$',
                           self.get('/metrics'), re.M))
            told = lambda name, *more: float(found['dispynode_job_%s{%s}' % (   # noqa: E731
                name, ','.join(more + ('outcome="finished"',)))])
            for bound in ('0.1', '1', '+Inf'):
                self.assertEqual(told('cpu_seconds_bucket', 'le="%s"' % bound), len(
                    [job for job in jobs if job['cpu_seconds'] <= float(bound)]), (bound, jobs))
            self.assertEqual(
                [told(name) for name in ('cpu_seconds_count', 'peak_memory_bytes_count')], [2, 2])
            self.assertTrue(BURN * 0.9 <= told('cpu_seconds_sum') < BURN + 2, found)
            self.assertEqual(told('peak_memory_bytes_bucket', 'le="268435456"'), 2)
            self.assertTrue(told('peak_memory_bytes_sum') > FILL, found)
            self.assertTrue(re.search(r'<td>(?:0\.[3-9]|[12]\.\d) s</td><td>\d+ MB</td>', self.get('/')),
                            self.get('/'))


class LedgerTest(UsageCase):

    def setUp(self):
        super(LedgerTest, self).setUp()
        self.path = os.path.join(self.folder, 'ledger')

    def lines(self, event=None, path=None):
        """Return what the lines of the ledger say, those of one event."""
        path = path or self.path
        found = [json.loads(line)
                 for line in read(path).splitlines()] if os.path.exists(path) else []
        return [line for line in found if event in (None, line['event'])]

    def test_ledger_has_a_line_for_each_job_and_each_computation(self):
        with self.node('-c', '2', '--ledger', self.path) as node:
            scheduler = self.scheduler(node)
            self.addCleanup(scheduler.close)
            computation = scheduler.open(WORK, 'work')
            mark = os.path.join(self.folder, 'mark')
            stopped = computation.submit('wait', mark)
            self.wait(lambda: os.path.exists(mark))
            runs = []
            for args in (('burn', BURN), ('exit',)):
                runs.append(computation.submit(*args))
                runs[-1].wait()
            self.wait(lambda: len(self.lines('job')) == 2)  # at once, while another one runs
            computation.terminate(stopped)
            stopped.wait()
            self.wait(lambda: len(self.lines('job')) == 3)
            computation.close()
            self.wait(lambda: self.lines('computation'))
            program = self.program(scheduler, 'exit 4\n')
            run = program.submit()
            run.wait()
            program.close()
            self.wait(lambda: len(self.lines('computation')) == 2)
            self.assertNotIn('Traceback', node.log())
        jobs = dict((line['uid'], line) for line in self.lines('job'))
        first, second = self.lines('computation')
        burnt, left, cancelled = [jobs[job.uid] for job in runs + [stopped]]
        for line in jobs.values():
            self.assertEqual((line['client'], line['limit']), ('127.0.0.1', None))
            self.assertTrue(
                line['start'] <= line['end'] and line['cpu_seconds'] >= 0
                and line['peak_memory'] > 0, line)
        self.assertEqual([(line['outcome'], line['exit_status'], line['signal'])
                          for line in (burnt, left, cancelled, jobs[run.uid])],
                         [('finished', None, None), ('failed', 3, None), ('stopped', None, None),
                          ('finished', 4, None)])
        self.assertEqual(len(burnt['code']), 64)
        self.assertEqual((burnt['name'], burnt['code'], burnt['computation']),
                         ('work', first['code'], computation.id))
        self.assertEqual((jobs[run.uid]['name'], jobs[run.uid]['code']),
                         (os.path.join(self.folder, 'program.sh'), None))
        self.assertEqual((first['jobs'], first['outcome'], first['computation']),
                         ({'finished': 1, 'failed': 1, 'stopped': 1}, 'closed', computation.id))
        self.assertAlmostEqual(first['cpu_seconds'],
                               sum(line['cpu_seconds'] for line in (burnt, left, cancelled)))
        self.assertEqual(second['jobs'], {'finished': 1})

    def test_ledger_names_the_limit_and_what_the_end_of_the_node_stopped(self):
        with self.node('-c', '1', '--job_time', '0.3', '--ledger', self.path) as node:
            scheduler = self.scheduler(node)
            self.addCleanup(scheduler.close)
            computation = scheduler.open(WORK, 'work')
            computation.run('wait', os.path.join(self.folder, 'mark'))
        line, = self.lines('job')
        self.assertEqual((line['outcome'], line['limit']), ('stopped by --job_time', '--job_time'))
        self.assertEqual([line['outcome'] for line in self.lines('computation')], ['stopped'])

    def test_ledger_goes_on_in_a_new_file_when_it_is_moved(self):
        with self.node('-c', '1', '--ledger', self.path) as node:
            scheduler = self.scheduler(node)
            self.addCleanup(scheduler.close)
            computation = scheduler.open(WORK, 'work')
            computation.run('')
            self.wait(lambda: self.lines('job'))
            os.rename(self.path, self.path + '.1')
            computation.run('')
            self.wait(lambda: self.lines('job'))
            computation.close()
            self.wait(lambda: self.lines('computation'))
        self.assertEqual([line['event'] for line in self.lines(path=self.path + '.1')], ['job'])

    @unittest.skipUnless(os.path.exists('/dev/full'), 'there is no device that is always full')
    def test_a_ledger_that_cannot_be_written_loses_lines_and_nobody_hears_of_it(self):
        with self.node('-c', '1', '--ledger', '/dev/full') as node:
            scheduler = self.scheduler(node)
            self.addCleanup(scheduler.close)
            self.assertEqual(scheduler.open(WORK, 'work').run('').status, 11)
            self.wait(lambda:
                      '--ledger: lines of the ledger that could not be written and are left out: 1'
                      in node.log())

    def test_a_ledger_that_cannot_be_made_ends_the_start(self):
        ended = self.run_node('--ledger', '/nonexistent/ledger')
        self.assertEqual((ended.status, ended.err), (73, (
            'dispynode: --ledger /nonexistent/ledger: it cannot be written: No such file or '
            'directory; make room or give '
            'access there, or choose another file\n')))


if __name__ == '__main__':
    unittest.main()
