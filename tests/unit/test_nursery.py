"""node/computations/nursery: when its process is there."""
from __future__ import absolute_import, division, print_function

import os
import shutil
import socket
import subprocess
import tempfile
import threading
import unittest

from dispynode_lib.code import image as program
from dispynode_lib.host import proc, processes
from dispynode_lib.log import CRITICAL, output
from dispynode_lib.node.computations import nursery as nurseries
from dispynode_lib.node.computations.link import socket_pair
from dispynode_lib.node.computations.nursery import (
    KEEP_AFTER, PID, REST_AFTER, TRY_AGAIN, Nursery, Supervisors)
from dispynode_lib.supervisor import keeping
from dispynode_lib.supervisor.processes import stopping
from dispynode_lib.wire import control
from tests.support.processes import lives
from tests.support.waiting import wait_until


class Workers(object):
    """Runs at once what is handed in."""

    @staticmethod
    def run(function, *args):
        function(*args)


class Process(object):
    """A process that runs until it is waited for."""

    pid = 1

    def wait(self):
        """End."""


class Closed(object):
    """A socket to a process that is none."""

    def close(self):
        """Do nothing."""


class Tried(Nursery):
    """Starts no real process; `fails` says why not."""

    fails = None

    def _pass_text(self, data):
        self.told.append(data)

    def _start_process(self):
        if self.fails is not None:
            raise EnvironmentError(self.fails)
        self._sock, self._process = Closed(), Process()


class NurseryTest(unittest.TestCase):

    def setUp(self):
        image, program.supervisor_image = program.supervisor_image, lambda _folder: None
        self.addCleanup(setattr, program, 'supervisor_image', image)
        self.nursery = Tried(None, Workers(), None, 2, lambda: None)
        self.nursery.told = []

    def test_an_idle_node_keeps_no_process_once_it_was_seen_to_run(self):
        self.assertEqual(self.nursery.keep_wait(0), KEEP_AFTER)
        self.nursery.keep(0)
        self.assertEqual((len(self.nursery.pids()), self.nursery.keep_wait(0)), (1, REST_AFTER))
        self.nursery.keep(0)
        self.assertEqual((self.nursery.pids(), self.nursery.keep_wait(0)), ((), None))
        self.nursery.prepare()
        self.assertEqual((len(self.nursery.pids()), self.nursery.keep_wait(0)), (1, None))

    def test_a_client_that_comes_meanwhile_finds_it_and_keeps_it(self):
        self.nursery.keep(0)
        self.nursery.prepare()
        self.assertEqual((len(self.nursery.pids()), self.nursery.keep_wait(0)), (1, None))

    def test_one_that_has_modules_to_load_stays(self):
        self.nursery.preload([u'json'])
        self.nursery.keep(0)
        self.assertEqual((len(self.nursery.pids()), self.nursery.keep_wait(0)), (1, None))

    def test_one_that_cannot_be_started_is_tried_again(self):
        self.nursery.fails = 'no memory'
        self.nursery.keep(0)
        self.assertEqual(self.nursery.keep_wait(0), TRY_AGAIN)
        self.assertIn(u'no memory', self.nursery.trouble())
        self.nursery.fails = None
        self.nursery.keep(0)
        self.assertIsNone(self.nursery.trouble())

    def test_it_is_told_what_it_lacks_and_replaced_for_what_is_not_wanted_any_more(self):
        self.nursery.prepare()
        first = self.nursery._process
        for wanted, is_needed, told in (((), False, []), ((u'json',), False, [b'json']),
                                        ((u'os.path', u'json'), True, [b'os.path']),
                                        ((u'json', u'stat'), True, [b'stat'])):
            self.nursery.preload(wanted)
            self.nursery.refresh(is_needed)
            self.assertEqual((wanted, self.nursery.told), (wanted, told))
            self.assertIs(self.nursery._process, first)
            del self.nursery.told[:]
        self.nursery.refresh(False)
        self.assertIsNot(self.nursery._process, first)
        self.assertEqual(self.nursery.told, [b'json,stat'])

    def test_many_names_come_in_pieces_that_a_pipe_holds(self):
        for words, pieces in (([], []), ([b'abc'], [b'abc']), ([b'a', b'b', b'cc'], [b'a,b', b'cc']),
                              ([b'abcd', b'a'], [b'abcd', b'a'])):
            self.assertEqual((words, nurseries.in_pieces(words, 4)), (words, pieces))


class KeepingTest(unittest.TestCase):

    def test_a_stopped_node_whose_folder_cannot_be_written_leaves_no_process_at_its_port(self):
        folder = tempfile.mkdtemp(prefix='dispynode-test-')
        self.addCleanup(shutil.rmtree, folder)
        # what only a node removes, and this one could not
        os.makedirs(os.path.join(folder, control.SUPERVISORS, 'left'))
        os.environ[control.KEEPER] = '6:' + os.path.join(folder, 'keeper')
        listeners = keeping.Listeners()
        self.addCleanup(listeners.forget)
        listener = socket.socket()
        self.addCleanup(listener.close)
        listener.bind(('127.0.0.1', 0))
        listener.listen(1)
        self.assertTrue(listeners.take(os.dup(listener.fileno())))
        looks = []

        def stop():                         # the nursery is ended before the listeners are
            looks.append(1)
            listener.shutdown(socket.SHUT_RDWR)

        listeners.wait_for_node(stop)
        self.assertEqual(len(looks), 1)


