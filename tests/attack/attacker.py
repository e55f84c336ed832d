"""What attacks have in common: raw connections, and a look at what a node holds."""
from __future__ import absolute_import, division, print_function

import contextlib
import os
import pickle
import resource
import socket
import struct
import sys

from tests.support.dialects import Dialect
from tests.support.nodeprocess import NodeProcess
from tests.support.processes import stat_fields
from tests.support.scheduler import FakeScheduler
from tests.support.waiting import wait_until

WAIT = 40
PY2 = str is bytes
# a client on the node's own Python: one that writes newer pickles could not read what another node
# of its own sends
NATIVE = Dialect('4.15.2', PY2, min(5, pickle.HIGHEST_PROTOCOL))
BIG = 'x' * 300000                          # an argument that goes through a file
CODE = 'def job(number=1):\n    return number * 2\n'


def connect(node, port=None):
    """Return a connection to the node on which nothing was sent."""
    return socket.create_connection((node.ip_addr, port or node.port), 20)


def allow_descriptors(count):
    """Let this process, and the nodes it starts, have `count` descriptors if the system permits."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        raise AssertionError('this test needs %d descriptors, the system allows %d' % (count, hard))
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def descriptors(pid):
    """Return how many descriptors a process has open."""
    return len(os.listdir('/proc/%d/fd' % pid))


def threads(pid):
    """Return how many threads a process has."""
    return len(os.listdir('/proc/%d/task' % pid))


def memory(pid):
    """Return the resident memory of a process in bytes."""
    with open('/proc/%d/statm' % pid) as source:
        return int(source.read().split()[1]) * resource.getpagesize()


def cpu_seconds(pid):
    """Return the seconds of CPU time that a process has used."""
    words = stat_fields(pid)
    return (int(words[11]) + int(words[12])) / float(os.sysconf('SC_CLK_TCK'))


def closed_by_peer(sock, timeout=WAIT):
    """Return whether the other side closes within `timeout` seconds."""
    sock.settimeout(timeout)
    try:
        while sock.recv(65536):
            continue
        return True
    except socket.timeout:
        return False
    except EnvironmentError:
        return True


def reset(sock):
    """Close with RST: a peer that vanished."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    sock.close()


@contextlib.contextmanager
def served(*options, **settings):
    """A node with a client of its own and an open computation: (node, scheduler, computation); tls:
    as the client's."""
    tls = settings.pop('tls', None)
    with NodeProcess('-c', 2, *options, **settings) as node, FakeScheduler(node, NATIVE,
                                                                           tls=tls) as scheduler:
        yield node, scheduler, scheduler.open(CODE, 'job')


def assert_serves(case, computation, number=21):
    """Fail unless a job of the computation runs as ever."""
    reply = computation.run(number)
    case.assertEqual((reply.status, reply.exception, reply.value), (11, None, 2 * number))


def assert_given_back(node, before, spare=4):
    """Wait until the node has about as many descriptors as `before`."""
    wait_until(lambda: descriptors(node.pid) <= before + spare, WAIT,
               lambda: '%d descriptors, there are %d' % (before, descriptors(node.pid)),
               interval=0.05)


def python_for_everybody():
    """Return a Python of this version's kind that every user of this host may run, None if there is
    none."""
    for path in (sys.executable, '/usr/bin/python3'):
        folder = os.path.realpath(path)
        while os.path.exists(folder) and os.stat(folder).st_mode & 0o005 == 0o005:
            if folder == '/':
                return path
            folder = os.path.dirname(folder)
    return None
