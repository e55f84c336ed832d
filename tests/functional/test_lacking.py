"""Hosts that lack something: the node serves, or ends with one line; what does not hold is told."""
from __future__ import absolute_import, division, print_function

import os
import shutil
import subprocess
import sys
import tempfile
import unittest

from dispynode_lib.host import compat
from tests.support.nodecase import NATIVE, TIMEOUT
from tests.support.nodeprocess import PROGRAM, PROJECT, NodeProcess, free_port, in_own_network
from tests.support.scheduler import FakeScheduler

LACKING = os.path.join(PROJECT, 'tests', 'support', 'lacking')
MANY_CPUS = os.path.join(PROJECT, 'tests', 'support', 'manycpus.py')
MODULES = ('types', 'random', 'signal', 'socket', 'struct', 'json', 'select', 'tempfile')


def lacking(what):
    """Return variables that take something away from a node."""
    return {'DISPYNODE_TEST_LACKS': what, 'PYTHONPATH': LACKING}


class Surroundings(unittest.TestCase):

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix='dispynode-test-')
        self.addCleanup(shutil.rmtree, self.folder)

    def run_program(self, arguments, env=(), program=PROGRAM, prefix=(), cwd=None):
        """Run the program to its end; return (status, what it said)."""
        process = subprocess.Popen(
            list(prefix) + [sys.executable] + ([program] if program else []) + arguments,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=dict(
                os.environ, TMPDIR=self.folder, **dict(env)), cwd=cwd or self.folder)
        text = compat.to_text(process.communicate()[0])
        return process.returncode, text

    def node_options(self):
        return ['--daemon', '-i', '127.0.0.1', '-p', str(free_port())]

    def run_a_job(self, node, secret=''):
        with FakeScheduler(node, NATIVE, secret=secret) as scheduler:
            job = scheduler.open('def f(n): return n + 1', 'f').submit(41).wait(TIMEOUT)
            self.assertEqual((job.status, job.value), (11, 42), job)


class WithoutProc(Surroundings):

    def test_job_memory_is_refused_not_ignored(self):
        status, text = self.run_program(self.node_options() + ['--job_memory', '1g'],
                                        lacking('proc psutil'))
        self.assertEqual((status, len(text.splitlines())), (78, 1), text)
        self.assertIn('--job_memory: this host does not tell what a job uses', text)

    def test_a_secret_that_stays_in_the_process_list_is_told(self):
        with NodeProcess('--secret', 'word', env=lacking('proc')) as node:
            node.wait_log('the secret stays in the list of processes', TIMEOUT)
        with NodeProcess('--secret', 'word') as node:
            self.run_a_job(node, 'word')
            self.assertNotIn('stays in the list', node.log())

    def test_check_says_what_does_not_hold_and_that_all_else_works(self):
        status, text = self.run_program(self.node_options() + ['--check'], lacking('proc prctl'))
        lines = text.splitlines()
        self.assertEqual(status, 0, text)
        for name in ('/proc', 'prctl', 'cgroups', 'huge pages'):
            self.assertEqual(len([line for line in lines
                                  if line.startswith('lacks %-14s' % name)]), 1, text)
        self.assertIn(', 4 promises do not hold here', lines[-1])


class CheckOptions(Surroundings):

    def test_check_tries_what_a_start_would(self):
        for name, given, told in (('certificate', [
                '--certfile', '/nonexistent/cert.pem'
        ], '--certfile /nonexistent/cert.pem: '), ('user', [
                '--user', 'nosuchuser'
        ], '--user nosuchuser: there is no such user'), ('files', [
                '--log_file', '/nonexistent/log'
        ], '--log_file /nonexistent/log: it cannot be written'), ('other hosts', [
                '--ext_ip_addr', 'nosuch.invalid'
        ], '--ext_ip_addr nosuch.invalid: no address')):
            status, text = self.run_program(self.node_options() + ['--check'] + given)
            self.assertEqual(status, 78, text)
            wrong = [line for line in text.splitlines() if line.startswith('WRONG')]
            self.assertTrue(any(line.startswith('WRONG %-14s%s' % (name, told))
                                for line in wrong), text)
            self.assertNotIn('Traceback', text)


