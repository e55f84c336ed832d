"""Jobs that end in other ways than by returning a value: one final reply each, and the CPU is free
again."""
from __future__ import absolute_import, division, print_function

import os
import signal
import sys
import unittest

from tests.support.nodecase import FINISHED, TIMEOUT, NodeCase
from tests.support.processes import lives
from tests.support.waiting import wait_until

PY2 = sys.version_info[0] == 2

NOT_PASSED = '''
import os, sys

def setup():
    channels = sys.modules['dispynode_lib.supervisor.processes.descriptors'].Channels
    real, failures = channels.send_fd, [1, 1]
    def fail_first(*arguments):
        if failures:
            raise OSError(failures.pop(), 'cannot be passed')
        return real(*arguments)
    channels.send_fd = fail_first
    return 0

def end(status):
    os._exit(status)
'''

CODE = '''
import os, signal, sys, threading, time

class Bad(object):
    def __reduce__(self):
        raise RuntimeError('cannot be pickled')

class BadText(Exception):
    def __str__(self):
        raise RuntimeError('no text')
    __repr__ = __str__

def end(how, *args):
    return globals()[how](*args)

def deep(text):
    raise ValueError(text)

def fail(text):
    print('before')
    deep(text)

def bad_text():
    raise BadText()

def os_exit(status):
    os._exit(status)

def sys_exit(value=None):
    sys.exit(value)

def kill(number):
    os.kill(os.getpid(), number)
    time.sleep(60)

def kill_group():
    os.killpg(0, signal.SIGKILL)
    time.sleep(60)

def unpicklable():
    return Bad()

def a_lambda():
    return lambda: 1

def memory():
    raise MemoryError('too much')

def interrupt():
    raise KeyboardInterrupt()

def generator_exit():
    raise GeneratorExit()

def recursion():
    return recursion()

def threads():
    threading.Thread(target=time.sleep, args=(60,)).start()
    return 'with a thread'

def child():
    pid = os.fork()
    if not pid:
        time.sleep(60)
        os._exit(0)
    return pid

def exits_in_child(code):
    pid = os.fork()
    if not pid:
        with open('of the child', 'w') as stream:
            stream.write('written')
        sys.exit(code)
    status = os.waitpid(pid, 0)[1]
    return status >> 8, open('of the child').read()

def low_limit(text):
    sys.setrecursionlimit(60)
    raise ValueError(text)

def kill_supervisor():
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)

def value(it):
    return it
'''


class NotPassed(NodeCase):

    def test_a_job_after_one_whose_channel_could_not_be_passed_on_tells_how_it_ended(self):
        computation = self.open(NOT_PASSED, 'end', setup='setup')
        for status in (3, 4):
            self.assertIn('ended its process with exit status %d' % status,
                          self.failed(computation.run(status)))


