"""Setup and cleanup of a computation in a real supervisor process."""
from __future__ import absolute_import, division, print_function

import os
import pickle
import signal
import unittest

from dispynode_lib.wire import control
from tests.functional.test_supervisor import SupervisorCase
from tests.support.processes import lives
from tests.support.waiting import wait_until

SETUP = u'''
import os
class Shape(object):
    sides = 4
def helper():
    return 'helped'
def setup(*args):
    global state
    state = [helper()] + list(args)
    os.environ['FROM_SETUP'] = 'yes'
    with open('setup', 'a') as stream:
        stream.write(os.getcwd())
    return 0
def cleanup(*args):
    with open('cleanup', 'a') as stream:
        stream.write('%r %s;' % (args, state[0]))
def compute():
    return state, os.environ.get('FROM_SETUP')
'''
# COMPUTE of a client before 4.11, Python 3: setup with ('a', Shape()) and {}, cleanup with ('b',)
LEGACY = (
    b'\x80\x02cdispy\n_Compute\n)\x81}(X\x05\x00\x00\x00setupcdispy\n_Function\n(X\x05\x00\x00\x00setup'
    b'X\x01\x00\x00\x00ac__main__\nShape\n)\x81\x86}t\x81X\x07\x00\x00\x00cleanupcdispy\n_Function\n'
    b'(X\x07\x00\x00\x00cleanupX\x01\x00\x00\x00b\x85}t\x81X\x05\x00\x00\x00statecos\nstat_result\nub.'
)
LEGACY_PYTHON2 = (b'\x80\x02cdispy\n_Compute\n)\x81}(U\x05setupcdispy\n_Function\n(U\x05setup'
                  b'U\x02\xc3\xa9\x85}t\x81ub.')


def setup_argument(*args):
    return pickle.dumps({'compute_id': 5, 'setup_args': args}, 2)


class SetupCase(SupervisorCase):

    def opened(self, code=SETUP, **fields):
        fields = dict({'setup': 'setup', 'cleanup': 'cleanup'}, **fields)
        return self.node(code, set_up=False, **fields)

    def read(self, node, name):
        try:
            with open(os.path.join(node.folder, name)) as stream:
                return stream.read()
        except EnvironmentError:
            return None


class SetupTest(SetupCase):

    def test_what_setup_makes_is_there_in_every_job(self):
        node = self.opened()
        self.assertEqual(node.setup(setup_argument(1, u'x'), b'setup'), (b'0', None))
        for _turn in range(2):
            self.assertEqual(node.run().result, (['helped', 1, u'x'], 'yes'))
        self.assertEqual(self.read(node, 'setup'), node.folder)

    def test_arguments_of_the_older_generation_come_with_the_computation(self):
        node = self.opened(compute=LEGACY)
        self.assertEqual(node.setup(None, b'compute'), (b'0', None))
        node.close()
        self.assertEqual(self.read(node, 'cleanup').replace("u'", "'"), "('b',) helped;")

    def test_a_python2_client_may_use_letters_in_arguments(self):
        node = self.opened(SETUP + u'''
def compute():
    return len(state[1]), type(state[1]).__name__
''', compute=LEGACY_PYTHON2, python2=b'1', protocol=b'2')
        self.assertEqual(node.setup(None, b'compute'), (b'0', None))
        self.assertIn(node.run().result, ((1, 'str'), (2, 'str')))  # Python 2 keeps its two bytes

    def test_a_setup_that_comes_in_one_piece_with_the_close_before_it_runs_for_ever(self):
        node = self.opened(
            u'import time\ndef setup(): time.sleep(1000)\ndef cleanup(): open("cleanup", '
            u'"w").close()\n'
        )
        node.control.sock.sendall(
            control.pack(b'close', b'1') + control.pack(b'setup', None, b'setup'))
        self.assertEqual(node.control.take(b'setup')[0], b'error')
        self.assertEqual(node.control.take(b'closed'), [None])
        self.assertEqual(node.wait(), 0)

    def test_the_numbers_that_mean_success_depend_on_the_client(self):
        code = u'def setup(value): return value'
        for number in (0, 1, 2):
            newer = self.opened(code)
            self.assertEqual(newer.setup(setup_argument(number), b'setup'), (b'%d' % number, None))
            # setup runs once; another node that asks hears how that ended
            self.assertEqual(newer.setup(setup_argument(3), b'setup'), (b'%d' % number, None))
        for value in (3, None, 'x', 0.0):
            status, text = self.opened(code).setup(setup_argument(value), b'setup')
            self.assertEqual(status, b'error')
            self.assertIn('"setup" failed with %r' % (value,), text.replace("u'", "'"))
        older = self.opened(code, setup_accepts=b'0')
        self.assertEqual(older.setup(setup_argument(1), b'setup')[0], b'error')

    def test_a_setup_that_raises_tells_with_frames_of_the_user(self):
        code = u'''
import sys
def setup(how):
    if how:
        raise ValueError('no data')
    sys.exit('leaving')
'''
        for how, text in ((1, 'ValueError: no data'), (0, 'leaving')):
            status, trace = self.opened(code).setup(setup_argument(how), b'setup')
            self.assertEqual(status, b'error')
            self.assertIn(text, trace)
            self.assertEqual(trace.count('  File "'), 1)

    def test_a_setup_function_that_is_missing_and_code_that_fails(self):
        self.assertIn('no function "setup"', self.opened(u'').setup(setup_argument(), b'setup')[1])
        status, text = self.opened(u'import nothing_like_it').setup(setup_argument(), b'setup')
        self.assertEqual(status, b'error')
        self.assertIn('nothing_like_it', text)

    def test_files_that_came_first_can_be_imported(self):
        node = self.opened(
            u'import sent, sys\ndef setup(): return int(sys.path[0] != dispy_job_path)\n')
        node.write('sent.py', '')
        self.assertEqual(node.setup(setup_argument(), b'setup'), (b'0', None))


