"""Attacks of clients that know the token."""
from __future__ import absolute_import, division, print_function

import os
import socket
import stat
import struct
import unittest

from tests.attack.attacker import CODE, NATIVE, WAIT, assert_serves, connect, served
from tests.support.computation import Refused, frame, read_frame
from tests.support.nodeprocess import NodeProcess
from tests.support.pickled import Call, Reader, Record
from tests.support.scheduler import FakeScheduler
from tests.support.waiting import wait_until

ODD = (None, -1, 0, 2**63, 2**70, 1.5, u'', u'x', u'../..', u'/etc', u'a' * 5000, u'a\0b',
       u'\ud800', b'bytes', [], {}, (), True, [1, 2], {u'a': 1}, u'a\nb\x1b[2J')
STRICT = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'strict_node.py')


class FromElsewhere(object):
    """Context manager: as the support's connection, but from 127.0.0.9."""

    def __init__(self, made):
        self._made, self._sock = made, None

    def __enter__(self):
        self._sock = socket.create_connection(self._made.address, self._made.timeout,
                                              ('127.0.0.9', 0))
        self._sock.sendall(self._made.data)
        return self._sock

    def __exit__(self, *_exc):
        self._sock.close()


class Elsewhere(FakeScheduler):
    """A client at another address than the one that opened the computation."""

    def connection(self, *args, **options):
        return FromElsewhere(super(Elsewhere, self).connection(*args, **options))


def all_files(folder):
    """Return the sorted relative paths of everything below a folder but state folders."""
    found = []
    for where, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith('.node-')]
        found += [os.path.relpath(os.path.join(where, name), folder) for name in names + folders]
    return sorted(found)


def file_record(computation, name='file', dest_path='', mode=0o100644, size=1, mtime=1e9, sep='/'):
    """Return an _XferFile that may say anything."""
    plain = (mode, 1, 1, 1, 0, 0, size, 0, 0, 0)
    times = {'st_atime': float(mtime), 'st_mtime': float(mtime), 'st_ctime': float(mtime)}
    return Record(
        '_XferFile', name=name, dest_path=dest_path,
        compute_id=computation.id, sep=sep, stat_buf=Call(
            'os', '_make_stat_result' if NATIVE.python2 else 'stat_result', (plain, times)))


def send(scheduler, record, data=b'x'):
    """Return the last offset that the node answered; None if it closed."""
    with scheduler.connection('FILEXFER', record) as connection:
        try:
            offset = Reader(read_frame(connection)).load()
            if offset == 0:
                connection.sendall(data)
                offset = Reader(read_frame(connection)).load()
            return offset
        except (EOFError, EnvironmentError):
            return None


def compute(scheduler, code, **settings):
    """Send COMPUTE; return the text that refuses it (bytes), else the number of CPUs."""
    answer = scheduler.call('COMPUTE', scheduler.compute_record(code, 'job', **settings))
    return Reader(answer).load() if answer.startswith(b'\x80') else answer


def throw(scheduler, opcode, value):
    """Send a request and take whatever comes."""
    try:
        data = NATIVE.dumps(value)
    except (TypeError, ValueError, UnicodeError, struct.error):
        return  # this test's pickler does not know it
    sock = connect(scheduler.node)
    sock.settimeout(10)
    try:
        sock.sendall(scheduler.token() + frame(opcode.encode('ascii') + b':' + data))
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(65536):
            continue
    except EnvironmentError:
        pass                                                    # closed by force: as good
    finally:
        sock.close()