class OwnFolder(Surroundings):

    def test_modules_of_a_user_beside_the_program_are_not_imported(self):
        program = shutil.copy(PROGRAM, self.folder) or os.path.join(self.folder,
                                                                    os.path.basename(PROGRAM))
        shutil.copytree(os.path.join(PROJECT, 'dispynode_lib'),
                        os.path.join(self.folder, 'dispynode_lib'))
        for name in MODULES:
            with open(os.path.join(self.folder, name + '.py'), 'w') as module:
                module.write('raise SystemExit("the module of the user")\n')
        status, text = self.run_program(self.node_options() + ['--check'], program=program)
        self.assertEqual(status, 0, text)

    def test_the_tree_in_an_archive_ends_with_one_line(self):
        tree = os.path.join(self.folder, 'tree')
        os.mkdir(tree)
        shutil.copy(os.path.join(PROJECT, 'dispynode.py'), tree)
        shutil.copytree(os.path.join(PROJECT, 'dispynode_lib'), os.path.join(tree, 'dispynode_lib'))
        archive = shutil.make_archive(tree, 'zip', tree)
        status, text = self.run_program(['-m', 'dispynode', '--version'], {'PYTHONPATH': archive},
                                        program=None)
        self.assertEqual(
            (status, text),
            (64, 'dispynode: this program does not run inside an archive, %s; unpack it, or use '
             'the one file\n' % archive))


class FewThings(Surroundings):

    def test_few_descriptors_mean_fewer_cpus_and_that_is_told(self):
        env = {'DISPYNODE_TEST_CPUS': '256', 'DISPYNODE_TEST_DESCRIPTORS': '256'}
        with NodeProcess(program=MANY_CPUS, env=env) as node, FakeScheduler(node,
                                                                            NATIVE) as scheduler:
            node.wait_log('with 85 CPUs', TIMEOUT)
            node.wait_log('85 of 256 CPUs are offered: this process may have only 256 descriptors',
                          TIMEOUT)
            computation = scheduler.open('import time\ndef f(n):\n    time.sleep(2)\n    return n',
                                         'f')
            jobs = [computation.submit(number) for number in range(85)]
            self.assertEqual([job.wait(TIMEOUT).value for job in jobs], list(range(85)))
            self.assertNotIn('may open no more descriptors', node.log())

    def test_who_may_not_ask_for_his_affinity_starts(self):
        with NodeProcess(env=lacking('affinity')) as node:
            self.run_a_job(node)

    @unittest.skipUnless(in_own_network(), 'it needs the rights to mount: python3 -m tests')
    def test_detach_without_dev_null_says_so(self):
        bare_dev = ['unshare', '--mount', 'sh', '-c', 'mount -t tmpfs none /dev && exec "$@"', 'sh']
        status, text = self.run_program(self.node_options() + ['--detach'], prefix=bare_dev)
        self.assertEqual((status, len(text.splitlines())), (78, 1), text)
        self.assertIn('/dev/null cannot be opened: No such file or directory', text)

    @unittest.skipUnless(in_own_network(), 'it makes a network of its own: python3 -m tests')
    def test_check_without_a_loopback_interface_says_so(self):
        status, text = self.run_program(self.node_options() + ['--check'], prefix=[
            'unshare', '--net'
        ])
        self.assertEqual(status, 78, text)
        self.assertIn(
            'WRONG discovery     127.0.0.1 cannot be reached: Network is unreachable; is the '
            'loopback interface up',
            text)
        self.assertNotIn('Traceback', text)


class OtherSystem(Surroundings):

    def test_a_start_says_that_it_is_untested_and_jobs_run(self):
        with NodeProcess(env=lacking('linux')) as node:
            node.wait_log('this program is tested on Linux only', TIMEOUT)
            told = [
                line for line in node.log().splitlines()
                if 'this program is tested on Linux only' in line
            ]
            self.assertEqual(len(told), 1, node.log())
            self.assertIn('freebsd14: this program is tested on Linux only; here a job', told[0])
            self.run_a_job(node)
        self.assertEqual(node.status, 0)


if __name__ == '__main__':
    unittest.main()
