"""A real supervisor process and its job processes, driven by a double of the node."""
from __future__ import absolute_import, division, print_function

import os
import pickle
import signal
import sys
import time
import unittest

from dispynode_lib.supervisor.job import job
from tests.support.fakenode import PATIENT_STEPS, QUICK_STEPS, Done, FakeNode
from tests.support.processes import lives
from tests.support.waiting import wait_until

PY2 = sys.version_info[0] == 2
HAS_PROC = os.path.exists('/proc/self/stat')


FAILURES = """
import errno, os
from dispynode_lib.supervisor.processes import descriptors; from dispynode_lib.supervisor import supervisor
supervisor.RETRY_FORK = 0.0
real, failures = %(what)s, [1] * 200
def fail_first(*arguments):
    if failures:
        failures.pop()
        raise OSError(errno.EAGAIN, 'not now')
    return real(*arguments)
%(what)s = fail_first
"""


class SupervisorCase(unittest.TestCase):

    def node(self, code='', open_=True, set_up=True, **fields):
        node = FakeNode(code=code, **fields)
        self.addCleanup(node.end)
        if open_:
            self.assertIsNone(node.open())
        if open_ and set_up:
            self.assertEqual(node.setup(), (b'0', None))
        return node

    def assertFails(self, done, *texts):
        self.assertEqual(done.status, b'9')
        self.assertIsNone(done.result)
        for text in texts:
            self.assertIn(text, done.error)
        self.assertNotIn('dispynode_lib', done.error)


