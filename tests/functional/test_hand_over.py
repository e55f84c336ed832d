"""A supervisor whose node dies, and the node that takes it over, by hand."""
from __future__ import absolute_import, division, print_function

import os
import select
import shutil
import socket
import struct
import tempfile
import unittest

from dispynode_lib.wire import control
from tests.functional.test_supervisor import SupervisorCase
from tests.support.fakenode import Done
from tests.support.processes import lives
from tests.support.waiting import wait_until

WAITS = u'''
import os, time
def compute(path):
    while not os.path.exists(path):
        time.sleep(0.01)
    with open(path + '.runs', 'a') as runs:
        runs.write('x')
    return os.getpid()
'''


class HandOverCase(SupervisorCase):

    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        self.flag = os.path.join(self.folder, 'go')

    def lasting(self, code=WAITS, orphan_timeout=b'60', **fields):
        """Return a FakeNode whose supervisor outlives it."""
        node = self.node(code, socket=os.path.join(self.folder, 'socket'), generation=b'1',
                         orphan_timeout=orphan_timeout, **fields)
        self.addCleanup(self.end, node)
        return node

    @staticmethod
    def end(node):
        try:
            node.control.send(b'end')
        except EnvironmentError:
            return

    def go(self):
        open(self.flag, 'w').close()

    def runs(self):
        with open(self.flag + '.runs') as runs:
            return runs.read()


def peek(child):
    """Return the parts of the frame that waits in a channel, which stays there."""
    select.select([child.sock], [], [], 10)
    data = child.sock.recv(1 << 16, socket.MSG_PEEK)
    return control.unpack(data[4:4 + struct.unpack('>L', data[:4])[0]])


class HandOverTest(HandOverCase):

    def test_a_job_that_runs_when_its_node_dies_tells_the_next_one(self):
        node = self.lasting()
        child = node.start(self.flag)
        number, pid = child.number, child.pid
        node.die()
        told, held = node.take_over()
        self.assertEqual((told[b'pid'], told[b'opened'], told[b'ending'], told[b'setup']),
                         (b'%d' % node.process.pid, b'1', b'0', b'0'))
        self.assertEqual([(n, c.pid, status)
                          for n, (c, status) in held.items()], [(number, pid, control.LIVES)])
        self.go()
        self.assertEqual(Done(held[number][0].take(b'done')).result, pid)
        self.assertEqual(self.runs(), 'x')

    def test_a_result_told_while_there_is_no_node_waits_for_the_next(self):
        node = self.lasting()
        child = node.start(self.flag)
        node.die()
        self.go()
        wait_until(lambda: not lives(child.pid))
        _told, held = node.take_over()
        self.assertEqual(Done(peek(held[child.number][0])[1:]).result, child.pid)
        self.assertEqual(held[child.number][1], 113 << 8)

    def test_a_result_that_was_only_looked_at_is_there_for_the_next_node_until_it_is_settled(self):
        node = self.lasting()
        child = node.start(self.flag)
        self.go()
        first = peek(child)
        for generation in (2, 3):
            node.die()
            _told, held = node.take_over(generation)
            self.assertEqual(peek(held[child.number][0]), first)
        node.control.send(b'settled', control.NUMBER.pack(child.number))
        node.die()
        self.assertEqual(node.take_over(4)[1], {})

    def test_a_child_that_waits_for_a_job_takes_it_from_the_next_node(self):
        node = self.lasting(u'def compute(n): return n * n')
        number = node.fork().number
        node.die()
        child, status = node.take_over()[1][number]
        self.assertEqual(status, control.LIVES)
        child.job(b'\x80\x02K\x07\x85.')
        self.assertEqual(Done(child.take(b'done')).result, 49)
        self.assertEqual(node.run(3).result, 9)

    def test_a_second_copy_of_its_job_is_not_looked_at(self):
        node = self.lasting()
        child = node.start(self.flag)
        node.die()
        child = node.take_over()[1][child.number][0]
        child.job(b'\x80\x02U\x04nope\x85.')
        self.go()
        self.assertEqual(Done(child.take(b'done')).status, b'11')
        self.assertEqual(self.runs(), 'x')

    def test_a_job_reaches_no_other_jobs_channel(self):
        node = self.lasting(u"""
import os, stat
def compute():
    return [fd for fd in range(3, 64) if os.path.exists('/proc/self/fd/%d' % fd) and
            os.readlink('/proc/self/fd/%d' % fd).startswith('socket')]
""")
        for _turn in range(3):
            node.fork()
        self.assertEqual(node.run().result, [])

    def test_a_child_is_let_go_although_its_channel_is_held_twice(self):
        node = self.lasting()
        child = node.fork()
        child.sock.shutdown(socket.SHUT_RDWR)
        wait_until(lambda: not lives(child.pid))

    def test_setup_goes_on_without_a_node_and_its_outcome_waits(self):
        node = self.lasting(u"""
import os, time
def setup():
    open(%r, 'w').close()
    while not os.path.exists(%r):
        time.sleep(0.01)
    return 0
def compute():
    return 5
""" % (self.flag + '.began', self.flag), set_up=False, setup='setup')
        node.control.send(b'setup', None, b'setup')
        wait_until(lambda: os.path.exists(self.flag + '.began'))
        node.die()
        self.go()
        told, _held = node.take_over()
        self.assertEqual(told[b'setup'], b'0')
        self.assertEqual(node.run().result, 5)

    def test_the_end_of_a_program_is_told_to_the_next_node(self):
        node = self.lasting(u'', type=b'2', name='run.sh')
        node.write('run.sh', '#!/bin/sh\necho out\nexec test -e %s.not\n' % self.flag, 0o755)
        node.start_program()
        node.control.take(b'done')
        node.die()
        node.take_over()
        done = Done(node.control.take(b'done')[1:])
        self.assertEqual((done.result, done.stdout), (1, b'out\n'))
        self.assertEqual(node.control.take(b'exited'), [b'1000000000', b'%d' % (1 << 8)])


