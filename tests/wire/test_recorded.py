"""Messages recorded from real clients are read right; README.rst tells their origin."""
from __future__ import absolute_import, division, print_function

import io
import os
import unittest

from dispynode_lib.wire import messages
from dispynode_lib.wire.framing import split

HERE = os.path.dirname(os.path.abspath(__file__))

# kind of client: (release, python2, pickle protocol, client port)
KINDS = {
    '4.8.7-py27': ('4.8.7', True, 2, 51347),
    '4.8.7-py36': ('4.8.7', False, 4, 51347),
    '4.12.4-py38': ('4.12.4', False, 5, 61590),
    '4.15.2-py311': ('4.15.2', False, 5, 9700),
}
MODERN = ('4.12.4-py38', '4.15.2-py311')
CODE = u'def work(what, box=None, count=1): return what\n'


def recorded(kind, name):
    """Return (opcode, argument) of a recorded message."""
    with io.open(os.path.join(HERE, '%s-%s.bin' % (kind, name)), 'rb') as recording:
        return split(recording.read())


def names():
    """Return [(kind, name)] of all recordings."""
    found = []
    for file_name in sorted(os.listdir(HERE)):
        if file_name.endswith('.bin'):
            kind = '-'.join(file_name.split('-')[:2])
            found.append((kind, file_name[len(kind) + 1:-4]))
    return found


