"""Whom the node pings when: histories with the clock given."""
from __future__ import absolute_import, division, print_function

import os
import shutil
import tempfile
import unittest

from dispynode_lib.node.discovery.announcer import Announcer, Knocks, NAMED_INTERVAL, STEPS
from dispynode_lib.node.shared.known import KnownReleases
from dispynode_lib.node.discovery.visitors import Visitors
from dispynode_lib.node.shared.complaints import Complaints
from dispynode_lib.wire import releases
from dispynode_lib.wire.peers import Peer
from tests.support.fakes import FakeClock, Recorder, make_common, open_computation

CLIENT = (u'10.0.0.9', 51347)


class Ping(object):
    relay, version, port = False, u'4.8.7', CLIENT[1]

    def __init__(self, sign=u'cd' * 20, addresses=(CLIENT[0],)):
        self.sign, self.ip_addrs = sign, list(addresses)


class AnnouncerTest(unittest.TestCase):

    def make(self, **settings):
        self.common, self.clock = make_common(**settings), FakeClock()
        self.notices = Recorder(peer_at=lambda *_where: Peer())
        self.known = Recorder(all=[])
        self.sent = []  # (seconds since the start, [(port, release)]) of what is broadcast
        self.announcer = Announcer(
            self.common, self.notices, Visitors(self.clock), Complaints(), self.known,
            self.clock, lambda: 0.5)
        return self.announcer

    def run_until(self, end):
        """Do the duty whenever it is due; return the times since the start, without those of the
        whole list."""
        times, start = [], self.clock.now
        self.notices.announce_to_all = lambda _own, pairs: self.sent.append(
            (self.clock.now - start, pairs))
        while True:
            wait = self.announcer.wait(self.clock.now)
            if wait is None or self.clock.now + wait > start + end:
                return times
            self.clock.now += max(0.0, wait)
            bunch = self.announcer._rounds.wait(self.clock.now)
            self.announcer.announce(self.clock.now)
            if bunch is None or bunch > 0:
                times.append(self.clock.now - start)

    def test_nothing_is_sent_before_the_start(self):
        self.assertIsNone(self.make().wait(0.0))

    def test_at_start_it_announces_itself_some_times_then_no_more(self):
        self.make().begin()
        self.assertEqual(self.run_until(10000), list(STEPS))
        self.assertEqual([now for now, pairs in self.sent if pairs == list(releases.COMMON)],
                         list(STEPS[:2]))

    def test_a_waiting_client_of_any_release_is_found_within_seconds(self):
        self.make().begin()
        self.run_until(8)
        told = [pair for _now, pairs in self.sent for pair in pairs]
        self.assertEqual(set(release for _port, release in told), set(releases.published()))
        self.assertEqual(len(told), len(releases.published()) + len(releases.COMMON))

    def test_all_releases_are_told_twice_then_only_those_of_before(self):
        """A client logs a line for each ping of another release."""
        self.make().begin()
        self.run_until(60)
        whole = [pair for _now, pairs in self.sent for pair in pairs].count((61590, u'4.12.4'))
        self.announcer.begin()
        del self.sent[:]
        self.run_until(60)
        self.assertEqual((whole, [pairs
                                  for _now, pairs in self.sent]), (2, [list(releases.COMMON)] * 2))

    def test_what_a_client_interrupts_goes_on_when_the_node_is_free(self):
        self.make().begin()
        self.run_until(1)
        before = [pair for _now, pairs in self.sent for pair in pairs]
        computation = open_computation(self.common.state)
        self.assertIsNone(self.announcer.wait(self.clock.now + 1))
        self.announcer.announce(self.clock.now + 1)
        computation.close(True)
        self.announcer.begin()
        del self.sent[:]
        self.run_until(7)
        after = [pair for _now, pairs in self.sent for pair in pairs]
        self.assertEqual(set(before + after), set(releases.others([])))
        self.assertEqual(len(before + after), len(releases.published()) + 2 * len(releases.COMMON))

    def test_in_another_network_all_are_told_again(self):
        self.make().begin()
        self.run_until(60)
        self.announcer.begin_anew()
        del self.sent[:]
        self.run_until(8)
        self.assertEqual(set(pair for _now, pairs in self.sent for pair in pairs),
                         set(releases.others([])))

    def test_ping_interval_goes_on(self):
        self.make(ping_interval=100.0).begin()
        self.assertEqual(self.run_until(400), list(STEPS) + [100, 200, 300, 400])
        told = [pair for _now, pairs in self.sent for pair in pairs]
        self.assertEqual([told.count(pair)
                          for pair in ((9700, u'4.15.2'), (51347, u'4.10.6'))], [2 + 4, 2 + 3])

    def test_a_ping_interval_of_10_is_silent_until_70_s_after_the_start(self):
        self.make(ping_interval=10.0).begin()
        self.run_until(75)
        self.assertEqual([now for now, pairs in self.sent if pairs == list(releases.COMMON)],
                         [0, 2, 10, 20, 30, 40, 50, 60, 70])

    def test_an_interval_read_again_counts_from_the_last_time(self):
        self.make(ping_interval=1000.0).begin()
        self.run_until(100)
        self.common.options.ping_interval = 150.0
        self.clock.now = 1100.0
        self.assertEqual(self.announcer.wait(self.clock.now), 50.0)

    def test_strangers_choose_whom_the_node_calls(self):
        self.make()
        self.announcer.answered(Ping(), CLIENT[0])
        self.assertEqual(self.known.named('add'), [])           # one who only pinged
        self.announcer.served(CLIENT, u'4.8.7')
        self.assertEqual(self.known.named('add'), [(CLIENT[1], u'4.8.7')])
        self.announcer.served(CLIENT, None)  # a client whose release is not known
        self.assertEqual(len(self.known.named('add')), 1)

    def test_a_named_scheduler_is_tried_until_it_pings(self):
        self.make(scheduler_node=[u'10.0.0.9']).begin()
        self.assertEqual(self.run_until(200),
                         list(STEPS) + [60 + NAMED_INTERVAL, 60 + 2 * NAMED_INTERVAL])
        told = set(args[1:3] for args in self.notices.named('knock'))
        for port, release in releases.COMMON:
            self.assertIn(((u'10.0.0.9', port), release), told)
        self.announcer.answered(Ping(addresses=[u'10.0.7.7']), u'10.0.7.7')  # another client
        self.assertEqual(self.run_until(100), [NAMED_INTERVAL])
        self.announcer.answered(Ping(), CLIENT[0])
        self.assertEqual(self.run_until(1000), [])

    def test_nobody_is_pinged_while_the_node_is_busy(self):
        self.make(ping_interval=10.0).begin()
        open_computation(self.common.state)
        self.assertIsNone(self.announcer.wait(self.clock.now))

    def test_a_client_turned_away_is_pinged_when_the_node_is_free(self):
        self.make()
        computation = open_computation(self.common.state)
        self.announcer.turned_away(Ping(), CLIENT[0])
        computation.close(True)
        self.announcer.begin()
        self.announcer.announce(self.clock.now)
        self.assertIn((u'10.0.0.1',) + CLIENT + (u'4.8.7',), self.notices.named('announce_to'))

    def test_the_one_that_waits_longest_comes_first(self):
        self.make()
        computation = open_computation(self.common.state)
        for number in range(3):
            self.announcer.turned_away(Ping(u'%d' % number * 40, [u'10.0.1.%d' % number]),
                                       u'10.0.1.%d' % number)
        computation.close(True)
        self.announcer.begin()
        self.announcer.announce(self.clock.now)
        self.assertEqual([args[1] for args in self.notices.named('announce_to')], [u'10.0.1.0'])
        self.run_until(2)
        self.assertEqual([args[1] for args in self.notices.named('announce_to')],
                         [u'10.0.1.0', u'10.0.1.0', u'10.0.1.1'])

    def test_one_that_was_answered_waits_no_more(self):
        self.make()
        self.announcer.turned_away(Ping(), CLIENT[0])
        self.announcer.answered(Ping(), CLIENT[0])
        self.announcer.begin()
        self.announcer.announce(self.clock.now)
        self.assertEqual(self.notices.named('announce_to'), [])

    def test_a_client_whose_compute_was_refused_is_told_to_forget_the_node(self):
        self.make().compute_refused(CLIENT, Recorder())
        self.assertEqual(self.notices.named('terminated_at')[0][0], CLIENT)

    def test_many_that_wait_do_not_fill_the_memory(self):
        self.make()
        for number in range(1000):
            self.announcer.turned_away(Ping(u'%040d' % number), CLIENT[0])
        self.assertLessEqual(len(self.announcer._waiting), 200)


