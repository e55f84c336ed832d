"""node.requests: what clients get for their requests, and what the node has in mind then; histories with fakes."""
from __future__ import absolute_import, division, print_function

import os
import shutil
import tempfile
import unittest

from dispynode_lib.errors import ProtocolError, Refused
from dispynode_lib.log import CRITICAL, output
from dispynode_lib.node.computations import computation as computations
from dispynode_lib.node.files.bigfiles import Arguments
from dispynode_lib.node.files.folders import Folders
from dispynode_lib.node.replies.spool import PREFIX
from dispynode_lib.node.requests import handlers
from dispynode_lib.node.shared import job as jobs
from dispynode_lib.node.shared import state as states
from dispynode_lib.wire import asking, replies
from dispynode_lib.wire.control import TERMINATED
from dispynode_lib.wire.peers import Peer
from tests.support.desk import (
    ACK, AUTH, CLIENT, EARLIER, HASH, ID, NODE, PORT, STRANGER, WRONG, Begun, Desk, Meanwhile, close, job, question,
    terminate)
from tests.support.fakeparts import Recorder

FAULT = b'the node failed: UnicodeError('


def fail(*_args, **_settings):
    """Fail as no part should."""
    raise UnicodeError(u'\xf6')


def lack_room(*_args, **_settings):
    """Fail as a full disk does."""
    raise EnvironmentError(28, 'No space left on device')


class DeskCase(unittest.TestCase):

    def setUp(self):
        output.level, level = CRITICAL + 1, output.level
        self.addCleanup(setattr, output, 'level', level)
        self.scratch = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.scratch)
        self.desk = self.make_desk()

    def make_desk(self, **options):
        return Desk(os.path.join(self.scratch, 'spool'), **options)

    def assert_free(self):
        """The node has no scheduler, no computation and no job, and has told so once."""
        state = self.desk.state
        self.assertEqual((state.scheduler(), state.computations(), state.used_cpus()), (None, [], 0))
        freed = self.desk.told.named('on_freed') + self.desk.news.named('on_ending')
        self.assertEqual(len(freed), 1)

    def assert_open(self, computation=None):
        """The node is its client's, and takes jobs."""
        computation = computation or self.desk.computation
        self.assertEqual(self.desk.state.computations(), [computation])
        self.assertFalse(self.desk.state.is_closing(computation))
        self.assertEqual(self.desk.state.scheduler(), (CLIENT, PORT))

    def assert_refused(self, request, cause):
        """It is counted, and the connection is not left open."""
        self.assertEqual((request.is_closed, self.desk.complaints.counts()), (True, {cause: 1}))


