"""Who gets pages of the node: this host, and whom --http_allow names."""
from __future__ import absolute_import, division, print_function

import socket
import unittest

from dispynode_lib.host.network.net import Network
from dispynode_lib.log import CRITICAL, output
from dispynode_lib.node.operator.health import Pages
from dispynode_lib.node.shared.complaints import Complaints
from tests.support.fakes import Recorder, make_common

OUTSIDE = u'192.0.2.7'


class Connection(object):
    """A connection whose request has come."""

    def __init__(self, sock, address):
        self.sock, self.address, self.data = sock, (address, 4711), b'GET /healthz HTTP/1.0\r\n\r\n'


class HealthTest(unittest.TestCase):

    def setUp(self):
        self.addCleanup(setattr, output, 'level', output.level)
        output.level = CRITICAL + 1

    def status_for(self, address, *networks):
        """Return the status with which a peer at `address` is answered; None: without any, and it
        is told of."""
        common = make_common(http_allow=[Network(text) for text in networks])
        complaints = Complaints()
        near, far = socket.socketpair()
        self.addCleanup(far.close)
        Pages(common, Recorder(), Recorder(), complaints).serve(Connection(near, address))
        near.close()
        answer = far.makefile('rb').read()
        self.assertEqual(complaints.counts(), {} if answer else {'HTTP refused': 1})
        return int(answer.split()[1]) if answer else None

    def test_only_this_host_unless_allowed(self):
        self.assertIsNone(self.status_for(OUTSIDE))
        self.assertIsNone(self.status_for(OUTSIDE, u'198.51.100.0/24'))
        self.assertEqual(self.status_for(OUTSIDE, u'192.0.2.0/24'), 200)

    def test_this_host_by_any_of_its_addresses(self):
        for address in (u'127.0.0.1', u'127.0.0.9', u'::1', u'10.0.0.1'):
            self.assertEqual(self.status_for(address), 200, address)


if __name__ == '__main__':
    unittest.main()
