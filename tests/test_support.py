"""The tools of the tests are themselves tested, where a fault in them would hide a fault
elsewhere."""
from __future__ import absolute_import, division, print_function

import io
import os
import pickle
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import unittest

from dispynode_lib.log import Log
from tests.support import lockguard, pickled
from tests.support.nodeprocess import GUARD, MARK, PROJECT
from tests.support.waiting import wait_until


class Locked(object):
    """Stands for NodeState: one lock, one Condition on it."""

    def __init__(self):
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self.values = {}

    def do(self, function, *args):
        """Call a function while the lock is held."""
        with self._lock:
            return function(*args)

    def set(self, key, value):
        """Change something, wake who waits."""
        with self._lock:
            self.values[key] = sorted([value, value])[0]
            self._changed.notify_all()

    def wait(self, key, timeout):
        """Wait for a key."""
        with self._lock:
            while key not in self.values:
                self._changed.wait(timeout)
            return self.values[key]


LOOPING = """
import os, socket, threading, time
from dispynode_lib.host.io.loop import Loop
loop, lock, quick = Loop(), threading.Lock(), threading.Lock()

def hold():
    with lock:
        os.listdir('/')
    with quick:
        time.monotonic()

def take():
    with lock:
        os.getpid()
    with quick:
        os.getpid()

def wait():
    threading.Event().wait(0.001)

def write():
    one, other = socket.socketpair()
    one.send(b'x')
    other.setblocking(False)
    other.recv(1)

for function in (take, wait, write, loop.stop):
    loop.call_soon(function)
holder = threading.Thread(target=hold)
holder.start()
holder.join()
loop.run()
"""


class LoopGuardTest(unittest.TestCase):

    def told(self, text):
        """Return what the guard tells of a program, [where it was]."""
        folder = tempfile.mkdtemp(prefix='dispynode-test-')
        self.addCleanup(shutil.rmtree, folder)
        path = os.path.join(folder, 'program.py')
        with open(path, 'w') as program:
            program.write(text)
        process = subprocess.Popen([sys.executable, GUARD, path], stderr=subprocess.PIPE, env=dict(
            os.environ, PYTHONPATH=PROJECT))
        lines = process.communicate()[1].decode('utf-8').splitlines()
        self.assertEqual(
            (process.returncode, [line for line in lines if not line.startswith(MARK)]), (0, []))
        return lines

    def test_what_the_thread_of_the_loop_may_wait_for_is_told(self):
        lines = self.told(LOOPING)
        for line, words in zip(lines,
                               (('is held during listdir', 'program.take'),
                                ('Condition.wait', 'program.wait'), ('send in', 'program.write'))):
            for word in words:
                self.assertIn(word, line)
        self.assertEqual(len(lines), 3, lines)

    def test_a_lock_that_is_taken_while_another_one_is_held_is_told(self):
        lines = self.told(
            LOOPING.replace('        time.monotonic()',
                            '        with threading.Lock(): pass').replace(
                                'take, wait, write, ', 'loop.stop, '))
        self.assertIn('is held and that of program.hold', lines[0])
        self.assertEqual(len(lines), 1, lines)

    def test_other_threads_may_wait(self):
        self.assertEqual(
            self.told(
                LOOPING.replace('take, wait, write, ', 'loop.stop, ').replace(
                    '.join()', '.join(), take(), wait(), write()')), [])


if str is bytes:
    del LoopGuardTest                       # it watches Python 3


class LockGuardTest(unittest.TestCase):

    def setUp(self):
        self.state = Locked()
        self.guard = lockguard.install(self.state)

    def test_plain_work_and_waiting_are_allowed(self):
        timer = threading.Timer(0.02, self.state.set, ('a', 1))
        timer.start()
        self.assertEqual(self.state.wait('a', 5), 1)
        timer.join()
        self.guard.check()

    def test_what_blocks_under_the_lock_is_found(self):
        for function, args in (
                (time.sleep, (0,)), (open, (os.devnull,)), (os.listdir, ('.',)),
                (Log('dispynode').info, ('x',)), (wait_until, (int, 0)),
                (threading.Lock().acquire, ())):
            del self.guard.violations[:]
            try:
                answer = self.state.do(function, *args)
            except AssertionError:
                answer = None
            if hasattr(answer, 'close'):
                answer.close()
            self.assertRaises(AssertionError, self.guard.check)

    def test_nothing_is_noted_after_the_lock_was_released(self):
        self.state.set('a', 1)
        time.sleep(0)
        os.listdir('.')
        self.guard.check()


class PickledTest(unittest.TestCase):

    VALUE = {
        'none': None, 'bools': [True, False], 'numbers': [0, 255, 65536, -1, 1 << 40, -1 << 70],
        'tuples': ((), (1, ), (1, 2, 3, 4)), 'float': 2.5, 'text': u'\xe9' * 300, 'set': set([1, 2])
    }

    def test_every_form_can_be_read_back(self):
        for form in (pickled.Form(True), pickled.Form(False, 3), pickled.Form(False, 5)):
            reader = pickled.Reader(form.dumps(self.VALUE))
            value = reader.load()
            text = value.pop('text')
            self.assertEqual(
                text.decode('utf-8') if isinstance(text, bytes) else text, u'\xe9' * 300)
            self.assertEqual(value, dict(item for item in self.VALUE.items() if item[0] != 'text'))
            self.assertEqual(reader.is_python2(), form.python2)

    def test_pickles_of_the_real_module_can_be_read(self):
        plain = dict(item for item in self.VALUE.items() if item[0] not in ('text', 'set'))
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            self.assertEqual(pickled.loads(pickle.dumps(plain, protocol)), plain)


class WaitingTest(unittest.TestCase):

    def test_lines_of_the_log_are_waited_for(self):
        # the node answers first and logs then: who looks once may look too early
        found = []
        for folder, _folders, names in os.walk(os.path.join(PROJECT, 'tests')):
            for name in names:
                if name.endswith('.py'):
                    with io.open(os.path.join(folder, name), encoding='utf-8') as source:
                        found += [(name, line) for line in source
                                  if re.search(r'assert(In|True)\(.*\.log\(\)\)', line)]
        self.assertEqual(found, [])