class ComputeTest(DeskCase):

    def test_it_is_answered_with_the_cpus_when_its_code_is_compiled(self):
        request = self.desk.ask(self.desk.compute())
        self.assertEqual((request.answers, request.is_closed), ([], False))
        self.desk.says(b'opened', None)
        self.assertEqual((request.value, request.is_closed), (2, True))
        self.assertEqual(self.desk.told.calls, [('on_opened', (self.desk.computation,))])
        self.assertEqual(self.desk.delivery.named('opened'), [(self.desk.computation,)])
        self.assertIs(self.desk.computation.folder, self.desk.folder)
        self.assert_open()

    def test_code_that_does_not_compile_frees_the_node(self):
        request = self.desk.ask(self.desk.compute())
        self.desk.says(b'opened', b'SyntaxError')
        self.assertEqual(request.answers, [b'SyntaxError'])
        self.assert_refused(request, 'COMPUTE refused')
        self.assertEqual(len(self.desk.folder.named('close')), 1)
        self.assert_free()

    def test_repeated_it_opens_nothing_more(self):
        self.desk.open_by()
        first = self.desk.computation
        again = self.desk.ask(self.desk.compute())
        self.assertEqual((again.value, again.is_closed), (2, True))
        self.assertEqual((len(self.desk.nursery.links), len(self.desk.folders.named('open'))), (1, 1))
        self.assert_open(first)

    def test_repeated_after_its_close_it_is_refused_until_that_is_done(self):
        self.desk.open_by()
        self.desk.ask(job())
        self.desk.computation.close(terminate=False)
        self.assertEqual(self.desk.ask(self.desk.compute()).value, 0)

    def test_of_another_client_with_the_same_number_it_is_refused(self):
        self.desk.open_by()
        first = self.desk.computation
        request = self.desk.ask(self.desk.compute(auth=u'cc'))
        self.assertEqual(request.value, 0)
        self.assert_refused(request, 'COMPUTE refused')
        self.assert_open(first)

    def test_while_another_owns_the_node(self):
        self.desk.open_by()
        first = self.desk.computation
        request = self.desk.ask(self.desk.compute(id=8, scheduler_ip_addr=STRANGER), address=STRANGER)
        self.assertEqual(request.value, u'Node busy')
        self.assert_refused(request, 'COMPUTE refused: busy')
        self.assertEqual([args[0] for args in self.desk.announcer.named('compute_refused')], [(STRANGER, PORT)])
        self.assert_open(first)

    def test_while_nothing_new_is_taken(self):
        for cause, arrange in (('paused', lambda state: state.set_phase(states.PAUSED)),
                               ('draining', lambda state: state.set_phase(states.DRAINING)),
                               ('no CPU', lambda state: state.set_cpus(0)),
                               ('served enough', lambda state: state.set_serve(0)),
                               ('service hours', lambda state: state.set_hours(u'it is late'))):
            self.desk = self.make_desk()
            arrange(self.desk.state)
            request = self.desk.ask(self.desk.compute())
            self.assertEqual(request.value, -1, cause)
            self.assert_refused(request, 'COMPUTE refused: %s' % cause)
            self.assertEqual((self.desk.state.scheduler(), self.desk.nursery.links), (None, []))

    def test_for_another_node_it_opens_nothing(self):
        request = self.desk.ask(self.desk.compute(node_ip_addr=u'10.0.0.2'))
        self.assertEqual(request.answers, [b'Invalid computation request ignored'])
        self.assert_refused(request, 'COMPUTE refused')
        self.assertEqual((self.desk.state.computations(), self.desk.nursery.links), ([], []))

    def test_nonsense_is_told_so(self):
        for opcode, answer in ((b'COMPUTE', b'Invalid computation request ignored'),
                               (b'SETUP', b'invalid setup request'), (b'JOB', b'NAK (invalid job)'),
                               (b'FILEXFER', replies.value(Peer(), -1)), (b'CLOSE', ACK)):
            request = self.desk.ask(opcode + b':nonsense')
            self.assertEqual((request.answers, request.is_closed), ([answer], True))
            self.assertIsInstance(request.error, ProtocolError)
        self.assertEqual((self.desk.state.computations(), self.desk.nursery.links), ([], []))

    def test_a_client_that_has_gone_meanwhile_does_not_keep_the_node(self):
        request = self.desk.ask(self.desk.compute())
        request.is_gone = True
        self.desk.says(b'opened', None)
        self.desk.says(b'closed', None)
        self.assertEqual((request.answers, request.is_closed), ([], True))
        self.assertEqual(len(self.desk.folder.named('close')), 1)
        self.assert_free()

    def test_no_supervisor_to_be_had_frees_the_node_once(self):
        for is_gone in (False, True):
            self.desk = self.make_desk()
            self.desk.nursery.broken = True
            request = self.desk.ask(self.desk.compute(), is_gone=is_gone)
            if not is_gone:
                self.assertTrue(request.answers[0].startswith(b'no supervisor can be started: '), request.answers)
            self.assertTrue(request.is_closed)
            self.assertEqual(self.desk.folder.named('close'), [(True,)])
            self.assertEqual(self.desk.computation.phase, computations.CLOSED)
            self.assert_free()

    def test_a_folder_that_cannot_be_made(self):
        def refuse(*_asked):
            raise Refused('Could not create destination path: full')
        for problem, answer in ((refuse, b'Could not create destination path: full'), (fail, FAULT)):
            for name in ('open', 'check_size'):
                self.desk = self.make_desk()
                self.desk.folders = self.desk.requests._folders = Recorder(**{name: problem})
                request = self.desk.ask(self.desk.compute(xfer_files=[record(u'a')]))
                self.assertTrue(request.answers[0].startswith(answer), request.answers)
                self.assertTrue(request.is_closed and self.desk.computation.begun.is_set())
                self.assertEqual(self.desk.nursery.links, [])
                self.assert_free()

    def test_a_close_while_its_folder_is_made_leaves_no_folder(self):
        def open_late(*_asked):
            self.desk.computation.close(terminate=True)
            self.desk.settle()              # it ends without a folder
            return self.desk.folder
        self.desk.requests._folders = Recorder(open=open_late)
        request = self.desk.ask(self.desk.compute())
        self.assertEqual(request.answers, [computations.ENDED_BEFORE.encode()])
        self.assertEqual((request.is_closed, self.desk.folder.named('close')), (True, [(True,)]))
        self.assertEqual(self.desk.nursery.links, [])
        self.assert_free()

    def test_a_fault_while_it_is_answered_closes_it_again(self):
        request = self.desk.ask(self.desk.compute())
        self.desk.requests._on_opened = fail
        self.desk.says(b'opened', None)
        self.desk.says(b'closed', None)
        self.assertTrue(request.answers[0].startswith(FAULT), request.answers)
        self.assertTrue(request.is_closed)
        self.assert_free()

    def test_a_fault_before_it_has_a_supervisor_closes_it_again(self):
        self.desk.nursery.take = fail
        request = self.desk.ask(self.desk.compute())
        self.assertTrue(request.answers[0].startswith(FAULT), request.answers)
        self.assertEqual(self.desk.folder.named('close'), [(True,)])
        self.assert_free()

    def test_a_second_one_of_its_client_is_another_computation(self):
        self.desk.open_by()
        self.desk.open_by(id=8)
        self.assertEqual(sorted(computation.id for computation in self.desk.state.computations()), [ID, 8])


