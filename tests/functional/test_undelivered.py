"""Replies that cannot be delivered: kept, retried, told of, given; after CLOSE and after a restart
of the node, too."""
from __future__ import absolute_import, division, print_function

import errno
import os
import threading
import unittest

from tests.support.dialects import DIALECTS
from tests.support.nodecase import FINISHED, NATIVE, TERMINATED, TIMEOUT, NodeCase
from tests.support.nodeprocess import NodeProcess
from tests.support.scheduler import CLOSE, SILENT, FakeScheduler
from tests.support.waiting import wait_until

CODE = '''
import os, time

def f(value):
    return value

def wait_for(path, value):
    while not os.path.exists(path):
        time.sleep(0.01)
    return value
'''


class Undelivered(NodeCase):

    options = ('-c', '2', '--msg_timeout', str(TIMEOUT))

    def setUp(self):
        self.computation = self.open(CODE, 'f')
        self.scheduler_now = self.computation.scheduler
        self.kept_jobs, self.through = [], threading.Event()
        self.addCleanup(self.through.set)

    def kept(self, *values):
        """Run jobs whose replies cannot be delivered; return the Jobs when all are kept. They are
        taken from let_through() on, though the node may try sooner."""
        self.scheduler_now.answers['JOB_REPLY'] = CLOSE
        self.kept_jobs = [self.computation.submit(value) for value in values]
        self.wait_kept(self.kept_jobs)
        self.scheduler_now.answers['JOB_REPLY'] = lambda _message: (
            b'ACK' if self.through.wait(TIMEOUT) else CLOSE)
        for job in self.kept_jobs:
            del self.scheduler_now.jobs[job.uid]
            del job.replies[:]
        return self.kept_jobs

    def wait_kept(self, jobs):
        expected = {'done': sorted(job.uid for job in jobs), 'pending': 0}
        wait_until(lambda: self.computation.pending_jobs() == expected, TIMEOUT, 'kept replies')

    def let_through(self):
        self.scheduler_now.jobs.update((job.uid, job) for job in self.kept_jobs)
        self.through.set()

    def wait_tidy(self):
        """Wait until nothing of this computation is kept any more."""
        folder = os.path.join(self.node.folder, '.node-%d' % self.node.port, 'undelivered')

        def left():
            names = os.listdir(folder) if os.path.isdir(folder) else []
            return [name for name in names if name.startswith('%d-' % self.computation.id)]
        wait_until(lambda: not left(), TIMEOUT, lambda: 'an empty folder: %r' % left())

    def test_d9_kept_replies_are_listed_and_given(self):
        jobs = self.kept(1, 2)
        self.assertEqual(self.computation.pending_jobs(),
                         {'done': sorted(job.uid for job in jobs), 'pending': 0})
        reply = self.computation.retrieve(jobs[0])
        self.assertEqual((reply.uid, reply.hash, reply.status, reply.value),
                         (jobs[0].uid, jobs[0].hash, FINISHED, 1))
        wait_until(lambda: self.computation.pending_jobs()['done'] == [jobs[1].uid], TIMEOUT)
        self.assertIsNone(self.computation.retrieve(jobs[0]))
        self.assertEqual(self.computation.retrieve(jobs[1]).value, 2)
        self.wait_tidy()

    def test_a_given_reply_stays_until_it_is_acknowledged(self):
        job, = self.kept(1)
        self.assertEqual(self.computation.retrieve(job, acknowledge=False).value, 1)
        self.assertEqual(self.computation.retrieve(job).value, 1)

    def test_another_hash_or_auth_is_given_nothing(self):
        job, = self.kept(1)
        own, job.hash = job.hash, 'abcdef'
        self.assertIsNone(self.computation.retrieve(job))
        job.hash, auth, self.computation.auth = own, self.computation.auth, 'abcdef'
        self.assertIsNone(self.computation.retrieve(job))
        self.assertEqual(self.computation.pending_jobs(), {'done': [], 'pending': 0})
        self.assertEqual((self.computation.resend(), self.computation.jobs()), (0, []))
        self.computation.auth = auth

    def test_the_next_success_brings_the_kept_ones_too(self):
        jobs = self.kept(*range(10))
        self.let_through()
        self.finished(self.computation.run('go'))
        self.assertEqual([self.finished(job.wait(TIMEOUT)) for job in jobs], list(range(10)))
        self.wait_tidy()
        self.assertTrue(all(len(job.replies) == 1 for job in jobs))

    def test_resend_delivers_the_kept_ones_now(self):
        jobs = self.kept(*range(70))
        self.assertEqual(self.computation.resend(), 70)
        self.let_through()
        self.assertEqual([self.finished(job.wait(TIMEOUT)) for job in jobs], list(range(70)))
        self.wait_tidy()
        self.assertEqual(self.computation.resend(), 0)

    def test_d10_kept_replies_survive_close(self):
        jobs = self.kept(1, 2, 3)
        self.computation.close()
        wait_until(lambda: 'computation %d (f) ended' % self.computation.id in self.node.log(),
                   TIMEOUT)
        self.assertEqual(self.computation.pending_jobs(),
                         {'done': sorted(job.uid for job in jobs), 'pending': 0})
        self.assertEqual(self.computation.retrieve(jobs[0]).value, 1)
        wait_until(lambda: self.computation.resend() <= 2, TIMEOUT)
        self.let_through()
        self.assertEqual([self.finished(job.wait(TIMEOUT)) for job in jobs[1:]], [2, 3])
        self.wait_tidy()

    def test_running_and_kept_jobs_are_each_counted_once_and_each_replied_to(self):
        self.kept(1, 2)
        path = os.path.join(self.folder(), 'go')
        slow = self.scheduler_now.open(CODE, 'wait_for')
        running = [slow.submit(path, value) for value in (3, 4)]
        self.assertEqual((self.computation.resend(), slow.resend()), (2, 2))
        self.let_through()
        self.file('go', folder=os.path.dirname(path))
        self.assertEqual([self.finished(job.wait(TIMEOUT)) for job in running], [3, 4])
        self.wait_tidy()

    def test_a_reply_under_way_when_resend_comes_is_counted_and_comes(self):
        asked = []

        def vanish_later(_message):
            wait_until(lambda: asked, TIMEOUT)
            self.scheduler_now.answers['JOB_REPLY'] = b'ACK'
            return CLOSE

        self.scheduler_now.answers['JOB_REPLY'] = vanish_later
        job = self.computation.submit(5)
        self.scheduler_now.wait_for('JOB_REPLY')
        asked.append(self.computation.resend())
        self.assertEqual(asked, [1])
        wait_until(lambda: len(self.scheduler_now.messages('JOB_REPLY')) == 2, TIMEOUT)
        self.assertEqual(job.wait().value, 5)
        self.wait_tidy()

    def test_a_pulse_brings_the_kept_ones(self):
        self.computation.close()
        self.computation = self.scheduler_now.open(CODE, 'f', pulse_interval=1)
        jobs = self.kept(1, 2)
        self.let_through()
        self.assertEqual([self.finished(job.wait(TIMEOUT)) for job in jobs], [1, 2])

    def refused(self, *values):
        """Run jobs whose replies somebody refuses who does not know them; return the Jobs when all
        are kept."""
        self.scheduler_now.answers['JOB_REPLY'] = b'NAK'
        jobs = [self.computation.submit(value) for value in values]
        self.wait_kept(jobs)
        self.scheduler_now.answers['JOB_REPLY'] = b'ACK'
        for job in jobs:
            del job.replies[:]
        return jobs

    def test_a_refused_reply_is_not_sent_again_unasked_and_is_there_for_who_asks(self):
        jobs = self.refused(1, 2)
        # a success brings what is kept, but not this
        self.finished(self.computation.run('another'))
        self.assertEqual(self.computation.retrieve(jobs[0]).value, 1)
        self.assertEqual(jobs[1].replies, [])
        wait_until(lambda: len(self.computation.pending_jobs()['done']) == 1, TIMEOUT,
                   'the end of the one retrieved')
        self.assertEqual(self.computation.resend(), 1)
        self.assertEqual(self.finished(jobs[1].wait(TIMEOUT)), 2)
        self.wait_tidy()

    def test_a_refused_reply_is_kept_though_it_is_refused_again(self):
        job, = self.refused(1)
        self.scheduler_now.answers['JOB_REPLY'] = b'NAK'
        self.assertEqual(self.computation.resend(), 1)
        self.assertEqual(job.wait(TIMEOUT).value, 1)
        self.scheduler_now.answers['JOB_REPLY'] = b'ACK'
        self.assertEqual(self.computation.retrieve(job).value, 1)

    def test_close_of_its_owner_removes_a_refused_reply(self):
        job, = self.refused(1)
        self.computation.close(auth='abcdef')
        self.assertEqual(self.computation.pending_jobs()['done'], [job.uid])
        self.computation.close()
        self.assertEqual(self.computation.pending_jobs(), {'done': [], 'pending': 0})
        self.wait_tidy()

    def test_d27_replies_of_status_9_are_kept(self):
        self.scheduler_now.answers['JOB_REPLY'] = CLOSE
        path = os.path.join(self.folder(), 'never')
        computation = self.scheduler_now.open(CODE, 'wait_for')
        failed, stopped = computation.submit(), computation.submit(path, 1)
        computation.terminate(stopped)
        wait_until(lambda: len(computation.pending_jobs()['done']) == 2, TIMEOUT)
        self.scheduler_now.answers['JOB_REPLY'] = b'ACK'
        self.assertIn('TypeError', computation.retrieve(failed).exception)
        self.assertEqual(computation.retrieve(stopped).status, TERMINATED)

    def test_d11_questions_about_unknown_computations_are_answered(self):
        for dialect in DIALECTS:
            self.scheduler_now.dialect = dialect
            self.computation.id, known = 4711, self.computation.id
            self.assertEqual(self.computation.pending_jobs(), {'done': [], 'pending': 0})
            self.assertEqual((self.computation.resend(), self.computation.jobs()), (0, []))
            self.assertIsNone(self.computation.retrieve(self.computation.raw_job(b'')))
            self.assertEqual(self.computation.close(), b'ACK')
            self.computation.closed, self.computation.id = False, known
        self.scheduler_now.dialect = NATIVE

    def test_jobs_are_listed_until_they_are_replied_to(self):
        path = os.path.join(self.folder(), 'go')
        slow = self.scheduler_now.open(CODE, 'wait_for')
        jobs = [slow.submit(path, 1), slow.submit(path, 2)]
        self.assertEqual(sorted(slow.jobs()), sorted(job.uid for job in jobs))
        self.assertEqual(slow.pending_jobs(), {'done': [], 'pending': 2})
        self.file('go', folder=os.path.dirname(path))
        for job in jobs:
            job.wait(TIMEOUT)
        wait_until(lambda: not slow.jobs(), TIMEOUT)


