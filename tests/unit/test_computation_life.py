"""node.computations: histories of a computation, its supervisors, its jobs and their processes, with fakes around."""
from __future__ import absolute_import, division, print_function

import collections
import signal
import unittest

from dispynode_lib.node.replies.journal import ACCEPTED
from dispynode_lib.wire import control
from dispynode_lib.log import CRITICAL, output
from dispynode_lib.node.computations import computation as computations
from dispynode_lib.node.computations import link as links
from dispynode_lib.node.computations import supervision as supervisions
from dispynode_lib.node.computations.frames import ENDED
from dispynode_lib.node.computations.jobs import AT_ONCE, EXIT_NEWS_TIMEOUT, HANDING_OVER, SILENT
from dispynode_lib.node.shared import job as jobs
from dispynode_lib.node.shared import phases
from tests.support.fakes import FakeRoom, Record, done

LOST = u'the supervisor of the computation ended, and the job with it'


class History(unittest.TestCase):
    """One FakeRoom."""

    def setUp(self):
        output.level, level = CRITICAL + 1, output.level
        self.addCleanup(setattr, output, 'level', level)
        self.room = FakeRoom(cleanup=u'clean')

    def phases(self):
        """Return the phases of computation and supervisor."""
        return self.room.computation.phase, self.room.computation.supervision.phase

    def assert_gone(self):
        """It has ended, once, and has left nothing."""
        self.assertEqual(self.phases(), (computations.CLOSED, supervisions.NONE))
        for name in ('on_ending', 'on_ended'):
            self.assertEqual(len(self.room.news.named(name)), 1, name)
        self.assertEqual(len(self.room.folder.named('close')), 1)
        self.assertEqual((self.room.state.used_cpus(), self.room.state.computations()), (0, []))
        self.assertTrue(all(not link.is_open for link in self.room.nursery.links))

    def closes(self, with_cleanup=b'1'):
        """The supervisor has been told to close; it does."""
        self.assertEqual(self.room.link.sent[-1], (b'close', with_cleanup))
        self.room.says(b'closed', None)


class Interrupted(collections.deque):
    """A deque; a thread runs `meanwhile()` when somebody begins to look at its items."""

    def __init__(self, items, meanwhile):
        collections.deque.__init__(self, items)
        self._meanwhile = meanwhile

    def __iter__(self):
        found, meanwhile = list(collections.deque.__iter__(self)), self._meanwhile
        self._meanwhile = None
        if meanwhile is not None:
            meanwhile()
        return iter(found)


class OpeningTest(History):

    def test_from_compute_to_close(self):
        room = self.room
        room.start()
        self.assertEqual(self.phases(), (computations.OPENING, supervisions.COMPILING))
        room.says(b'opened', None)
        self.assertEqual((room.opened, self.phases()), ([None], (computations.OPEN, supervisions.COMPILED)))
        room.ask_setup()
        self.assertEqual(self.phases(), (computations.OPEN, supervisions.SETTING_UP))
        room.says(b'setup', b'ok', None)
        self.assertEqual((room.set_ups, self.phases()), ([(None, True)], (computations.OPEN, supervisions.READY)))
        _job, child = room.run_job()
        child.tell()
        self.assertEqual(room.replies, [(1, 11, None)])
        room.close()
        self.assertEqual(self.phases(), (computations.CLEANING, supervisions.CLEANING))
        self.closes()
        self.assert_gone()

    def test_code_that_does_not_compile(self):
        self.room.start()
        self.room.says(b'opened', b'SyntaxError')
        self.assertEqual(self.room.opened, [u'SyntaxError'])
        self.room.close(terminate=True)                     # so does who answers COMPUTE
        self.assertEqual(len(self.room.nursery.links), 1)   # it has made nothing that cleanup could clean up
        self.assert_gone()

    def test_code_that_is_never_compiled_is_refused_and_its_supervisor_killed(self):
        self.room.start()
        self.room.loop.pass_time(supervisions.OPEN_TIMEOUT)
        self.assertEqual(self.room.opened, [u'its code could not be compiled within 60 s'])
        self.assertEqual(self.room.link.signals, [signal.SIGKILL])
        self.room.close(terminate=True)
        self.assert_gone()

    def test_a_supervisor_that_dies_while_it_compiles(self):
        self.room.start()
        self.room.link.dies()
        self.assertEqual(self.room.opened, [ENDED])
        self.room.close(terminate=True)
        self.assert_gone()

    def test_no_supervisor_to_be_had(self):
        self.room.nursery.broken = True
        with self.assertRaises(EnvironmentError):
            self.room.computation.start(self.room.opened.append)
        self.room.computation.abandon()
        self.room.settle()
        self.assertEqual(self.phases(), (computations.CLOSED, supervisions.NONE))

    def test_a_close_that_overtakes_the_compiler(self):
        for terminate in (False, True):
            self.room = FakeRoom(cleanup=u'clean')
            self.room.start()
            self.room.close(terminate)
            self.assertEqual(self.phases(), (computations.CLEANING, supervisions.COMPILING))
            self.room.says(b'opened', None)
            self.assertEqual(self.room.opened, [computations.ENDED_BEFORE])
            self.closes()
            self.assert_gone()

    def test_a_close_that_overtakes_the_supervisor_itself(self):
        self.room.close(terminate=True)
        self.room.start()
        self.assertEqual(self.room.opened, [computations.ENDED_BEFORE])
        self.assert_gone()

    def test_a_job_before_the_code_is_compiled_waits_for_setup_that_nobody_asked_for(self):
        self.room.start()
        self.room.start_job()
        self.assertEqual(self.room.link.kinds(), [b'open'])
        self.room.says(b'opened', None)
        self.assertEqual(self.room.link.kinds()[1:], [b'setup'])
        self.room.says(b'setup', b'ok', None)
        child = self.room.fork()
        child.tell()
        self.assertEqual(self.room.replies, [(1, 11, None)])

    def test_setup_before_the_code_is_compiled_runs_after_it(self):
        self.room.start()
        self.room.ask_setup()
        self.assertEqual(self.room.link.kinds(), [b'open'])
        self.room.says(b'opened', None)
        self.room.says(b'setup', b'ok', None)
        self.assertEqual(self.room.set_ups, [(None, True)])


    def test_a_renewal_that_overtakes_the_compiler(self):
        self.room.start()
        self.room.renew()
        self.assertEqual(self.phases(), (computations.RENEWING, supervisions.COMPILING))
        self.room.says(b'opened', None)
        self.assertEqual(self.room.opened, [None])
        self.closes()
        self.room.says(b'opened', None)
        self.assertEqual(self.phases(), (computations.OPEN, supervisions.COMPILED))
        self.assertEqual(len(self.room.news.named('on_renewed')), 1)


