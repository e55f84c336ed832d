"""Readers of the small messages: SETUP, CLOSE, questions, administration, and what nodes say."""
from __future__ import absolute_import, division, print_function

import unittest

from dispynode_lib.errors import ProtocolError
from dispynode_lib.wire import messages
from dispynode_lib.wire.pickle.pickles import dump
from dispynode_lib.wire.pickle.records import Record

AUTH = u'd594' * 10


class SmallMessagesTest(unittest.TestCase):

    def read(self, reader, value, *more):
        """Read the value as both kinds of peers write it; return the message of the last."""
        for python2 in (True, False):
            message = reader(dump(value, python2), *more)
            self.assertEqual((message.python2, message.protocol), (python2, 2 if python2 else 3))
        return message

    def refused(self, reader, value, text, *more):
        """Check that the value is refused with this text."""
        with self.assertRaises(ProtocolError) as caught:
            reader(value if isinstance(value, bytes) else dump(value, False), *more)
        self.assertIn(text, str(caught.exception))

    def test_setup_with_a_bare_id(self):
        for data in (b'\x8a\x06\x84\xde\xb6\x02\xa2\x01.', b'\x80\x02I1795341868676\n.',
                     b'\x80\x04\x95\x09\0\0\0\0\0\0\0\x8a\x06\x84\xde\xb6\x02\xa2\x01.'):
            setup = messages.read_setup(data)
            self.assertEqual((setup.compute_id, setup.has_args), (1795341868676, False))

    def test_setup_with_arguments(self):
        setup = self.read(messages.read_setup, {'compute_id': 7, 'setup_args': (u'a', {u'b': [1]})})
        self.assertEqual((setup.compute_id, setup.has_args), (7, True))

    def test_setup_with_its_keys_in_any_order(self):
        for first, second in ((b'U\x0acompute_idK\x07', b'U\x0asetup_argsNN\x86'),
                              (b'U\x0asetup_argsNN\x86', b'U\x0acompute_idK\x07'),
                              (b'\x8c\x0asetup_argsNN\x86', b'\x8c\x0acompute_idK\x07')):
            setup = messages.read_setup(b'\x80\x02}(' + first + second + b'u.')
            self.assertEqual((setup.compute_id, setup.has_args), (7, True))

    def test_setup_with_objects_of_the_user(self):
        for order in (True, False):
            one, other = b'U\x0acompute_idK\x07', b'U\x0asetup_argsc__main__\nX\n)\x81}U\1aK\1sb\x85'
            data = b'\x80\x02}(' + (one + other if order else other + one) + b'u.'
            self.assertEqual(messages.read_setup(data).compute_id, 7)

    def test_setup_with_huge_arguments_is_read_at_once(self):
        data = b'\x80\x04\x95\xff\xff\xff\0\0\0\0\0}\x94(\x8c\x0acompute_id\x94K\x07\x8c\x0asetup_args\x94' + b'?' * 100
        setup = messages.read_setup(data)  # the supervisor will find that they are no arguments
        self.assertEqual((setup.compute_id, setup.protocol, setup.python2), (7, 4, False))

    def test_bad_setups(self):
        for value, text in (({
                'setup_args': ()
        }, 'SETUP: field compute_id is missing'), (u'7', 'SETUP: field compute_id is a text'),
                            (-1, 'compute_id is out of range'),
                            (True, 'a truth value'), (None, 'compute_id is None'), ({
                                'compute_id': u'7', 'setup_args': ()
                            }, 'SETUP: field compute_id is a text, expected an integer'),
                            (b'}(U\x0asetup_args]U\x0acompute_idK\x07u.',
                             'SETUP: field setup_args is a list, expected a tuple'),
                            (b'cos\nsystem\nU\x02ls\x85R.',
                             'SETUP: field compute_id is an unknown object'), (b'', 'pickle: ')):
            self.refused(messages.read_setup, value, text)

    def test_close(self):
        close = self.read(
            messages.read_close, {
                'compute_id': 7, 'auth': AUTH, 'node_ip_addr': u'127.0.0.1',
                'terminate_pending': True, 'close': False
            })
        self.assertEqual((close.compute_id, close.auth, close.node_ip_addr, close.terminate_pending,
                          close.close), (7, AUTH, u'127.0.0.1', True, False))
        close = self.read(messages.read_close, {'compute_id': 7, 'auth': u'abc'})
        self.assertEqual((close.node_ip_addr, close.terminate_pending, close.close),
                         (None, False, True))

    def test_bad_closes(self):
        for more, text in (({'compute_id': None}, 'CLOSE: field compute_id is None'),
                           ({'auth': b'a'}, 'auth is bytes'),
                           ({'auth': u'../../x'}, 'auth is of unexpected letters'),
                           ({'close': 2}, 'close is an integer, expected a truth'),
                           ({'terminate_pending': u'yes'}, 'terminate_pending is a text'),
                           ({'node_ip_addr': 7}, 'node_ip_addr is an')):
            self.refused(messages.read_close, dict({'compute_id': 7, 'auth': AUTH}, **more), text)
        self.refused(messages.read_close, {'auth': AUTH}, 'CLOSE: field compute_id is missing')
        self.refused(messages.read_close, Record('_Compute', {}),
                     'global dispy _Compute is not accepted here')

    def test_questions(self):
        question = self.read(messages.read_question, {'compute_id': 7, 'auth': AUTH})
        self.assertEqual((question.compute_id, question.auth, question.uid, question.hash),
                         (7, AUTH, None, None))
        question = self.read(messages.read_question, {'compute_id': 7, 'auth': AUTH, 'uid': 2 ** 47,
                                                      'hash': u'ab'}, 'RETRIEVE_JOB')
        self.assertEqual((question.uid, question.hash), (2 ** 47, u'ab'))
        self.refused(messages.read_question, {'compute_id': 7},
                     'PENDING_JOBS: field auth is missing', 'PENDING_JOBS')
        self.refused(messages.read_question, {'compute_id': 7, 'auth': AUTH, 'uid': u'x'},
                     'JOBS: field uid is a text')

    def test_pulse(self):
        pulse = self.read(messages.read_pulse, {'ip_addr': u'127.0.0.1', 'port': 51347})
        self.assertEqual((pulse.ip_addr, pulse.port), (u'127.0.0.1', 51347))
        self.refused(messages.read_pulse, {'port': 1}, 'PULSE: field ip_addr is missing')

    def test_administration(self):
        admin = messages.read_admin(b'', 'NODE_STATUS')
        self.assertEqual(
            (admin.sign, admin.cpus, admin.control, admin.time, admin.serve, admin.given),
            (None, None, None, None, None, frozenset()))
        admin = self.read(messages.read_admin, {'sign': AUTH})
        self.assertEqual((admin.sign, admin.given), (AUTH, frozenset(['sign'])))
        admin = self.read(messages.read_admin, {'control': u'start_time', 'time': None},
                          'SERVICE_TIME')
        self.assertEqual((admin.control, admin.time, sorted(admin.given)),
                         (u'start_time', None, ['control', 'time']))
        for cpus in (None, 0, -2, 8):
            admin = messages.read_admin(dump({'cpus': cpus}, False), 'SET_CPUS')
            self.assertEqual((admin.cpus, 'cpus' in admin.given), (cpus, True))
        self.assertEqual(
            self.read(messages.read_admin, {u'serve': 3, u'sign': AUTH}, 'SERVE_CLIENTS').serve, 3)
        self.refused(messages.read_admin, {'cpus': u'2'},
                     'SET_CPUS: field cpus is a text, expected an integer', 'SET_CPUS')
        self.refused(messages.read_admin, {'time': 8}, 'SERVICE_TIME: field time is an integer',
                     'SERVICE_TIME')
        self.refused(messages.read_admin, [], 'NODE_INFO: argument is a list')

    def test_job_reply(self):
        fields = {
            'uid': 1, 'hash': u'ab', 'ip_addr': u'10.0.0.1', 'status': 11, 'result': b'\x80\xfe.',
            'stdout': b'\xff', 'stderr': None, 'exception': u'Traceback', 'start_time': 1.5,
            'end_time': 2
        }
        reply = self.read(messages.read_job_reply, Record('_JobReply', fields))
        self.assertEqual((reply.uid, reply.status, reply.result, reply.stdout, reply.stderr,
                          reply.exception, reply.end_time),
                         (1, 11, b'\x80\xfe.', b'\xff', None, u'Traceback', 2.0))
        for more, text in (({'result': u'x'}, 'JOB_REPLY: field result is a text, expected bytes'),
                           ({'stdout': 7}, 'stdout is an integer'),
                           ({'status': 300}, 'status is out of range'),
                           ({'start_time': u''}, 'start_time is a text, expected a number')):
            self.refused(messages.read_job_reply, Record('_JobReply', dict(fields, **more)), text)

    def test_pong_with_what_is_free(self):
        fields = {
            'ip_addr': u'10.0.0.1', 'port': 1, 'sign': AUTH, 'version': u'4.8.7', 'name': u'n',
            'cpus': 2, 'platform': u'',
            'auth': b'a' * 40, 'scheduler_ip_addr': u'10.0.0.2', 'avail_info': Record(
                'DispyNodeAvailInfo', {'cpu': 99.5, 'memory': 2**33, 'disk': 2**40, 'swap': 100})
        }
        pong = self.read(messages.read_pong, fields)
        self.assertEqual((pong.avail_info.cpu, pong.avail_info.memory, pong.avail_info.swap),
                         (99.5, 2 ** 33, 100.0))
        self.assertIs(self.read(messages.read_pong, dict(fields, avail_info=None)).avail_info, None)
        self.refused(messages.read_pong, dict(fields, avail_info=7),
                     'PONG: avail_info: argument is an integer')

    def test_values(self):
        for value in (5, -1, [1, 2 ** 47], {u'done': [], u'pending': 0}, None, u'Node busy'):
            self.assertEqual(messages.read_value(dump(value, False)), value)


if __name__ == '__main__':
    unittest.main()