class FunctionJobTest(SupervisorCase):

    def test_a_job_gives_result_and_output(self):
        node = self.node(u'''
import sys
def compute(a, b=1):
    print('out')
    sys.stderr.write('err')
    return [a, b]
''')
        done = node.run(3, b=u'\xe9')
        self.assertEqual((done.status, done.result, done.error), (b'11', [3, u'\xe9'], None))
        self.assertEqual((done.stdout, done.stderr), (b'out\n', b'err'))
        self.assertLessEqual(float(done.started), float(done.ended))

    def test_many_jobs_come_one_after_the_other_on_children_forked_ahead(self):
        node = self.node(u'def compute(n): return n * 2')
        node.control.send(b'fork', b'3')
        children = [node.next_child() for _ in range(3)]
        for n in range(20):
            child = children.pop(0)
            child.job(pickle.dumps((n,), 2))
            self.assertEqual(Done(child.take(b'done')).result, n * 2)
            node.control.send(b'fork', b'1')
            children.append(node.next_child())
            self.assertEqual(os.WEXITSTATUS(node.exit_status(child)), job.TOLD_WELL)
            child.sock.close()
        for child in children:
            child.sock.close()
            self.assertEqual(node.exit_status(child), 0)
        self.assertIsNone(node.close())

    def test_an_exception_shows_frames_and_lines_of_the_user_only(self):
        node = self.node(u'''
def inner():
    raise ValueError('too bad')
def compute():
    inner()
''')
        done = node.run()
        self.assertFails(done, 'line 5, in compute', 'line 3, in inner',
                         "raise ValueError('too bad')")
        self.assertTrue(done.error.rstrip().endswith('ValueError: too bad'))
        self.assertEqual(done.error.count('  File "'), 2)

    def test_each_way_to_end_badly_has_a_sentence(self):
        node = self.node(u'''
import sys
class Quiet(Exception):
    pass
class Odd(Exception):
    def __str__(self):
        raise RuntimeError('no text')
class Stubborn(object):
    def __reduce__(self):
        raise ValueError('never')
def deep():
    return deep()
def compute(what):
    if what == 'exit':
        sys.exit(3)
    if what == 'interrupt':
        raise KeyboardInterrupt
    if what == 'memory':
        raise MemoryError
    if what == 'deep':
        deep()
    if what == 'quiet':
        raise Quiet
    if what == 'odd':
        raise Odd
    if what == 'lambda':
        return lambda: 0
    if what == 'stubborn':
        return Stubborn()
    if what == 'generator exit':
        raise GeneratorExit
''')
        self.assertFails(node.run('exit'), 'the job called sys.exit(3)', 'in compute')
        self.assertFails(node.run('interrupt'), 'the job was interrupted', 'in compute')
        self.assertFails(node.run('memory'), 'the job ran out of memory', 'in compute')
        deep = node.run('deep')
        self.assertFails(deep, 'recursion')
        self.assertLess(len(deep.error), 20000)
        self.assertFails(node.run('quiet'), 'Quiet')
        self.assertFails(node.run('odd'), 'Odd')
        self.assertFails(node.run('lambda'), 'the result, of type function, cannot be pickled')
        self.assertFails(node.run('stubborn'), 'of type Stubborn, cannot be pickled',
                         'ValueError: never')
        self.assertFails(node.run('generator exit'), 'GeneratorExit')
        self.assertFails(node.run(), 'TypeError')

    def test_a_missing_function_and_unloadable_arguments_have_a_sentence(self):
        node = self.node(u'def other(): pass')
        self.assertFails(node.run(), 'the code of the computation defines no function "compute"')
        child = node.fork()
        child.job(b'c__main__\nNothing\n.')
        self.assertFails(Done(child.take(b'done')), 'the arguments of the job cannot be loaded',
                         'Nothing')

    def test_instances_travel_by_the_name_main(self):
        node = self.node(u'''
class Point(object):
    def __init__(self, x):
        self.x = x
def compute(point):
    return Point(point.x + 1)
''')
        child = node.fork()
        child.job(b'(c__main__\nPoint\n(I4\ntRt.')
        parts = child.take(b'done')
        self.assertEqual(parts[0], b'11')
        self.assertIn(b'__main__', parts[1])
        self.assertIn(b'Point', parts[1])

    def test_a_job_may_bring_code_of_its_own(self):
        node = self.node(u'def compute(n): return helper(n)')
        self.assertEqual(node.run(2, code_=b'def helper(n): return n + 40').result, 42)
        self.assertFails(node.run(2), 'helper')
        self.assertFails(node.run(2, code_=b'def helper(n) return'), 'SyntaxError')

    def test_code_that_fails_is_told_by_each_job(self):
        node = self.node(u'import nothing_of_that_name\ndef compute(): pass')
        for _turn in range(2):
            self.assertFails(node.run(), 'line 1', 'nothing_of_that_name')

    def test_code_that_does_not_compile_is_refused(self):
        node = self.node(u'def compute(:\n', open_=False)
        self.assertIn('SyntaxError', node.open())

    def test_source_may_hold_any_letters(self):
        node = self.node(u'# \xe9\ndef compute(): return u"\u0416"')
        self.assertEqual(node.run().result, u'\u0416')

    def test_our_future_imports_are_not_those_of_the_user(self):
        node = self.node(u'def compute(): return 7 / 2')
        self.assertEqual(node.run().result, 3 if PY2 else 3.5)

    def test_big_arguments_and_results(self):
        node = self.node(u'def compute(data): return data * 2')
        data = b'0123456789abcdef' * (1 << 18)
        self.assertEqual(node.run(data).result, data * 2)

    def test_big_arguments_of_each_protocol_and_kind(self):
        node = self.node(u'''
def compute(*args):
    return [type(arg).__name__ + str(len(arg)) for arg in args]
''')
        args = (b'a' * 300000, u'b' * 300000, list(range(50000)), b'', b'c' * 70000,
                dict.fromkeys(range(9), u'd' * 9999))
        expected = [type(arg).__name__ + str(len(arg)) for arg in args]
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            child = node.fork()
            child.job(pickle.dumps(args, protocol), code=b'# ' + b'long ' * 30000)
            self.assertEqual(Done(child.take(b'done')).result, expected)

    def test_big_arguments_that_cannot_be_loaded_are_read_to_their_end(self):
        node = self.node(u'def compute(*args): pass')
        data = pickle.dumps((1, b'x' * 5000000), pickle.HIGHEST_PROTOCOL)
        child = node.fork()
        child.job(data[:2] + b'c__main__\nNothing\n' + data[2:])
        self.assertFails(Done(child.take(b'done')), 'cannot be loaded', 'Nothing')

    def test_what_is_left_of_output_is_text_and_bytes_in_order(self):
        node = self.node(u'''
import sys
def compute():
    sys.stdout.write(u'\\u20ac')
    sys.stdout.writelines([u'a', u'b'])
    getattr(sys.stdout, 'buffer', sys.stdout).write(b'c')
    sys.stdout.flush()
    try:
        sys.stdout.fileno()
    except (IOError, ValueError) as error:
        return type(error).__name__, sys.stdout.isatty(), sys.stderr.encoding
''')
        done = node.run()
        self.assertEqual(done.stdout.decode('utf-8'), u'\u20acabc')
        self.assertEqual(done.result, ('UnsupportedOperation', False, 'utf-8'))

    def test_redirected_output_belongs_to_the_user(self):
        node = self.node(u'''
import io, sys
def compute():
    sys.stdout = open('mine', 'w')
    print('to the file')
    sys.stdout.close()
''')
        self.assertEqual(node.run().stdout, b'')
        with open(os.path.join(node.folder, 'mine')) as stream:
            self.assertEqual(stream.read(), 'to the file\n')

    def test_jobs_do_not_share_what_they_print_or_their_random_numbers(self):
        node = self.node(u'''
import random
def compute():
    print(random.random())
    return random.random()
''')
        first, second = node.run(), node.run()
        self.assertNotEqual(first.result, second.result)
        self.assertEqual(len(first.stdout.split()), 1)
        self.assertEqual(len(second.stdout.split()), 1)

    def test_a_dismissed_child_exits(self):
        node = self.node(u'def compute(): pass')
        child = node.fork()
        child.sock.close()
        self.assertEqual(node.exit_status(child), 0)