class SetupTest(History):

    def test_setup_fails(self):
        self.room.open()
        self.room.ask_setup()
        self.room.says(b'setup', b'error', b'Traceback')
        self.assertEqual(self.room.set_ups, [(u'Traceback', True)])

    def test_a_second_setup(self):
        self.room.set_up()
        self.room.ask_setup()
        self.room.computation.request.setup = u'prepare'
        self.room.ask_setup()
        self.assertEqual(self.room.set_ups, [(None, True), (None, False), (computations.SET_UP_BEFORE, False)])
        self.assertEqual(self.room.link.kinds().count(b'setup'), 1)

    def test_setup_that_nobody_asked_for_fails_the_jobs_that_wait(self):
        self.room.open()
        self.room.start_job()
        self.room.says(b'setup', b'error', b'Traceback')
        self.assertEqual(self.room.replies, [(1, 9, u'Traceback')])

    def test_the_supervisor_dies_in_setup(self):
        self.room.open()
        self.room.ask_setup()
        self.room.link.dies()
        self.assertEqual((self.room.set_ups, self.phases()), ([(ENDED, True)], (computations.OPEN, supervisions.NONE)))
        self.room.close(terminate=True)
        self.room.says(b'opened', None)                     # another one, for cleanup
        self.assertEqual(self.room.link.kinds(), [b'open', b'remember', b'close'])
        self.closes()
        self.assert_gone()

    def test_the_supervisor_dies_in_a_setup_that_a_job_waits_for(self):
        self.room.open()
        self.room.start_job()
        self.room.link.dies()
        self.room.settle()
        self.assertEqual((self.room.replies, len(self.room.nursery.links)), ([(1, 9, ENDED)], 1))

    def test_a_close_in_setup_interrupts_it_until_it_ends(self):
        self.room.open()
        self.room.ask_setup()
        self.room.close(terminate=True)
        self.assertEqual(self.phases(), (computations.CLEANING, supervisions.CLOSING))
        self.room.loop.pass_time(supervisions.PRESS_AGAIN * 2)
        self.assertEqual(self.room.link.signals, [signal.SIGTERM] * 3)
        self.room.says(b'setup', b'error', b'interrupted')
        self.assertEqual(self.phases(), (computations.CLEANING, supervisions.CLEANING))
        self.closes()
        self.room.loop.pass_time(100)
        self.assertEqual((self.room.link.signals, self.room.set_ups),
                         ([signal.SIGTERM] * 3, [(u'interrupted', True)]))
        self.assert_gone()

    def test_a_setup_that_catches_every_signal_is_killed(self):
        self.room.open()
        self.room.ask_setup()
        self.room.close(terminate=True)
        self.room.loop.pass_time(supervisions.PRESS_AGAIN * supervisions.PRESSES)
        self.assertEqual(self.room.link.signals[-2:], [signal.SIGTERM, signal.SIGKILL])

    def test_the_supervisor_dies_in_a_setup_that_close_interrupts(self):
        self.room.open()
        self.room.ask_setup()
        self.room.close(terminate=True)
        self.room.link.dies()
        self.room.settle()
        self.assertEqual(self.room.set_ups, [(ENDED, True)])
        self.assert_gone()

    def test_a_close_without_terminate_lets_setup_end(self):
        self.room.open()
        self.room.ask_setup()
        self.room.close()
        self.assertEqual(self.room.link.signals, [])
        self.room.close(terminate=True)                     # but a second one does not
        self.assertEqual(self.room.link.signals, [signal.SIGTERM])
        self.room.says(b'closed', None)                     # it was interrupted before it came to setup
        self.assertEqual(self.room.set_ups, [(ENDED, True)])
        self.assert_gone()

    def test_setup_that_close_overtakes(self):
        self.room.open()
        self.room.close(terminate=True)
        self.room.ask_setup()
        self.assertEqual(self.room.set_ups, [(ENDED, True)])
        self.closes()
        self.assert_gone()


