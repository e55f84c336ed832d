"""A request that fails by a fault of the node is answered: nobody waits for ever."""
from __future__ import absolute_import, division, print_function

import threading
import unittest

from dispynode_lib import log
from dispynode_lib.errors import PeerGone
from dispynode_lib.host.io import loop as loops
from dispynode_lib.node import node as nodes
from dispynode_lib.node.operator.commands import Commands
from dispynode_lib.node.requests.dispatcher import Dispatcher
from dispynode_lib.node.shared.state import NodeState
from tests.support.fakes import make_common


class FakeRequest(object):
    """A request with the right token that keeps the answers to it."""

    def __init__(self, opcode):
        self.opcode, self.address, self.authorised, self.answers = opcode, ('10.0.0.1', 1), True, []

    def reply(self, payload):
        self.answers.append(payload)


def fail(*_args):
    """Fail as no request should."""
    raise UnicodeError(u'\xf6')


class FaultsTest(unittest.TestCase):

    def setUp(self):
        self.records, handler = [], log.output.handler
        log.output.handler = self.records.append
        self.addCleanup(setattr, log.output, 'handler', handler)
        self.requests = Dispatcher(None, {}, None, {}, fail, None, None, None)

    def answer(self, opcode, handler=fail):
        self.requests._table[opcode] = handler
        request = FakeRequest(opcode)
        self.assertFalse(self.requests.handle(request))
        self.assertEqual([record.exc_info is not None for record in self.records], [True])
        self.records[:] = []
        return request.answers

    def test_a_client_waits_for_ever_after_an_exception(self):
        for opcode in ('COMPUTE', 'SETUP'):
            self.assertTrue(self.answer(opcode)[0].startswith(b'the node failed: UnicodeError('))
        self.assertTrue(self.answer('JOB')[0].startswith(b'NAK (the node failed: UnicodeError('))
        for opcode in ('FILEXFER', 'SET_CPUS', 'NODE_STATUS'):
            self.assertEqual(self.answer(opcode), [b'\x80\x02J\xff\xff\xff\xff.'])
        self.assertEqual(self.answer('JOBS'), [])

    def test_a_job_that_is_taken_at_once_is_answered_too(self):
        request = FakeRequest('JOB')
        self.assertTrue(self.requests.job_at_once(request))
        self.assertTrue(request.answers[0].startswith(b'NAK (the node failed: '))

    def test_a_peer_that_has_gone_is_no_fault(self):
        def gone(_request):
            raise PeerGone('closed')
        self.requests._table['JOB'] = gone
        with self.assertRaises(PeerGone):
            self.requests.handle(FakeRequest('JOB'))

    def test_a_command_that_fails_is_answered(self):
        commands = Commands.__new__(Commands)
        commands._run = fail
        answer = commands.run([u'why'])
        self.assertEqual(answer.status, 70)
        self.assertTrue(answer.text.startswith(u'why: the node failed: UnicodeError('), answer.text)


class StopTest(unittest.TestCase):

    def setUp(self):
        self.refusals = 1000
        for module in (nodes, loops):
            self.addCleanup(setattr, module, 'start_thread', module.start_thread)
            module.start_thread = self.start_thread
        handler, log.output.handler = log.output.handler, lambda _record: None
        self.addCleanup(setattr, log.output, 'handler', handler)

    def start_thread(self, _name, function, *args):
        """Fail for a while, as where there are too many threads."""
        self.refusals -= 1
        if self.refusals >= 0:
            raise threading.ThreadError("can't start new thread")
        function(*args)

    def test_sigint_where_no_thread_can_be_started_waits_for_one(self):
        self.addCleanup(setattr, loops, 'THREAD_AGAIN', loops.THREAD_AGAIN)
        loops.THREAD_AGAIN, self.refusals = 0.01, 3
        node = nodes.Node.__new__(nodes.Node)
        node._common = make_common(loop=loops.Loop())
        node._state, node._stop_when_empty = node._common.state, node._common.loop.stop
        node.drain()
        node._common.loop.run()
        self.assertEqual(self.refusals, -1)

    def test_sigterm_where_no_thread_can_be_started(self):
        node, stopped = nodes.Node.__new__(nodes.Node), []
        node._state, node._stop = NodeState(1), stopped.append
        node.stop()
        node.stop()
        self.assertEqual(stopped, [False])


if __name__ == '__main__':
    unittest.main()