class KnocksTest(unittest.TestCase):

    def make(self, open_ports):
        """Make Knocks at a host that takes connections at `open_ports`."""
        self.common, self.clock, self.notices = make_common(), FakeClock(), Recorder()
        self.wanted, self.asked = True, []
        self.notices.knock = lambda _own, target, release, done: (
            self.asked.append(release), done(None, None if target[1] in open_ports else 'refused'))
        return Knocks(self.common, self.notices, lambda _name: self.wanted, self.clock, lambda: 0.5)

    def begin(self, knocks, port):
        knocks.begin(u'host', u'10.0.0.1', (u'10.0.0.9', port), [u'4.8.7'], [u'4.10.6', u'4.9.1'])

    def test_a_refused_connection_speaks_for_all_releases_of_the_port(self):
        self.begin(self.make(()), 51347)
        self.assertEqual(self.asked, [u'4.8.7'])
        self.assertEqual(self.notices.named('forget'), [(u'10.0.0.9', 51347)])

    def test_all_releases_are_tried_twice_then_the_likeliest_only(self):
        """The scheduler logs a line for each of another release."""
        knocks = self.make((51347,))
        for _time in range(4):
            self.begin(knocks, 51347)
        self.assertEqual(self.asked, [u'4.8.7', u'4.10.6', u'4.9.1'] * 2 + [u'4.8.7'] * 2)

    def test_one_that_was_away_meanwhile_is_tried_in_all_releases_again(self):
        ports = [51347]
        knocks = self.make(ports)
        for listens in (True, True, False, True):
            ports[:] = [51347] if listens else []
            self.begin(knocks, 51347)
        self.assertEqual(len(self.asked), 3 + 3 + 1 + 3)

    def test_a_scheduler_that_is_slow_is_tried_more_slowly(self):
        knocks, delays = self.make((51347,)), []
        self.common.loop.call_later = lambda delay, *_what: delays.append(delay)
        def knock(_own, _target, _release, done):
            self.clock.now += 2.0
            done(None, None)
        self.notices.knock = knock
        self.begin(knocks, 51347)
        self.assertEqual(delays, [0.1 + 4 * 2.0])

    def test_none_is_tried_when_it_has_been_found_or_the_node_is_busy(self):
        knocks = self.make((51347,))
        self.wanted = False
        self.begin(knocks, 51347)
        self.wanted = True
        open_computation(self.common.state)
        self.begin(knocks, 51347)
        self.assertEqual(self.asked, [])


