"""The node follows the addresses of a host that is told, not asked."""
from __future__ import absolute_import, division, print_function

import unittest

from dispynode_lib.host.network import net
from dispynode_lib.node.requests import addresses
from dispynode_lib.node.shared import identity
from dispynode_lib.node.shared.common import Common
from dispynode_lib.node.requests.addresses import (
    CALM_LOOK, HELD, LEAST, LOOK, SETTLE, Addresses, Host)
from dispynode_lib.options.parser import Options
from tests.support.fakes import AtOnce, Recorder

LOOPBACK, FIRST, SECOND = u'127.0.0.1', u'10.0.0.2', u'10.0.0.3'


class FakeHost(object):
    """A host whose addresses and links the test sets."""

    def __init__(self, *given):
        self.given, self.mine, self.linked, self.best = list(given), [LOOPBACK], True, LOOPBACK

    def choose(self, _served):
        return [(address, u'it says so') for address in self.given or [self.best]]

    def has(self, address):
        return address in self.mine

    def has_link(self, _address):
        return self.linked

    def get(self, address):
        """Have a new address, the best one."""
        self.mine.append(address)
        self.best = address

    def lose(self, address):
        self.mine.remove(address)
        self.best = self.mine[-1]


class FollowTest(unittest.TestCase):

    def setUp(self):
        self.real, addresses.open_news = addresses.open_news, lambda: None
        self.now, self.host, self.taken, self.counted = 100.0, FakeHost(), [], 0
        self.identity, self.workers, self.told = Recorder(), AtOnce(), Recorder()
        self.identity.name, self.identity.addresses, self.identity.port = u'worker', [], 51348

    def tearDown(self):
        addresses.open_news = self.real

    def begin(self, *given):
        self.host.given = list(given)
        common = Common(Options(), None, Recorder(), self.workers, self.identity)
        self.addresses = Addresses(common, self.host, self.serve_at,
                                   Recorder().reschedule, self.told.more, self.told.network_changed)
        self.identity.addresses = [address for address, _why in self.host.choose([])]
        self.addresses.begin(self.host.choose([]), self.now)

    def serve_at(self, wanted, held):
        self.held = held
        return [address for address in wanted if address not in self.taken]

    def look(self, seconds=1.0):
        """Let time pass and the host be asked; return the node's addresses."""
        self.now += seconds
        for _ in range(2):                  # ask, then do what the answer asks for
            self.assertIsNotNone(self.addresses.wait(self.now))
            self.addresses.look(self.now)
        return self.identity.addresses

    def announced(self):
        """Return how often the node was announced since the last question."""
        count, self.counted = len(self.told.named('more')) - self.counted, len(
            self.told.named('more'))
        return count

    def test_a_node_without_network_waits_and_serves_its_own_host(self):
        self.begin()
        self.assertEqual(self.identity.addresses, [LOOPBACK])
        self.assertEqual(
            self.addresses.trouble(),
            u'no network: this host has but 127.0.0.1; clients on other hosts cannot use the node')
        self.assertEqual(self.look(), [LOOPBACK])
        self.host.get(FIRST)
        # clients on this host may be at work there
        self.assertEqual(self.look(), [FIRST, LOOPBACK])
        self.assertIsNone(self.addresses.trouble())
        self.assertEqual(self.announced(), 1)
        self.assertEqual(len(self.told.named('network_changed')), 2)

    def test_address_that_changes_twice(self):
        self.host.get(FIRST)
        self.begin()
        self.host.get(SECOND)
        self.host.lose(FIRST)
        self.assertEqual(self.look(), [SECOND])
        self.host.get(FIRST)
        self.host.lose(SECOND)
        self.assertEqual(self.look(), [FIRST])
        self.assertEqual(self.announced(), 2)
        self.assertEqual(self.look(), [FIRST])
        self.assertEqual(self.announced(), 0)

    def test_an_address_stays_while_the_host_has_it(self):
        self.host.get(FIRST)
        self.begin()
        self.host.get(SECOND)
        self.assertEqual(self.look(), [SECOND, FIRST])
        self.host.best = FIRST
        self.assertEqual(self.look(), [FIRST, SECOND])
        self.assertEqual(self.addresses.describe(), [(FIRST, u'it says so'),
                                                     (SECOND, u'it says so')])

    def test_link_that_goes_and_comes(self):
        self.host.get(FIRST)
        self.begin()
        self.host.linked = False
        self.assertEqual(self.look(), [FIRST])
        self.assertEqual(self.addresses.trouble(), u'no network: the link of 10.0.0.2 is down')
        self.assertEqual(self.announced(), 0)
        self.host.linked = True
        self.look()
        self.assertIsNone(self.addresses.trouble())
        self.assertEqual(self.announced(), 1)               # clients may have come meanwhile

    def test_a_given_address_that_goes_and_comes_back(self):
        self.host.get(FIRST)
        self.begin(FIRST)
        self.host.lose(FIRST)
        self.assertEqual(self.look(), [])
        self.assertEqual(self.addresses.trouble(),
                         u'no network: this host does not have 10.0.0.2 (-i)')
        self.host.get(FIRST)
        self.assertEqual(self.look(), [FIRST])
        self.assertEqual((self.addresses.trouble(), self.announced()), (None, 1))

    def test_loopback_that_was_given_is_network_enough(self):
        self.begin(LOOPBACK)
        self.assertIsNone(self.addresses.trouble())

    def test_a_port_that_is_taken_at_the_new_address(self):
        self.host.get(FIRST)
        self.begin()
        self.host.get(SECOND)
        self.taken = [SECOND]
        self.assertEqual(self.look(), [FIRST])
        self.taken = []
        self.assertEqual(self.look(), [SECOND, FIRST])

    def test_how_long_an_address_is_gone(self):
        self.host.get(FIRST)
        self.begin()
        self.host.lose(FIRST)
        self.look()
        # there is no network: it may come back
        self.assertIsNone(self.addresses.gone_for(FIRST, self.now + 50))
        self.host.get(SECOND)
        self.look(10.0)
        self.assertEqual(self.addresses.gone_for(FIRST, self.now + 50), 50)
        self.assertIsNone(self.addresses.gone_for(SECOND, self.now + 50))
        self.assertEqual(self.held, [FIRST])
        self.look(HELD)
        self.assertEqual(self.held, [])
        self.host.get(FIRST)
        self.look()
        self.assertIsNone(self.addresses.gone_for(FIRST, self.now + 50))

    def test_when_it_looks(self):
        self.begin()
        self.assertEqual(self.addresses.wait(self.now + 1), LOOK - 1)  # without news of the kernel
        addresses.open_news = lambda: Recorder(fileno=7)
        self.host.get(FIRST)
        self.begin()
        self.assertEqual(self.addresses.wait(self.now + 1), CALM_LOOK - 1)
        self.addresses.look_soon()
        self.assertEqual(self.addresses.wait(self.now + 1), SETTLE)
        self.assertEqual(self.addresses.wait(self.now), LEAST)
        self.workers.run = lambda *_what: None
        self.addresses.look(self.now)
        self.assertIsNone(self.addresses.wait(self.now))    # the host is being asked