class ClosingTest(History):

    def test_jobs_end_first(self):
        self.room.set_up()
        _job, child = self.room.run_job()
        self.room.close()
        self.assertEqual(self.phases(), (computations.CLOSING, supervisions.READY))
        self.room.close()
        self.room.renew()
        child.tell()
        self.assertEqual(self.room.replies, [(1, 11, None)])
        self.closes()
        self.room.close(terminate=True)
        self.assert_gone()

    def test_terminate_stops_them(self):
        self.room.set_up()
        job, child = self.room.run_job()
        self.room.close(terminate=True)
        self.assertEqual((job.phase, self.room.link.sent[-1]), (jobs.STOPPING, (b'stop', b'1')))
        child.tell(9, None)
        self.assertEqual((job.phase, self.room.replies), (jobs.STOPPED, [(1, 9, None)]))
        self.closes()
        self.assert_gone()

    def test_a_job_that_waits_is_run_before_cleanup(self):
        self.room.set_up()
        self.room.start_job()
        self.room.close()
        self.assertEqual(self.phases(), (computations.CLOSING, supervisions.READY))
        self.room.fork().tell()
        self.closes()
        self.assert_gone()

    def test_the_supervisor_dies_in_cleanup(self):
        self.room.set_up()
        self.room.close()
        self.room.link.dies()
        self.room.settle()
        self.assertEqual(len(self.room.nursery.links), 1)
        self.assert_gone()

    def test_the_supervisor_died_before_cleanup_and_another_one_runs_it(self):
        self.room.set_up()
        self.room.link.dies()
        self.room.close()
        self.assertEqual(self.phases(), (computations.CLEANING, supervisions.COMPILING))
        self.room.says(b'opened', None)
        self.closes()
        self.assertEqual(self.room.link.kinds(), [b'open', b'remember', b'close'])
        self.assert_gone()

    def test_no_supervisor_is_to_be_had_for_cleanup(self):
        self.room.set_up()
        self.room.link.dies()
        self.room.nursery.broken = True
        self.room.close()
        self.assert_gone()

    def test_the_supervisor_for_cleanup_dies_too(self):
        self.room.set_up()
        self.room.link.dies()
        self.room.close()
        self.room.link.dies()
        self.room.settle()
        self.assertEqual(len(self.room.nursery.links), 2)
        self.assert_gone()

    def test_a_cleanup_that_does_not_end_is_ended(self):
        self.room.options.cleanup_timeout = 10.0
        self.room.set_up()
        self.room.close()
        self.room.loop.pass_time(10.0 + supervisions.ENDING_JOBS)
        self.assertEqual(self.room.link.signals, [signal.SIGTERM])
        self.room.loop.pass_time(supervisions.KILL_AFTER)
        self.assertEqual(self.room.link.signals, [signal.SIGTERM, signal.SIGKILL])
        self.room.link.dies()
        self.room.settle()
        self.assert_gone()

    def test_a_close_while_another_supervisor_starts(self):
        self.room.set_up()
        self.room.link.dies()
        job = self.room.admit()
        self.room.give(job)
        self.room.loop.turn()                               # the nursery has not answered yet
        self.assertEqual(self.phases(), (computations.OPEN, supervisions.STARTING))
        self.room.close(terminate=True)
        self.assertEqual(self.room.replies, [(1, 9, None)])
        self.room.says(b'opened', None)
        self.closes()
        self.assert_gone()

    def test_frames_that_come_late_are_ignored(self):
        self.room.set_up()
        for frame in ([b'opened', None], [b'setup', b'error', b'x'], [b'closed', None], [b'nonsense'], []):
            self.room.says(*frame)
        self.assertEqual(self.phases(), (computations.OPEN, supervisions.READY))
        self.room.close()
        self.closes()
        for frame in ([b'opened', None], [b'setup', b'ok', None], [b'closed', None], [b'exited', b'1', b'0']):
            self.room.says(*frame)
        self.assert_gone()