class Silence(NodeCase):

    options = ('-c', '2', '--msg_timeout', '1')

    def test_silence_or_nonsense_is_no_receipt(self):
        computation = self.open(CODE, 'f')
        for answer in (SILENT, b'', b'HELLO'):
            computation.scheduler.answers['JOB_REPLY'] = answer
            job = computation.submit(1)
            wait_until(lambda: job.uid in computation.pending_jobs()['done'], TIMEOUT)
            self.assertEqual(computation.retrieve(job).value, 1)


class Restart(unittest.TestCase):
    """The same folder and port, another process."""

    def test_kept_replies_survive_a_killed_node_and_go_out_when_the_client_is_back(self):
        with NodeProcess('-c', '2', '--orphan_timeout', '0') as first:
            scheduler = FakeScheduler(first, NATIVE)
            computation = scheduler.open(CODE, 'f')
            scheduler.answers['JOB_REPLY'] = CLOSE
            jobs = [computation.submit(value) for value in range(5)]
            wait_until(lambda: len(computation.pending_jobs()['done']) == 5, TIMEOUT)
            token = scheduler.token()
            scheduler.stop_listening()
            first.kill()
            with NodeProcess('-c', '2', folder=first.folder, port=first.port) as second:
                second.wait_log('5 replies to clients kept', TIMEOUT)
                scheduler.node = second
                question = computation.credentials()
                # the client knows the node by its token from before: enough to ask for what is its
                # own
                self.assertEqual(len(scheduler.ask('PENDING_JOBS', question, token=token)['done']),
                                 5)
                self.assertTrue(
                    self.opens_nothing(scheduler, 'SETUP',
                                       {'compute_id': computation.id, 'setup_args': ()}, token))
                # in vain: nobody listens
                self.assertEqual(scheduler.ask('RESEND_JOB_RESULTS', question, token=token), 5)
                for job in jobs:
                    del job.replies[:]
                scheduler.answers['JOB_REPLY'] = b'ACK'
                scheduler.listen()          # from here on the node's own attempts may be first
                scheduler.ask('RESEND_JOB_RESULTS', question, token=token)
                self.assertEqual([job.wait(TIMEOUT).value for job in jobs], list(range(5)))
                wait_until(lambda: self.opens_nothing(scheduler, 'PENDING_JOBS', question, token),
                           TIMEOUT)
            scheduler.close()

    def test_a_refused_reply_survives_a_restart_and_its_owner_can_have_it(self):
        with NodeProcess('-c', '2') as first:
            scheduler = FakeScheduler(first, NATIVE)
            computation = scheduler.open(CODE, 'f')
            scheduler.answers['JOB_REPLY'] = b'NAK'
            refused = computation.submit(7)
            wait_until(lambda: computation.pending_jobs()['done'], TIMEOUT)
            scheduler.answers['JOB_REPLY'] = CLOSE
            other = computation.submit(8)
            wait_until(lambda: len(computation.pending_jobs()['done']) == 2, TIMEOUT)
            token = scheduler.token()
            first.stop()
            for job in (refused, other):
                del job.replies[:]
            scheduler.answers['JOB_REPLY'] = b'ACK'
            with NodeProcess('-c', '2', folder=first.folder, port=first.port) as second:
                self.assertEqual(other.wait(TIMEOUT).value, 8)
                self.assertEqual(refused.replies, [])
                scheduler.node = second
                question = computation.credentials()
                wait_until(
                    lambda: len(scheduler.ask('PENDING_JOBS', question, token=token)['done']) == 1,
                    TIMEOUT)
                self.assertEqual(scheduler.ask('RESEND_JOB_RESULTS', question, token=token), 1)
                self.assertEqual(refused.wait(TIMEOUT).value, 7)
            scheduler.close()

    @staticmethod
    def opens_nothing(scheduler, opcode, value, token):
        """Return whether the node resets the connection: the token is of before, and nothing of the
        client is kept."""
        try:
            scheduler.call(opcode, value, token=token)
        except EnvironmentError as error:
            return error.errno == errno.ECONNRESET
        return False

    def test_a_restarted_node_delivers_unasked(self):
        with NodeProcess('-c', '2') as first:
            scheduler = FakeScheduler(first, NATIVE)
            computation = scheduler.open(CODE, 'f')
            scheduler.answers['JOB_REPLY'] = CLOSE
            job = computation.submit(7)
            wait_until(lambda: computation.pending_jobs()['done'], TIMEOUT)
            first.stop()
            self.assertIn('1 reply to clients could not be delivered: kept in %s' % first.folder,
                          first.log())
            del job.replies[:]
            scheduler.answers['JOB_REPLY'] = b'ACK'
            with NodeProcess('-c', '2', folder=first.folder, port=first.port):
                self.assertEqual(job.wait(TIMEOUT).value, 7)
            scheduler.close()


if __name__ == '__main__':
    unittest.main()
