"""The one file copied to a Debian that has nothing but its Python, on a host of its own; a real
client on another."""
from __future__ import absolute_import, division, print_function

import os
import unittest

from tests.interop.realclient import configuration
from tests.runner import containers
from tests.support.netlab import HostNode, Lab

CLIENT, NODE = '10.9.0.1', '10.9.0.2'
JOBS = 20
WAIT = 60
# The root is a layer in memory above the one on disk, seen in this mount namespace only. What comes
# as standard input is copied as scp does it; then the node is started as an operator does, with the
# environment of a login.
COPY = '''set -e
mount -t tmpfs none "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=$2,upperdir=$1/upper,workdir=$1/work" none "$1/root"
mount -t proc none "$1/root/proc"
chroot "$1/root" sh -c 'cat > /root/dispynode.py'
'''
START = COPY + '''exec chroot "$1/root" env -i HOME=/root PATH=/usr/bin:/bin DISPYNODE_TEST_MARK="$DISPYNODE_TEST_MARK" \\
    sh -c 'cd /root && exec python3 dispynode.py "$@"' sh --daemon < /dev/null
'''
# Nothing can be written but one folder, and that by an ordinary user
START_READ_ONLY = COPY + '''chmod 755 "$1/root/root"
mount -o remount,ro "$1/root"
mount -t tmpfs none "$1/root/srv"
chown 1000:1000 "$1/root/srv"
exec chroot --userspec=1000:1000 "$1/root" env -i PATH=/usr/bin:/bin DISPYNODE_TEST_MARK="$DISPYNODE_TEST_MARK" \\
    sh -c 'touch /tmp/x || exec python3 /root/dispynode.py "$@"' sh --daemon --dest_path_prefix /srv < /dev/null
'''


class BareNode(HostNode):
    """A node in the bare root, started by a script."""

    def __init__(self, host, script, **settings):
        super(BareNode, self).__init__(host, **settings)
        self.script = script

    def command(self):
        root = containers.bare_root(os.environ['DISPYNODE_TEST_STORE'])
        return self.host.prefix + [
            'unshare', '--mount', 'sh', '-c', self.script, 'sh', self.folder, root
        ]


class BareRootTest(unittest.TestCase):

    def setUp(self):
        self.lab = Lab()
        self.addCleanup(self.lab.__exit__, None, None, None)
        self.lab.bridge('near')

    def test_a_real_client_on_another_host_uses_the_one_file(self):
        self.check(START)

    def test_it_writes_to_its_own_folder_only(self):
        self.assertIn('Read-only file system', self.check(START_READ_ONLY))

    def check(self, script):
        """Have a real client use a node that is started by `script`; return the node's log."""
        clients, _python = configuration()
        here, there = [
            self.lab.host(name, 'near', address + '/24')
            for name, address in (('c', CLIENT), ('n', NODE))
        ]
        with open(os.environ['DISPYNODE_TEST_PROGRAM'], 'rb') as one_file, BareNode(
                there, script, stdin=one_file) as node:
            node.wait_log('with ')
            client = self.lab.client(here, clients[0].python, nodes=[NODE], ip_addr=CLIENT,
                                     jobs=JOBS)
            done = client.wait_result(WAIT, event='done')
            self.assertEqual((done['right'], done['nodes']), (JOBS, [NODE]), client.output())
            client.wait_result(WAIT, event='closed')
            # by its broadcast
            found = self.lab.client(here, clients[0].python, nodes=['*'], ip_addr=CLIENT)
            self.assertEqual(found.wait_result(WAIT, event='done')['nodes'], [NODE], found.output())
            found.wait_result(WAIT, event='closed')
            self.assertNotIn('Traceback', node.log())
            return node.log()