class NameTest(unittest.TestCase):
    """A name given with -i is resolved anew."""

    def setUp(self):
        self.real = net.resolve
        net.resolve = self.resolve
        self.host = Host([u'worker', FIRST])
        self.host.has = lambda address: address != u'10.9.9.9'

    def tearDown(self):
        net.resolve = self.real

    def resolve(self, name):
        if name != u'worker':
            return [name]
        if not self.found:
            raise EnvironmentError('no answer')
        return self.found

    def choose(self, *served):
        return [address for address, _why in self.host.choose(served)]

    def test_a_name_that_moves(self):
        self.found = [SECOND]
        self.assertEqual(self.choose(), [SECOND, FIRST])
        self.found = [u'10.9.9.9', u'10.0.0.4', u'10.0.0.5']
        self.assertEqual(self.choose(), [u'10.0.0.4', FIRST])       # an address that this host has
        # whatever their order is today
        self.assertEqual(self.choose(u'10.0.0.5'), [u'10.0.0.5', FIRST])
        self.found = []
        self.assertEqual(self.choose(), [FIRST])
        self.found = [FIRST]
        self.assertEqual(self.choose(), [FIRST])


class OwnAddressTest(unittest.TestCase):

    def setUp(self):
        self.real, self.mine = identity.own_interface, [LOOPBACK, FIRST]
        identity.own_interface = lambda address: address in self.mine
        self.identity = identity.Identity(Options())

    def tearDown(self):
        identity.own_interface = self.real

    def test_a_client_on_another_host_is_not_told_of_loopback(self):
        self.identity.addresses = [LOOPBACK]
        self.assertIsNone(self.identity.own_address(u'192.0.2.9'))
        self.assertEqual(self.identity.own_address(u'127.0.0.9'), LOOPBACK)
        self.identity.addresses = [LOOPBACK, FIRST]
        self.assertEqual(self.identity.own_address(u'192.0.2.9'), FIRST)

    def test_a_client_is_not_told_of_an_address_that_has_just_gone(self):
        self.identity.addresses = [SECOND]
        self.assertIsNone(self.identity.own_address(u'192.0.2.9', FIRST))
        self.identity.addresses = [SECOND, FIRST]
        self.assertEqual(self.identity.own_address(u'192.0.2.9', FIRST), FIRST)
