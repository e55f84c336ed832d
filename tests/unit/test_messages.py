"""Readers: attributes and defaults, both kinds of peers, and what is refused with which words."""
from __future__ import absolute_import, division, print_function

import unittest

from dispynode_lib.errors import ProtocolError
from dispynode_lib.host.compat import PY2
from dispynode_lib.wire import messages
from dispynode_lib.wire.framing import split
from dispynode_lib.wire.pickle.pickles import dump
from dispynode_lib.wire.pickle.records import Record, Set
from tests.support import annotated

SIGN = u'5' * 40
STAT = Record('stat', {'mode': 0o100644, 'size': 7, 'atime': 1.5, 'mtime': 2.5})


def file_record(**more):
    return Record(
        '_XferFile',
        dict(
            {
                'name': u'/home/ann/dep.txt', 'dest_path': u'sub', 'compute_id': 5, 'sep': u'/',
                'stat_buf': STAT
            }, **more))


def compute_fields(**more):
    return dict({'type': 1, 'name': u'f', 'id': 7, 'code': u'def f(): pass\n', 'auth': u'ab12',
                 'scheduler_port': 51347,
                 'job_result_port': 51347, 'scheduler_ip_addr': u'10.0.0.2'}, **more)


def job_fields(**more):
    return dict({'uid': 140112646923984, 'hash': u'd3f7', 'compute_id': 7, '_args': b'\x80\xff.',
                 '_kwargs': b'N.'}, **more)


PING = {'version': u'4.8.7', 'sign': SIGN, 'port': 51347, 'ip_addrs': [u'10.0.0.2']}


