"""Jobs through a network that loses, delays and reorders: the loopback of this test's own network, made bad by tc."""
from __future__ import absolute_import, division, print_function

import os
import subprocess
import unittest

from tests.attack import attacker
from tests.attack.attacker import NATIVE, WAIT
from tests.support.nodeprocess import NodeProcess, in_own_network
from tests.support.scheduler import FakeScheduler
from tests.support.waiting import wait_until

BAD = ['loss', '5%', 'delay', '20ms', '15ms', 'reorder', '25%', '50%']
LOSS = ('add table inet bad; add chain inet bad input { type filter hook input priority 0; }; '
        'add rule inet bad input numgen random mod 100 < 5 counter drop')


def quiet(*command):
    """Return whether a command succeeds."""
    with open(os.devnull, 'w') as null:
        try:
            return subprocess.call(command, stdout=null, stderr=null) == 0
        except EnvironmentError:
            return False


def spoil():
    """Make this network bad: by netem, else, without its delays, by a packet filter; return whether that can be done."""
    if not in_own_network():
        return False
    return quiet('tc', 'qdisc', 'replace', 'dev', 'lo', 'root', 'netem', *BAD) or quiet('nft', LOSS)


def mend():
    """Make it good again."""
    quiet('tc', 'qdisc', 'del', 'dev', 'lo', 'root')
    quiet('nft', 'delete', 'table', 'inet', 'bad')


class NetemTest(unittest.TestCase):

    def setUp(self):
        if not spoil():
            self.skipTest('needs a network namespace of its own, and tc with netem or nft')
        mend()
        self.addCleanup(mend)

    def test_jobs_through_a_bad_network(self):
        with NodeProcess('-c', 2, '--msg_timeout', 5) as node, FakeScheduler(node, NATIVE) as scheduler:
            spoil()
            wait_until(lambda: self.ping(scheduler), WAIT)
            computation = scheduler.open(attacker.CODE, 'job')
            jobs = [computation.submit(number) for number in range(60)]
            wait_until(lambda: all(job.final() for job in jobs) or computation.resend() < 0, 120, interval=1)
            self.assertEqual([job.final().value for job in jobs], [2 * number for number in range(60)])
            mend()
            wait_until(lambda: computation.pending_jobs() == {'done': [], 'pending': 0}, WAIT)
            self.assertEqual(computation.jobs(), [])

    @staticmethod
    def ping(scheduler):
        """Return whether a PING by datagram, which may be lost, is answered soon."""
        try:
            return scheduler.ping(udp=True, timeout=2)
        except AssertionError:
            return None