class PathsTest(unittest.TestCase):

    def test_no_file_lands_outside(self):
        with served() as (node, scheduler, computation):
            top = os.path.dirname(node.folder)
            before = set(os.listdir(top)) | set(os.listdir('/'))
            home = os.path.join(node.folder, '127.0.0.1')
            own = os.path.join(home, os.listdir(home)[0])
            os.symlink('/tmp', os.path.join(own, 'link'))
            os.symlink(os.path.join(node.folder, 'evil'), os.path.join(own, 'dangling'))
            for name, dest_path, sep in (('evil', '..', '/'), ('evil', '../..', '/'),
                                         ('evil', '/tmp', '/'), ('..', '', '/'), ('.', '', '/'),
                                         ('evil', 'a/../..', '/'), ('evil', 'link', '/'),
                                         ('evil', 'link/..', '/'), ('evil', '..\\..', '\\'),
                                         ('a\0b', '', '/'), ('evil', 'a\0b', '/'),
                                         ('evil' * 100, '', '/'), ('evil', 'a' * 5000, '/'),
                                         ('', '', '/'), ('C:\\..', '', '\\'),
                                         ('evil', 'dangling', '/')):
                send(scheduler, file_record(computation, name, dest_path, sep=sep))
            appeared = (set(os.listdir(top)) | set(os.listdir('/'))) - before
            self.assertEqual([name for name in appeared if 'evil' in name], [])
            self.assertEqual(
                [path for path in all_files(node.folder) if not path.startswith('127.0.0.1')], [])
            self.assertEqual(sorted(os.listdir(home)), [os.path.basename(own)])
            # an own link as the last component is replaced, not followed
            self.assertEqual(send(scheduler, file_record(computation, 'dangling')), 1)
            self.assertFalse(os.path.exists(os.path.join(node.folder, 'evil')))
            assert_serves(self, computation)
            self.assertNotIn('Traceback', node.log())

    def test_dest_path_of_a_computation_stays_below_its_client(self):
        with NodeProcess('-c', 1) as node, FakeScheduler(node, NATIVE) as scheduler:
            neighbour = os.path.join(node.folder, '10.0.0.5', 'work')
            os.makedirs(neighbour)
            os.makedirs(os.path.join(node.folder, '127.0.0.1'))
            os.symlink(os.path.join(node.folder, '10.0.0.5'),
                       os.path.join(node.folder, '127.0.0.1', 'friend'))
            scheduler.ping(timeout=WAIT)
            for dest_path in ('..', '../10.0.0.5', 'a/../../..', 'friend', 'friend/work',
                              '../.node-%d' % node.port, 'a\0b', 'x' * 300, 'y/' * 3000):
                self.assertIsNot(type(compute(scheduler, CODE, dest_path=dest_path)), int,
                                 dest_path)
            self.assertEqual(os.listdir(neighbour), [])
            self.assertEqual(os.listdir(os.path.join(node.folder, '10.0.0.5')), ['work'])
            assert_serves(self, scheduler.open(CODE, 'job', dest_path='good/deep'))
            self.assertNotIn('Traceback', node.log())

    def test_links_in_the_place_of_folders_lead_nowhere(self):
        """A job replaces its folder, or that of all its client's, by a link to a neighbour's; then
        files come, and CLOSE."""
        code = (
            'import os\ndef job(what, there):\n    here = os.environ["dispy_job_path"]\n    what = '
            'here if what == "own" else os.path.dirname(here)\n'
            '    os.rename(what, what + ".moved")\n    os.symlink(there, what)\n    return '
            'os.path.realpath(here)\n'
        )
        for what in ('own', 'client'):
            with NodeProcess('-c', 1) as node, FakeScheduler(node, NATIVE) as scheduler:
                neighbour = os.path.join(node.folder, '10.0.0.5', 'work')
                os.makedirs(os.path.join(neighbour, 'inner'))
                with open(os.path.join(neighbour, 'inner', 'file'), 'w') as target:
                    target.write('mine')
                computation = scheduler.open(code, 'job')
                there = neighbour if what == 'own' else os.path.dirname(neighbour)
                # the node knows the folder
                self.assertEqual(send(scheduler, file_record(computation, 'good')), 1)
                self.assertIn('10.0.0.5', computation.run(what, there).value)
                for dest_path in ('', 'inner', 'work', 'new/one'):
                    self.assertIn(send(scheduler, file_record(computation, 'evil', dest_path)),
                                  (None, -1))
                computation.close()
                wait_until(lambda: ') ended' in node.log(), WAIT)
                self.assertEqual([
                    path for path in all_files(node.folder) if path.startswith('10.0.0.5')
                ], ['10.0.0.5', '10.0.0.5/work', '10.0.0.5/work/inner', '10.0.0.5/work/inner/file'])
                again = scheduler.call('COMPUTE', scheduler.compute_record(CODE, 'job'))
                self.assertEqual(again.startswith(b'\x80'), what == 'own', again)
                self.assertNotIn('Traceback', node.log())

    def test_special_files_in_the_way_of_files(self):
        """A job leaves FIFOs, sockets, folders and links to the node's files where files of its
        client are to lie."""
        code = (
            'import os, socket\ndef job():\n    os.mkfifo("fifo")\n    os.mkdir("folder")\n    '
            'socket.socket(socket.AF_UNIX).bind("socket")\n'
            '    state = [os.path.join("../../", name) for name in os.listdir("../..") if '
            'name.startswith(".node-")][0]\n'
            '    os.link(os.path.join(state, "state.json"), "hard")\n    os.symlink(os.path.join(state, "state.json"), "soft")\n'
            '    os.symlink(state, "state")\n    return open("hard").read()\n')
        with NodeProcess('-c', 1, '--msg_timeout', 2) as node, FakeScheduler(node,
                                                                             NATIVE) as scheduler:
            computation = scheduler.open(code, 'job')
            before = computation.run().value
            for name, dest_path, expected in (('fifo', '', 1), ('socket', '', 1), ('hard', '', 1),
                                              ('soft', '', 1), ('folder', '', None),
                                              ('x', 'fifo', None), ('x', 'hard', None),
                                              ('state', '', 1), ('x', 'folder', 1)):
                sent = send(scheduler, file_record(computation, name, dest_path))
                self.assertIn(sent, (expected,) if expected else (None, -1), (name, dest_path))
            with open(os.path.join(node.folder, '.node-%d' % node.port, 'state.json')) as source:
                self.assertEqual(source.read(), before)
            computation.close()
            wait_until(lambda: not all_files(node.folder), WAIT,
                       lambda: 'no files; there are %r' % all_files(node.folder))
            self.assertNotIn('Traceback', node.log())

    def test_sizes_and_times_that_lie(self):
        with served('--msg_timeout', 1) as (node, scheduler, computation):
            for size in (-1, -2 ** 63, 2 ** 63, 2 ** 70):
                self.assertIn(send(scheduler, file_record(computation, 's', size=size)), (None, -1))
            send(scheduler, file_record(computation, 'huge', size=2 ** 40))     # and then silence
            for mtime in (float('nan'), float('inf'), -1e300, 1e300, 2.0 ** 62):
                send(scheduler, file_record(computation, 't', mtime=mtime))
            wait_until(
                lambda: not [path for path in all_files(node.folder) if path.endswith('.part')],
                WAIT, lambda: 'no partial file; there are %r' % all_files(node.folder))
            assert_serves(self, computation)
            self.assertNotIn('Traceback', node.log())

    def test_no_special_modes(self):
        with served() as (node, scheduler, computation):
            for mode in (0o104755, 0o102755, 0o101777, 0o106777, 0o60644, 0o20644, 0o10644,
                         0o120777, 0o40755, 0o140777):
                send(scheduler, file_record(computation, 'mode-%o' % mode, mode=mode))
            found = 0
            for where, _folders, names in os.walk(os.path.join(node.folder, '127.0.0.1')):
                for name in names:
                    found += 1
                    kind = os.lstat(os.path.join(where, name)).st_mode
                    self.assertTrue(stat.S_ISREG(kind), name)
                    self.assertEqual(kind & 0o7000, 0, name)
            self.assertGreater(found, 2)

    def test_refused_computations_leave_nothing(self):
        with NodeProcess('-c', 1, '--max_file_size',
                         10) as node, FakeScheduler(node, NATIVE) as scheduler:
            scheduler.ping(timeout=WAIT)
            big = os.path.join(node.folder, 'big')
            with open(big, 'wb') as target:
                target.write(b'x' * 100)
            for _turn in range(5):
                self.assertIn(b'--max_file_size', compute(scheduler, CODE, files=[big]))
                self.assertIn(b'SyntaxError', compute(scheduler, 'def broken(:'))
            os.unlink(big)
            wait_until(lambda: not all_files(node.folder), WAIT,
                       lambda: 'no files; there are %r' % all_files(node.folder))
            assert_serves(self, scheduler.open(CODE, 'job'))