class RepeatedComputeTest(DeskCase):
    """COMPUTE comes again before the first one is answered: its client took the connection for lost."""

    def setUp(self):
        super(RepeatedComputeTest, self).setUp()
        self.first = self.desk.ask(self.desk.compute())
        self.computation = self.desk.computation
        self.again = self.desk.ask(self.desk.compute())

    def test_both_are_answered_when_the_code_is_compiled(self):
        self.assertEqual((self.first.answers, self.again.answers), ([], []))
        self.desk.says(b'opened', None)
        for request in (self.first, self.again):
            self.assertEqual((request.value, request.is_closed), (2, True))
        self.assertEqual(len(self.desk.nursery.links), 1)
        self.assertEqual(len(self.desk.told.named('on_opened')), 1)
        self.assert_open(self.computation)

    def test_code_that_does_not_compile_is_told_to_both(self):
        self.desk.says(b'opened', b'SyntaxError')
        for request in (self.first, self.again):
            self.assertEqual((request.answers, request.is_closed), ([b'SyntaxError'], True))
        self.assert_free()

    def test_it_stays_open_where_only_the_first_connection_was_lost(self):
        self.first.is_gone = True
        self.desk.says(b'opened', None)
        self.assertEqual((self.first.is_closed, self.again.value), (True, 2))
        self.assert_open(self.computation)

    def test_it_stays_open_where_only_the_second_connection_was_lost(self):
        self.again.is_gone = True
        self.desk.says(b'opened', None)
        self.assertEqual((self.first.value, self.again.is_closed), (2, True))
        self.assert_open(self.computation)

    def test_without_any_connection_left_it_is_closed(self):
        self.first.is_gone = self.again.is_gone = True
        self.desk.says(b'opened', None)
        self.desk.says(b'closed', None)
        self.assertTrue(self.first.is_closed and self.again.is_closed)
        self.assert_free()

    def test_a_close_before_it_is_opened_answers_both(self):
        self.desk.ask(close())
        self.desk.says(b'opened', None)
        self.desk.says(b'closed', None)
        for request in (self.first, self.again):
            self.assertEqual((request.answers, request.is_closed), ([computations.ENDED_BEFORE.encode()], True))
        self.assert_free()

    def test_no_supervisor_to_be_had_is_told_to_both(self):
        def take():
            self.again = self.desk.begin(self.desk.compute())
            self.desk.loop.turn()
            lack_room()
        self.desk = self.make_desk()
        self.desk.nursery.take = take
        self.addCleanup(setattr, handlers, 'BEGIN_WAIT', handlers.BEGIN_WAIT)
        handlers.BEGIN_WAIT = 0.0           # it takes longer than the second one waits
        self.first = self.desk.ask(self.desk.compute())
        for request in (self.first, self.again):
            self.assertTrue(request.answers[0].startswith(b'no supervisor can be started: '), request.answers)
            self.assertTrue(request.is_closed)
        self.assert_free()

    def test_a_refusal_of_the_first_is_one_of_the_second(self):
        def refuse(*_asked):
            self.again = self.desk.begin(self.desk.compute())
            raise Refused('Could not create destination path: full')
        self.desk = self.make_desk()
        self.desk.requests._folders = Recorder(open=refuse)
        self.addCleanup(setattr, handlers, 'BEGIN_WAIT', handlers.BEGIN_WAIT)
        handlers.BEGIN_WAIT = 0.0
        self.first = self.desk.ask(self.desk.compute())
        self.assertEqual(self.first.answers, [b'Could not create destination path: full'])
        self.assertEqual((self.again.answers, self.again.is_closed), ([computations.ENDED_BEFORE.encode()], True))
        self.assert_free()


class SetupTest(DeskCase):

    def test_it_is_acknowledged_when_setup_has_ended(self):
        self.desk.open_by(setup=u'prepare')
        request = self.desk.ask(asking.setup_request(ID))
        self.assertEqual((request.answers, request.is_closed), ([], False))
        self.desk.says(b'setup', b'ok', None)
        self.assertEqual((request.answers, request.is_closed), ([ACK], True))
        self.assert_open()

    def test_twice_it_runs_once(self):
        self.desk.set_up_by(setup=u'prepare')
        again = self.desk.ask(asking.setup_request(ID))
        self.assertEqual(again.answers, [computations.SET_UP_BEFORE.encode()])
        self.assertEqual((again.is_closed, self.desk.link.kinds().count(b'setup')), (True, 1))
        self.assert_open()

    def test_twice_without_a_function_is_no_failure(self):
        self.desk.set_up_by()
        self.assertEqual(self.desk.ask(asking.setup_request(ID)).answers, [ACK])
        self.assertEqual(self.desk.link.kinds().count(b'setup'), 1)
        self.assert_open()

    def test_one_that_fails_ends_the_computation(self):
        self.desk.open_by(setup=u'prepare')
        request = self.desk.ask(asking.setup_request(ID))
        self.desk.says(b'setup', b'error', b'Traceback ...')
        self.assertEqual((request.answers, request.is_closed), ([b'Traceback ...'], True))
        self.desk.says(b'closed', None)
        self.assert_free()

    def test_after_close_there_is_nothing_to_be_set_up(self):
        self.desk.set_up_by()
        self.desk.ask(job())
        self.desk.ask(close(terminate_pending=False))       # the job is waited for
        request = self.desk.ask(asking.setup_request(ID))
        self.assertEqual((request.answers, request.is_closed), ([b'invalid computation'], True))
        self.assertEqual(self.desk.jobs(), [(1, jobs.WAITING)])

    def test_of_an_unknown_one_or_by_a_stranger(self):
        self.assertEqual(self.desk.ask(asking.setup_request(ID)).answers, [b'invalid computation'])
        self.desk.open_by()
        request = self.desk.ask(asking.setup_request(ID), address=STRANGER)
        self.assertEqual(request.answers, [b'invalid computation'])
        self.assert_refused(request, 'SETUP refused: address')
        self.assertIsNone(self.desk.computation.setup)

    def test_a_client_that_has_gone_meanwhile_keeps_its_computation(self):
        self.desk.open_by(setup=u'prepare')
        request = self.desk.ask(asking.setup_request(ID))
        request.is_gone = True
        self.desk.says(b'setup', b'ok', None)
        self.assertTrue(request.is_closed)
        self.assert_open()

    def test_a_fault_while_it_is_answered_is_told(self):
        self.desk.open_by(setup=u'prepare')
        request = self.desk.ask(asking.setup_request(ID))
        self.desk.computation.close = fail
        self.desk.says(b'setup', b'error', b'Traceback ...')
        self.assertTrue(request.answers and request.answers[0].startswith(FAULT), request.answers)
        self.assertTrue(request.is_closed)

    def test_one_that_comes_while_its_compute_is_being_done_waits_for_that(self):
        self.desk.open_by()
        computation = self.desk.computation
        computation.begun = Begun(computation.begun.set)
        request = self.desk.ask(asking.setup_request(ID))
        self.desk.says(b'setup', b'ok', None)
        self.assertEqual(request.answers, [ACK])