class Endings(NodeCase):

    @classmethod
    def setUpClass(cls):
        super(Endings, cls).setUpClass()

    def setUp(self):
        self.computation = self.open(CODE, 'end')

    def tearDown(self):
        """Whatever happened: two jobs at once still find a CPU each, and every job had one final
        reply."""
        jobs = [self.computation.submit('value', number) for number in (1, 2, 3)]
        self.assertEqual([self.finished(job.wait(TIMEOUT)) for job in jobs], [1, 2, 3])
        for job in self.computation.scheduler.jobs.values():
            self.assertEqual(len(job.replies), 1)
        wait_until(lambda: not self.computation.jobs(), TIMEOUT)

    def exception_of(self, *args):
        return self.failed(self.computation.run(*args))

    def test_an_exception_brings_the_traceback_of_the_users_frames_only(self):
        reply = self.computation.run('fail', 'oh no')
        text = self.failed(reply)
        self.assertTrue(text.startswith('Traceback (most recent call last):\n'), text)
        for part in ('in end', 'in fail', 'in deep', 'raise ValueError(text)', 'ValueError: oh no'):
            self.assertIn(part, text)
        self.assertNotIn('dispynode_lib', text)
        self.assertEqual(reply.stdout, 'before\n')

    def test_an_exception_whose_text_fails(self):
        self.assertIn('BadText', self.exception_of('bad_text'))

    def test_d7_os_exit(self):
        for status in (0, 3):
            self.assertIn('ended its process with exit status %d' % status,
                          self.exception_of('os_exit', status))

    def test_d7_killed_by_a_signal(self):
        self.assertIn('killed by SIGKILL', self.exception_of('kill', signal.SIGKILL))
        self.assertIn('killed by SIGSEGV', self.exception_of('kill', signal.SIGSEGV))
        self.assertIn('killed by SIGTERM', self.exception_of('kill', signal.SIGTERM))

    def test_d7_its_process_group_killed_by_itself(self):
        self.assertIn('killed by SIGKILL', self.exception_of('kill_group'))

    def test_d7_sys_exit(self):
        self.assertIn('the job called sys.exit()', self.exception_of('sys_exit'))
        self.assertIn('the job called sys.exit(5)', self.exception_of('sys_exit', 5))

    def test_a_forked_child_that_calls_sys_exit_ends_alone(self):
        for code, status in ((None, 0), (5, 5), ('bye', 1), (True, 1)):
            self.assertEqual(self.finished(self.computation.run('exits_in_child', code)),
                             (status, 'written'))

    def test_an_exception_under_a_low_limit_of_recursion_keeps_its_text(self):
        self.assertIn('ValueError: too deep', self.exception_of('low_limit', 'too deep'))

    def test_d7_interrupt_and_other_odd_exceptions(self):
        self.assertIn('KeyboardInterrupt', self.exception_of('interrupt'))
        self.assertIn('GeneratorExit', self.exception_of('generator_exit'))
        self.assertIn('recursion depth', self.exception_of('recursion'))

    def test_d7_a_result_that_cannot_be_pickled(self):
        text = self.exception_of('unpicklable')
        self.assertIn('cannot be pickled', text)
        self.assertIn('Bad', text)
        self.assertIn('cannot be pickled', self.exception_of('a_lambda'))

    def test_d7_out_of_memory(self):
        self.assertIn('the job ran out of memory', self.exception_of('memory'))

    def test_arguments_that_cannot_be_loaded(self):
        raw = b'\x80\x02c__main__\nNoSuchClass\n)\x81\x85.'
        job = self.computation.send(self.computation.raw_job(raw))
        self.assertIn('the arguments of the job cannot be loaded', self.failed(job.wait()))
        job = self.computation.send(self.computation.raw_job(b'garbage'))
        self.assertIn('the arguments of the job cannot be loaded', self.failed(job.wait()))

    def test_a_thread_that_goes_on_holds_nothing_up(self):
        self.assertEqual(self.finished(self.computation.run('threads')), 'with a thread')

    def test_a_child_that_goes_on_holds_nothing_up_and_ends_with_the_computation(self):
        pid = self.finished(self.computation.run('child'))
        os.kill(pid, 0)
        other = self.computation.scheduler.open('def f(): return 1', 'f')
        self.computation.close()
        wait_until(lambda: not lives(pid), TIMEOUT, 'the child to be gone')
        self.computation = self.computation.scheduler.open(CODE, 'end')
        other.close()

    def test_a_job_that_kills_its_supervisor(self):
        self.assertEqual(self.exception_of('kill_supervisor'),
                         'the supervisor of the computation ended, and the job with it')
        self.assertEqual(self.finished(self.computation.run('value', 9)), 9)

    def test_the_function_is_missing(self):
        other = self.computation.scheduler.open('x = 1', 'nowhere')
        self.assertIn('nowhere', self.failed(other.run()))

    def test_code_that_fails_when_it_is_executed(self):
        other = self.computation.scheduler.open('import no_such_module_anywhere\ndef f(): return 1',
                                                'f')
        for _turn in range(2):
            self.assertIn('no_such_module_anywhere', self.failed(other.run()))

    def test_output_without_end_is_kept_in_bounded_memory(self):
        code = '''
def f(megabytes):
    import sys
    block = 'x' * 1048575 + '\\n'
    sys.stdout.write('FIRST\\n')
    for _ in range(megabytes):
        sys.stdout.write(block)
    sys.stdout.write('LAST\\n')
    import resource
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
'''
        reply = self.computation.scheduler.open(code, 'f').submit(200).wait(60)
        self.assertLess(self.finished(reply),
                        (300 if '__pypy__' in sys.builtin_module_names else 200) * 1024)
        self.assertLess(len(reply.stdout), 65 << 20)
        self.assertTrue(reply.stdout.startswith('FIRST\n'))
        self.assertTrue(reply.stdout.endswith('LAST\n'))
        self.assertIn('of output were left out here', reply.stdout)


if __name__ == '__main__':
    unittest.main()
    FINISHED