class NeighboursTest(unittest.TestCase):
    """What one client can do to another one's computation."""

    def test_guessed_ids_do_nothing(self):
        with served() as (_node, scheduler, computation):
            job = computation.make_job(4)
            for auth in (u'', u'0' * 40, computation.auth[:-1], computation.auth + u'a'):
                self.assertEqual(computation.close(auth=auth), b'ACK')
                asked = {'compute_id': computation.id, 'auth': auth}
                if not auth:
                    continue                                    # no auth at all: not even an answer
                self.assertEqual(scheduler.ask('JOBS', asked), [])
                self.assertEqual(scheduler.ask('PENDING_JOBS', asked), {'done': [], 'pending': 0})
                self.assertEqual(scheduler.ask('RESEND_JOB_RESULTS', asked), 0)
                self.assertIsNone(
                    scheduler.ask('RETRIEVE_JOB', dict(asked, uid=job.uid, hash=job.hash)))
            self.assertEqual(computation.close(compute_id=computation.id + 1), b'ACK')
            with self.assertRaises(Refused):  # replaced by another one with its id
                scheduler.open(CODE, 'job', id=computation.id)
            assert_serves(self, computation)

    def test_terminate_needs_the_hash(self):
        with NodeProcess('-c', 2) as node, FakeScheduler(node, NATIVE) as scheduler:
            computation = scheduler.open(
                'import time\ndef job():\n    time.sleep(0.5)\n    return 5\n', 'job')
            job = computation.submit()
            right, job.record.hash = job.record.hash, u'0' * 20
            computation.terminate(job)
            job.record.hash = right
            self.assertEqual(job.wait(WAIT).value, 5)

    def test_other_addresses_are_refused(self):
        with NodeProcess('-c', 2, program=STRICT) as node, FakeScheduler(node, NATIVE) as scheduler:
            computation = scheduler.open(
                'import time\ndef job(n=1):\n    time.sleep(n / 10.0)\n    return n\n', 'job')
            stranger = Elsewhere(node, NATIVE)
            stranger.node_sign, stranger.node_port = scheduler.node_sign, scheduler.node_port
            stranger.node_ip_addr = scheduler.node_ip_addr
            try:
                job = computation.submit(10)
                stranger.tell('TERMINATE_JOB', job.record)
                asked = computation.credentials(node_ip_addr=node.ip_addr, terminate_pending=True,
                                                close=True)
                self.assertEqual(stranger.call('CLOSE', asked), b'ACK')
                self.assertEqual(stranger.ask('JOBS', computation.credentials()), [])
                self.assertEqual(stranger.call('SETUP', NATIVE.setup(computation.id, ())),
                                 b'invalid computation')
                self.assertNotEqual(stranger.call('JOB', computation.make_job(1).record), b'ACK')
                self.assertEqual(stranger.send_file(STRICT, '', computation.id), -1)
                self.assertEqual(job.wait(WAIT).value, 10)
                node.wait_log('CLOSE refused: address', WAIT)
                for text in ('JOB refused', 'FILEXFER refused'):
                    node.wait_log(': ' + text, WAIT)
                    lines = [line for line in node.log().splitlines() if ': ' + text in line]
                    # for its address, and not for anything else
                    self.assertEqual(len(lines), 1, lines)
            finally:
                stranger.close()


