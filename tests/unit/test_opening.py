"""node.requests.opening: what a client gets for COMPUTE, SETUP, FILEXFER and CLOSE, and what the
node has in mind then."""
from __future__ import absolute_import, division, print_function

import os
import unittest

from dispynode_lib.errors import ProtocolError, Refused
from dispynode_lib.node.computations import computation as computations
from dispynode_lib.node.files.folders import Folders
from dispynode_lib.node.replies.spool import PREFIX
from dispynode_lib.node.requests import opening
from dispynode_lib.node.shared import job as jobs
from dispynode_lib.node.shared import state as states
from dispynode_lib.wire import asking, replies
from dispynode_lib.wire.control import TERMINATED
from dispynode_lib.wire.peers import Peer
from tests.support.desk import (ACK, AUTH, CLIENT, FAULT, HASH, ID, PORT, STRANGER, Begun, DeskCase,
                                JobCase, close, fail, file_transfer, job, lack_room, record)
from tests.support.fakes import Recorder


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
        self.assertEqual((len(self.desk.nursery.links), len(self.desk.folders.named('open'))),
                         (1, 1))
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
        request = self.desk.ask(self.desk.compute(id=8, scheduler_ip_addr=STRANGER),
                                address=STRANGER)
        self.assertEqual(request.value, u'Node busy')
        self.assert_refused(request, 'COMPUTE refused: busy')
        self.assertEqual([args[0] for args in self.desk.announcer.named('compute_refused')],
                         [(STRANGER, PORT)])
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
                self.assertTrue(request.answers[0].startswith(b'no supervisor can be started: '),
                                request.answers)
            self.assertTrue(request.is_closed)
            self.assertEqual(self.desk.folder.named('close'), [(True,)])
            self.assertEqual(self.desk.computation.phase, computations.CLOSED)
            self.assert_free()

    def test_a_folder_that_cannot_be_made(self):
        def refuse(*_asked):
            raise Refused('Could not create destination path: full')

        for problem, answer in ((refuse, b'Could not create destination path: full'), (fail,
                                                                                       FAULT)):
            for name in ('open', 'check_size'):
                self.desk = self.make_desk()
                self.desk.folders = self.desk.opening._folders = Recorder(**{name: problem})
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
        self.desk.opening._folders = Recorder(open=open_late)
        request = self.desk.ask(self.desk.compute())
        self.assertEqual(request.answers, [computations.ENDED_BEFORE.encode()])
        self.assertEqual((request.is_closed, self.desk.folder.named('close')), (True, [(True,)]))
        self.assertEqual(self.desk.nursery.links, [])
        self.assert_free()

    def test_a_fault_while_it_is_answered_closes_it_again(self):
        request = self.desk.ask(self.desk.compute())
        self.desk.opening._on_opened = fail
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
        self.assertEqual(sorted(computation.id
                                for computation in self.desk.state.computations()), [ID, 8])


class RepeatedComputeTest(DeskCase):
    """COMPUTE comes again before the first one is answered: its client took the connection for
    lost."""

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
            self.assertEqual((request.answers, request.is_closed),
                             ([computations.ENDED_BEFORE.encode()], True))
        self.assert_free()

    def test_no_supervisor_to_be_had_is_told_to_both(self):
        def take():
            self.again = self.desk.begin(self.desk.compute())
            self.desk.loop.turn()
            lack_room()
        self.desk = self.make_desk()
        self.desk.nursery.take = take
        self.addCleanup(setattr, opening, 'BEGIN_WAIT', opening.BEGIN_WAIT)
        opening.BEGIN_WAIT = 0.0           # it takes longer than the second one waits
        self.first = self.desk.ask(self.desk.compute())
        for request in (self.first, self.again):
            self.assertTrue(request.answers[0].startswith(b'no supervisor can be started: '),
                            request.answers)
            self.assertTrue(request.is_closed)
        self.assert_free()

    def test_a_refusal_of_the_first_is_one_of_the_second(self):
        def refuse(*_asked):
            self.again = self.desk.begin(self.desk.compute())
            raise Refused('Could not create destination path: full')
        self.desk = self.make_desk()
        self.desk.opening._folders = Recorder(open=refuse)
        self.addCleanup(setattr, opening, 'BEGIN_WAIT', opening.BEGIN_WAIT)
        opening.BEGIN_WAIT = 0.0
        self.first = self.desk.ask(self.desk.compute())
        self.assertEqual(self.first.answers, [b'Could not create destination path: full'])
        self.assertEqual((self.again.answers, self.again.is_closed),
                         ([computations.ENDED_BEFORE.encode()], True))
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

    def test_twice_while_it_runs_the_first_is_acknowledged(self):
        self.desk.open_by(setup=u'prepare')
        first = self.desk.ask(asking.setup_request(ID))
        again = self.desk.ask(asking.setup_request(ID))
        self.assertEqual(again.answers, [computations.SET_UP_BEFORE.encode()])
        self.desk.says(b'setup', b'ok', None)
        self.assertEqual((first.answers, self.desk.link.kinds().count(b'setup')), ([ACK], 1))
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


class CloseTest(JobCase):

    def test_with_terminate_it_ends_its_jobs(self):
        self.desk.fork()
        self.desk.ask(job(1))
        self.desk.ask(job(2))
        request = self.desk.ask(close())
        self.assertEqual((request.answers, request.is_closed), ([ACK], True))
        self.assertEqual((self.desk.replies, self.desk.jobs()),
                         ([(2, TERMINATED, None)], [(1, jobs.STOPPING)]))
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


if __name__ == '__main__':
    unittest.main()
