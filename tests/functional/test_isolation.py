"""What a job may do to its process touches nobody else; what it inherits."""
from __future__ import absolute_import, division, print_function

import signal
import subprocess
import unittest

from tests.support.nodecase import NATIVE, TIMEOUT, NodeCase
from tests.support.nodeprocess import NodeProcess
from tests.support.scheduler import FakeScheduler
from tests.support.waiting import wait_until

CODE = '''
import os, signal, sys, time

def f(what, *args):
    return globals()[what](*args)

def look():
    import resource
    umask = os.umask(0)
    os.umask(umask)
    blocked = []
    if hasattr(signal, 'pthread_sigmask'):
        blocked = sorted(int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, []))
    return {'cwd': os.getcwd(), 'umask': umask, 'blocked': blocked, 'env': sorted(os.environ.items()),
            'path': list(sys.path), 'limit': resource.getrlimit(resource.RLIMIT_NOFILE),
            'handlers': [repr(signal.getsignal(number)) for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGALRM)],
            'spoilt': [name for name in ('spoilt',) if name in globals()], 'module': hasattr(os, 'spoilt')}

def spoil():
    import resource
    global spoilt
    spoilt = os.spoilt = True
    os.chdir('/')
    os.umask(0o777)
    os.environ.clear()
    os.environ['SPOILT'] = '1'
    del sys.path[:]
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, 'pthread_sigmask'):
        signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 30))
    resource.setrlimit(resource.RLIMIT_NOFILE, (10, 10))
    return True

def descriptors():
    found = {}
    for name in os.listdir('/proc/self/fd'):
        try:
            found[int(name)] = os.readlink('/proc/self/fd/' + name)
        except OSError:
            pass
    return found

def read_input():
    return sys.stdin.read(), os.read(0, 10)

def close_all(first):
    os.closerange(first, 900)
    return 'closed'

def reuse():
    for number in range(3, 64):
        os.dup2(os.open('/dev/null', os.O_RDWR), number)
    print('said')
    return 'reused'

def sleep(seconds):
    time.sleep(seconds)

def sockets():
    return [link for link in descriptors().values() if link.startswith('socket')]

def nested(n):
    import subprocess
    return subprocess.check_output(['sh', '-c', 'cat; ls /proc/self/fd'])

def pool(n):
    import multiprocessing
    pool = multiprocessing.Pool(2)
    try:
        return pool.map(abs, range(-n, 0))
    finally:
        pool.terminate()
'''


class Isolation(NodeCase):

    def setUp(self):
        self.computation = self.open(CODE, 'f')

    def run_it(self, *args):
        return self.finished(self.computation.run(*args))

    def test_what_a_job_changes_is_its_own(self):
        other = self.computation.scheduler.open(CODE, 'f')
        before = self.run_it('look')
        self.assertTrue(self.run_it('spoil'))
        self.assertEqual(self.run_it('look'), before)
        self.assertEqual(self.finished(other.run('look'))['umask'], before['umask'])
        self.assertEqual((before['blocked'], before['spoilt'], before['module']), ([], [], False))

    def test_standard_input_is_empty(self):
        self.assertEqual(tuple(self.run_it('read_input')), ('', b''))

    def test_d32_a_job_has_no_socket_but_its_own_channel(self):
        found = self.run_it('descriptors')
        self.assertEqual(found[0], '/dev/null')
        self.assertLessEqual(len([link for link in found.values()
                                  if link.startswith('socket')]), 1, found)
        pipes = [link for link in found.values() if 'pipe' in link]
        # by which it tells its supervisor what it has imported
        self.assertLessEqual(len(pipes), 1, found)
        self.assertEqual([link for link in found.values() if 'anon_inode' in link], [], found)

    def test_a_job_may_close_or_reuse_descriptors(self):
        self.assertEqual(self.run_it('reuse'), 'reused')
        self.assertEqual(self.run_it('close_all', 0), 'closed')
        self.assertEqual(self.run_it('read_input')[0], '')

    def test_programs_that_a_job_starts_inherit_nothing(self):
        self.assertLessEqual(len(self.run_it('nested', 1).split()), 4)

    def test_a_job_may_use_multiprocessing(self):
        self.assertEqual(self.run_it('pool', 5), [5, 4, 3, 2, 1])

    def test_d32_a_job_that_survives_a_killed_node_holds_no_port(self):
        with NodeProcess('-c', '1', '--orphan_timeout', '0') as node:
            scheduler = FakeScheduler(node, NATIVE)
            computation = scheduler.open(CODE, 'f')
            computation.submit('sleep', 1000)
            wait_until(lambda: computation.jobs(), TIMEOUT)
            node.kill()
            self.assertFalse(node.takes_connections())
            with NodeProcess('-c', '1', port=node.port) as again:
                self.assertTrue(again.takes_connections())
            node.assert_no_processes(TIMEOUT)
            scheduler.close()

    def test_d30_jobs_run_while_the_node_reads_commands_from_a_pipe(self):
        commands = subprocess.Popen(['sleep', '1000'], stdout=subprocess.PIPE)
        try:
            with NodeProcess('-c', '1', daemon=False, stdin=commands.stdout) as node:
                scheduler = FakeScheduler(node, NATIVE)
                computation = scheduler.open(CODE, 'f')
                for _turn in range(3):
                    self.assertEqual(tuple(computation.run('read_input').value), ('', b''))
                computation.close()
                scheduler.close()
        finally:
            commands.send_signal(signal.SIGKILL)
            commands.stdout.close()
            commands.wait()


if __name__ == '__main__':
    unittest.main()
