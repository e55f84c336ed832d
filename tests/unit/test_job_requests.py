"""node.requests.jobs: what a client gets for its jobs and questions about them, and what the node
has in mind then."""
from __future__ import absolute_import, division, print_function

import os
import unittest

from dispynode_lib.errors import ProtocolError
from dispynode_lib.host.compat import monotonic
from dispynode_lib.node.files.bigfiles import Arguments
from dispynode_lib.node.replies.spool import PREFIX
from dispynode_lib.node.requests import jobs as job_requests
from dispynode_lib.node.shared import job as jobs
from dispynode_lib.node.shared import state as states
from dispynode_lib.wire import asking
from dispynode_lib.wire.control import TERMINATED
from tests.support.desk import (ACK, AUTH, HASH, ID, STRANGER, Begun, JobCase, Meanwhile, close,
                                fail, job, lack_room, question, record, terminate)
from tests.support.fakes import Recorder


class JobTest(JobCase):

    def test_it_is_acknowledged_before_it_runs(self):
        child = self.desk.fork()
        request = self.desk.ask(job(), meanwhile=lambda: self.assertEqual(child.frames, []))
        self.assertEqual((request.answers, request.is_closed), ([ACK], True))
        self.assertEqual((len(child.frames), self.desk.jobs()), (1, [(1, jobs.RUNNING)]))
        self.assertEqual([name
                          for name, _args in self.desk.journal.calls[:3]],
                         ['prepare', 'add', 'note_accepted'])
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
        self.addCleanup(setattr, job_requests, 'BUSY_WAIT', job_requests.BUSY_WAIT)
        job_requests.BUSY_WAIT = 0.01
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
        self.assertEqual((self.desk.replies, self.desk.jobs()),
                         ([(1, 11, None)], [(2, jobs.WAITING)]))

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
            self.desk.job_requests._journal = Recorder(add=lack_room)
            request = self.desk.at_once(job())[1] if at_once else self.desk.ask(job())
            self.assertTrue(request.answers[0].startswith(b'NAK (the node failed: '),
                            request.answers)
            self.assertEqual((request.is_closed, self.desk.jobs(), self.desk.state.used_cpus()),
                             (True, [], 0))

    def test_a_fault_after_its_ack_is_its_reply(self):
        for part, name in ((self.desk.computation, 'start_job'), (self.desk.journal,
                                                                  'note_accepted')):
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
        self.assertEqual([
            name
            for name in (u'first', u'again') if os.path.exists(os.path.join(self.scratch, name))
        ], list(names))

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
            self.assertEqual(
                self.desk.begin(job(), big=self.make_arguments(u'again')).answers, [ACK])
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
            self.assertEqual((child.frames, self.desk.jobs(), self.desk.state.used_cpus()),
                             ([], [], 0))
            self.desk.settle()
            self.assertEqual((len(self.desk.folder.named('release')), self.desk.replies), (1, []))

    def test_a_failed_ack_after_close_keeps_neither_node_nor_files(self):
        self.desk.ask(job(xfer_files=[record(u'a')]), is_gone=True,
                      meanwhile=lambda: self.desk.computation.close(terminate=False))
        self.assertEqual(len(self.desk.folder.named('release')), 1)
        self.assertEqual(self.desk.news.named('on_ending'), [(self.desk.computation,)])
        self.assert_no_job()

    def test_a_job_that_was_stopped_before_its_ack_failed_is_given_up_once(self):
        def finish():
            # its reply is under way
            self.desk.state.finish_job(self.desk.state.find_job(ID, 1, HASH))
        self.desk.ask(job(xfer_files=[record(u'a')]), is_gone=True, meanwhile=finish)
        self.assertEqual((self.desk.journal.named('remove'), self.desk.folder.named('release')),
                         ([], []))
        self.assertEqual((self.desk.jobs(), self.desk.state.used_cpus()), ([], 0))

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
        self.desk.job_requests._journal = Recorder(add=add)
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

    def test_a_client_that_cancels_many_is_not_sent_a_reply_in_between(self):
        now = monotonic()
        self.addCleanup(setattr, job_requests, 'monotonic', job_requests.monotonic)
        job_requests.monotonic = lambda: now
        for uid in (1, 2):
            self.desk.fork()
            self.desk.ask(job(uid))
        stopped = [self.desk.state.find_job(ID, uid, HASH) for uid in (1, 2)]
        for uid, each in enumerate(stopped, 1):     # there is one CPU less busy for the second one
            self.assertLess(each.reply_after, now + 0.1)
            self.desk.ask(terminate(uid))
            each.computation.finish(each, TERMINATED)
            self.assertEqual(self.desk.state.used_cpus(), 2 - uid)
            self.assertTrue(now + 0.1 < each.reply_after < now + 0.3)

    def test_a_client_that_has_no_more_jobs_is_not_kept_waiting(self):
        self.desk.fork()
        self.desk.ask(job())
        stopped = self.desk.state.find_job(ID, 1, HASH)
        self.desk.ask(terminate())
        self.assertLess(stopped.reply_after, monotonic() + 0.1)

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
            self.assertEqual(
                self.desk.ask(question(b'PENDING_JOBS', **more)).value,
                {u'done': [], u'pending': 0})
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
            request = self.desk.ask(question(b'RETRIEVE_JOB', uid=2, hash=HASH),
                                    reads=[says] if says else [])
            self.assertEqual((request.answers, request.is_closed), ([b'reply 2'], True))
            self.assertEqual(self.desk.spool.total(), left)

    def test_a_reply_that_is_not_kept_is_none(self):
        self.keep(2)
        for more in ({'uid': 3, 'hash': HASH}, {'uid': 2, 'hash': u'ef'}, {}):
            self.assertIsNone(self.desk.ask(question(b'RETRIEVE_JOB', **more)).value)
        self.assertEqual(self.desk.spool.total(), 1)

    def test_nonsense_is_closed_without_an_answer(self):
        for opcode in (b'JOBS', b'PENDING_JOBS', b'RETRIEVE_JOB', b'RESEND_JOB_RESULTS',
                       b'TERMINATE_JOB'):
            request = self.desk.ask(opcode + b':nonsense')
            self.assertEqual((request.answers, request.is_closed), ([], True))
            self.assertIsInstance(request.error, ProtocolError)


if __name__ == '__main__':
    unittest.main()