class RenewingTest(History):

    def test_cleanup_another_supervisor_and_setup(self):
        self.room.set_up()
        _job, child = self.room.run_job()
        self.room.renew()
        self.assertEqual(self.phases(), (computations.RENEWING, supervisions.READY))
        child.tell()
        self.room.renew()
        self.closes()
        self.assertEqual((self.phases(), self.room.news.named('on_renewed')),
                         ((computations.REOPENING, supervisions.COMPILING), []))
        self.room.says(b'opened', None)
        self.assertEqual((self.phases(), len(self.room.news.named('on_renewed'))),
                         ((computations.OPEN, supervisions.COMPILED), 1))
        self.room.ask_setup()
        self.room.says(b'setup', b'ok', None)
        self.assertEqual(self.room.set_ups, [(None, True)] * 2)
        self.room.close()
        self.closes()
        self.assert_gone()

    def test_a_close_at_each_moment_of_it(self):
        def draining(room):
            self.child = room.run_job()[1]
            room.renew()

        def cleaning(room):
            room.renew()

        def reopening(room):
            room.renew()
            room.says(b'closed', None)

        for moment, phase, cleanups in ((draining, computations.CLOSING, 1), (cleaning, computations.CLEANING, 1),
                                        (reopening, computations.CLEANING, 1)):
            self.room = room = FakeRoom(cleanup=u'clean')
            room.set_up()
            self.child = None
            moment(room)
            room.close()
            self.assertEqual(room.computation.phase, phase)
            if self.child is not None:
                self.child.tell()
            if moment is reopening:
                room.says(b'opened', None)
            room.says(b'closed', None)
            self.assert_gone()
            sent = [frame for link in room.nursery.links for frame in link.sent]
            self.assertEqual(sent.count((b'close', b'1')), cleanups)
            self.assertEqual(room.news.named('on_renewed'), [])

    def test_the_supervisor_dies_and_another_one_runs_cleanup(self):
        self.room.set_up()
        _job, child = self.room.run_job()
        self.room.renew()
        self.room.link.dies()
        child.tell()
        self.room.settle()
        self.assertEqual(self.phases(), (computations.RENEWING, supervisions.COMPILING))
        self.room.says(b'opened', None)
        self.closes()
        self.room.says(b'opened', None)
        self.assertEqual(self.phases(), (computations.OPEN, supervisions.COMPILED))
        self.assertEqual(len(self.room.news.named('on_renewed')), 1)

    def test_no_supervisor_is_to_be_had_after_cleanup(self):
        self.room.set_up()
        self.room.renew()
        self.room.nursery.broken = True
        self.room.says(b'closed', None)
        self.assertEqual((self.phases(), len(self.room.news.named('on_renewed'))),
                         ((computations.OPEN, supervisions.NONE), 1))
        self.room.nursery.broken = False
        self.room.ask_setup()                               # has one started
        self.room.says(b'opened', None)
        self.room.says(b'setup', b'ok', None)
        self.assertEqual(self.room.set_ups[-1], (None, True))

    def test_no_supervisor_is_to_be_had_for_cleanup(self):
        self.room.set_up()
        _job, child = self.room.run_job()
        self.room.renew()
        self.room.link.dies()
        self.room.nursery.broken = True
        child.tell()
        self.room.settle()
        self.assertEqual((self.phases(), len(self.room.news.named('on_renewed'))),
                         ((computations.OPEN, supervisions.NONE), 1))

    def test_a_job_that_waits_through_it_ends_also_if_close_follows(self):
        self.room.set_up()
        _job, child = self.room.run_job()
        self.room.renew()
        self.room.start_job(2)
        child.tell()
        self.assertEqual(self.phases(), (computations.RENEWING, supervisions.CLEANING))
        self.room.close()
        self.assertEqual(self.phases(), (computations.CLOSING, supervisions.CLEANING))
        self.closes()
        self.room.says(b'opened', None)
        self.room.says(b'setup', b'ok', None)
        self.room.fork().tell()
        self.assertEqual(self.room.replies, [(1, 11, None), (2, 11, None)])
        self.closes()
        self.assert_gone()

    def test_it_interrupts_setup(self):
        self.room.open()
        self.room.ask_setup()
        self.room.renew()
        self.assertEqual((self.room.link.signals, self.phases()),
                         ([signal.SIGTERM], (computations.RENEWING, supervisions.CLOSING)))