class DisorderTest(unittest.TestCase):

    def test_wrong_order_and_unknown_ids(self):
        with served() as (_node, scheduler, computation):
            ghost = {'compute_id': 77, 'auth': u'0' * 40}
            self.assertEqual(scheduler.call('SETUP', NATIVE.setup(77, ())), b'invalid computation')
            self.assertEqual(scheduler.call('CLOSE', dict(ghost, terminate_pending=True)), b'ACK')
            self.assertEqual(scheduler.ask('JOBS', ghost), [])
            stray = computation.make_job(1)
            stray.record.compute_id = 77
            self.assertNotEqual(scheduler.call('JOB', stray.record), b'ACK')
            scheduler.tell('TERMINATE_JOB', stray.record)
            for _turn in range(3):
                computation.terminate(computation.make_job(1))  # never sent
            early = scheduler.open(CODE, 'job', send_setup=False)
            assert_serves(self, early)                          # a job without SETUP
            early.close()
            with self.assertRaises(Refused):
                early.submit(1)
            self.assertEqual(early.close(), b'ACK')
            assert_serves(self, computation)

    def test_duplicate_uids(self):
        with NodeProcess('-c', 2) as node, FakeScheduler(node, NATIVE) as scheduler:
            computation = scheduler.open(
                'import os, time\ndef job(n, gate):\n    while not os.path.exists(gate): '
                'time.sleep(0.02)\n    return n\n', 'job')
            gate = os.path.join(node.folder, 'gate')
            job = computation.submit(1, gate)
            self.assertEqual(scheduler.call('JOB', job.record), b'ACK')  # the very same: once only
            other = computation.make_job(2, gate)
            other.record.uid = other.uid = job.uid              # the same uid, another job
            self.assertEqual(scheduler.call('JOB', other.record), b'ACK')
            open(gate, 'w').close()
            wait_until(lambda: len(scheduler.messages('JOB_REPLY')) >= 2, WAIT)
            replies = [(message.value.uid, message.value.hash)
                       for message in scheduler.messages('JOB_REPLY')]
            self.assertEqual(sorted(replies), sorted([(job.uid, job.hash), (job.uid, other.hash)]))
            again = computation.make_job(3, gate)
            again.record.uid = again.uid = job.uid              # used again at once
            self.assertEqual(scheduler.call('JOB', again.record), b'ACK')
            wait_until(lambda: len(scheduler.messages('JOB_REPLY')) >= 3, WAIT)

    def test_mistyped_computations(self):
        with NodeProcess('-c', 1, '--msg_timeout', 2) as node, FakeScheduler(node,
                                                                             NATIVE) as scheduler:
            scheduler.ping(timeout=WAIT)
            for key in sorted(scheduler.compute_record(CODE, 'job').fields()):
                for value in ODD:
                    record = scheduler.compute_record(CODE, 'job')
                    setattr(record, key, value)
                    throw(scheduler, 'COMPUTE', record)
                    for auth in set(
                        [record.auth, u'x'] if isinstance(record.auth, type(u'')) else [u'x']):
                        throw(scheduler, 'CLOSE',
                              {'compute_id': record.id, 'auth': auth, 'terminate_pending': True})
            self.assertNotIn('Traceback', node.log())
            wait_until(lambda: _owned_by_nobody_else(scheduler), WAIT,
                       lambda: 'the node; its log:\n' + node.log_tail(), interval=0.2)

    def test_missing_and_mistyped_fields_lose_no_slot(self):
        with served('--msg_timeout', 2) as (node, scheduler, computation):
            for opcode in ('JOB', 'TERMINATE_JOB'):
                for key in sorted(computation.make_job(1).record.fields()):
                    for value in ODD:
                        record = computation.make_job(1).record
                        setattr(record, key, value)
                        throw(scheduler, opcode, record)
                    record = computation.make_job(1).record
                    delattr(record, key)
                    throw(scheduler, opcode, record)
            known = computation.credentials()
            for opcode, fields in (('CLOSE', known), ('JOBS', known), ('PENDING_JOBS', known),
                                   ('RESEND_JOB_RESULTS', known),
                                   ('RETRIEVE_JOB', dict(known, uid=1, hash=u'a')),
                                   ('SETUP', {'compute_id': computation.id})):
                for key in sorted(fields):
                    for value in ODD:
                        throw(scheduler, opcode, dict(fields, **{key: value}))
                    throw(scheduler, opcode,
                          dict((name, item) for name, item in fields.items() if name != key))
                for value in ODD:
                    throw(scheduler, opcode, value)
            for _turn in range(4):
                assert_serves(self, computation)
            self.assertNotIn('Traceback', node.log())


def _owned_by_nobody_else(scheduler):
    """Return whether a computation can be opened and used."""
    try:
        return scheduler.open(CODE, 'job').run(4).value == 8
    except Refused:
        return False
