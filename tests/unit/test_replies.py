"""Writers: what peers' own pickle module makes of what a node says."""
from __future__ import absolute_import, division, print_function

import os
import pickle
import pickletools
import unittest

from dispynode_lib.host.compat import PY2, text_type
from dispynode_lib.wire import asking, messages, replies
from dispynode_lib.wire.framing import frame, split
from dispynode_lib.wire.peers import Peer
from dispynode_lib.wire.pickle.pickles import dump, load
from tests.support import annotated
from tests.support.standins import dispy_module

SIGN = u's' * 40
OLD = Peer(u'4.8.7', True, 2)
NEW = Peer(u'4.15.2', False, 5)
INFO = messages.AvailInfo(99.5, 2 ** 33, 2 ** 40, 100.0)
UNICODE = set([
    'BINUNICODE', 'SHORT_BINUNICODE', 'BINUNICODE8', 'UNICODE', 'SHORT_BINBYTES', 'BINBYTES'
])
BYTES2 = set(['SHORT_BINSTRING', 'BINSTRING', 'STRING'])
TIMES = (1795341120.25, 1795341121.5)


def opcodes_of(data):
    """Return the names of the opcodes in a pickle; none if this Python does not know them all."""
    if PY2 and data[1:2] > b'\x02':
        return set()
    return set(opcode.name for opcode, _argument, _at in pickletools.genops(data))


def read_by_peer(data, python2):
    """Return what the pickle module of such a peer makes of `data`; None if no such Python runs
    this."""
    if PY2:
        return pickle.loads(data) if python2 else None
    return pickle.loads(data, encoding='utf-8') if python2 else pickle.loads(data)