def record(name, dest_path=u'', compute_id=ID, size=0):
    """Return the wire record of a file."""
    class Stat(object):
        st_mode, st_size, st_atime, st_mtime = 0o100600, size, 1e9, 1e9
    return replies.file_record(name, dest_path, Stat, u'/', compute_id)


def file_transfer(*args, **more):
    """Return a FILEXFER."""
    from dispynode_lib.wire.pickle.pickles import dump
    return b'FILEXFER:' + dump(record(*args, **more), False)


class FileTest(DeskCase):

    def setUp(self):
        super(FileTest, self).setUp()
        self.desk.open_by()

    def receive(self, problem):
        """Have a file refused by its folder; return the FakeRequest."""
        self.desk.computation.folder = Recorder(receive=problem)
        return self.desk.ask(file_transfer(u'name'))

    def test_its_folder_takes_it_and_answers(self):
        request = self.receive(lambda record, stream, value: stream.reply(value(record.size)))
        self.assertEqual((request.value, request.is_closed), (0, True))

    def test_one_of_a_path_outside_is_refused_and_nothing_written(self):
        folders = Folders(os.path.join(os.path.realpath(self.scratch), 'files'))
        self.desk.computation.folder = folders.open(CLIENT, u'f', ID, None)
        for dest_path in (u'../other', u'..', u'a/../..'):
            request = self.desk.ask(file_transfer(u'name', dest_path))
            self.assertEqual((request.value, request.is_closed), (-1, True))
        self.assertEqual(self.desk.complaints.counts(), {'FILEXFER refused': 3})
        self.assertEqual(os.listdir(self.desk.computation.folder.path), [])
        self.assertEqual(os.listdir(os.path.dirname(self.desk.computation.folder.path)),
                         [os.path.basename(self.desk.computation.folder.path)])

    def test_one_of_an_unknown_computation(self):
        request = self.desk.ask(file_transfer(u'name', compute_id=8))
        self.assertEqual(request.value, -1)
        self.assert_refused(request, 'FILEXFER refused')
        self.assertEqual(self.desk.folder.named('receive'), [])

    def test_one_of_a_stranger_is_counted_once(self):
        request = self.desk.ask(file_transfer(u'name'), address=STRANGER)
        self.assertEqual(request.value, -1)
        self.assert_refused(request, 'FILEXFER refused: address')
        self.assertEqual(self.desk.folder.named('receive'), [])

    def test_one_that_cannot_be_written(self):
        for problem in (lack_room, fail):           # a UnicodeError is a ValueError
            request = self.receive(problem)
            self.assertEqual((request.value, request.is_closed), (-1, True))
        self.assertEqual(self.desk.complaints.counts(), {})


class JobCase(DeskCase):

    def setUp(self):
        super(JobCase, self).setUp()
        self.desk.set_up_by()

    def assert_no_job(self):
        """No CPU is held, no slot of the journal, and nothing is to be replied to."""
        self.desk.settle()
        self.assertEqual((self.desk.jobs(), self.desk.state.used_cpus(), self.desk.replies), ([], 0, []))
        self.assertEqual(len(self.desk.journal.named('add')), len(self.desk.journal.named('remove')))


