"""What the node concludes from what it knows of a peer."""
from __future__ import absolute_import, division, print_function

import unittest

from dispynode_lib.wire.peers import Peer, release_tuple
from dispynode_lib.wire.pickle.records import Form


class PeerTest(unittest.TestCase):

    def test_releases(self):
        self.assertEqual(release_tuple(u'4.8.7'), (4, 8, 7))
        self.assertEqual(release_tuple(u'4.10'), (4, 10))
        for text in (None, u'', u'4.8.x', u'4..8', u'-1.2', u'9' * 50):
            self.assertIs(release_tuple(text), None)

    def test_setup_results_of_1_and_2_are_accepted_from_4_10(self):
        for version in (u'4.6.17', u'4.7.7', u'4.8.7', u'4.9.1'):
            self.assertEqual(Peer(version).accepts_setup(), (0,))
        for version in (u'4.10.0', u'4.10.6', u'4.15.2', u'5.0', None, u'unknown'):
            self.assertEqual(Peer(version).accepts_setup(), (0, 1, 2))

    def test_every_peer_reads_protocol_2(self):
        self.assertEqual(Peer(protocol=0).protocol, 2)
        self.assertEqual(Peer(protocol=5).protocol, 5)

    def test_a_peer_is_known_better_with_each_message(self):
        peer = Peer(u'4.8.7')
        peer.heard(Form(False, 2))
        self.assertEqual((peer.python2, peer.protocol), (False, 2))
        peer.heard(Form(False, 4))
        peer.heard(Form(False, 3))
        self.assertEqual((peer.python2, peer.protocol), (False, 4))
        peer = Peer(u'4.8.7')
        peer.heard(Form(True, 2))
        peer.heard(Form(False, 2))              # a SETUP with a bare number does not show Python 2
        self.assertEqual((peer.python2, peer.protocol), (True, 2))


if __name__ == '__main__':
    unittest.main()