class SurroundingsTest(SupervisorCase):

    def test_folder_and_module_path(self):
        node = self.node(u'''
import os, sys
def compute():
    import helper_module
    return os.getcwd(), sys.path[0], __name__, os.getpid() == os.getpgrp(), helper_module.value
''')
        node.write('helper_module.py', 'value = 5\n')
        self.assertEqual(node.run().result, (node.folder, '.', '__main__', True, 5))

    def test_standard_input_is_empty(self):
        node = self.node(u'import sys, os\ndef compute(): return sys.stdin.read(), os.read(0, 10)')
        self.assertEqual(node.run().result, ('', b''))

    def test_a_job_inherits_no_descriptor_of_ours(self):
        node = self.node(u'''
import os
def compute():
    found = {}
    for name in os.listdir('/proc/self/fd'):
        try:
            found[int(name)] = os.readlink('/proc/self/fd/' + name)
        except OSError:
            pass
    return found
''')
        node.control.send(b'fork', b'2')
        others = [node.next_child(), node.next_child()]
        found = node.run().result
        sockets = [fd for fd in found if found[fd].startswith(('socket:', 'pipe:'))]
        self.assertEqual(len(sockets), 1, found)            # its own channel
        for child in others:
            child.sock.close()

    def test_signals_are_as_python_sets_them(self):
        node = self.node(u'''
import signal
def compute():
    return [signal.getsignal(n) == signal.SIG_DFL for n in (signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP)], \\
        signal.getsignal(signal.SIGINT) == signal.default_int_handler
''')
        self.assertEqual(node.run().result, ([True] * 3, True))

    def test_a_job_may_do_what_it_likes_to_its_surroundings(self):
        node = self.node(u'''
import os, signal
def compute(what):
    if what == 'spoil':
        os.umask(0); os.environ['SPOILT'] = '1'; os.chdir('/'); signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.closerange(0, 3)
        globals()['spoilt'] = 1
    return os.getcwd(), 'SPOILT' in os.environ, 'spoilt' in globals(), signal.getsignal(signal.SIGTERM) == 0
''')
        self.assertEqual(node.run('spoil').result[0], '/')
        self.assertEqual(node.run('look').result, (node.folder, False, False, True))

    def test_names_that_user_code_finds(self):
        node = self.node(u'''
class Thread(threading.Thread):
    pass
def compute():
    return (dispy_node_name, dispy_node_ip_addr, dispy_job_path, os.environ['dispy_node_name'],
            dispy_sock_family == socket.AF_INET, re.match('a', 'abc').end(), callable(dispy_provisional_result),
            callable(dispy_send_file), issubclass(Thread, threading.Thread), time.time() > 0,
            os.path.basename(sys.executable) != '', 'dispynode_shutdown' in globals(),
            sorted(set('copy glob stat signal platform hashlib pickle marshal shutil tempfile threading subprocess '
                       'traceback multiprocessing io struct'.split()) - set(globals())))
''')
        done = node.run()
        self.assertIsNone(done.error)
        self.assertEqual(done.result, ('here', '127.0.0.1', node.folder, 'here', True, 1, True,
                                       True, True, True, True, False, []))

    def test_the_logger_reaches_the_node(self):
        node = self.node(u'''
dispynode_logger.warning('in %s', 'the supervisor')
def compute():
    dispynode_logger.info('in job %d', 5)
    dispynode_logger.debug('more')
''')
        self.assertEqual(node.control.take(b'log'), [b'30', b'dispynode.job', b'in the supervisor'])
        child = node.start()
        self.assertEqual(child.take(b'log'), [b'20', b'dispynode.job', b'in job 5'])
        self.assertEqual(child.take(b'log')[0], b'10')
        self.assertEqual(Done(child.take(b'done')).status, b'11')

    def test_a_job_that_leaves_a_thread_behind_is_reported_first(self):
        node = self.node(u'''
import threading, time
def compute():
    threading.Thread(target=time.sleep, args=(0.2,)).start()
    return 1
''')
        self.assertEqual(node.run().result, 1)


    def test_helper_processes_of_a_job_end_with_it(self):
        node = self.node(u'''
import multiprocessing
def compute(what):
    global kept
    if what == 'pool':
        kept = multiprocessing.Pool(2)
        value = kept.map(abs, [-1, -2])
    elif what == 'manager':
        kept = multiprocessing.Manager()
        value = list(kept.list([1, 2]))
    return value, [process.pid for process in multiprocessing.active_children()]
''')
        for what in ('pool', 'manager'):
            started = time.time()
            value, pids = node.run(what).result
            self.assertEqual(value, [1, 2])
            self.assertLess(time.time() - started, 20)
            for pid in pids:
                wait_until(lambda: not lives(pid))

    def test_files_of_the_user_may_have_names_of_standard_modules(self):
        node = self.node(u'def compute(): return 1 / 0')
        for name in ('traceback', 'linecache', 'tokenize', 'token', 'textwrap', 'keyword', 'ast',
                     'codeop'):
            node.write(name + '.py', 'raise RuntimeError("not this one")\n')
        for _turn in range(2):
            self.assertFails(node.run(), 'line 1, in compute', 'ZeroDivisionError')