class JobTest(JobCase):

    def test_it_is_acknowledged_before_it_runs(self):
        child = self.desk.fork()
        request = self.desk.ask(job(), meanwhile=lambda: self.assertEqual(child.frames, []))
        self.assertEqual((request.answers, request.is_closed), ([ACK], True))
        self.assertEqual((len(child.frames), self.desk.jobs()), (1, [(1, jobs.RUNNING)]))
        self.assertEqual([name for name, _args in self.desk.journal.calls], ['add', 'note_accepted'])
        child.tell()
        self.assertEqual((self.desk.replies, self.desk.state.used_cpus()), ([(1, 11, None)], 0))

    def test_at_once_it_is_the_same(self):
        child = self.desk.fork()
        done, request = self.desk.at_once(job())
        self.assertEqual((done, request.answers, len(child.frames)), (True, [ACK], 1))
        self.assertEqual((self.desk.workers.tasks, self.desk.jobs()), ([], [(1, jobs.RUNNING)]))

    def test_at_once_without_a_cpu_does_nothing(self):
        for uid in (1, 2):
            self.desk.ask(job(uid))
        before = self.desk.jobs()
        done, request = self.desk.at_once(job(3))
        self.assertEqual((done, request.answers, self.desk.jobs()), (False, [], before))
        self.assertEqual(self.desk.complaints.counts(), {})

    def test_at_once_while_its_compute_is_being_done_does_nothing(self):
        self.desk.computation.begun = Begun(fail)
        done, request = self.desk.at_once(job())
        self.assertEqual((done, request.answers, self.desk.jobs()), (False, [], []))

    def test_while_its_compute_is_being_done_it_waits_for_that(self):
        self.desk.computation.begun = Begun(self.desk.computation.begun.set)
        self.assertEqual(self.desk.ask(job()).answers, [ACK])
        self.assertEqual(self.desk.jobs(), [(1, jobs.WAITING)])

    def test_a_compute_that_failed_meanwhile_leaves_it_without_computation(self):
        computation = self.desk.computation
        computation.begun = Begun(lambda: self.desk.state.forget_computation(computation))
        request = self.desk.ask(job())
        self.assertEqual(request.answers, [b'NAK (invalid computation ID)'])
        self.assert_refused(request, 'JOB refused')
        self.assert_no_job()

    def test_no_cpu_within_the_wait(self):
        self.addCleanup(setattr, handlers, 'BUSY_WAIT', handlers.BUSY_WAIT)
        handlers.BUSY_WAIT = 0.01
        for uid in (1, 2):
            self.desk.ask(job(uid))
        request = self.desk.ask(job(3, xfer_files=[record(u'a')]))
        self.assertEqual(request.answers, [b'NAK (all cpus busy)'])
        self.assert_refused(request, 'JOB refused')
        self.assertEqual([uid for uid, _phase in self.desk.jobs()], [1, 2])
        self.assertEqual(len(self.desk.folder.named('release')), 1)

    def test_a_cpu_that_becomes_free_within_the_wait(self):
        self.desk = self.make_desk(cpus=1)
        self.desk.set_up_by()
        child = self.desk.fork()
        self.desk.ask(job(1))
        Meanwhile(self.desk.state, child.tell)
        self.assertEqual(self.desk.ask(job(2)).answers, [ACK])
        self.assertEqual((self.desk.replies, self.desk.jobs()), ([(1, 11, None)], [(2, jobs.WAITING)]))

    def test_a_close_within_the_wait(self):
        self.desk = self.make_desk(cpus=1)
        self.desk.set_up_by()
        self.desk.ask(job(1))
        Meanwhile(self.desk.state, lambda: self.desk.computation.close(terminate=False))
        self.assertEqual(self.desk.ask(job(2)).answers, [b'NAK (invalid computation ID)'])
        self.assertEqual([uid for uid, _phase in self.desk.jobs()], [1])

    def test_of_an_unknown_computation(self):
        for at_once in (False, True):
            self.desk = self.make_desk()
            request = self.desk.at_once(job())[1] if at_once else self.desk.ask(job())
            self.assertEqual(request.answers, [b'NAK (invalid computation ID)'])
            self.assert_refused(request, 'JOB refused')
            self.assert_no_job()

    def test_of_a_stranger_is_counted_once_and_removes_no_file(self):
        for at_once in (False, True):
            self.desk = self.make_desk()
            self.desk.set_up_by()
            payload = job(xfer_files=[record(u'a')])
            request = (self.desk.at_once(payload, address=STRANGER)[1] if at_once
                       else self.desk.ask(payload, address=STRANGER))
            self.assertEqual(request.answers, [b'NAK (invalid computation ID)'])
            self.assert_refused(request, 'JOB refused: address')
            self.assertEqual(self.desk.folder.named('release'), [])
            self.assert_no_job()

    def test_while_paused_or_draining_the_owner_goes_on(self):
        for uid, phase in ((1, states.PAUSED), (2, states.DRAINING)):
            self.desk.state.set_phase(phase)
            self.assertEqual(self.desk.ask(job(uid)).answers, [ACK])
        self.assertEqual(self.desk.state.used_cpus(), 2)

    def test_while_the_node_stops(self):
        self.desk.state.set_phase(states.STOPPING)
        request = self.desk.ask(job())
        self.assertEqual(request.answers, [b'NAK (node is stopping)'])
        self.assert_refused(request, 'JOB refused')
        self.assert_no_job()

    def test_outside_service_hours(self):
        self.desk.state.set_hours(u'it is late', jobs_until=0.0)
        self.assertEqual(self.desk.ask(job()).answers, [b'NAK (outside service hours)'])
        self.assert_no_job()

    def test_after_close(self):
        self.desk.ask(job(1))
        self.desk.ask(close(terminate_pending=False))
        self.assertEqual(self.desk.ask(job(2)).answers, [b'NAK (invalid computation ID)'])
        self.assertEqual([uid for uid, _phase in self.desk.jobs()], [1])

    def test_a_fault_before_its_ack_is_a_refusal(self):
        for at_once in (False, True):
            self.desk = self.make_desk()
            self.desk.set_up_by()
            self.desk.requests._journal = Recorder(add=lack_room)
            request = self.desk.at_once(job())[1] if at_once else self.desk.ask(job())
            self.assertTrue(request.answers[0].startswith(b'NAK (the node failed: '), request.answers)
            self.assertEqual((request.is_closed, self.desk.jobs(), self.desk.state.used_cpus()), (True, [], 0))

    def test_a_fault_after_its_ack_is_its_reply(self):
        for part, name in ((self.desk.computation, 'start_job'), (self.desk.journal, 'note_accepted')):
            setattr(part, name, fail)
            self.assertEqual(self.desk.ask(job()).answers, [ACK])
            (uid, status, exception), = self.desk.replies
            self.assertEqual((uid, status), (1, TERMINATED))
            self.assertTrue(exception.startswith(u'the node failed: '), exception)
            self.assertEqual((self.desk.jobs(), self.desk.state.used_cpus()), ([], 0))
            del self.desk.replies[:]