class RepliesTest(unittest.TestCase):

    def check(self, write, opcode, expected):
        """Check the message that `write(peer)` gives, for each kind of peer; `expected`: its
        dict."""
        for peer in (OLD, NEW):
            name, data = split(write(peer))
            self.assertEqual(name, opcode)
            names = opcodes_of(data)
            self.assertFalse(names & (UNICODE if peer.python2 else BYTES2), names)
            self.assertFalse(names & set(['BINPUT', 'MEMOIZE', 'FRAME', 'STACK_GLOBAL']))
            self.assertEqual(data[:2], b'\x80\x02' if peer.python2 else b'\x80\x03')
            with dispy_module() as dispy:
                read = read_by_peer(data, peer.python2)
                if read is not None:
                    self.check_avail_info(read, dispy)
            if read is not None:
                self.assertEqual(read, expected(peer))

    def check_avail_info(self, read, dispy):
        if isinstance(read, dict) and read.get('avail_info'):
            info = read.pop('avail_info')
            self.assertEqual(type(info), dispy.DispyNodeAvailInfo)
            self.assertEqual(info.__dict__,
                             {'cpu': 99.5, 'memory': 2**33, 'disk': 2**40, 'swap': 100.0})
            read['avail_info'] = None

    def test_pong(self):
        self.check(
            lambda peer: replies.pong(peer, u'10.0.0.1', 51348, SIGN, u'n1', 2, u'Linux', b'a' * 40,
                                      INFO, u'10.0.0.2'), 'PONG',
            lambda peer: {
                'ip_addr': '10.0.0.1', 'port': 51348, 'sign': str(SIGN), 'version': str(
                    peer.version), 'name': 'n1', 'cpus': 2, 'platform': 'Linux', 'auth': 'a' * 40
                if peer.python2 else b'a' * 40, 'avail_info': None, 'scheduler_ip_addr': '10.0.0.2'
            })

    def test_pong_is_read_by_our_own_reader(self):
        for peer in (OLD, NEW):
            pong = messages.read_pong(split(replies.pong(
                peer, '10.0.0.1', 51348, SIGN, u'n\u00e9', 2, 'Linux', b'a' * 40, INFO, None))[1])
            self.assertEqual(
                (pong.name, pong.version, pong.auth, pong.scheduler_ip_addr, pong.avail_info.disk),
                (u'n\u00e9', peer.version, b'a' * 40, None, 2**40))

    def test_the_annotated_pong(self):
        pong = frame(
            replies.pong(Peer(u'4.8.7'), u'10.77.0.1', 51348, SIGN, u'n1', 2, u'', b'a' * 40, None,
                         u'10.77.0.2'))
        self.assertEqual(len(pong), len(annotated.PONG))
        if not PY2:                                     # there the order of the keys is by chance
            self.assertEqual(pong, annotated.PONG)

    def test_notices(self):
        self.check(
            lambda peer: replies.ping(peer.version, peer.python2, u'10.0.0.1', 51348, SIGN, None),
            'PING', lambda peer: {
                'ip_addr': '10.0.0.1', 'port': 51348, 'sign': str(SIGN), 'version': str(
                    peer.version), 'scheduler_ip_addr': None
            })
        self.check(
            lambda peer: replies.pulse(peer, u'10.0.0.1', 51348, 1, u'10.0.0.2', INFO), 'PULSE',
            lambda peer: {
                'ip_addr': '10.0.0.1', 'port': 51348, 'cpus': 1, 'scheduler_ip_addr': '10.0.0.2',
                'avail_info': None
            })
        self.check(lambda peer: replies.node_cpus(peer, u'10.0.0.1', SIGN, 0), 'NODE_CPUS',
                   lambda peer: {'ip_addr': '10.0.0.1', 'sign': str(SIGN), 'cpus': 0})
        self.check(lambda peer: replies.terminated(peer, u'10.0.0.1', 51348, SIGN), 'TERMINATED',
                   lambda peer: {'ip_addr': '10.0.0.1', 'port': 51348, 'sign': str(SIGN)})
        self.check(
            lambda peer: replies.node_closed(peer, u'10.0.0.1', b'a' * 40, 7, u'cc'), 'NODE_CLOSED',
            lambda peer: {
                'node_addr': '10.0.0.1', 'node_auth': 'a' * 40
                if peer.python2 else b'a' * 40, 'compute_id': 7, 'auth': 'cc'
            })
        self.check(
            lambda peer: replies.node_info_udp(peer.version, peer.python2, u'::1', 9701, SIGN),
            'NODE_INFO', lambda peer:
            {'ip_addr': '::1', 'port': 9701, 'sign': str(SIGN), 'version': str(peer.version)})

    def test_values(self):
        self.assertEqual(replies.value(NEW, 2), b'\x80\x03K\x02.')
        self.assertEqual(replies.value(OLD, 2500000), b'\x80\x02J\xa0%&\x00.')
        self.check(
            lambda peer: b'X:' + replies.value(
                peer, {'busy': 0, 'scheduler_ip': None, 'avail_info': INFO}), 'X',
            lambda peer: {'busy': 0, 'scheduler_ip': None, 'avail_info': None})
        self.check(lambda peer: b'X:' + replies.value(peer, [1, 2**47]), 'X',
                   lambda peer: [1, 2**47])
        self.check(lambda peer: b'X:' + replies.value(peer, {'done': [5], 'pending': 0}), 'X',
                   lambda peer: {'done': [5], 'pending': 0})

    def test_file_transfer(self):
        result = os.stat(__file__)
        if not PY2:
            os._make_stat_result = os.stat_result           # as the other Python calls it
            self.addCleanup(delattr, os, '_make_stat_result')
        for peer in (OLD, NEW):
            data = split(replies.file_transfer(peer, u'/home/ann/x', u'.', result, u'/'))[1]
            sent = messages.read_file(data)
            self.assertEqual(
                (sent.name, sent.dest_path, sent.compute_id, sent.size, sent.mode, sent.mtime),
                (u'/home/ann/x', u'.', None, result.st_size, result.st_mode, result.st_mtime))
            with dispy_module():
                read = read_by_peer(data, peer.python2)
            if read is not None:
                self.assertEqual((read.name, read.sep, read.compute_id), ('/home/ann/x', '/', None))
                self.assertEqual(
                    (read.stat_buf.st_size, read.stat_buf.st_mtime, read.stat_buf.st_mode),
                    (result.st_size, result.st_mtime, result.st_mode))