class EndOfProcessTest(SupervisorCase):

    def test_a_job_that_vanishes_is_told_by_its_exit_status(self):
        node = self.node(u'''
import os, signal
def compute(how):
    if how == 'exit':
        os._exit(7)
    os.kill(os.getpid(), signal.SIGSEGV)
''')
        for how, status in (('exit', 7 << 8), ('signal', int(signal.SIGSEGV))):
            child = node.start(how)
            child.wait_closed()
            self.assertEqual(node.exit_status(child) & 0xff7f, status)

    def test_a_job_that_kills_its_supervisor_still_reports(self):
        node = self.node(u'''
import os, signal
def compute():
    os.kill(os.getppid(), signal.SIGKILL)
    return 'alone'
''')
        child = node.start()
        self.assertEqual(Done(child.take(b'done')).result, 'alone')
        node.control.wait_closed()

    def test_a_job_that_closes_everything_harms_nobody(self):
        node = self.node(u'''
import os
def compute(spoil):
    if spoil:
        os.closerange(0, 256)
    return 1
''')
        child = node.start(True)
        child.wait_closed()
        node.exit_status(child)
        self.assertEqual(node.run(False).result, 1)

    def test_a_fork_that_fails_is_tried_again(self):
        node = self.node(u'def compute(): return 1', prelude='''
import errno, os
real, failures = os.fork, [1, 1]
def fork():
    if failures:
        failures.pop()
        raise OSError(errno.EAGAIN, 'no more processes')
    return real()
os.fork = fork
''')
        self.assertEqual(node.run().result, 1)
        self.assertIn(b'no more processes', node.control.take(b'log')[2])

    def test_two_hundred_failed_forks_leave_no_descriptor_open(self):
        for what in ('os.fork', 'supervisor.move_out_of_reach', 'descriptors.Channels.send_fd'):
            node = self.node(u'def compute(): return 1', prelude=FAILURES % {'what': what})
            folder = '/proc/%d/fd' % node.process.pid
            before = len(os.listdir(folder))
            self.assertEqual(node.run().result, 1, what)
            # PyPy holds its source of random numbers
            self.assertLessEqual(len(os.listdir(folder)), before + 1, what)

    def test_a_job_process_that_cannot_be_passed_on_shifts_no_numbers(self):
        node = self.node(u'import os\ndef compute(): os._exit(3)',
                         prelude=FAILURES % {'what': 'descriptors.Channels.send_fd'})
        child = node.start()
        child.wait_closed()
        self.assertEqual(os.WEXITSTATUS(node.exit_status(child)), 3)

    def test_a_frame_that_makes_no_sense_ends_the_supervisor(self):
        node = self.node(open_=False)
        node.control.send(b'nonsense')
        self.assertEqual(node.wait(), 70)
        self.assertIn('nonsense', node.stderr())

    def test_a_spare_supervisor_ends_with_the_node(self):
        node = self.node(open_=False)
        node.control.sock.close()
        self.assertEqual(node.process.wait(), 0)
        self.assertEqual(node.stderr(), '')


