"""A bad network between this one and another host's: packets are lost, late, out of order, or none
comes through at all.

Two TUN interfaces, one here and one in the host's namespace, and a thread that carries packets from
one to the other. What a kernel's netem does, without netem.
"""
from __future__ import absolute_import, division, print_function

import errno
import fcntl
import heapq
import os
import random
import select
import socket
import struct
import threading

from tests.support.waiting import clock

DEVICE = '/dev/net/tun'
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454ca, 0x0001, 0x1000
TCP = 6
HERE, THERE = '10.99.7.1', '10.99.7.2'


class Packet(object):
    """An IPv4 packet: data, source and target (address, port), flags of TCP, size of what TCP
    carries."""

    FIN, SYN, RST = 1, 2, 4

    def __init__(self, data):
        head = (bytearray(data)[0] & 15) * 4
        self.data, self.protocol = data, bytearray(data)[9]
        ports = struct.unpack_from('>HH', data, head) if len(data) >= head + 4 else (0, 0)
        self.source = socket.inet_ntoa(data[12:16]), ports[0]
        self.target = socket.inet_ntoa(data[16:20]), ports[1]
        self.flags, self.carried = 0, 0
        if self.protocol == TCP and len(data) >= head + 20:
            self.flags = bytearray(data)[head + 13]
            self.carried = struct.unpack_from('>H', data,
                                              2)[0] - head - (bytearray(data)[head + 12] >> 4) * 4


class BadLink(object):
    """Context manager: HERE reaches THERE, an address on `host` (of tests.support.netlab), through
    a bad link.

    command     function that runs a command here
    loss        share of the packets that get lost, but never two in succession of one direction of
                one connection
    delay       (least, most) seconds that a packet takes; packets that take less overtake others
    loses       None, or a function Packet -> bool: what it says yes to is lost
    cut         True: nothing passes, and nobody is told
    Counts: passed, lost, overtaken.
    """

    def __init__(self, command, host, seed=6):
        self.loss, self.delay, self.loses, self.cut = 0.0, (0.0, 0.0), None, False
        self.passed = self.lost = self.overtaken = 0
        self.faults = []
        self._random = random.Random(seed)
        self._unlucky, self._latest = set(), 0.0
        self._under_way, self._number = [], 0
        self._wake, self._woken = os.pipe()[::-1]
        self._ends = [_tun('badlink0'), _tun('badlink1')]
        command('ip', 'link', 'set', 'badlink1', 'netns', str(host.keeper.pid))
        for run, name, own, other in ((command, 'badlink0', HERE, THERE), (host.run, 'badlink1',
                                                                           THERE, HERE)):
            run('ip', 'addr', 'add', own, 'peer', other, 'dev', name)
            run('ip', 'link', 'set', name, 'up')
        self._stopping = False
        self._thread = threading.Thread(target=self._carry)
        self._thread.daemon = True

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, kind, error, traceback):
        self._stopping = True
        os.write(self._wake, b'.')
        self._thread.join(10)
        for fd in self._ends + [self._wake, self._woken]:
            os.close(fd)
        if kind is None and self.faults:
            raise AssertionError('the bad link failed: %s' % self.faults)

    def mend(self):
        """Be a good link from now on."""
        self.loss, self.delay, self.loses, self.cut = 0.0, (0.0, 0.0), None, False

    def _carry(self):
        try:
            while not self._stopping:
                wait = max(0.0, self._under_way[0][0] - clock()) if self._under_way else None
                readable = select.select(self._ends + [self._woken], [], [], wait)[0]
                for end, other in (self._ends, self._ends[::-1]):
                    if end in readable:
                        self._take(end, other)
                self._give()
        except Exception as error:
            self.faults.append('%s: %s' % (type(error).__name__, error))

    def _take(self, end, other):
        """Read a packet; decide when, and whether, it arrives."""
        data = os.read(end, 65536)
        if len(data) < 20 or bytearray(data)[0] >> 4 != 4:
            return                                              # IPv6 talks to itself
        packet = Packet(data)
        if self.cut or self._is_lost(packet):
            self.lost += 1
            return
        due = clock() + self._random.uniform(*self.delay)
        self.overtaken += due < self._latest
        self._latest = max(self._latest, due)
        self._number += 1
        heapq.heappush(self._under_way, (due, self._number, other, data))

    def _is_lost(self, packet):
        if self.loses is not None and self.loses(packet):
            return True
        flow = packet.source, packet.target
        if flow in self._unlucky or self._random.random() >= self.loss:
            self._unlucky.discard(flow)
            return False
        self._unlucky.add(flow)
        return True

    def _give(self):
        while self._under_way and self._under_way[0][0] <= clock():
            _due, _number, end, data = heapq.heappop(self._under_way)
            if self.cut:
                self.lost += 1
                continue
            try:
                os.write(end, data)
                self.passed += 1
            except EnvironmentError as error:
                if error.errno != errno.EIO:                    # that end is down
                    raise


def _tun(name):
    """Return the descriptor of a new TUN interface."""
    fd = os.open(DEVICE, os.O_RDWR)
    try:
        fcntl.ioctl(fd, TUNSETIFF, struct.pack('16sH22x', name.encode('ascii'),
                                               IFF_TUN | IFF_NO_PI))
        flags = fcntl.fcntl(fd, fcntl.F_GETFD)
        fcntl.fcntl(fd, fcntl.F_SETFD, flags | fcntl.FD_CLOEXEC)
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_NONBLOCK)
        return fd
    except BaseException:
        os.close(fd)
        raise


def missing():
    """Return what keeps this process from making such a link, None if nothing does."""
    try:
        os.close(_tun('badlink2'))
    except EnvironmentError as error:
        return '%s: %s' % (DEVICE, error)
    return None