class LostSupervisorTest(History):

    def test_jobs_that_run_are_ended_and_the_next_one_gets_another_supervisor(self):
        self.room.set_up()
        self.room.run_job()
        self.room.link.dies()
        self.assertEqual(self.phases(), (computations.OPEN, supervisions.NONE))
        self.assertEqual(self.room.replies, [])
        self.room.settle()
        self.assertEqual(self.room.nursery.supervisors.calls, [('lose', (4000,)), ('end_left', (4000, [1001]))])
        self.assertEqual(self.room.replies, [(1, 9, LOST)])
        self.room.start_job(2)
        self.room.says(b'opened', None)
        self.room.says(b'setup', b'ok', None)               # as the one before
        self.room.fork().tell()
        self.assertEqual(self.room.replies[1:], [(2, 11, None)])

    def test_a_result_that_was_told_before_counts(self):
        self.room.set_up()
        _job, child = self.room.run_job()
        _job, other = self.room.run_job(2)
        self.room.link.dies()
        child.tell()                                        # while its process is being ended
        other.left = [done()]                               # seen only then
        self.room.settle()
        self.assertEqual(self.room.replies, [(1, 11, None), (2, 11, None)])

    def test_a_job_that_waits_gets_another_one_at_once(self):
        self.room.set_up()
        self.room.start_job()
        self.room.link.dies()
        self.room.settle()
        self.assertEqual(self.phases(), (computations.OPEN, supervisions.COMPILING))

    def test_another_one_is_not_to_be_had(self):
        self.room.set_up()
        self.room.link.dies()
        self.room.nursery.broken = True
        self.room.start_job()
        self.assertEqual(self.room.replies, [(1, 9, u'no supervisor can be started: no memory')])
        self.room.nursery.broken = False
        self.room.start_job(2)
        self.assertEqual(self.phases(), (computations.OPEN, supervisions.COMPILING))

    def test_another_one_is_not_to_be_had_after_close(self):
        self.room.set_up()
        self.room.run_job()
        self.room.start_job(2)
        self.room.close()
        self.room.nursery.broken = True
        self.room.link.dies()
        self.room.settle()
        self.assertEqual(self.room.replies,
                         [(1, 9, LOST), (2, 9, u'no supervisor can be started: no memory')])
        self.assert_gone()

    def test_it_dies_before_setup(self):
        self.room.open()
        self.room.link.dies()
        self.room.ask_setup()
        self.room.says(b'opened', None)
        self.room.says(b'setup', b'ok', None)
        self.assertEqual(self.room.set_ups, [(None, True)])

    def test_its_programs_end_with_it(self):
        self.room = FakeRoom(program=True)
        self.room.set_up()
        job = self.room.start_job()
        self.assertEqual((job.phase, self.room.link.kinds()[-1]), (jobs.RUNNING, b'program'))
        self.room.link.dies()
        self.room.settle()
        self.assertEqual(self.room.replies, [(1, 9, LOST)])
        self.room.start_job(2)                              # and the next one waits for another supervisor
        self.room.says(b'opened', None)
        self.room.says(b'setup', b'ok', None)
        self.assertEqual(self.room.link.kinds()[-1], b'program')
        self.room.says(*[part if number else b'done' for number, part in enumerate(
            [None, b'%d' % self.room.state.jobs(7)[0].child.number] + done()[1:])])
        self.assertEqual(self.room.replies[1:], [(2, 11, None)])

    def test_who_asks_for_pids_is_answered(self):
        answers = []
        self.room.computation.ask_pids(answers.append)
        self.room.settle()
        self.assertEqual(answers, [{}])
        self.room.set_up()
        for _ask in range(3):
            self.room.computation.ask_pids(answers.append)
            self.room.settle()
        self.assertEqual(self.room.link.kinds().count(b'pids'), 1)
        self.room.says(b'pids', b'5', b'1234')
        self.assertEqual(answers[1:], [{5: 1234}] * 3)
        self.room.computation.ask_pids(answers.append)
        self.room.settle()
        self.room.link.dies()
        self.assertEqual(answers[4:], [{}])


class Left(object):
    """What the record of a computation says, as a node that died has left it; see heritage.Remembered."""

    cleaned = closed_by_client = False

    def __init__(self, stage, set_up):
        self.stage, self.data = stage, {'set_up': set_up}
        self.setup = (b'setup', b'argument', b'setup') if set_up else None


class Noted(object):
    """A job that a node that died has accepted; see journal.Noted."""

    def __init__(self, number=0, flags=ACCEPTED, key=b'k' * 16, frame=b'frame'):
        self.number, self.flags, self.key, self.frame = number, flags, key, frame


