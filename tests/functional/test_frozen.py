"""A node of this release goes on where one of a release before has died, with the supervisors of
that one: both as they were kept in tests/data/releases."""
from __future__ import absolute_import, division, print_function

import json
import os
import re
import socket
import struct
import subprocess
import threading
import unittest

from dispynode_lib import __version__
from dispynode_lib.host.descriptors import recv_fd, send_fd
from dispynode_lib.node.replies import journal
from dispynode_lib.wire import control
from tests.support import frozen
from tests.support.computation import Computation, Job
from tests.support.dialects import NEWEST
from tests.support.fakenode import Done, FakeNode
from tests.support.nodeprocess import PROJECT, NodeProcess
from tests.support.pickled import Reader, Record
from tests.support.scheduler import FakeScheduler
from tests.support.waiting import TIMEOUT, wait_until

LAST = (b'done', b'filedone')               # of what a job process tells
WITH_KEYS = {b'open': 1, b'here': 2}        # frames of pairs, and where those begin
ANY_NUMBER = (b'pids', b'imports')          # frames of a part for each process, each name
HELD = struct.Struct('>LL')                 # number of a job process, wait status
RACE = b'ended'                             # not sent if `exited` comes first
KINDS = (u'folder', u'socket')
NUMBERS, LINES = re.compile('[0-9a-f]{16,}|[0-9]+'), re.compile(b'[0-9a-f.]+')
MANY_CPUS = os.path.join(PROJECT, 'tests', 'support', 'manycpus.py')
NOTED = ['big', 'file', 'gone', 'long', 'prog', 'prog-told', 'runs', 'stopped', 'told', 'with-file']


class OldSupervisor(object):
    """Stands for the supervisor of one computation of that time: says what it said. A thread.

    got   frames (lists of parts) that the node has sent, also to job processes
    """

    def __init__(self, one, root, computation_id):
        self._one, self._root, self._id = one, root, computation_id
        self.got, self._channels = [], []
        self._process = subprocess.Popen(['cat'], stdin=subprocess.PIPE)  # gets the signals
        path = [name for name, content in one.files.items() if content == u'socket'
                and '/supervisors/%d-' % computation_id in name][0]
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(os.path.join(root, path))
        self._listener.listen(1)
        self._thread = threading.Thread(target=self._run)
        self._thread.daemon = True
        self._thread.start()

    def close(self):
        self._listener.close()
        self._process.stdin.close()
        self._process.wait()
        for near in self._channels:
            near.close()

    def _frames(self, process=None):
        return [[word if word is None else self._one.moved(word, self._root) for word in parts]
                for parts in self._one.told('supervisor', self._id, process)]

    def _run(self):
        sock, _address = self._listener.accept()
        channels = recv_fd(sock)
        splitter = control.Splitter(1 << 30)
        while not self.got:
            self.got += splitter.feed(sock.recv(1))
        frames = self._frames()
        here = [number for number, parts in enumerate(frames) if parts[0] == b'here'][0]
        self._introduce(sock, frames[here], channels)
        for parts in frames[here + 1:]:
            if parts[0] in (b'done', b'used') or self._is_of_program(parts):
                sock.sendall(control.pack(*parts))
        self._listen(sock, splitter)
        sock.close()

    @staticmethod
    def _is_of_program(parts):
        return parts[0] == b'exited' and int(parts[1]) >= control.FIRST_PROGRAM

    def _introduce(self, sock, here, channels):
        here[here.index(b'pid') + 1] = b'%d' % self._process.pid
        sock.sendall(control.pack(*here))
        told, passing = dict(zip(here[2::2], here[3::2])), socket_of(channels)
        for at in range(0, len(told[b'held']), HELD.size):
            number, status = HELD.unpack_from(told[b'held'], at)
            near, far = socket.socketpair()
            last = [parts for parts in self._frames(number) if parts[0] in LAST]
            near.sendall(b''.join(control.pack(*parts) for parts in last))
            if last or status != control.LIVES or self._exits(number):
                near.shutdown(socket.SHUT_WR)
            send_fd(passing, far.fileno(), HELD.pack(number, self._process.pid))
            far.close()
            self._channels.append(near)
        passing.close()

    def _exits(self, number):
        """Return the frame (list of parts, in a list) that tells how a process has ended."""
        return [parts for parts in self._frames() if parts[:2] == [b'exited', b'%d' % number]]

    def _listen(self, sock, splitter):
        data = True
        while data:
            data = sock.recv(65536)
            for parts in splitter.feed(data):
                self.got.append(parts)
                if parts[0] == b'ended':
                    sock.sendall(control.pack(*self._exits(int(parts[1]))[0]))
                if parts[0] == b'close':
                    sock.sendall(control.pack(b'closed', None))
                    return