class JobReplyTest(unittest.TestCase):

    def write(self, peer, **more):
        fields = dict(
            {
                'uid': 140112646923984, 'hash': u'd3f7', 'ip_addr': u'10.77.0.1', 'status': 11,
                'result': b'\x80\x03K\x05.', 'stdout': u'', 'stderr': u'', 'exception': None,
                'start_time': TIMES[0], 'end_time': TIMES[1]
            }, **more)
        reply = replies.job_reply(peer, **fields)
        head, result, tail = replies.job_reply_parts(peer, **fields)
        self.assertEqual(head + result + tail, reply)
        self.assertEqual(b'JOB_REPLY:' + replies.job_reply_object(peer, **fields), reply)
        data = split(reply)[1]
        self.assertFalse(opcodes_of(data) & (UNICODE if peer.python2 else BYTES2))
        return data

    def read(self, peer, **more):
        """Return the attributes of a reply as such a peer sees them."""
        data = self.write(peer, **more)
        with dispy_module() as module:
            read = read_by_peer(data, peer.python2) if PY2 == peer.python2 else None
            if read is None:
                return dict(load(data, ('_JobReply',))[0].fields)
            self.assertIs(type(read), module._JobReply)
            return read.__dict__

    def test_the_annotated_reply(self):
        data = replies.job_reply(NEW, 140112646923984, u'd3f7da5fe93e4d3f3aef', u'10.77.0.1', 11,
                                 b'\x80\x03K\x05.', u'', u'', None, 1.5, 2.5)
        self.assertEqual(frame(data), annotated.SMALL_JOB_REPLY)
        data = frame(
            replies.job_reply(OLD, 140112646923984, u'd3f7da5fe93e4d3f3aef', u'10.77.0.1', 11,
                              b'\x80\x02K\x05.', u'', u'', None, 1.5, 2.5))
        self.assertEqual(data[:4], b'\x00\x00\x00\xc2')
        self.assertTrue(data[4:].startswith(
            b'JOB_REPLY:\x80\x02cdispy\n_JobReply\n)\x81}(U\x03uid\x8a\x06\xd0f\x8c\x84n\x7fU\x04hashU\x14'
        ))
        self.assertIn(b'U\x06resultU\x05\x80\x02K\x05.', data)

    def test_attributes(self):
        for peer in (OLD, NEW):
            fields = self.read(peer)
            self.assertEqual(sorted(fields), [
                'end_time', 'exception', 'hash', 'ip_addr', 'result', 'start_time', 'status',
                'stderr', 'stdout', 'uid'
            ])
            self.assertEqual((fields['uid'], fields['status'], fields['start_time'],
                              fields['end_time'], fields['exception']),
                             (140112646923984, 11) + TIMES + (None, ))
            self.assertEqual(type(fields['result']), bytes)

    def test_output_of_every_kind_and_size(self):
        for size in (1, 255, 256, 70000):
            for peer in (OLD, NEW):
                text = u'\u00e9' * size
                fields = self.read(peer, stdout=text, stderr=b'\xff' * size, exception=text)
                expected = text.encode('utf-8') if peer.python2 else text
                self.assertEqual((fields['stdout'], fields['stderr'], fields['exception']),
                                 (expected, b'\xff' * size, expected))
        for peer in (OLD, NEW):
            fields = self.read(peer, stdout=None, stderr=b'')
            self.assertIs(fields['stdout'], None)
            self.assertEqual(len(fields['stderr']), 0)

    def test_a_python_3_client_could_not_decode_the_output_of_a_program_that_had_none(self):
        fields = self.read(NEW, stdout=b'', stderr=u'')
        self.assertIs(type(fields['stdout']), bytes)
        self.assertIs(type(fields['stderr']), type(u''))

    def test_lone_surrogates_in_output(self):
        if not PY2:
            self.assertEqual(self.read(NEW, stdout=u'a\udc80')['stdout'], u'a\udc80')
            self.write(OLD, stdout=u'a\udc80')

    def test_results_of_every_size(self):
        for size in (0, 255, 256, 70000):
            for peer in (OLD, NEW):
                self.assertEqual(self.read(peer, result=b'\xfe' * size)['result'], b'\xfe' * size)

    def test_no_result_is_the_pickle_of_none(self):
        for peer in (OLD, NEW):
            self.assertIs(pickle.loads(self.read(peer, result=None, status=9)['result']), None)

    def test_a_big_result_is_not_copied(self):
        result = bytes(bytearray(100000))
        for peer in (OLD, NEW):
            self.assertIs(
                replies.job_reply_parts(peer, 1, u'a', u'::1', 11, result, u'', u'', None, 1.0,
                                        2.0)[1], result)

    def test_ids_of_every_size(self):
        for uid in (0, 255, 65536, 2 ** 31, 2 ** 63, 2 ** 64 - 1):
            for peer in (OLD, NEW):
                self.assertEqual(self.read(peer, uid=uid)['uid'], uid)

    def test_a_job_that_never_started(self):
        fields = self.read(NEW, start_time=None, end_time=None)
        self.assertEqual((fields['start_time'], fields['end_time']), (0.0, 0.0))

    def test_our_own_reader(self):
        for peer in (OLD, NEW):
            reply = messages.read_job_reply(self.write(peer, stdout=u'\u00e9', exception=u'x'))
            self.assertEqual((reply.uid, reply.hash, reply.ip_addr, reply.exception),
                             (140112646923984, u'd3f7', u'10.77.0.1', u'x'))
            self.assertEqual(type(reply.hash), text_type)