class CandidatesTest(unittest.TestCase):

    def test_every_published_release_is_there_likeliest_first(self):
        published = releases.published()
        self.assertEqual((len(published), len(set(published))), (58, 58))
        self.assertEqual(published[:4], [u'4.15.2', u'4.14.0', u'4.13.0', u'4.12.4'])
        for release in (u'4.6.0', u'4.6.17', u'4.7.7', u'4.8.9', u'4.9.1', u'4.10.6', u'4.11.1',
                        u'4.15.0'):
            self.assertIn(release, published)
        self.assertEqual(
            releases.others([(9700, u'4.15.2')], 7000)[:2], [(7000, u'4.15.2'), (7000, u'4.14.0')])
        self.assertNotIn((9700, u'4.15.2'), releases.others([(9700, u'4.15.2')]))

    def test_given_then_heard_then_common_each_once(self):
        self.assertEqual(
            releases.candidates([(9700, u'4.15.2'), (61590, u'4.12.4')], [(None, u'4.10.6'),
                                                                          (7000, u'4.9.1')]),
            [(51347, u'4.10.6'), (7000, u'4.9.1'), (9700, u'4.15.2'), (61590, u'4.12.4'),
             (51347, u'4.8.7'), (61590, u'4.14.0')])

    def test_scheduler_port_replaces_the_usual_ones(self):
        self.assertEqual(releases.candidates([], [], 7000),
                         [(7000, release) for _port, release in releases.COMMON])

    def test_the_option(self):
        self.assertEqual(releases.candidate(u'4.12.4'), (None, u'4.12.4'))
        self.assertEqual(releases.candidate(u'4.12.4@61590'), (61590, u'4.12.4'))
        for wrong in (u'', u'4', u'four', u'4.12.4@', u'4.12.4@0', u'4.12.4@70000', u'@9700'):
            self.assertRaises(ValueError, releases.candidate, wrong)

    def test_where_clients_of_a_release_listen(self):
        for release, port, group4, group6 in (
                (u'4.6.17', 51347, u'239.255.51.34', u'ff02::1'),
                (u'4.8.7', 51347, u'239.255.51.34', u'ff05::1'),
                (u'4.10.6', 51347, u'239.255.51.34', u'ff05::b409:3171:9705:6159:5134:70'),
                (u'4.12.4', 61590, u'239.255.61.59', u'ff05::b409:3171:9705:5134:6159'),
                (u'4.15.0', 9700, u'239.255.61.59', u'ff05::b409:3171:9705:5134:6159')):
            self.assertEqual(releases.port_of(release), port)
            self.assertEqual(releases.multicast_group(release, False), group4)
            self.assertEqual(releases.multicast_group(release, True), group6)


class KnownReleasesTest(unittest.TestCase):

    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.path = os.path.join(self.folder, 'releases')

    def tearDown(self):
        shutil.rmtree(self.folder)

    def test_they_are_remembered_across_a_restart_latest_first(self):
        known = KnownReleases(self.path)
        for port, release in ((51347, u'4.8.3'), (61590, u'4.12.4'), (51347, u'4.8.3')):
            known.add(port, release)
        known.add(9700, u'4.15.1')
        again = KnownReleases(self.path)
        self.assertEqual(again.all(), [(9700, u'4.15.1'), (51347, u'4.8.3'), (61590, u'4.12.4')])

    def test_only_so_many_are_kept_and_nonsense_never(self):
        known = KnownReleases(self.path)
        known.add(9700, u'4.x')
        for number in range(50):
            known.add(9700, u'4.%d' % number)
        self.assertEqual(len(known.all()), 12)

    def test_a_broken_file_is_ignored_with_one_line(self):
        for data in (b'\xff\x00\n', b'99999999 4.8.7\n', b'51347 four\n'):
            with open(self.path, 'wb') as target:
                target.write(data)
            self.assertEqual(KnownReleases(self.path).all(), [])
