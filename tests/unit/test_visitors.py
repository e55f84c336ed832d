"""Clients that do not use the node: what `why` tells of them, who is answered how often, and when
again."""
from __future__ import absolute_import, division, print_function

import unittest

from dispynode_lib.host.wording import duration
from dispynode_lib.node.discovery import pings, visitors
from dispynode_lib.node.discovery.pings import Answers
from dispynode_lib.node.operator import status
from dispynode_lib.node.timed import duties
from dispynode_lib.node.shared.history import History
from tests.support.fakes import FakeClock, Recorder, make_common, open_computation

CLIENT = u'10.0.0.9'


class Ping(object):
    relay, version, port, ip_addrs = False, u'4.8.7', 51347, [CLIENT, u'10.0.1.9']

    def __init__(self, sign=u'cd' * 20):
        self.sign = sign


class Case(unittest.TestCase):

    def setUp(self):
        self.clock, loop = FakeClock(), Recorder()
        self.common = make_common(loop=loop)
        self.common.identity.port = 51348
        self.history, self.visitors = History(), visitors.Visitors(self.clock)
        self.errors, self.sent, self.delays = [], [], []
        self.notices = Recorder(answers=lambda ping, source, own: [((CLIENT, ping.port), b'PONG')])
        self.notices.send = self.send
        loop.call_later = lambda delay, function, *args: self.delays.append((delay, function, args))
        loop.call_soon = lambda function, *args: function(*args)
        self.answers = Answers(
            self.common, self.notices, self.visitors, Recorder(), Recorder(), self.clock,
            lambda: 0.5)

    def send(self, target, _payload, done):
        self.sent.append((self.clock.now, target))
        done(self.errors.pop(0) if self.errors else None)

    def ask(self, source=CLIENT, connected=False, ping=None):
        self.answers.give(ping or Ping(), source, u'10.0.0.1', connected)

    def told(self):
        return u'\n'.join(visitors.sentences(self.visitors.fields(), 51348))


class AnswersTest(Case):

    def test_a_client_that_asks_in_several_ways_at_once_gets_one_answer(self):
        for connected in (False, True, False):
            self.ask(connected=connected)
        self.assertEqual(len(self.sent), 1)
        self.clock.now += 1.5
        self.ask()
        self.assertEqual(len(self.sent), 2)

    def test_relays_and_other_addresses_are_answered_each(self):
        self.ask()
        self.ask(u'10.0.1.9')               # who copied its sign keeps nobody from being answered
        self.ask(ping=Ping(None))
        self.ask(ping=Ping(None))
        self.assertEqual(len(self.sent), 4)

    def test_who_asks_when_the_node_is_free_again_is_answered(self):
        self.ask()
        self.answers.forget()
        self.ask()
        self.assertEqual(len(self.sent), 2)

    def test_an_answer_that_does_not_arrive_is_sent_again_later_and_later(self):
        self.errors = [u'timed out'] * 10
        self.ask()
        delays = []
        while self.delays:
            delay, function, args = self.delays.pop()
            delays.append(delay)
            function(*args)
        self.assertEqual(delays, list(pings.BACK_OFF))
        self.assertEqual(len(self.sent), 1 + len(delays))

    def test_one_that_arrives_is_not_sent_again_nor_when_the_node_is_busy(self):
        self.errors = [u'timed out', u'timed out']
        self.ask()
        _delay, function, args = self.delays.pop()
        computation = open_computation(self.common.state)
        function(*args)
        self.assertEqual((len(self.sent), self.delays), (1, []))
        computation.close(True)
        self.errors = []
        function(*args)
        self.assertEqual((len(self.sent), self.delays), (2, []))

    def test_many_clients_do_not_fill_the_memory(self):
        for number in range(1000):
            self.ask(u'10.0.%d.%d' % divmod(number, 250))
        self.assertLessEqual(len(self.answers._allowance._budgets), pings.REMEMBERED)
        self.assertLessEqual(len(self.visitors.fields()), visitors.LIMIT)


class VisitorsTest(Case):

    def test_answered_twice_and_nothing_opened(self):
        self.ask(connected=True)
        self.assertEqual(self.told(), u'')
        self.clock.now += 3
        self.ask()
        self.assertEqual(
            self.told(),
            u'the client at 10.0.0.9 port 51347 (release 4.8.7) was answered twice, the last time '
            u'0.0 s ago, and has opened nothing: perhaps another secret, or nodes of its own choice'
        )
        self.visitors.opened(u'10.0.1.9', 51347)
        self.assertEqual(self.told(), u'')

    def test_datagrams_come_and_connections_never_do(self):
        self.ask()
        self.clock.now += 75
        self.assertIn(u'answered once, the last time 1 min 15 s ago', self.told())
        self.assertIn(u'a firewall that lets datagrams in and no connections to TCP port 51348',
                      self.told())

    def test_the_answers_do_not_arrive(self):
        self.errors = [u'connecting to 10.0.0.9 port 51347: no answer within 5 s'] * 2
        self.ask()
        self.clock.now += 10
        self.assertIn(
            u'does not get the answers: connecting to 10.0.0.9 port 51347: no answer within 5 s; '
            u'perhaps a firewall '
            u'there', self.told())

    def test_refused_because_the_node_is_busy(self):
        for _time in range(3):
            self.visitors.refused((CLIENT, 51347), u'4.8.7', [CLIENT])
            self.clock.now += 10
        self.assertEqual(
            self.told(),
            u'the client at 10.0.0.9 port 51347 (release 4.8.7) waits for the node: refused 3 '
            u'times in 30.0 s'
        )
        self.ask()
        self.assertEqual(self.told(), u'')

    def test_some_are_named_and_the_others_counted(self):
        for number in range(20):
            self.visitors.refused((u'10.0.0.%d' % number, 51347), u'4.8.7', [])
        self.assertEqual(self.told().count(u'waits for the node'), visitors.SHOWN)
        self.assertIn(u'and 15 more clients', self.told())


class OwnerTest(Case):

    def test_with_whom_the_node_is_busy_and_for_how_long(self):
        computation = open_computation(self.common.state)
        self.history.opened(computation.id)
        self.assertIn(
            u'busy with the scheduler at 10.0.0.9 port 9700 for 0',
            status.why_owned(status.owner(self.common.state, self.common.options, self.history),
                             self.common.state.refusal()))

    def test_a_silent_scheduler(self):
        self.common.options.zombie_interval = 3600.0
        computation = open_computation(self.common.state, life=925.0)
        self.assertIsNone(duties.silence(self.common.state, self.common.options, 1000.0))
        duties.Pulses(self.common, self.notices, Recorder())._answered(computation, u'refused')
        self.assertEqual(duties.silence(self.common.state, self.common.options, 1000.0),
                         (75.0, 3525.0))
        text = status.describe_owner({
            'address': CLIENT, 'port': 9700, 'for': 100.0, 'silent_for': 75.0, 'given_up_in': 3525.0
        })
        self.assertEqual(
            text,
            u'10.0.0.9 port 9700 for 1 min 40 s, silent for 1 min 15 s; it will be given up in 58 '
            u'min 45 s; '
            u'--ctl release frees the node now')
        computation.heard()
        self.assertIsNone(duties.silence(self.common.state, self.common.options, 1000.0))

    def test_a_scheduler_whose_pulses_are_overdue_is_silent_too(self):
        self.common.options.zombie_interval = 0.0
        open_computation(self.common.state, life=900.0, pulse_interval=30.0)
        self.assertEqual(duties.silence(self.common.state, self.common.options, 1000.0),
                         (100.0, None))
        self.assertEqual(duration(100.0), u'1 min 40 s')