class BigJobTest(JobCase):

    def setUp(self):
        super(BigJobTest, self).setUp()
        self.big = self.make_arguments(u'first')

    def make_arguments(self, name, stand_in=b'args'):
        """Return Arguments in a file."""
        path = os.path.join(self.scratch, name)
        open(path, 'wb').close()
        return Arguments(path, stand_in)

    def assert_files(self, *names):
        """There are these files with arguments."""
        self.assertEqual([name for name in (u'first', u'again') if os.path.exists(os.path.join(self.scratch, name))],
                         list(names))

    def test_its_file_is_the_jobs_until_it_has_ended(self):
        child = self.desk.fork()
        self.assertEqual(self.desk.ask(job(), big=self.big).answers, [ACK])
        self.assert_files(u'first')
        child.tell()
        self.desk.settle()
        self.assertEqual(len(self.desk.replies), 1)
        self.assert_files()

    def test_its_file_goes_with_its_refusal(self):
        self.desk.state.set_phase(states.STOPPING)
        self.assertEqual(self.desk.ask(job(), big=self.big).answers, [b'NAK (node is stopping)'])
        self.assert_files()

    def test_the_file_of_a_repeated_one_goes_and_the_first_stays(self):
        self.desk.ask(job(), big=self.big)
        self.assertEqual(self.desk.ask(job(), big=self.make_arguments(u'again')).answers, [ACK])
        self.assert_files(u'first')

    def test_its_file_goes_when_its_client_has_gone(self):
        self.desk.ask(job(), big=self.big, is_gone=True)
        self.assert_files()
        self.assert_no_job()

    def test_arguments_at_an_odd_place_are_nonsense(self):
        request = self.desk.ask(job(), big=self.make_arguments(u'first', b'elsewhere'))
        self.assertEqual(request.answers, [b'NAK (invalid job)'])
        self.assert_files()
        self.assert_no_job()

    def test_a_repeated_one_stays_though_the_first_connection_was_lost(self):
        def repeat():
            self.assertEqual(self.desk.begin(job(), big=self.make_arguments(u'again')).answers, [ACK])
        child = self.desk.fork()
        self.desk.ask(job(), big=self.big, is_gone=True, meanwhile=repeat)
        self.assertEqual(self.desk.jobs(), [(1, jobs.RUNNING)])
        self.assert_files(u'first')
        child.tell()
        self.desk.settle()
        self.assertEqual(self.desk.replies, [(1, 11, None)])
        self.assert_files()


class RepeatedJobTest(JobCase):

    def repeat(self, at_once):
        """Send the JOB again, by either way; it is acknowledged."""
        request = self.desk.at_once(job())[1] if at_once else self.desk.begin(job())
        self.assertEqual(request.answers, [ACK])

    def test_repeated_because_its_ack_was_lost_it_runs_once(self):
        child = self.desk.fork()
        self.desk.ask(job())
        for at_once in (False, True):
            self.repeat(at_once)
        self.assertEqual((len(child.frames), self.desk.state.used_cpus()), (1, 1))
        child.tell()
        self.assertEqual(self.desk.replies, [(1, 11, None)])

    def test_the_same_number_with_another_hash_is_another_job(self):
        self.desk.ask(job())
        self.desk.ask(asking.job_request(1, u'ef', ID, b'args', b'kwargs'))
        self.assertEqual(len(self.desk.jobs()), 2)

    def test_repeated_after_its_reply_it_runs_again(self):
        child = self.desk.fork()
        self.desk.ask(job())
        child.tell()
        self.repeat(False)
        self.desk.settle()
        self.assertEqual(self.desk.jobs(), [(1, jobs.WAITING)])

    def test_one_whose_ack_cannot_be_sent_is_forgotten(self):
        for at_once in (False, True):
            self.desk = self.make_desk()
            self.desk.set_up_by()
            child = self.desk.fork()
            payload = job(xfer_files=[record(u'a')])
            if at_once:
                self.desk.at_once(payload, is_gone=True)
            else:
                self.desk.ask(payload, is_gone=True)
            self.assertEqual((child.frames, self.desk.jobs(), self.desk.state.used_cpus()), ([], [], 0))
            self.desk.settle()
            self.assertEqual((len(self.desk.folder.named('release')), self.desk.replies), (1, []))

    def test_a_job_is_lost_though_the_repeated_one_was_acknowledged(self):
        for at_once in (False, True):
            self.desk = self.make_desk()
            self.desk.set_up_by()
            child = self.desk.fork()
            self.desk.ask(job(), is_gone=True, meanwhile=lambda: self.repeat(at_once))
            self.assertEqual((len(child.frames), self.desk.jobs()), (1, [(1, jobs.RUNNING)]))
            child.tell()
            self.assertEqual((self.desk.replies, self.desk.state.used_cpus()), ([(1, 11, None)], 0))

    def test_a_repeated_one_gets_its_reply_though_the_first_met_a_fault(self):
        def add(*_args):
            self.repeat(False)
            lack_room()
        self.desk.requests._journal = Recorder(add=add)
        first = self.desk.ask(job())
        self.assertTrue(first.is_closed)
        (uid, status, exception), = self.desk.replies
        self.assertEqual((uid, status), (1, TERMINATED))
        self.assertIn(u'No space left', exception)
        self.assertEqual(self.desk.state.used_cpus(), 0)