def socket_of(fd):
    """Return the socket with descriptor `fd`, which is closed."""
    sock = socket.fromfd(fd, socket.AF_UNIX, socket.SOCK_STREAM)
    os.close(fd)
    return sock


class OldStateTest(unittest.TestCase):

    maxDiff = None

    def test_a_node_goes_on_with_the_jobs_and_supervisors_of_a_release_before(self):
        for release in frozen.names():
            self.check_release(frozen.load(release))

    def check_release(self, one):
        root = frozen.new_root()
        self.addCleanup(frozen.remove_root, root)
        one.unpack(root)
        supervisors = [OldSupervisor(one, root, number) for number, _auth in one.opened.values()]
        for supervisor in supervisors:
            self.addCleanup(supervisor.close)
        client, computations, jobs = self.client(one)
        with NodeProcess('-c', '16', folder=root, port=one.ports[0], program=MANY_CPUS) as node:
            client.node, client.node_port = node, node.port
            client.node_ip_addr = node.ip_addr
            for name, job in jobs.items():
                self.check_reply(name, job)
            for computation in computations:
                self.assertEqual(computation.close(), b'ACK')
            wait_until(lambda: not os.path.exists(os.path.join(root, '127.0.0.1')), TIMEOUT)
            self.assertEqual(node.stop(), 0)
            self.assertEqual([line for line in node.log().splitlines() if ' ERROR ' in line], [])
        self.check_sent(one, [parts for each in supervisors for parts in each.got])

    def client(self, one):
        """Return a FakeScheduler that is the client of that time, its computations and {name: Job}
        of what it waits for."""
        client = FakeScheduler(None, NEWEST, port=one.ports[1])
        self.addCleanup(client.close)
        client.node_sign = one.sign
        made = dict((number, Computation(client, Record('_Compute', id=number, auth=auth)))
                    for number, auth in one.opened.values())
        for name in NOTED + ['kept']:
            number, uid, hash_ = one.jobs[name]
            client.jobs[uid] = Job(made[number], uid, Record('_DispyJob_', hash=hash_))
        return client, list(made.values()), dict(
            (name, client.jobs[one.jobs[name][1]]) for name in NOTED + ['kept'])

    def check_reply(self, name, job):
        reply = job.wait(TIMEOUT)
        self.assertEqual(len(job.replies), 1, name)
        if name == 'gone':
            self.assertEqual(reply.status, 9)
            self.assertIn('exit status 3', reply.exception)
            return
        self.assertEqual(reply.exception, None, name)
        if name == 'stopped' and reply.status == 9:
            return                          # it was killed when it was kept
        self.assertEqual(reply.status, 11, name)
        if name.startswith('prog'):
            self.assertEqual(Reader(reply.result).load(), 0)
            self.assertIn(name[-4:].encode('ascii'), reply.stdout)
        else:
            self.assertEqual(Reader(reply.result).load(), (name, 'x' * 300000 * (name == 'big')))

    def check_sent(self, one, sent):
        """Check that the supervisors of that time understand what this node has sent them."""
        known = shapes(one.told('node'))
        self.assertIn(b'node', known)
        for word, shape in shapes(sent).items():
            self.assertEqual(shape, known[word], word)


