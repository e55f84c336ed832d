"""node.requests.dispatcher: who is answered, and what becomes of a fault."""
from __future__ import absolute_import, division, print_function

import unittest

from dispynode_lib.errors import ProtocolError
from dispynode_lib.node.replies.spool import PREFIX
from dispynode_lib.wire import asking
from tests.support.desk import (
    ACK, CLIENT, EARLIER, HASH, ID, NODE, STRANGER, WRONG, DeskCase, close, file_transfer, job,
    question, terminate)


class WhoAsksTest(DeskCase):

    def test_an_unknown_request(self):
        request = self.desk.ask(b'NO_SUCH:x')
        self.assertEqual((request.answers, request.is_closed),
                         ([b'NAK (invalid command: NO_SUCH)'], True))
        self.assertIsInstance(request.error, ProtocolError)

    def test_with_the_token_of_another_secret_nothing_is_answered_or_done(self):
        self.desk.set_up_by()
        before = len(self.desk.link.sent)
        payloads = (self.desk.compute(id=8), job(), asking.setup_request(ID),
                    file_transfer(u'name'), terminate(), close(), question(b'JOBS'),
                    question(b'RESEND_JOB_RESULTS'), b'NO_SUCH:x')
        for payload in payloads:
            request = self.desk.ask(payload, token=WRONG)
            self.assertEqual((request.answers, request.is_closed), ([], True))
        self.assertEqual(self.desk.complaints.counts(), {'wrong secret': len(payloads)})
        self.assertEqual((len(self.desk.link.sent), self.desk.jobs()), (before, []))
        self.assert_open()

    def test_who_sends_wrong_ones_again_and_again_is_shut_out(self):
        for _time in range(20):
            self.desk.ask(job(), address=STRANGER, token=WRONG)
        self.assertIsNotNone(self.desk.penalties.reason(STRANGER))
        self.assertIsNone(self.desk.penalties.reason(CLIENT))

    def test_with_the_token_of_an_earlier_run_it_is_for_the_reception_to_reset(self):
        request = self.desk.ask(job(), token=EARLIER)
        self.assertEqual((request.answers, self.desk.complaints.counts()), ([], {}))
        self.assertIn('an earlier run', str(request.error))
        self.assertIsNone(self.desk.penalties.reason(CLIENT))

    def test_with_a_token_of_before_kept_replies_are_given_and_nothing_else(self):
        self.desk.set_up_by()
        self.desk.spool.keep(self.desk.computation, 2, HASH, PREFIX + b'reply')
        request = self.desk.ask(question(b'RETRIEVE_JOB', uid=2, hash=HASH), token=EARLIER, reads=[
            ACK
        ])
        self.assertEqual((request.answers, self.desk.spool.total()), ([b'reply'], 0))
        self.desk.spool.keep(self.desk.computation, 2, HASH, PREFIX + b'reply')
        self.assertEqual(self.desk.ask(job(), token=EARLIER).answers, [])
        self.assertEqual(self.desk.jobs(), [])

    def test_what_is_open_to_all_needs_no_token(self):
        request = self.desk.ask(b'PING:x', token=WRONG)
        self.assertEqual(self.desk.told.named('ping'), [(request,)])
        self.assertEqual(self.desk.complaints.counts(), {})

    def test_this_host_may_speak_for_its_own_client_from_any_address(self):
        self.desk.open_by(scheduler_ip_addr=NODE)
        self.assertEqual(self.desk.ask(asking.setup_request(ID), address=NODE).error, None)
        self.assertEqual(self.desk.complaints.counts(), {})


if __name__ == '__main__':
    unittest.main()
