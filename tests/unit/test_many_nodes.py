"""A thousand nodes and one client, by the parts that decide when to send: what the client gets, in
which time."""
from __future__ import absolute_import, division, print_function

import heapq
import itertools
import random
import unittest

from dispynode_lib.node.discovery import pings
from dispynode_lib.node.discovery.announcer import Announcer
from dispynode_lib.node.discovery.pings import Answers
from dispynode_lib.node.discovery.visitors import Visitors
from dispynode_lib.node.shared.complaints import Complaints
from tests.support.fakes import Recorder, make_common

NODES = 1000
BACKLOG = 30  # connections that wait at the client; others are dropped
EACH = 0.002                                # seconds that the client needs for one
TIMEOUT = 5.0                               # --msg_timeout
SYN_AGAIN = (1.0, 3.0)  # seconds after which the kernel of a node tries again to connect
DATAGRAM = 0.0003  # seconds that the client needs for a ping of another release
BUFFER = 250                                # datagrams that fit into its receive buffer


class Ping(object):
    relay, version, port, ip_addrs, sign = False, u'4.10.6', 51347, [u'10.0.0.9'], u'cd' * 20


class World(object):
    """The time, what is to be done when, and a client that takes one connection after the other."""

    def __init__(self):
        self.now, self._events, self._numbers = 1000.0, [], itertools.count()
        self.free_at, self.taken, self.dropped = self.now, [], 0
        # release -> nodes whose ping of it has been taken
        self.read_until, self.heard = self.now, {}

    def at(self, when, function, *args):
        heapq.heappush(self._events, (when, next(self._numbers), function, args))

    def run(self, end):
        while self._events and self._events[0][0] <= end:
            self.now, _number, function, args = heapq.heappop(self._events)
            function(*args)
        self.now = end

    def connect(self, node, done, began=None):
        """A node connects: it is taken, waits in the backlog, or tries again until its time is
        over."""
        began = self.now if began is None else began
        if self.free_at - self.now < BACKLOG * EACH:
            self.free_at = max(self.free_at, self.now) + EACH
            self.taken.append((self.free_at, node))
            self.at(self.free_at, done, None)
            return
        self.dropped += 1
        for wait in SYN_AGAIN:
            if began + wait > self.now:
                self.at(began + wait, self.connect, node, done, began)
                return
        self.at(began + TIMEOUT, done, u'no answer within 5 s')

    def announce(self, node, pairs):
        """Datagrams come at the client's port, or are lost where its buffer is full."""
        for port, release in pairs:
            if port == Ping.port and self.read_until - self.now < BUFFER * DATAGRAM:
                self.read_until = max(self.read_until, self.now) + DATAGRAM
                self.heard.setdefault(release, set()).add(node)


class Loop(object):
    def __init__(self, world):
        self._world = world

    def call_soon(self, function, *args):
        function(*args)

    def call_later(self, delay, function, *args):
        self._world.at(self._world.now + delay, function, *args)


class Node(object):
    """One node: its real parts that decide, with the world's clock; all else is a double."""

    def __init__(self, number, world, chance):
        common = make_common(loop=Loop(world))
        clock = lambda: world.now                               # noqa: E731
        visitors = Visitors(clock)
        notices = Recorder(answers=lambda ping, source, own: [((source, ping.port), b'PONG')])
        notices.send = lambda _target, _payload, done: world.connect(number, done)
        notices.announce_to_all = lambda _own, pairs: world.announce(number, pairs)
        self.announcer = Announcer(
            common, notices, visitors, Complaints(), Recorder(all=[]), clock, chance)
        self.answers = Answers(
            common, notices, visitors, self.announcer, Recorder(), clock, chance)
        self._world = world

    def start(self):
        self.announcer.begin()
        self._duty()

    def _duty(self):
        now = self._world.now
        self.announcer.announce(now)
        wait = self.announcer.wait(now)
        if wait is not None:
            self._world.at(now + max(0.1, wait), self._duty)


class SpreadTest(unittest.TestCase):

    def test_nodes_of_a_wide_network_take_longer_to_answer(self):
        saved = pings.net.broadcast_addresses
        for broadcast, seconds in ((u'10.9.0.255', 0.25), (u'10.8.1.255', 0.5),
                                   (u'10.9.255.255', 1.0), (u'255.255.255.255', 0.25)):
            pings.net.broadcast_addresses = lambda _own, broadcast=broadcast: [broadcast]
            try:
                self.assertEqual(pings.spread(u'10.9.0.1'), seconds)
            finally:
                pings.net.broadcast_addresses = saved
        self.assertEqual(pings.spread(u'127.0.0.1'), pings.SPREAD)


class ManyNodesTest(unittest.TestCase):

    def setUp(self):
        self.world, self.chance = World(), random.Random(1).random
        self.nodes = [Node(number, self.world, self.chance) for number in range(NODES)]

    def test_they_answer_one_broadcast_and_the_client_knows_them_all(self):
        """Each once, though it asks each of them three times."""
        for node in self.nodes:
            for _time in range(3):
                self.world.at(1000.0 + self.chance() * pings.SPREAD * pings.WIDEST,
                              node.answers.give, Ping(), u'10.0.0.9', u'10.0.0.1', False)
        self.world.run(1010.0)
        taken = [number for _when, number in self.world.taken]
        self.assertEqual((len(set(taken)), len(taken)), (NODES, NODES))

    def test_a_client_that_is_away_for_a_while_is_answered_later(self):
        self.world.free_at += 8.0  # its backlog is full: all attempts of the first 5 s fail
        for node in self.nodes:
            self.world.at(1000.0 + self.chance(), node.answers.give, Ping(), u'10.0.0.9',
                          u'10.0.0.1', False)
        self.world.run(1045.0)
        taken = [number for _when, number in self.world.taken]
        self.assertEqual((len(set(taken)), len(taken)), (NODES, NODES))

    def test_they_start_within_a_second_and_a_client_of_any_release_hears_them(self):
        for node in self.nodes:
            self.world.at(1000.0 + self.chance(), node.start)
        self.world.run(1040.0)
        for release, least in ((u'4.8.7', 1.0), (u'4.10.6', 0.98), (u'4.8.9', 0.9), (u'4.9.0', 0.8),
                               (u'4.6.17', 0.8)):
            self.assertGreaterEqual(len(self.world.heard[release]), least * NODES, release)