class Answering(Nursery):
    """Its processes are those of `made`, one after the other: what each says when it is to fork,
    None: nothing. `begun`: the modules that each was to load."""

    begun = ()

    def _pass_text(self, data):
        self.begun[-1] += (data,)

    def _start_process(self):
        self.said = self.made.pop(0)
        self.begun.append(())
        self._sock, self.far = socket_pair()
        self._sock.setblocking(False)
        self._process = Process()
        if self.said is not None:
            self.far.sendall(self.said)
            self.far.shutdown(socket.SHUT_WR)


class SupervisorsTest(unittest.TestCase):

    def setUp(self):
        self.addCleanup(setattr, output, 'level', output.level)
        output.level = CRITICAL + 1
        self.addCleanup(setattr, nurseries, 'FORK_TIMEOUT', nurseries.FORK_TIMEOUT)
        nurseries.FORK_TIMEOUT = 0.05
        self.addCleanup(self.close)

    def close(self):
        self.nursery.close()
        self.nursery.far.close()

    def take(self, *made):
        """Return the number of the supervisor that a nursery gives whose processes say so."""
        self.nursery = Answering(None, Workers(), None, 2, lambda: None)
        self.nursery.made, self.nursery.begun = list(made), []
        self.nursery.preload([u'module'])
        link = self.nursery.take()
        for sock in (link._sock, link._channels):
            sock.close()
        return link.pid

    def test_one_that_answers(self):
        self.assertEqual(self.take(PID.pack(4711)), 4711)

    def test_another_takes_the_place_of_one_that(self):
        for word, said in (('has died', b''), ('is slow', None), ('cannot fork', PID.pack(0)),
                           ('dies while it answers', PID.pack(4711)[:2])):
            self.assertEqual((word, self.take(said, PID.pack(4712))), (word, 4712))
            self.assertEqual(self.nursery.made, [])
            self.close()

    def test_modules_that_may_have_ended_it_are_left_out_until_it_is_not_needed(self):
        self.take(b'', PID.pack(4712))
        self.assertEqual(self.nursery.begun, [(b'module', ), ()])
        self.nursery.refresh(True)
        self.assertEqual(self.nursery.begun, [(b'module', ), ()])
        self.nursery.refresh(False)
        self.assertEqual(self.nursery.begun, [(b'module', ), (b'module', )])

    def test_the_next_computation_tries_again_after_two_that_failed(self):
        with self.assertRaises(EnvironmentError):
            self.take(b'', b'')
        self.nursery.made = [PID.pack(4713)]
        link = self.nursery.take()
        self.addCleanup(link._sock.close)
        self.addCleanup(link._channels.close)
        self.assertEqual(link.pid, 4713)

    def test_none_is_to_be_had_once_it_is_closed(self):
        self.take(PID.pack(4711))
        self.nursery.close()
        with self.assertRaises(EnvironmentError):
            self.nursery.take()


class LeftTest(unittest.TestCase):

    def setUp(self):
        self.supervisors = Supervisors(threading.Lock())
        self.supervisors.mark = 'jobs-of-unit-test-%d' % os.getpid()
        level, output.level = output.level, CRITICAL
        self.addCleanup(setattr, output, 'level', level)

    def process(self, *command):
        """Return a process that a nursery may have started."""
        process = subprocess.Popen(
            command or ['sleep', '60'],
            env=dict(os.environ, **{processes.MARK: self.supervisors.mark}))
        self.addCleanup(process.wait)
        self.addCleanup(lambda: process.poll() is None and process.kill())
        wait_until(lambda: proc.is_marked(process.pid, [self.supervisors.mark]), 10)
        return process.pid

    def test_what_is_below_no_living_supervisor_is_ended(self):
        supervisor, left, other = [self.process() for _number in range(3)]
        for pid in (supervisor, other):
            self.supervisors.note(pid)
        self.supervisors.end_left(other)    # it has closed its connection, and lives on
        self.assertEqual([lives(pid) for pid in (supervisor, left, other)], [True, False, False])

    def test_jobs_of_a_supervisor_that_takes_long_to_be_killed_end_with_it(self):
        supervisor = self.process('sh', '-c', 'sleep 60 & wait')
        wait_until(lambda: stopping.descendants(supervisor), 10)
        job, = stopping.descendants(supervisor)
        self.supervisors.note(supervisor)
        killed, kill = [], processes.kill

        def late(pid, *rest):
            killed.append(pid)
            return len(killed) == 1 or kill(pid, *rest)     # the first one has no effect yet
        for module, name, value in ((processes, 'kill', late), (nurseries, 'ENDING', 0.05)):
            self.addCleanup(setattr, module, name, getattr(module, name))
            setattr(module, name, value)
        self.supervisors.end_left(supervisor)
        self.assertEqual([lives(pid) for pid in (supervisor, job.pid)], [False, False])

    def test_a_node_that_was_replaced_ends_nothing(self):
        left = self.process()
        self.supervisors.is_replaced = lambda: True
        self.supervisors.lose(left)
        self.supervisors.end_left(left)
        self.assertTrue(lives(left))

    def test_what_died_last_is_ended_before_the_node(self):
        left = self.process()
        self.supervisors.end_rest()
        self.assertTrue(lives(left))
        self.supervisors.lose(left + 1)
        self.supervisors.end_rest()
        self.assertFalse(lives(left))

    def test_those_that_have_gone_are_forgotten(self):
        living = self.process()
        self.supervisors.note(living)
        self.supervisors.note(4194304)      # more than a system gives away
        self.assertEqual(list(self.supervisors._living), [living])
        for pid in range(4194304, 4194404):
            self.supervisors._living[pid] = 1           # they had it for a while
        self.supervisors.note(living)
        self.assertLess(len(self.supervisors._living), 40)
        self.assertIn(living, self.supervisors._living)