class TakenOverTest(History):

    def adopt(self, stage=computations.OPEN, set_up=True, jobs=(), supervisor=True, **settings):
        """Go on with what a dead node has left; return the Jobs."""
        self.room, adopted = FakeRoom(**settings), []
        room = self.room
        link = room.nursery.take() if supervisor else None
        if supervisor:
            link.key, link.is_taken_over = b'k' * 16, True
        for uid, noted in enumerate(jobs, 1):
            adopted.append((room.state.adopt_job(room.computation, uid, u'cd', (), 1.0), noted))
        if stage == computations.CLOSING:
            room.state.close_computation(room.computation)
        room.computations.adopt(room.computation, Left(stage, set_up), link, adopted)
        return [job for job, _noted in adopted]

    def here(self, held=(), setup=b'0', ending=b'0', programs=()):
        """The supervisor tells what it has."""
        self.room.says(b'here', b'1', b'pid', b'4000', b'setup', setup, b'setup_text', None, b'ending', ending,
                       b'held', b''.join([control.HELD.pack(*pair) for pair in held]),
                       b'programs', b''.join([control.NUMBER.pack(number) for number in programs]))

    def test_one_that_was_set_up_takes_jobs(self):
        self.adopt()
        self.here()
        self.assertEqual(self.phases(), (computations.OPEN, supervisions.READY))
        self.room.run_job()[1].tell()
        self.assertEqual(self.room.replies, [(1, 11, None)])

    def test_setup_that_was_asked_for_and_never_began_is_run(self):
        self.adopt()
        self.here(setup=b'')
        self.assertEqual(self.room.link.sent[-1], (b'setup', b'argument', b'setup'))
        self.room.says(b'setup', b'0', None)
        self.assertEqual(self.phases(), (computations.OPEN, supervisions.READY))

    def test_who_asks_again_for_setup_is_told_how_it_has_ended_once(self):
        for error in (None, u'it failed'):
            self.setUp()
            self.adopt()
            self.here(setup=b'0' if error is None else b'error')
            answers = []
            for _turn in range(2):
                self.room.computation.set_up(None, lambda *answer: answers.append(answer))
                self.room.settle()
            self.assertEqual(answers[0][0] is None, error is None)
            self.assertEqual((answers[0][1], answers[1][1]), (True, False))

    def test_a_job_whose_process_has_gone_is_lost(self):
        self.adopt(jobs=[Noted(number=5), Noted(number=6, key=b'x' * 16)])
        self.here()
        self.assertEqual([(uid, status) for uid, status, _why in self.room.replies], [(2, 9), (1, 9)])

    def test_jobs_of_a_supervisor_that_has_died_too_are_lost_and_the_next_job_gets_another(self):
        self.adopt(jobs=[Noted(number=5)], supervisor=False)
        self.assertEqual(self.phases(), (computations.OPEN, supervisions.NONE))
        self.assertEqual([reply[:2] for reply in self.room.replies], [(1, 9)])

    def test_a_job_that_was_accepted_and_not_given_runs(self):
        self.adopt(jobs=[Noted()])
        self.here()
        self.assertEqual(self.room.computation.jobs.count_waiting(), 1)

    def test_a_job_that_was_not_acknowledged_waits_for_its_client(self):
        job, = self.adopt(jobs=[Noted(flags=0)])
        self.here()
        self.assertEqual(self.room.computation.jobs.count_waiting(), 0)
        self.room.computation.wake_job(job)
        self.room.settle()
        self.assertEqual(self.room.computation.jobs.count_waiting(), 1)
        self.assertEqual(self.room.journal.named('note_accepted'), [(job,)])

    def test_one_that_was_closed_is_cleaned_up(self):
        self.adopt(computations.CLOSING)
        self.here()
        self.room.says(b'closed', None)
        self.assert_gone()

    def test_one_that_cleans_up_already_is_waited_for(self):
        self.adopt(computations.CLOSING)
        self.here(ending=b'1')
        self.assertEqual(self.phases(), (computations.CLEANING, supervisions.CLEANING))
        self.room.says(b'closed', None)
        self.assert_gone()

    def test_cleanup_that_has_run_while_a_reply_was_to_be_delivered_is_not_run_again(self):
        self.adopt(computations.CLOSING, jobs=[Noted(number=5)], cleanup=u'cleanup')
        self.here(held=[(5, 9)], ending=b'1')
        self.room.says(b'closed', None)
        self.room.link.dies()
        self.room.settle()
        self.assertEqual([reply[:2] for reply in self.room.replies], [(1, 9)])
        self.assert_gone()

    def test_one_whose_supervisor_died_while_it_was_renewed_is_renewed(self):
        self.adopt(computations.RENEWING, supervisor=False)
        self.room.settle()
        self.assertEqual(self.phases()[0], computations.REOPENING)