@unittest.skipUnless(HAS_PROC, 'needs /proc')
class StopTest(SupervisorCase):

    def start(self, code, prelude=PATIENT_STEPS):
        """Start a job and wait until it runs: it makes a file `ready`.

        hold() in it sleeps many times: Python does not see a signal that comes right before one
        long sleep until that ends.
        """
        node = self.node(u'''
import os, signal, subprocess, sys, time
def hold():
    open('ready', 'w').close()
    while True:
        time.sleep(0.02)
''' + code, prelude=prelude)
        child = node.start()
        wait_until(lambda: os.path.exists(os.path.join(node.folder, 'ready')))
        return node, child

    def stop(self, node, child):
        node.control.send(b'stop', str(child.number).encode('ascii'))
        return node.exit_status(child)

    def pid_in(self, node, name):
        with open(os.path.join(node.folder, name)) as stream:
            return int(stream.read())

    def test_a_job_that_obeys_is_gone_at_once(self):
        node, child = self.start(u'''
def compute():
    hold()
''')
        self.stop(node, child)                          # the second step is far away
        self.assertIn('the job was interrupted', Done(child.take(b'done')).error)

    def test_a_job_that_catches_the_interrupt_and_returns_ends_as_finished(self):
        node, child = self.start(u'''
def compute():
    try:
        hold()
    except KeyboardInterrupt:
        return 'saved'
''')
        self.stop(node, child)
        done = Done(child.take(b'done'))
        self.assertEqual((done.status, done.result), (b'11', 'saved'))

    def test_a_job_that_ignores_signals_is_killed_with_all_that_it_started(self):
        node, child = self.start(u'''
def compute():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    same = subprocess.Popen(['sleep', '60'])
    other = subprocess.Popen(['sleep', '60'], preexec_fn=os.setsid)
    for name, process in (('same', same), ('other', other)):
        with open(name, 'w') as stream:
            stream.write(str(process.pid))
    hold()
''', QUICK_STEPS)
        started = time.time()
        self.assertEqual(self.stop(node, child), signal.SIGKILL)
        self.assertGreater(time.time() - started, 0.75)
        for name in ('same', 'other'):
            pid = self.pid_in(node, name)
            wait_until(lambda: not lives(pid))

    def test_kill_does_not_wait(self):
        node, child = self.start(u'''
def compute():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    hold()
''')
        node.control.send(b'kill', str(child.number).encode('ascii'))
        self.assertEqual(node.exit_status(child), signal.SIGKILL)

    def test_a_background_process_outlives_its_job_but_not_the_computation(self):
        node, child = self.start(u'''
def compute():
    with open('same', 'w') as stream:
        stream.write(str(subprocess.Popen(['sleep', '60']).pid))
    open('ready', 'w').close()
''')
        node.exit_status(child)
        pid = self.pid_in(node, 'same')
        self.assertTrue(lives(pid))
        node.close()
        wait_until(lambda: not lives(pid))

    def test_the_end_of_the_node_stops_jobs(self):
        node, child = self.start(u'''
def compute():
    hold()
''')
        node.control.sock.close()
        child.take(b'done')
        self.assertEqual(node.process.wait(), 0)


if __name__ == '__main__':
    unittest.main()