class CleanupTest(SetupCase):

    def test_cleanup_runs_once_at_close_with_the_arguments_of_setup(self):
        node = self.opened()
        node.setup(setup_argument(1, 2), b'setup')
        node.run()
        self.assertIsNone(node.close())
        self.assertEqual(self.read(node, 'cleanup'), '(1, 2) helped;')
        self.assertEqual(node.process.wait(), 0)

    def test_cleanup_is_left_out_when_the_node_says_so(self):
        node = self.opened()
        node.setup(setup_argument(), b'setup')
        node.close(cleanup=b'0')
        self.assertIsNone(self.read(node, 'cleanup'))

    def test_cleanup_runs_when_the_node_is_gone_and_when_it_is_terminated(self):
        for end in ('close', 'terminate'):
            node = self.opened()
            node.setup(setup_argument(), b'setup')
            if end == 'close':
                node.control.sock.close()
            else:
                node.process.send_signal(signal.SIGTERM)
            self.assertEqual(node.process.wait(), 0)
            self.assertEqual(self.read(node, 'cleanup'), '() helped;')

    def test_a_cleanup_function_that_never_returns_ends_without_a_node_too(self):
        code = u'''
import time
def cleanup():
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass
'''
        node = self.node(
            code,
            prelude='from dispynode_lib.supervisor import supervisor\nsupervisor.MORE_PATIENT = '
                    '0\n',
            cleanup='cleanup', cleanup_timeout=b'1')
        node.control.sock.close()
        wait_until(lambda: node.process.poll() is not None)
        self.assertEqual(node.process.returncode, -signal.SIGALRM)

    def test_a_failing_cleanup_is_told(self):
        node = self.opened(u'def setup(): return 0\ndef cleanup(): raise ValueError("still there")')
        node.setup(setup_argument(), b'setup')
        self.assertIn('still there', node.close())

    def test_cleanup_gets_the_arguments_of_a_setup_that_another_supervisor_ran(self):
        code = u'def setup(*args): nonsense\ndef cleanup(*args):\n    with open("cleanup", "a") as f: f.write("%s;" % args)'
        node = self.opened(code)
        node.control.send(b'remember', setup_argument('first'), b'setup')
        node.close()
        self.assertEqual(self.read(node, 'cleanup').replace("u'", "'"), "first;")

    def test_cleanup_may_shut_the_node_down_if_clients_may(self):
        code = u'def setup(): return 0\ndef cleanup(): dispynode_shutdown()'
        node = self.opened(code, client_shutdown=b'1')
        node.setup(setup_argument(), b'setup')
        node.control.send(b'close', b'1')
        self.assertEqual(node.control.take(b'shutdown'), [])
        self.assertEqual(node.control.take(b'closed'), [None])
        node = self.opened(code)
        node.setup(setup_argument(), b'setup')
        self.assertIn('dispynode_shutdown', node.close())

    def test_an_endless_setup_ends_with_the_node_or_by_sigterm(self):
        for end in ('close', 'terminate'):
            node = self.opened(u'''
import os, time
def setup():
    with open('ready', 'w') as stream:
        stream.write(str(os.getpid()))
    while True:
        time.sleep(60)
def cleanup():
    open('cleanup', 'w').close()
''')
            node.control.send(b'setup', setup_argument(), b'setup')
            wait_until(lambda: self.read(node, 'ready'))
            if end == 'close':
                node.control.sock.close()
            else:
                node.process.send_signal(signal.SIGTERM)
            node.process.wait()
            self.assertFalse(lives(int(self.read(node, 'ready'))))
            self.assertEqual(self.read(node, 'cleanup'), '')


if __name__ == '__main__':
    unittest.main()