class JobTest(History):

    def setUp(self):
        History.setUp(self)
        self.room.set_up()

    def cancel(self, job):
        self.room.computation.stop_job(job)
        self.room.settle()

    def test_after_a_few_jobs_only_a_few_processes_wait_in_vain(self):
        for uid in range(1, 8):
            self.room.run_job(uid)[1].tell()
        asked = [int(parts[1]) for parts in self.room.link.sent if parts[0] == b'fork']
        self.assertEqual((asked[0], asked[-1]), (1, max(asked)))
        self.assertLess(asked[1], asked[-1])

    def test_cancelled_before_it_was_given(self):
        job = self.room.admit()
        self.cancel(job)
        self.assertEqual((job.phase, self.room.replies), (jobs.ADMITTED, []))
        child = self.room.fork()
        self.room.give(job)
        self.room.loop.pass_time(HANDING_OVER)
        self.assertEqual((job.phase, self.room.link.sent[-1]), (jobs.STOPPING, (b'stop', b'1')))
        child.tell(9, None)
        self.assertEqual(self.room.replies, [(1, 9, None)])

    def test_cancelled_while_it_waits(self):
        job = self.room.start_job()
        self.assertEqual(job.phase, jobs.WAITING)
        self.cancel(job)
        self.cancel(job)
        self.assertEqual((job.phase, self.room.replies), (jobs.STOPPED, [(1, 9, None)]))
        self.assertEqual(self.room.fork().frames, [])

    def test_cancelled_while_a_thread_tries_one_process_after_the_other(self):
        first = self.room.fork()
        job = self.room.admit()
        first.broken = True
        self.room.give(job)      # the loop has not got it back yet
        self.assertEqual(job.phase, jobs.RUNNING)
        self.room.computation.jobs.stop(job)
        self.room.settle()
        self.assertEqual((job.phase, self.room.replies), (jobs.STOPPED, [(1, 9, None)]))

    def test_cancelled_while_it_runs_and_after(self):
        job, child = self.room.run_job()
        self.cancel(job)
        self.cancel(job)
        self.assertEqual(self.room.link.kinds().count(b'stop'), 2)
        child.tell()                                        # it was faster
        self.cancel(job)
        self.assertEqual((self.room.replies, self.room.link.kinds().count(b'stop')), ([(1, 11, None)], 2))

    def test_why_a_job_was_stopped_is_told_once(self):
        job, child = self.room.run_job()
        self.room.computation.stop_job(job, u'the first reason')
        self.room.computation.stop_job(job, u'another')
        self.room.settle()
        child.tell(9, None)
        self.assertEqual(self.room.replies, [(1, 9, u'the first reason')])

    def test_cancelled_when_its_supervisor_has_gone(self):
        job, _child = self.room.run_job()
        self.room.link.dies()
        self.cancel(job)
        self.assertEqual((job.phase, self.room.replies), (jobs.STOPPED, [(1, 9, None)]))

    def test_its_client_was_not_reached_by_the_ack(self):
        job = self.room.admit()
        self.room.computation.forget_job(job)
        self.room.computation.forget_job(job)
        self.assertEqual((job.phase, self.room.replies, self.room.state.used_cpus()), (jobs.FINISHED, [], 0))

    def test_a_process_that_dies_before_its_job_came(self):
        child = self.room.fork()
        child.end()
        self.room.says(b'exited', b'1', b'9')
        self.assertEqual(child.phase, links.GONE)
        job = self.room.start_job()
        self.assertEqual((job.phase, child.frames), (jobs.WAITING, []))

    def test_a_process_that_is_reaped_before_its_end_is_seen(self):
        child = self.room.fork()
        self.room.says(b'exited', b'1', b'9')
        self.assertEqual((child.phase, child.sock), (links.GONE, None))

    def test_a_process_that_dies_while_it_is_sent_its_job(self):
        child = self.room.fork()
        child.broken = True
        job = self.room.start_job()
        child.end()
        self.assertEqual((child.phase, job.phase), (links.GONE, jobs.WAITING))
        self.room.fork().tell()
        self.assertEqual(self.room.replies, [(1, 11, None)])

    def test_a_process_that_ends_before_its_result(self):
        job, child = self.room.run_job()
        child.end()
        self.assertEqual((child.phase, job.phase, self.room.link.sent[-1]), (links.SHUT, jobs.RUNNING, (b'ended', b'1')))
        self.room.says(b'exited', b'1', b'9')
        (_uid, status, text), = self.room.replies
        self.assertEqual((status, child.phase), (9, links.TOLD))
        self.assertIn(u'SIGKILL', text)

    def test_a_job_is_lost_when_its_supervisor_dies_while_a_thread_gives_it_to_a_process(self):
        room, job = self.room, self.room.admit()
        child = room.fork()
        room.computation.jobs._idle = Interrupted(room.computation.jobs._idle, lambda: room.give(job))
        room.link.dies()
        self.assertEqual((job.phase, child.phase), (jobs.RUNNING, links.GIVEN))
        child.end()
        self.assertEqual(room.replies, [(1, 9, LOST)])

    def test_a_process_that_closes_its_channel_and_lives_on(self):
        _job, child = self.room.run_job()
        child.end()
        self.room.loop.pass_time(EXIT_NEWS_TIMEOUT)
        self.assertEqual((self.room.replies, self.room.link.sent[-1]), ([(1, 9, SILENT)], (b'kill', b'1')))
        self.room.says(b'exited', b'1', b'9')
        self.assertEqual(len(self.room.replies), 1)

    def test_a_process_that_is_reaped_with_its_job_before_its_end_is_seen(self):
        _job, child = self.room.run_job()
        self.room.says(b'exited', b'1', b'9')
        self.assertEqual((child.phase, [reply[:2] for reply in self.room.replies]), (links.TOLD, [(1, 9)]))

    def test_a_process_that_has_exited_and_left_its_result(self):
        _job, child = self.room.run_job()
        child.left = [done()]
        self.room.says(b'exited', b'1', b'0')
        self.assertEqual(self.room.replies, [(1, 11, None)])

    def test_a_process_that_dies_after_its_result(self):
        _job, child = self.room.run_job()
        child.tell()
        child.tell()
        child.end()
        self.room.says(b'exited', b'1', b'9')
        self.assertEqual((child.phase, self.room.replies), (links.TOLD, [(1, 11, None)]))

    def test_its_channel_ends_with_its_supervisor(self):
        for end in ((lambda child: child.end(), lambda child: self.room.link.dies()),
                    (lambda child: self.room.link.dies(), lambda child: child.end())):
            self.setUp()
            _job, child = self.room.run_job()
            for step in end:
                step(child)
            self.room.settle()
            self.assertEqual((child.phase, self.room.replies), (links.TOLD, [(1, 9, LOST)]))

    def test_a_process_that_a_thread_gives_a_job_when_its_supervisor_has_died(self):
        job, child = self.room.run_job()
        child.sent = False
        self.room.link.dies()
        self.room.settle()
        self.assertEqual((job.phase, child.phase), (jobs.RUNNING, links.GIVEN))
        child.sent = True
        self.room.loop.pass_time(HANDING_OVER)
        self.assertEqual((child.phase, self.room.replies), (links.TOLD, [(1, 9, LOST)]))

    def test_a_job_over_its_time(self):
        self.room.options.job_time = 3.0
        job, child = self.room.run_job()
        self.room.loop.pass_time(3.0)
        self.assertEqual(job.phase, jobs.STOPPING)
        child.tell(9, None)
        self.assertTrue(self.room.replies[0][2].startswith(u'the job was stopped: it ran for'))

    def test_a_channel_that_ends_while_a_thread_has_just_taken_the_process(self):
        child = self.room.fork()
        self.room.computation.jobs._idle.popleft()          # so it does first
        child.end()
        self.room.says(b'exited', b'1', b'9')
        self.assertEqual(child.phase, links.IDLE)           # nobody but that thread changes it now
        self.room.computation.jobs._idle.append(child)
        child.broken = True
        job = self.room.start_job()
        self.room.loop.pass_time(HANDING_OVER)
        self.assertEqual((child.phase, job.phase), (links.GONE, jobs.WAITING))

    def test_a_process_that_is_gone_is_seen_to_be_while_its_job_comes_back(self):
        for news in (lambda child: child.end(), lambda child: self.room.link.says(b'exited', b'%d' % child.number, b'9')):
            child = self.room.fork()
            child.broken = True
            job = self.room.admit()
            self.room.give(job)
            news(child)
            self.room.settle()
            self.assertEqual((child.phase, job.phase, self.room.replies), (links.GONE, jobs.WAITING, []))
            self.cancel(job)
            del self.room.replies[:]

    def test_a_process_that_another_thread_takes_first(self):
        job = self.room.start_job()
        self.room.computation.jobs._idle = Taken()
        self.room.fork()
        self.assertEqual(job.phase, jobs.WAITING)
        child = self.room.fork()
        self.assertEqual((job.phase, len(child.frames)), (jobs.RUNNING, 1))


