"""Jobs through networks that lose, delay and reorder packets, or are silently cut: each reply
arrives once, or is kept."""
from __future__ import absolute_import, division, print_function

import os
import threading
import unittest

from tests.attack import attacker
from tests.attack.attacker import NATIVE, WAIT, assert_given_back, assert_serves
from tests.attack.test_clients import all_files, file_record
from tests.support import badlink
from tests.support.badlink import HERE, THERE, BadLink, Packet
from tests.support.computation import frame, read_frame
from tests.support.netlab import Host, HostNode, Lab, command
from tests.support.nodeprocess import PROJECT, in_own_network
from tests.support.scheduler import SILENT, FakeScheduler
from tests.support.waiting import clock, wait_until

MANY_CPUS = os.path.join(PROJECT, 'tests', 'support', 'manycpus.py')
GATED = (
    'import os, time\ndef job(n, gate=None):\n    while gate and not os.path.exists(gate):\n       '
    ' time.sleep(0.02)\n'
    '    return n * 3\n')
SLOW = 'import time\ndef job(n, seconds=0.0):\n    time.sleep(seconds)\n    return n * 3\n'


def files(node, ending):
    """Return the paths of clients' files that end so."""
    return [path for path in all_files(node.folder) if path.endswith(ending)]


class BadNetworkTest(unittest.TestCase):
    """The node is on a host of its own, behind a bad link."""

    def setUp(self):
        if not in_own_network():
            self.skipTest('needs a network namespace of its own: python3 -m tests')
        reason = badlink.missing()
        if reason is not None:
            self.skipTest(reason)

    def start(self, *options):
        """Return (link, node, scheduler), all ended after the test."""
        lab = self.use(Lab())
        host = lab.hosts['far'] = Host(lab, 'far')
        link = self.use(BadLink(command, host))
        node = self.use(HostNode(host, '-c', 8, *options, ip_addr=THERE, program=MANY_CPUS))
        return link, node, self.use(FakeScheduler(node, NATIVE, ip_addr=HERE))

    def use(self, manager):
        """Enter a context manager until the end of the test."""
        made = manager.__enter__()
        self.addCleanup(manager.__exit__, None, None, None)
        return made

    def assert_settled(self, computation, jobs, times=1):
        """Wait until the node has nothing more to say; each job has one final reply, told `times`
        times at most."""
        wait_until(lambda: computation.pending_jobs() == {'done': [], 'pending': 0}, WAIT)
        self.assertEqual(computation.jobs(), [])
        for job in jobs:
            job.wait(WAIT)
            self.assertEqual(len(set(reply.message.payload for reply in job.replies)), 1)
            self.assertLessEqual(len(job.replies), times)

    def test_loss_delay_and_reordering(self):
        link, node, scheduler = self.start('--msg_timeout', 10)
        link.loss, link.delay = 0.05, (0.005, 0.04)
        wait_until(lambda: self.pinged(scheduler), WAIT)
        computation = scheduler.open(attacker.CODE, 'job')
        jobs, faults = {}, []

        def submit(first):
            try:
                for number in range(first, first + 10):
                    jobs[number] = computation.submit(number)
            except Exception as error:
                faults.append(error)
        threads = [threading.Thread(target=submit, args=(10 * number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(faults, [])
        for number in jobs:
            self.assertEqual(jobs[number].wait(WAIT).value, 2 * number)
        big = computation.submit(attacker.BIG)
        self.assertEqual(len(big.wait(WAIT).value), 2 * len(attacker.BIG))
        self.assertGreater(link.lost, link.passed // 50)
        self.assertGreater(link.overtaken, link.passed // 10)
        link.mend()
        self.assert_settled(computation, list(jobs.values()) + [big])
        self.assertEqual(len(jobs), 60)
        self.assertNotIn('Traceback', node.log())

    @staticmethod
    def pinged(scheduler):
        """Return whether a PING by datagram, which may be lost, is answered soon."""
        try:
            return scheduler.ping(udp=True, timeout=0.5)
        except AssertionError:
            return None

    def test_a_link_that_is_cut_while_jobs_run_and_comes_back(self):
        link, node, scheduler = self.start('--msg_timeout', 1)
        computation, gate = scheduler.open(GATED, 'job'), os.path.join(node.folder, 'gate')
        done = [computation.submit(number) for number in range(2)]
        running = [computation.submit(number, gate) for number in range(2, 6)]
        for job in done:
            job.wait(WAIT)
        # an ACK that is lost on the link that is cut would have the node tell that reply again, as
        # it must
        wait_until(lambda: computation.resend() == len(running), WAIT)
        link.cut = True                                         # no FIN, no RST, nobody is told
        open(gate, 'w').close()
        for job in running:
            node.wait_log('the reply to job %d of' % job.uid, WAIT)
        self.assertEqual([len(job.replies) for job in running], [0] * 4)
        self.assertEqual(attacker.threads(node.pid) < 60, True)
        link.cut = False
        wait_until(lambda: all(job.final()
                               for job in running) or computation.resend() < 0, WAIT, interval=0.3)
        self.assertEqual([job.final().value
                          for job in done + running], [3 * number for number in range(6)])
        self.assert_settled(computation, done + running)
        self.assertEqual(computation.run(7).value, 21)

    def test_a_client_without_a_way_back_holds_up_no_other(self):
        """Packets to one client's port vanish; those to another one's pass, through the same
        link."""
        link, node, scheduler = self.start('--msg_timeout', 2)
        other = self.use(FakeScheduler(node, NATIVE, ip_addr=HERE))
        mute = scheduler.open(SLOW, 'job')
        lively = scheduler.open(SLOW, 'job', job_result_port=other.port, exclusive=False)
        link.loses = lambda packet: packet.target == (HERE, scheduler.port)
        lost = [mute.submit(number) for number in range(20)]
        begun = clock()
        for number in range(10):
            job = lively.make_job(number)
            other.jobs[job.uid] = job
            lively.send(job)
            self.assertEqual(job.wait(WAIT).value, 3 * number)
        self.assertLess(clock() - begun, 10)
        self.assertEqual([job for job in lost if job.replies], [])
        link.loses = None
        wait_until(lambda: all(job.final()
                               for job in lost) or mute.resend() < 0, WAIT, interval=0.3)
        self.assert_settled(mute, lost)
        assert_serves(self, scheduler.open(attacker.CODE, 'job', exclusive=False))

    def test_a_reply_whose_ack_is_lost_is_kept_and_told_again(self):
        link, node, scheduler = self.start('--msg_timeout', 1)
        computation = scheduler.open(SLOW, 'job')
        link.loses = lambda packet: packet.source == (HERE, scheduler.port) and packet.carried
        job = computation.submit(5)
        # it has arrived; what the client says to it has not
        self.assertEqual(job.wait(WAIT).value, 15)
        node.wait_log('the reply to job %d of' % job.uid, WAIT)
        wait_until(lambda: computation.pending_jobs()['done'] == [job.uid], WAIT)
        link.loses = None
        computation.resend()
        self.assert_settled(computation, [job], times=3)
        wait_until(lambda: len(job.replies) > 1, WAIT)

    def test_a_reply_given_up_does_not_arrive_beside_its_repetition(self):
        """The connection is there, then nothing the node sends arrives: the system keeps it, and
        tries again and again."""
        link, node, scheduler = self.start('--msg_timeout', 1)
        computation, lost = scheduler.open(SLOW, 'job'), set()

        def loses(packet):
            if packet.target == (HERE, scheduler.port) and packet.carried:
                lost.add(packet.source)
                return True
            return False
        link.loses = loses
        job = computation.submit(5)
        node.wait_log('the reply to job %d of' % job.uid, WAIT)
        link.loses = None
        self.assertEqual(job.wait(WAIT).value, 15)
        self.assertNotIn(job.replies[0].message.peer, lost)
        self.assert_settled(computation, [job])

    def test_silence_after_the_reply(self):
        """The client takes the reply and says nothing, on a link that is cut just then; it asks
        later."""
        link, node, scheduler = self.start('--msg_timeout', 1)
        computation = scheduler.open(SLOW, 'job')
        scheduler.answers['JOB_REPLY'] = SILENT
        job = computation.submit(5)
        wait_until(lambda: scheduler.messages('JOB_REPLY'), WAIT)
        link.cut = True
        node.wait_log('the reply to job %d of' % job.uid, WAIT)
        link.cut = False
        scheduler.answers['JOB_REPLY'] = b'ACK'
        wait_until(lambda: len(job.replies) > 1 or computation.retrieve(job), WAIT)
        self.assertEqual(job.final().value, 15)
        self.assert_settled(computation, [])

    def test_a_job_whose_ack_is_lost_runs_once_though_it_is_sent_again(self):
        link, node, scheduler = self.start('--msg_timeout', 2)
        computation = scheduler.open(
            'import os, time\ndef job(gate):\n    open("ran", "a").write("x")\n'
            '    while not os.path.exists(gate): time.sleep(0.02)\n'
            '    return len(open("ran").read())\n', 'job')
        gate = os.path.join(node.folder, 'gate')
        job = computation.make_job(gate)
        scheduler.jobs[job.uid] = job
        link.loses = lambda packet: packet.source[1] == scheduler.node_port and packet.carried
        with self.assertRaises(EnvironmentError):
            scheduler.call('JOB', job.record, timeout=0.5)
        link.loses = None
        self.assertEqual(scheduler.call('JOB', job.record), b'ACK')
        open(gate, 'w').close()
        self.assertEqual(job.wait(WAIT).value, 1)
        self.assert_settled(computation, [job])

    def test_requests_cut_in_the_middle_are_given_up(self):
        """The client vanishes with half a request on the way; its connections do not stay."""
        link, node, scheduler = self.start('--msg_timeout', 4)
        computation = scheduler.open(attacker.CODE, 'job')
        assert_serves(self, computation)
        before = attacker.descriptors(node.pid)
        held = []
        data = frame(b'JOB:' + NATIVE.dumps(computation.make_job(b'x' * 3000).record))
        for size in (0, 10, 40, 44, 60, 2000) * 6:
            sock = attacker.connect(node)
            sock.sendall((scheduler.token() + data)[:size])
            held.append(sock)
        wait_until(lambda: attacker.descriptors(node.pid) >= before + 30, WAIT)
        link.cut = True
        assert_given_back(node, before, spare=10)  # processes are forked ahead meanwhile
        link.cut = False
        assert_serves(self, computation)
        for sock in held:
            sock.close()

    def test_a_file_through_a_link_that_hesitates(self):
        """Half way through a file the link is cut for a moment: the dialogue goes on; cut for good,
        no part of it stays."""
        link, node, scheduler = self.start('--msg_timeout', 2)
        computation = scheduler.open(attacker.CODE, 'job')
        for lasting in (False, True):
            record = file_record(computation, 'lost' if lasting else 'file', size=20000)
            with scheduler.connection('FILEXFER', record) as connection:
                read_frame(connection)
                connection.sendall(b'x' * 10000)
                link.cut = True
                connection.sendall(b'x' * 10000)
                if lasting:
                    wait_until(lambda: not files(node, '.part'), WAIT)
                link.cut = False
                if not lasting:
                    connection.settimeout(WAIT)
                    self.assertTrue(read_frame(connection))
        self.assertEqual((len(files(node, 'file')), files(node, 'lost')), (1, []))
        assert_serves(self, computation)


class PacketTest(unittest.TestCase):
    """The link reads its packets right."""

    def test_a_packet(self):
        data = bytearray.fromhex('4500002a00014000400600000a6307010a630702') + bytearray.fromhex(
            'c8941234000000010000000250180200000000006869')
        packet = Packet(bytes(data))
        self.assertEqual((packet.source, packet.target, packet.carried),
                         ((HERE, 51348), (THERE, 0x1234), 2))
