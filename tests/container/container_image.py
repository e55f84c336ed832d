"""Build the image, look at it, have containers of it serve real clients one after another."""
from __future__ import absolute_import, division, print_function

import json
import os
import shutil
import signal
import subprocess
import tempfile
import unittest

from tests.interop.realclient import configuration, run_client
from tests.support import processes
from tests.support.nodeprocess import PROJECT
from tests.support.waiting import wait_until

WAIT = 60
IMAGE = 'localhost/dispynode-under-test'
STARTED = 'serves at'


def buildah(*words):
    """Run buildah in the store of the test; return what it says."""
    command = ['buildah', '--root', os.environ['DISPYNODE_TEST_STORE'], '--runroot',
               os.environ['DISPYNODE_TEST_STORE'] + '-run'] + list(words)
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300)
    text = done.stdout.decode('utf-8', 'replace')
    if done.returncode:
        raise AssertionError('%s: status %d\n%s' % (' '.join(command), done.returncode, text))
    return text


class Container(object):
    """A container of the image that runs its entry point with `options`; a context manager."""

    def __init__(self, *options):
        self.name = buildah('from', '--pull-never', IMAGE).strip()
        config = json.loads(buildah('inspect', '--type', 'image', IMAGE))['Docker']['config']
        self.mark = processes.new_mark()
        self.folder = tempfile.mkdtemp(prefix='dispynode-container-')
        self.path = os.path.join(self.folder, 'log')
        command = ['buildah', '--root', os.environ['DISPYNODE_TEST_STORE'], '--runroot',
                   os.environ['DISPYNODE_TEST_STORE'] + '-run', 'run', '--isolation', 'chroot',
                   self.name] + config['Entrypoint'] + list(options)
        with open(self.path, 'wb') as log:
            self.process = processes.spawn(command, self.mark, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def __enter__(self):
        try:
            wait_until(lambda: STARTED in self.log_tail() or self.process.poll() is not None, WAIT)
            if self.process.poll() is not None:
                raise AssertionError('the container ended:\n' + self.log_tail())
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_error):
        self.close()

    def log_tail(self):
        """Return what the node in the container wrote."""
        with open(self.path, 'rb') as log:
            return log.read().decode('utf-8', 'replace')

    def run(self, *words):
        """Run another program in the container; return what it says."""
        return buildah('run', '--isolation', 'chroot', self.name, *words)

    def close(self):
        """Remove the container."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        processes.end_marked(self.mark, 5)
        buildah('rm', self.name)
        shutil.rmtree(self.folder, ignore_errors=True)


class ImageTest(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        cls.log = buildah('bud', '--isolation', 'chroot', '--format', 'docker', '--pull-never', '-t', IMAGE, PROJECT)

    def test_what_the_image_says_of_itself(self):
        config = json.loads(buildah('inspect', '--type', 'image', IMAGE))['Docker']['config']
        self.assertEqual(config['User'], 'dispynode')
        self.assertEqual(config['Entrypoint'], ['dispynode.py', '--daemon'])
        self.assertEqual(config['StopSignal'], 'SIGTERM')
        self.assertEqual(config['Volumes'], {'/var/lib/dispynode': {}})
        self.assertEqual(config['Healthcheck']['Test'], ['CMD', 'dispynode.py', '--ctl', 'status'])

    def test_a_loop_of_containers_serves_one_client_each(self):
        clients, _python = configuration()
        for _round in range(3):
            with Container('--serve', '1', '-i', '127.0.0.1') as container:
                told = run_client(clients[0], 'no_op.py', 5, node=container)
                self.assertEqual((told['right'], told['lost']), (5, 0), told)
                wait_until(lambda: container.process.poll() is not None, WAIT,
                           lambda: 'the end of the container:\n' + container.log_tail())
                self.assertEqual(container.process.returncode, 0, container.log_tail())

    def test_health_check_and_the_user(self):
        with Container('-i', '127.0.0.1') as container:
            self.assertIn('dispynode', container.run('dispynode.py', '--ctl', 'status'))
            self.assertEqual(container.run('id', '-un').strip(), 'dispynode')


class FirstProcessTest(unittest.TestCase):
    """The node as process 1 of a process namespace, as container engines run it."""

    def test_it_reaps_orphans_and_stops_on_sigterm(self):
        _clients, python = configuration()
        folder = tempfile.mkdtemp(prefix='dispynode-first-')
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        mark, path = processes.new_mark(), os.path.join(folder, 'log')
        with open(path, 'wb') as log:
            process = processes.spawn(
                ['unshare', '--pid', '--fork', '--mount-proc', python, os.path.join(PROJECT, 'dispynode.py'), '--daemon',
                 '-i', '127.0.0.1', '--dest_path_prefix', folder], mark, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.addCleanup(processes.end_marked, mark)

        def text():
            with open(path, 'rb') as source:
                return source.read().decode('utf-8', 'replace')

        wait_until(lambda: STARTED in text(), WAIT, text)
        node = [pid for pid in processes.marked(mark) if _parent(pid) == process.pid][0]
        orphan = ['nsenter', '--pid=/proc/%d/ns/pid' % node, 'sh', '-c', '(sleep 0.2; exit 0) & exec true']
        subprocess.check_call(orphan, close_fds=True)
        wait_until(lambda: not _zombies_of(node), WAIT, 'the orphan to be reaped')
        os.kill(node, signal.SIGTERM)
        self.assertEqual(processes.wait_exit(process, WAIT), 0, text())


def _stat(pid):
    with open('/proc/%s/stat' % pid) as stat:
        return stat.read().rpartition(')')[2].split()


def _parent(pid):
    return int(_stat(pid)[1])


def _zombies_of(parent):
    found = []
    for entry in os.listdir('/proc'):
        if entry.isdigit():
            try:
                state, above = _stat(entry)[:2]
            except EnvironmentError:
                continue
            if state == 'Z' and int(above) == parent:
                found.append(int(entry))
    return found