class Taken(collections.deque):
    """Another thread takes the first process."""

    late = True

    def popleft(self):
        """As that of a deque."""
        child = collections.deque.popleft(self)
        if self.late:
            self.late = False
            raise IndexError('another thread was faster')
        return child


class BigRecord(Record):
    """One that does not fit into the buffer of a channel: a thread that may wait hands it over."""

    args = b'x' * AT_ONCE


class BigJobTest(History):

    def setUp(self):
        History.setUp(self)
        self.room.set_up()
        self.job = self.room.admit()

    def assert_given_by_a_worker(self, child):
        self.room.loop.turn()
        self.assertEqual((self.job.phase, child.frames), (jobs.ADMITTED, []))
        self.room.computation.stop_job(self.job)            # that waits for the worker
        self.room.settle()
        self.assertEqual((self.job.phase, len(child.frames)), (jobs.RUNNING, 1))
        self.room.loop.pass_time(HANDING_OVER)
        self.assertEqual((self.job.phase, self.room.link.sent[-1]),
                         (jobs.STOPPING, (b'stop', b'%d' % child.number)))

    def test_one_that_waited(self):
        self.room.give(self.job, BigRecord())
        self.room.settle()
        self.assertEqual(self.job.phase, jobs.WAITING)
        self.assert_given_by_a_worker(self.room.link.fork())

    def test_one_for_which_a_process_came_at_once(self):
        self.room.give(self.job, BigRecord())
        self.assert_given_by_a_worker(self.room.link.fork())

    def test_one_whose_process_had_gone(self):
        self.room.fork().broken = True
        self.room.give(self.job, BigRecord())
        self.assert_given_by_a_worker(self.room.link.fork())


class WalkTest(unittest.TestCase):

    def test_the_histories_walk_every_edge(self):
        walked, change = set(), phases.Life.change

        def note(life, thing, event):
            walked.add((life.noun, thing.phase, event))
            return change(life, thing, event)

        phases.Life.change = note
        self.addCleanup(setattr, phases.Life, 'change', change)
        load, suite = unittest.defaultTestLoader.loadTestsFromTestCase, unittest.TestSuite()
        for case in History.__subclasses__():
            suite.addTest(load(case))
        result = unittest.TestResult()
        suite.run(result)
        self.assertTrue(result.wasSuccessful(), result.failures + result.errors)
        for life in (computations.LIFE, supervisions.LIFE, jobs.LIFE, links.LIFE):
            self.assertEqual([edge for edge in life.edges if (life.noun,) + edge not in walked], [], life.noun)


if __name__ == '__main__':
    unittest.main()