class AskingTest(unittest.TestCase):
    """What we write as a client is what we read as a node."""

    def test_all(self):
        for python2 in (False, True):
            ping = messages.read_ping(
                split(asking.ping_request('4.15.2', SIGN, 9700, ['10.0.0.2'], '10.0.0.1',
                                          python2))[1])
            self.assertEqual((ping.version, ping.ip_addrs, ping.node_ip_addr, ping.python2),
                             (u'4.15.2', [u'10.0.0.2'], u'10.0.0.1', python2))
            compute = messages.read_compute(split(asking.compute_request(
                1, 'f', 7, 'def f(): pass', 'ab', '10.0.0.2', 9700, python2, setup='s',
                node_ip_addr='10.0.0.1'))[1])
            self.assertEqual((compute.name, compute.id, compute.setup, compute.scheduler_port,
                              compute.job_result_port),
                             (u'f', 7, u's', 9700, 9700))
            for opcode in (b'JOB', b'TERMINATE_JOB'):
                name, data = split(
                    asking.job_request(1, 'ab', 7, b'a', b'b', python2=python2, opcode=opcode))
                job = messages.read_job(data, name)
                self.assertEqual(
                    (job.uid, job.hash, job.compute_id, job.args, job.kwargs, job.code),
                    (1, u'ab', 7, b'a', b'b', u''))
            setup = messages.read_setup(split(asking.setup_request(7, (1, u'a'), python2))[1])
            self.assertEqual((setup.compute_id, setup.has_args), (7, True))
            close = messages.read_close(
                split(asking.close_request(7, 'ab', '10.0.0.1', python2=python2))[1])
            self.assertEqual((close.compute_id, close.auth, close.terminate_pending, close.close),
                             (7, u'ab', True, True))
            question = messages.read_question(
                dump({'compute_id': 7, 'auth': u'ab', 'uid': 1, 'hash': u'cd'}, python2),
                'RETRIEVE_JOB')
            self.assertEqual((question.compute_id, question.auth, question.uid, question.hash),
                             (7, u'ab', 1, u'cd'))


if __name__ == '__main__':
    unittest.main()