class OldNodeTest(unittest.TestCase):

    def test_a_supervisor_understands_the_frames_of_a_node_of_a_release_before(self):
        for release in frozen.names():
            one, root = frozen.load(release), frozen.new_root()
            self.addCleanup(frozen.remove_root, root)
            one.unpack(root)
            self.root, self.frames = root, [
                [word if word is None else one.moved(word, root) for word in parts]
                for parts in one.told('node')]
            self.check_function(self.supervisor())
            self.check_program(self.supervisor())

    def supervisor(self):
        node = FakeNode()
        self.addCleanup(node.end)
        return node

    def send(self, stream, word, which=b''):
        """Send the first frame with `word` that has `which` in one of its parts."""
        found = [parts for parts in self.frames if parts[0] == word
                 and any(which in part for part in parts if part is not None)]
        stream.send(*found[0])

    def check_function(self, node):
        self.send(node.control, b'open', b'def f(')
        self.assertEqual(node.control.take(b'opened'), [None])
        self.send(node.control, b'setup')
        self.assertEqual(node.control.take(b'setup'), [b'0', None])
        self.send(node.control, b'fork')
        for name, word in (('quick-0', b'job'), ('file', b'filejob')):
            child = node.fork()
            open('%s/flag.%s' % (self.root, name), 'w').close()
            self.send(child, word, name.encode('ascii') if word == b'job' else b'')
            done = Done(child.take(b'done'))
            self.assertEqual(Reader(done._result).load(), (name, ''))
        for word in (b'settled', b'stop', b'ended', b'remember', b'pids'):
            self.send(node.control, word)
        node.control.take(b'pids')
        self.send(node.control, b'close', b'1')
        self.assertEqual(node.control.take(b'closed'), [None])
        node.wait()

    def check_program(self, node):
        self.send(node.control, b'open', b'flag.sh')
        self.assertEqual(node.control.take(b'opened'), [None])
        for name in ('prog', 'prog-told'):
            open('%s/flag.%s' % (self.root, name), 'w').close()
        self.send(node.control, b'program')
        self.assertEqual(Done(node.control.take(b'done')[1:]).status, b'11')
        self.send(node.control, b'end')
        node.wait()


def shapes(frames):
    """Return {word: what the frames with that word look like}."""
    found = {}
    for parts in frames:
        word = parts[0]
        first = WITH_KEYS.get(word)
        look = (len(parts),) if first is None else tuple(parts[first::2])
        found.setdefault(word, set()).add('any number' if word in ANY_NUMBER else look)
    return found


def look_of(one):
    """Return what the files of a state folder look like: {name without numbers: what is in it}."""
    found, state = {}, '.node-%d' % one.ports[0]
    for path, content in one.files.items():
        if path.startswith(state + '/'):
            name = NUMBERS.sub('N', path[len(state) + 1:])
            found.setdefault(name, set()).add(content if content in KINDS else look_in(
                name, frozen.unsqueeze(content)))
    return found


def look_in(name, data):
    """Return what the content of one file looks like."""
    if name == 'state.json' or name.startswith('computations/'):
        return tuple(sorted((key, type(value).__name__)
                            for key, value in json.loads(data.partition(b'\n')[0]
                                                         .decode('ascii')).items()))
    if name.startswith('arguments/'):
        return len(control.unpack(data[4:4 + struct.unpack('>L', data[:4])[0]]))
    if name == 'journal':
        return tuple(sorted(set(map(look_in_slot, slots(data)))))
    return LINES.sub(b'N', data).split(b'\n')[0] if name in ('releases', 'signs') else 'bytes'


def slots(data):
    """Return the slots (bytes) of a journal that are in use."""
    found = [data[at:at + journal.SLOT] for at in range(0, len(data), journal.SLOT)]
    return [slot for slot in found if slot[:4] != b'\0\0\0\0']


def look_in_slot(slot):
    size, version = journal.HEAD.unpack_from(slot)[:2]
    return version, len(control.unpack(slot[journal.BEGIN:journal.BEGIN + size]))


class PresentStateTest(unittest.TestCase):

    maxDiff = None

    def test_what_this_release_writes_and_sends_is_as_it_was_kept(self):
        """If not: raise the version of what has changed, and run tests.support.frozen."""
        kept, present = frozen.load(frozen.names()[-1]), frozen.Freezer().run()
        self.assertEqual(look_of(present), look_of(kept))
        for sender in ('node', 'supervisor'):
            there, before = shapes(present.told(sender)), shapes(kept.told(sender))
            for word in set(there).union(before).difference([] if RACE in there else [RACE]):
                self.assertEqual(there.get(word), before.get(word), word)
        self.assertEqual(frozen.names()[-1], __version__)


if __name__ == '__main__':
    unittest.main()