class TerminateJobTest(JobCase):

    def test_a_job_that_runs(self):
        self.desk.fork()
        self.desk.ask(job())
        request = self.desk.ask(terminate())
        self.assertEqual((request.answers, request.is_closed), ([], True))
        self.assertEqual(self.desk.jobs(), [(1, jobs.STOPPING)])
        self.assertEqual(self.desk.link.sent[-1], (b'stop', b'1'))

    def test_a_job_that_waits_gets_its_reply_at_once(self):
        self.desk.ask(job())
        self.assertEqual(self.desk.ask(terminate()).answers, [])
        self.assertEqual((self.desk.replies, self.desk.jobs()), ([(1, TERMINATED, None)], []))

    def test_an_unknown_or_a_finished_one_is_nothing(self):
        child = self.desk.fork()
        self.desk.ask(job())
        child.tell()
        before = len(self.desk.link.sent)
        for payload in (terminate(), terminate(2), terminate(compute_id=8)):
            request = self.desk.ask(payload)
            self.assertEqual((request.answers, request.error, request.is_closed), ([], None, True))
        self.assertEqual((self.desk.replies, len(self.desk.link.sent)), ([(1, 11, None)], before))

    def test_another_hash_or_a_stranger_stops_nothing(self):
        self.desk.fork()
        self.desk.ask(job())
        self.desk.ask(terminate(hash_=u'ef'))
        request = self.desk.ask(terminate(), address=STRANGER)
        self.assert_refused(request, 'TERMINATE_JOB refused: address')
        self.assertEqual(self.desk.jobs(), [(1, jobs.RUNNING)])

    def test_one_whose_ack_then_fails_is_replied_to_never(self):
        self.desk.ask(job(), is_gone=True, meanwhile=lambda: self.desk.begin(terminate()))
        self.desk.loop.pass_time(1.0)
        self.assert_no_job()


class CloseTest(JobCase):

    def test_with_terminate_it_ends_its_jobs(self):
        self.desk.fork()
        self.desk.ask(job(1))
        self.desk.ask(job(2))
        request = self.desk.ask(close())
        self.assertEqual((request.answers, request.is_closed), ([ACK], True))
        self.assertEqual((self.desk.replies, self.desk.jobs()), ([(2, TERMINATED, None)], [(1, jobs.STOPPING)]))
        self.assertTrue(self.desk.computation.closed_by_client)

    def test_without_terminate_it_waits_for_its_jobs(self):
        child = self.desk.fork()
        self.desk.ask(job())
        self.assertEqual(self.desk.ask(close(terminate_pending=False)).answers, [ACK])
        self.assertEqual(self.desk.jobs(), [(1, jobs.RUNNING)])
        child.tell()
        self.assertEqual(self.desk.replies, [(1, 11, None)])
        self.desk.says(b'closed', None)
        self.assert_free()

    def test_twice_it_is_acknowledged_twice(self):
        self.desk.fork()
        self.desk.ask(job())
        for terminate_pending, phase in ((False, jobs.RUNNING), (True, jobs.STOPPING)):
            self.assertEqual(self.desk.ask(close(terminate_pending)).answers, [ACK])
            self.assertEqual(self.desk.jobs(), [(1, phase)])

    def test_after_its_end_it_is_acknowledged(self):
        for _time in range(2):
            self.assertEqual(self.desk.ask(close()).answers, [ACK])
        self.desk.says(b'closed', None)
        self.assertEqual(self.desk.ask(close()).answers, [ACK])
        self.assert_free()

    def test_of_the_wrong_client_it_is_acknowledged_and_does_nothing(self):
        self.assertEqual(self.desk.ask(close(), address=STRANGER).answers, [ACK])
        self.assertEqual(self.desk.complaints.counts(), {'CLOSE refused: address': 1})
        for payload in (close(auth=u'cc'), close(address=u'10.0.0.2'), close(compute_id=8)):
            self.assertEqual(self.desk.ask(payload).answers, [ACK])
        self.assert_open()

    def test_with_close_false_it_is_set_up_anew(self):
        self.assertEqual(self.desk.ask(close(close=False)).answers, [ACK])
        self.desk.says(b'closed', None)
        self.desk.says(b'opened', None)
        self.assertEqual(self.desk.news.named('on_renewed'), [(self.desk.computation,)])
        self.assert_open()

    def test_its_refused_replies_are_not_kept_any_longer(self):
        self.desk.spool.keep(self.desk.computation, 1, HASH, PREFIX + b'reply', 'refused')
        self.desk.spool.keep(self.desk.computation, 2, HASH, PREFIX + b'reply')
        self.desk.ask(close())
        self.assertEqual(self.desk.spool.jobs((ID, AUTH)), [(2, HASH)])

    def test_a_client_that_has_gone_has_closed_it(self):
        self.desk.ask(close(), is_gone=True)
        self.desk.says(b'closed', None)
        self.assert_free()

    def test_a_fault_is_acknowledged(self):
        self.desk.computation.close = fail
        request = self.desk.ask(close())
        self.assertEqual((request.answers, request.is_closed), ([ACK], True))