class FenceTest(HandOverCase):

    def test_a_node_of_before_is_told_and_the_next_one_has_the_supervisor(self):
        node = self.lasting(u'def compute(n): return n')
        old = node.control
        node.take_over(generation=5)
        self.assertEqual(old.take(b'taken'), [b'%d' % control.HAND_OVER, b'5'])
        old.wait_closed()
        self.assertEqual(node.run(8).result, 8)

    def test_one_that_is_no_later_node_is_refused(self):
        node = self.lasting(u'def compute(n): return n')
        control_sock, channels = node.control, node.channels
        for generation, version, why in ((1, control.HAND_OVER, b'generation'), (9, 77,
                                                                                 b'version')):
            frame, _held = node.take_over(generation, version)
            self.assertEqual(frame, [b'refused', b'%d' % control.HAND_OVER, why])
            node.die()
        node.control, node.channels = control_sock, channels
        self.assertEqual(node.run(8).result, 8)


class AloneTest(HandOverCase):

    def test_jobs_end_when_no_node_has_come_in_time(self):
        node = self.lasting(orphan_timeout=b'0.3')
        child = node.start(self.flag)
        node.die()
        node.process.wait()
        wait_until(lambda: not lives(child.pid))
        self.assertEqual(os.listdir(self.folder), [])

    def test_setup_is_interrupted_when_no_node_has_come_in_time(self):
        node = self.lasting(u"""
import time
def setup():
    open(%r, 'w').close()
    time.sleep(100)
""" % self.flag, set_up=False, setup='setup', orphan_timeout=b'1')
        node.control.send(b'setup', None, b'setup')
        wait_until(lambda: os.path.exists(self.flag))
        node.die()
        node.process.wait()

    def test_a_node_that_says_so_ends_it_at_once(self):
        node = self.lasting()
        child = node.start(self.flag)
        node.control.send(b'end')
        node.die()
        node.process.wait()
        wait_until(lambda: not lives(child.pid))


if __name__ == '__main__':
    unittest.main()