class ReaderTest(unittest.TestCase):

    def both(self, reader, value, *more):
        """Read the value as both kinds of peers write it; check that the results are the same,
        return one."""
        results = []
        for python2 in (True, False):
            message = reader(dump(value, python2), *more)
            self.assertEqual((message.python2, message.protocol), (python2, 2 if python2 else 3))
            results.append(message)
        one, other = results
        for name in one.__slots__:
            found = getattr(one, name)
            if name != 'xfer_files':
                self.assertEqual(found, getattr(other, name), name)
                self.assertEqual(type(found), type(getattr(other, name)), name)
        return one

    def refused(self, reader, value, text, *more):
        """Check that the value is refused with this text."""
        data = value if isinstance(value, bytes) else dump(value, False)
        with self.assertRaises(ProtocolError) as caught:
            reader(data, *more)
        self.assertIn(text, str(caught.exception))

    def without(self, reader, fields, kind, message):
        """Check what is said of each field that is missing; return the names that must be there."""
        required = []
        for name in sorted(fields):
            less = dict(fields)
            del less[name]
            try:
                reader(dump(Record(kind, less) if kind else less, False))
            except ProtocolError as error:
                required.append(name)
                self.assertEqual(str(error), '%s: field %s is missing' % (message, name))
        return required

    def test_ping(self):
        ping = self.both(messages.read_ping, PING)
        self.assertEqual(
            (ping.version, ping.sign, ping.port, ping.ip_addrs, ping.node_ip_addr, ping.relay),
            (u'4.8.7', SIGN, 51347, [u'10.0.0.2'], None, False))
        ping = self.both(
            messages.read_ping,
            dict(PING, sign=None, relay=u'y', node_ip_addr=u'fe80::1%eth0', ip_addrs=[
                None, u'', u'host-1.example'
            ], auth=b'x', scheduler_ip_addr=None))
        self.assertEqual((ping.sign, ping.relay, ping.node_ip_addr, ping.ip_addrs),
                         (None, True, u'fe80::1%eth0', [u'host-1.example']))
        self.assertEqual(self.without(messages.read_ping, PING, None, 'PING'),
                         ['ip_addrs', 'port', 'version'])

    def test_bad_pings(self):
        for more, text in ((dict(port=0), 'PING: field port is out of range'), (dict(
                port=65536), 'port is out of range'), (dict(
                    port=True), 'PING: field port is a truth value, expected an integer'), (dict(
                        port=u'1'), 'PING: field port is a text, expected an integer'),
                           (dict(version=4), 'PING: field version is an integer, expected a text'),
                           (dict(version=u'4.8.7\n'),
                            'field version is no release'), (dict(version=None),
                                                             'version is None, expected a text'),
                           (dict(sign=b'5'), 'PING: field sign is bytes, expected a text'), (dict(
                               sign=u'\u00e9'), 'sign is of unexpected'), (dict(sign=u'5' * 129),
                                                                           'sign is too long'),
                           (dict(ip_addrs=u'10.0.0.2'), 'ip_addrs is a text, expected a list'),
                           (dict(ip_addrs=[1]), 'ip_addrs is an integer, expected a text'), (dict(
                               ip_addrs=[u'a/b']), 'ip_addrs is no address'), (dict(
                                   ip_addrs=[u'..']), 'no address'), (dict(ip_addrs=[u'a'] * 101),
                                                                      'ip_addrs is a list of 101'),
                           (dict(node_ip_addr=u'a b'),
                            'node_ip_addr is no address'), (dict(relay=1), 'relay is an integer')):
            self.refused(messages.read_ping, dict(PING, **more), text)
        for value, text in (([1], 'PING: argument is a list, expected a dict'),
                            (7, 'an integer, expected a dict'), (b'', 'pickle: '),
                            (b'cos\nsystem\n.', 'global os system'),
                            (dump(PING, False) + b'x', '1 bytes after')):
            self.refused(messages.read_ping, value, text)

    def test_annotated_messages(self):
        ping = messages.read_ping(split(annotated.PING_UDP)[1])
        self.assertEqual((ping.version, ping.port, ping.ip_addrs, ping.python2, ping.protocol),
                         (u'4.8.7', 51347, [u'10.77.0.2'], False, 4))
        ping = messages.read_ping(split(annotated.PING_TCP)[1])
        self.assertEqual((ping.ip_addrs, ping.node_ip_addr, ping.python2, ping.protocol),
                         ([u'127.0.0.1'], u'127.0.0.1', True, 2))
        compute = messages.read_compute(split(annotated.COMPUTE)[1])
        self.assertEqual(
            (compute.name, compute.id, compute.scheduler_port, compute.setup, compute.cleanup),
            (u'slow', 1795341868676, 9700, u'', True))
        job = messages.read_job(split(annotated.JOB)[1])
        self.assertEqual((job.uid, job.hash, job.compute_id, len(job.args), len(job.kwargs)),
                         (140112646923984, u'd3f7da5fe93e4d3f3aef', 1795341860764, 23, 14))
        reply = messages.read_job_reply(split(annotated.JOB_REPLY)[1])
        self.assertEqual((reply.uid, reply.status, reply.stdout, reply.stderr, reply.exception),
                         (job.uid, 11, u'', u'', None))
        reply = messages.read_job_reply(split(annotated.SMALL_JOB_REPLY[4:])[1])
        self.assertEqual((reply.result, reply.start_time, reply.end_time),
                         (b'\x80\x03K\x05.', 1.5, 2.5))
        pong = messages.read_pong(split(annotated.PONG[4:])[1])
        self.assertEqual((pong.ip_addr, pong.cpus, pong.auth, pong.avail_info),
                         (u'10.77.0.1', 2, b'a' * 40, None))

    def test_node_info_by_udp(self):
        info = self.both(messages.read_node_info_udp,
                         {'ip_addr': u'::1', 'port': 9700, 'sign': SIGN, 'version': u'4.15.2'})
        self.assertEqual((info.ip_addr, info.port, info.sign, info.version),
                         (u'::1', 9700, SIGN, u'4.15.2'))

    def test_compute_defaults(self):
        compute = self.both(messages.read_compute, Record('_Compute', compute_fields()))
        self.assertEqual(
            (compute.dest_path, compute.xfer_files, compute.exclusive, compute.setup,
             compute.cleanup, compute.node_ip_addr, compute.pulse_interval,
             compute.client_reply_addr, compute.setup_in_compute, compute.cleanup_in_compute),
            (None, [], True, u'', False, None, None, None, False, False))
        self.assertEqual(
            self.without(messages.read_compute, compute_fields(), '_Compute', 'COMPUTE'),
            ['auth', 'id', 'job_result_port', 'name', 'scheduler_port', 'type'])

    def test_compute_of_the_older_generation(self):
        function = Record('_Function', {'name': u's\u00e9tup', 'args': (1,), 'kwargs': {}})
        compute = self.both(
            messages.read_compute,
            Record(
                '_Compute',
                compute_fields(xfer_files=Set([file_record(), file_record()]), setup=function,
                               cleanup=function, pulse_interval=5, exclusive=False)))
        self.assertEqual(
            (compute.setup, compute.setup_in_compute, compute.cleanup, compute.cleanup_in_compute),
            (u's\u00e9tup', True, u's\u00e9tup', True))
        self.assertEqual((compute.pulse_interval, compute.exclusive), (5.0, False))
        self.assertEqual([sent.name for sent in compute.xfer_files], [u'/home/ann/dep.txt'] * 2)

    def test_compute_of_the_newer_generation(self):
        compute = self.both(
            messages.read_compute,
            Record(
                '_Compute',
                compute_fields(type=2, name=u'/bin/x', code=u'', setup=u's', cleanup=u'c',
                               client_reply_addr=(u'10.0.0.3', 61592), setup_args_count=0,
                               id=2**64 - 1, pulse_interval=0.0, dest_path=u'a/b', xfer_files=[
                                   file_record()
                               ])))
        self.assertEqual(
            (compute.type, compute.setup, compute.cleanup, compute.client_reply_addr, compute.id),
            (messages.PROGRAM, u's', u'c', (u'10.0.0.3', 61592), 2**64 - 1))
        self.assertEqual((compute.pulse_interval, compute.dest_path), (None, u'a/b'))
        for cleanup, expected in ((True, True), (False, False), (None, False), (1, True),
                                  (0, False), (u'', False)):
            data = dump(Record('_Compute', compute_fields(cleanup=cleanup)), False)
            self.assertIs(messages.read_compute(data).cleanup, expected)

    def test_bad_computes(self):
        for more, text in (
            (dict(id=u'7'), 'COMPUTE: field id is a text, expected an integer'),
            (dict(id=-1), 'id is out of range'), (dict(id=2**64), 'id is out of range'), (dict(
                type=3), 'type is out of range'), (dict(type=0), 'type is out'), (dict(
                    code=b'x'), 'COMPUTE: field code is bytes, expected a text'),
            (dict(code=u'\udc80' if not PY2 else 7),
             'field code is'), (dict(code=u'a\0'),
                                'holds a NUL'), (dict(name=u'x' * 4097), 'name is too long'),
            (dict(auth=u'../x'),
             'auth is of'), (dict(dest_path=7), 'dest_path is an integer'), (dict(
                 dest_path=u'a\0b'), 'dest_path is too long or holds a NUL'), (dict(
                     xfer_files=7), 'xfer_files is an integer, expected a list'),
            (dict(xfer_files=[7]),
             'COMPUTE: xfer_files: argument is an integer, expected a _XferFile object'), (dict(
                 setup=7), 'setup is an integer'), (dict(setup=Record('_XferFile', {})),
                                                    'setup is a _XferFile object'),
            (dict(setup=Record('_Function', {'name': 7, 'args': (), 'kwargs': {}})),
             'COMPUTE: _Function: field name is an integer'), (dict(
                 cleanup=2), 'cleanup is an integer, expected a truth value'), (dict(
                     exclusive=u'x'), 'exclusive is a text'), (dict(
                         scheduler_ip_addr=u'../..'), 'scheduler_ip_addr is no address'), (dict(
                             scheduler_port=None), 'scheduler_port is None'), (dict(
                                 pulse_interval=-1), 'pulse_interval is out of range'), (dict(
                                     pulse_interval=float('nan')), 'out of range'), (dict(
                                         pulse_interval=float('inf')), 'out of range'),
            (dict(pulse_interval=True),
             'a truth value, expected a number'), (dict(client_reply_addr=(u'a', )),
                                                   'client_reply_addr is no address and port'),
            (dict(client_reply_addr=(u'a', 0)),
             'COMPUTE: client_reply_addr: field port is out of range'), (dict(
                 client_reply_addr=u'a'), 'client_reply_addr is a text, expected a list')):
            self.refused(messages.read_compute, Record('_Compute', compute_fields(**more)), text)
        self.refused(messages.read_compute, compute_fields(),
                     'COMPUTE: argument is a dict, expected a _Compute object')
        self.refused(messages.read_compute, b'cdispy\n_Compute\n)\x81.',
                     'expected a _Compute object')
        self.refused(messages.read_compute, b'c__main__\nX\n)\x81}b.',
                     'argument is an unknown object')
        unknown = dump(Record('_Compute', compute_fields(code=u'MARK')),
                       True).replace(b'U\x04MARK', b'cos\nsystem\nU\x02ls\x85R')
        self.refused(messages.read_compute, unknown,
                     'COMPUTE: field code is an unknown object, expected a text')

    def test_objects_of_users_among_the_arguments_of_setup(self):
        data = dump(Record('_Compute', compute_fields(setup=Record('_Function', {
            'name': u's', 'args': (u'MARK',), 'kwargs': {}}))),
            True).replace(b'U\x04MARK', b'c__main__\nX\n)\x81}U\1aK\1sb')
        self.assertEqual(messages.read_compute(data).setup, u's')

    def test_file(self):
        sent = self.both(messages.read_file, file_record())
        self.assertEqual((sent.name, sent.dest_path, sent.compute_id, sent.size, sent.mode,
                          sent.atime, sent.mtime, sent.sep),
                         (u'/home/ann/dep.txt', u'sub', 5, 7, 0o100644, 1.5, 2.5, u'/'))
        sent = self.both(messages.read_file,
                         file_record(compute_id=None, sep=u'\\', name=u'C:\\x\u00e9'))
        self.assertEqual((sent.compute_id, sent.sep, sent.name), (None, u'\\', u'C:\\x\u00e9'))

    def test_bad_files(self):
        for more, text in ((dict(name=None),
                            'FILEXFER: field name is None, expected a text'), (dict(sep=u'//'),
                                                                               'sep is too long'),
                           (dict(stat_buf=None),
                            'FILEXFER: stat_buf: argument is None, expected a stat object'),
                           (dict(name=u'a\0'),
                            'name is too long or holds a NUL'), (dict(compute_id=u'5'),
                                                                 'compute_id is a text')):
            self.refused(messages.read_file, file_record(**more), text)
        for key, value in (('size', -1), ('size', 2 ** 63), ('mode', -1), ('mtime', 1e300),
                           ('atime', float('nan'))):
            stat = Record('stat', dict(STAT.fields))
            stat.fields[key] = value
            data = dump(file_record(stat_buf=STAT), False)
            field = {'mode': 0, 'size': 6}.get(key)
            if field is None:
                data = dump(
                    file_record(stat_buf=Record('stat', dict(STAT.fields, atime=1.0, mtime=1.0))),
                    False)
                data = data.replace(dump(1.0, False)[2:-1], dump(value, False)[2:-1])
            else:
                data = data.replace(
                    dump(STAT.fields[key], False)[2:-1],
                    dump(value, False)[2:-1], 1)
            self.refused(messages.read_file, data, 'FILEXFER: stat_buf: field')

    def test_job(self):
        job = self.both(messages.read_job, Record('_DispyJob_', job_fields(
            xfer_files=[file_record()], code=u'x = "\u00e9"')))
        self.assertEqual((job.uid, job.hash, job.compute_id, job.args, job.kwargs, job.code),
                         (140112646923984, u'd3f7', 7, b'\x80\xff.', b'N.', u'x = "\u00e9"'))
        self.assertEqual(job.xfer_files[0].compute_id, 5)
        job = self.both(messages.read_job, Record('_DispyJob_', {
            'uid': 1, 'hash': u'', 'compute_id': 7, 'args': b'a', 'kwargs': b'b'}))      # up to 4.6
        self.assertEqual((job.args, job.kwargs, job.code, job.xfer_files), (b'a', b'b', u'', []))

    def test_bad_jobs(self):
        for more, text in ((dict(uid=2**64), 'JOB: field uid is out of range'),
                           (dict(uid=None), 'uid is None, expected an integer'),
                           (dict(uid=True), 'uid is a truth value'),
                           (dict(hash=u'a/b'), 'hash is of unexpected letters'),
                           (dict(_args=u'x'), 'JOB: field _args is a text, expected bytes'),
                           (dict(_kwargs=None), '_kwargs is None'),
                           (dict(code=7), 'code is an integer'),
                           (dict(xfer_files={}), 'xfer_files is a dict, expected a list')):
            self.refused(messages.read_job, Record('_DispyJob_', job_fields(**more)), text)
        self.assertEqual(self.without(messages.read_job, job_fields(), '_DispyJob_', 'JOB'),
                         ['_args', '_kwargs', 'compute_id', 'hash', 'uid'])
        self.refused(messages.read_job, Record('_Compute', job_fields()),
                     'global dispy _Compute is not accepted here')

    def test_terminate_job_needs_no_arguments(self):
        job = messages.read_job(
            dump(Record('_DispyJob_', {'uid': 1, 'hash': u'a', 'compute_id': 2}), False),
            'TERMINATE_JOB')
        self.assertEqual((job.uid, job.args, job.kwargs), (1, b'', b''))
        self.refused(messages.read_job, Record('_DispyJob_', job_fields(uid=u'')),
                     'TERMINATE_JOB: field uid is a text', 'TERMINATE_JOB')


if __name__ == '__main__':
    unittest.main()