class QuestionTest(JobCase):

    def keep(self, uid):
        """Have a reply kept."""
        self.desk.spool.keep(self.desk.computation, uid, HASH, PREFIX + b'reply %d' % uid)

    def test_jobs_are_those_without_a_reply(self):
        self.desk.fork().tell()
        self.desk.ask(job(1))
        self.keep(2)
        self.assertEqual(self.desk.ask(question(b'JOBS')).value, [1])

    def test_pending_jobs(self):
        self.desk.ask(job(1))
        self.keep(2)
        request = self.desk.ask(question(b'PENDING_JOBS'))
        self.assertEqual((request.value, request.is_closed), ({u'done': [2], u'pending': 1}, True))

    def test_who_does_not_know_the_computation_is_told_nothing_of_it(self):
        self.desk.ask(job(1))
        self.keep(2)
        for more in ({'auth': u'cc'}, {'compute_id': 8}):
            self.assertEqual(self.desk.ask(question(b'JOBS', **more)).value, [])
            self.assertEqual(self.desk.ask(question(b'PENDING_JOBS', **more)).value, {u'done': [], u'pending': 0})
            self.assertEqual(self.desk.ask(question(b'RESEND_JOB_RESULTS', **more)).value, 0)
            request = self.desk.ask(question(b'RETRIEVE_JOB', uid=2, hash=HASH, **more))
            self.assertIsNone(request.value)
        self.assertEqual(self.desk.spool.total(), 1)

    def test_resent_are_those_kept_and_those_that_run(self):
        self.desk.ask(job(1))
        self.keep(2)
        request = self.desk.begin(question(b'RESEND_JOB_RESULTS'))
        self.assertEqual((request.answers, request.is_closed), ([], False))
        self.desk.settle()
        self.assertEqual((request.value, request.is_closed), (2, True))

    def test_a_client_that_has_gone_is_sent_its_replies_all_the_same(self):
        request = self.desk.ask(question(b'RESEND_JOB_RESULTS'), is_gone=True)
        self.assertTrue(request.is_closed)
        self.assertEqual([args[0] for args in self.desk.delivery.named('resend')], [(ID, AUTH)])

    def test_a_kept_reply_goes_when_it_is_acknowledged(self):
        for says, left in ((b'NAK', 1), (None, 1), (ACK, 0)):
            self.keep(2)
            request = self.desk.ask(question(b'RETRIEVE_JOB', uid=2, hash=HASH), reads=[says] if says else [])
            self.assertEqual((request.answers, request.is_closed), ([b'reply 2'], True))
            self.assertEqual(self.desk.spool.total(), left)

    def test_a_reply_that_is_not_kept_is_none(self):
        self.keep(2)
        for more in ({'uid': 3, 'hash': HASH}, {'uid': 2, 'hash': u'ef'}, {}):
            self.assertIsNone(self.desk.ask(question(b'RETRIEVE_JOB', **more)).value)
        self.assertEqual(self.desk.spool.total(), 1)

    def test_nonsense_is_closed_without_an_answer(self):
        for opcode in (b'JOBS', b'PENDING_JOBS', b'RETRIEVE_JOB', b'RESEND_JOB_RESULTS', b'TERMINATE_JOB'):
            request = self.desk.ask(opcode + b':nonsense')
            self.assertEqual((request.answers, request.is_closed), ([], True))
            self.assertIsInstance(request.error, ProtocolError)


class WhoAsksTest(DeskCase):

    def test_an_unknown_request(self):
        request = self.desk.ask(b'NO_SUCH:x')
        self.assertEqual((request.answers, request.is_closed), ([b'NAK (invalid command: NO_SUCH)'], True))
        self.assertIsInstance(request.error, ProtocolError)

    def test_with_the_token_of_another_secret_nothing_is_answered_or_done(self):
        self.desk.set_up_by()
        before = len(self.desk.link.sent)
        payloads = (self.desk.compute(id=8), job(), asking.setup_request(ID), file_transfer(u'name'), terminate(),
                    close(), question(b'JOBS'), question(b'RESEND_JOB_RESULTS'), b'NO_SUCH:x')
        for payload in payloads:
            request = self.desk.ask(payload, token=WRONG)
            self.assertEqual((request.answers, request.is_closed), ([], True))
        self.assertEqual(self.desk.complaints.counts(), {'wrong secret': len(payloads)})
        self.assertEqual((len(self.desk.link.sent), self.desk.jobs()), (before, []))
        self.assert_open()

    def test_who_sends_wrong_ones_again_and_again_is_shut_out(self):
        for _time in range(20):
            self.desk.ask(job(), address=STRANGER, token=WRONG)
        self.assertIsNotNone(self.desk.penalties.reason(STRANGER))
        self.assertIsNone(self.desk.penalties.reason(CLIENT))

    def test_with_the_token_of_an_earlier_run_it_is_for_the_reception_to_reset(self):
        request = self.desk.ask(job(), token=EARLIER)
        self.assertEqual((request.answers, self.desk.complaints.counts()), ([], {}))
        self.assertIn('an earlier run', str(request.error))
        self.assertIsNone(self.desk.penalties.reason(CLIENT))

    def test_with_a_token_of_before_kept_replies_are_given_and_nothing_else(self):
        self.desk.set_up_by()
        self.desk.spool.keep(self.desk.computation, 2, HASH, PREFIX + b'reply')
        request = self.desk.ask(question(b'RETRIEVE_JOB', uid=2, hash=HASH), token=EARLIER, reads=[ACK])
        self.assertEqual((request.answers, self.desk.spool.total()), ([b'reply'], 0))
        self.desk.spool.keep(self.desk.computation, 2, HASH, PREFIX + b'reply')
        self.assertEqual(self.desk.ask(job(), token=EARLIER).answers, [])
        self.assertEqual(self.desk.jobs(), [])

    def test_what_is_open_to_all_needs_no_token(self):
        request = self.desk.ask(b'PING:x', token=WRONG)
        self.assertEqual(self.desk.told.named('ping'), [(request,)])
        self.assertEqual(self.desk.complaints.counts(), {})

    def test_this_host_may_speak_for_its_own_client_from_any_address(self):
        self.desk.open_by(scheduler_ip_addr=NODE)
        self.assertEqual(self.desk.ask(asking.setup_request(ID), address=NODE).error, None)
        self.assertEqual(self.desk.complaints.counts(), {})


if __name__ == '__main__':
    unittest.main()