class RecordedTest(unittest.TestCase):

    def read(self, kind, name, reader, *more):
        """Return the message that `reader` makes of a recording; check what it tells of its
        sender."""
        opcode, argument = recorded(kind, name)
        self.assertEqual(opcode, name_to_opcode(name))
        message = reader(argument, *more)
        _release, python2, protocol, _port = KINDS[kind]
        if name != 'setup':                     # a bare number tells nothing of Python 2
            self.assertEqual(message.python2, python2)
        self.assertEqual(message.protocol, protocol)
        return message

    def test_every_recording_is_of_a_known_kind(self):
        found = names()
        self.assertEqual(sorted(set(kind for kind, _name in found)), sorted(KINDS))
        self.assertTrue(len(found) > 60, found)
        for _kind, name in found:
            self.assertTrue(name in OPCODES or name in SAME, name)

    def test_ping(self):
        for kind in KINDS:
            for name, node_ip_addr in (('ping-udp', None), ('ping-tcp', u'10.77.0.1')):
                ping = self.read(kind, name, messages.read_ping)
                self.assertEqual(ping.version, KINDS[kind][0])
                self.assertEqual(ping.port, KINDS[kind][3])
                self.assertEqual(ping.ip_addrs, [u'10.77.0.2'])
                self.assertEqual(ping.node_ip_addr, node_ip_addr)
                self.assertEqual(len(ping.sign), 40)
                self.assertIs(ping.relay, False)

    def check_addresses(self, kind, compute):
        self.assertEqual(compute.scheduler_ip_addr, u'10.77.0.2')
        self.assertEqual(compute.scheduler_port, KINDS[kind][3])
        self.assertEqual(compute.job_result_port, KINDS[kind][3])
        self.assertEqual(compute.node_ip_addr, u'10.77.0.1')
        self.assertEqual(len(compute.auth), 40)
        self.assertIs(compute.client_reply_addr, None)
        self.assertTrue(compute.id > 1700000000000, compute.id)
        self.assertIs(compute.exclusive, True)

    def test_compute_of_a_function_with_depends_setup_and_cleanup(self):
        for kind in KINDS:
            compute = self.read(kind, 'compute', messages.read_compute)
            self.check_addresses(kind, compute)
            self.assertEqual((compute.type, compute.name), (messages.FUNCTION, u'work'))
            for line in (CODE, u'def helper(n): return n + 1\n', u'class Box(object):\n',
                         u'def prepare(*args, **kwargs):\n', u'def clean(*args, **kwargs): pass\n'):
                self.assertIn(line, compute.code + u'\n')
            self.assertEqual((compute.setup, compute.cleanup), (u'prepare', u'clean'))
            self.assertEqual(compute.setup_in_compute, kind not in MODERN)
            self.assertEqual(compute.cleanup_in_compute, kind not in MODERN)
            self.assertEqual(compute.pulse_interval, 5.0)
            self.assertIs(compute.dest_path, None)
            self.assertEqual([sent.name for sent in compute.xfer_files], [u'/home/ann/dep.txt'])
            self.assertEqual(compute.xfer_files[0].size, 10)

    def test_compute_without_anything_else(self):
        for kind in KINDS:
            compute = self.read(kind, 'compute-plain', messages.read_compute)
            self.check_addresses(kind, compute)
            self.assertEqual(compute.code.strip(), CODE.strip())
            self.assertEqual((compute.setup, compute.setup_in_compute), (u'', False))
            self.assertEqual((compute.cleanup, compute.cleanup_in_compute), (True, False))
            self.assertEqual(compute.xfer_files, [])
            self.assertIs(compute.pulse_interval, None)

    def test_compute_of_a_program(self):
        for kind in KINDS:
            compute = self.read(kind, 'compute-program', messages.read_compute)
            self.check_addresses(kind, compute)
            self.assertEqual((compute.type, compute.name), (messages.PROGRAM, u'/home/ann/prog.sh'))
            self.assertEqual(compute.code, u'')
            self.assertEqual(compute.dest_path, u'some/folder')
            self.assertIs(compute.cleanup, False)
            self.assertEqual([sent.name for sent in compute.xfer_files], [u'/home/ann/prog.sh'])

    def test_filexfer(self):
        for kind in KINDS:
            compute = self.read(kind, 'compute', messages.read_compute)
            sent = self.read(kind, 'filexfer', messages.read_file)
            self.assertEqual((sent.name, sent.dest_path, sent.sep),
                             (u'/home/ann/dep.txt', u'', u'/'))
            self.assertEqual(sent.compute_id, compute.id)
            self.assertEqual((sent.size, sent.mode & 0o777), (10, 0o644))
            self.assertTrue(1.7e9 < sent.mtime < 2e9 and sent.mtime % 1 > 0, sent.mtime)
            program = self.read(kind, 'filexfer-program', messages.read_file)
            self.assertEqual((program.name, program.mode & 0o777), (u'/home/ann/prog.sh', 0o755))

    def test_setup(self):
        for kind in KINDS:
            compute = self.read(kind, 'compute', messages.read_compute)
            setup = self.read(kind, 'setup', messages.read_setup)
            self.assertEqual(setup.compute_id, compute.id)
            self.assertEqual(setup.has_args, kind in MODERN)

    def test_job(self):
        for kind in KINDS:
            compute = self.read(kind, 'compute', messages.read_compute)
            job = self.read(kind, 'job', messages.read_job)
            self.assertEqual(job.compute_id, compute.id)
            self.assertTrue(job.uid > 0 and 10 <= len(job.hash) <= 20, (job.uid, job.hash))
            self.assertTrue(
                job.args[:1] == b'\x80' and b'plain' in job.args and job.args[-1:] == b'.',
                job.args)
            self.assertEqual(job.kwargs[:1] + job.kwargs[-1:], b'\x80.')
            self.assertEqual((job.code, job.xfer_files), (u'', []))

    def test_job_with_an_object_of_the_user_and_a_file(self):
        for kind in KINDS:
            job = self.read(kind, 'job-object', messages.read_job)
            self.assertIn(b'__main__', job.args)
            self.assertIn(b'Box', job.args)
            self.assertIn(b'count', job.kwargs)
            self.assertEqual([sent.name for sent in job.xfer_files], [u'/home/ann/jobdep.txt'])
            self.assertEqual(job.xfer_files[0].compute_id, job.compute_id)

    def test_terminate_job(self):
        for kind in KINDS:
            job = self.read(kind, 'terminate-job', messages.read_job, 'TERMINATE_JOB')
            self.assertEqual(job.compute_id, self.read(kind, 'compute', messages.read_compute).id)
            self.assertTrue(job.uid > 0 and job.hash)

    def test_close(self):
        for kind, name in names():
            if not name.startswith('close'):
                continue
            close = self.read(kind, name, messages.read_close)
            self.assertTrue(close.compute_id > 1700000000000)
            self.assertEqual((len(close.auth), close.node_ip_addr), (40, u'10.77.0.1'))
            self.assertEqual((close.terminate_pending, close.close),
                             {'close': (True, True), 'close-resetup': (False, False),
                              'close-recovered': (False, True)}[name])

    def test_questions(self):
        for kind, name in names():
            if name not in ('jobs', 'pending-jobs', 'retrieve-job', 'resend-job-results'):
                continue
            question = self.read(kind, name, messages.read_question, name_to_opcode(name))
            self.assertTrue(question.compute_id > 1700000000000)
            self.assertEqual(len(question.auth), 40)
            self.assertEqual(question.uid is None, name != 'retrieve-job')
            self.assertEqual(question.hash is None, name != 'retrieve-job')

    def test_administration(self):
        for kind in MODERN:
            info = self.read(kind, 'node-info-udp', messages.read_node_info_udp)
            self.assertEqual((info.ip_addr, info.port), (u'10.77.0.2', KINDS[kind][3]))
            self.assertEqual(info.version, KINDS[kind][0])
            admin = self.read(kind, 'node-info', messages.read_admin)
            self.assertEqual(len(admin.sign), 40)
            self.assertEqual(self.read(kind, 'set-cpus', messages.read_admin, 'SET_CPUS').cpus, 1)
            service = self.read(kind, 'service-time', messages.read_admin, 'SERVICE_TIME')
            self.assertEqual((service.control, service.time), (u'start_time', u'08:00'))
            self.assertEqual(
                self.read(kind, 'serve-clients', messages.read_admin, 'SERVE_CLIENTS').serve, 3)


OPCODES = {
    'ping-udp': 'PING',
    'ping-tcp': 'PING',
    'compute-plain': 'COMPUTE',
    'compute-program': 'COMPUTE',
    'filexfer-program': 'FILEXFER',
    'job-object': 'JOB',
    'close-resetup': 'CLOSE',
    'close-recovered': 'CLOSE',
    'node-info-udp': 'NODE_INFO',
}
SAME = ('compute', 'filexfer', 'setup', 'job', 'terminate-job', 'close', 'jobs', 'pending-jobs',
        'retrieve-job', 'resend-job-results', 'node-info', 'set-cpus', 'service-time',
        'serve-clients')


def name_to_opcode(name):
    """Return the opcode that the recording called `name` begins with."""
    return OPCODES.get(name) or name.upper().replace('-', '_')


if __name__ == '__main__':
    unittest.main()
