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
OWNER = 970                     # the user in Dockerfile
IMAGE = 'localhost/dispynode-under-test'
STARTED = 'serves at'
_build_log = ''


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
    """A container of the image that runs its entry point with `options`; a context manager.

    settings   volumes: list of FOLDER:PLACE
    """

    def __init__(self, *options, **settings):
        self.volumes = [word for volume in settings.get('volumes', ()) for word in ('-v', volume)]
        self.name = buildah('from', '--pull-never', IMAGE).strip()
        config = json.loads(buildah('inspect', '--type', 'image', IMAGE))['Docker']['config']
        self.mark = processes.new_mark()
        self.folder = tempfile.mkdtemp(prefix='dispynode-container-')
        self.path = os.path.join(self.folder, 'log')
        command = ['buildah', '--root', os.environ['DISPYNODE_TEST_STORE'], '--runroot',
                   os.environ['DISPYNODE_TEST_STORE'] + '-run', 'run', '--isolation', 'chroot',
                   ] + self.volumes + [self.name] + config['Entrypoint'] + list(options)
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
        return buildah('run', '--isolation', 'chroot', *(self.volumes + [self.name] + list(words)))

    def close(self):
        """Remove the container."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        processes.end_marked(self.mark, 5)
        buildah('rm', self.name)
        shutil.rmtree(self.folder, ignore_errors=True)


def setUpModule():
    global _build_log               # each class here needs the image, whichever of them runs first
    _build_log = buildah('bud', '--isolation', 'chroot', '--format', 'docker', '--pull-never', '-t', IMAGE, PROJECT)


class ImageTest(unittest.TestCase):

    def test_what_the_image_says_of_itself(self):
        config = json.loads(buildah('inspect', '--type', 'image', IMAGE))['Docker']['config']
        self.assertEqual(config['User'], 'dispynode')
        self.assertEqual(config['Entrypoint'][:2], ['/bin/sh', '-c'])
        self.assertEqual(config['StopSignal'], 'SIGTERM')
        self.assertEqual(config['Volumes'], {'/var/lib/dispynode': {}})
        self.assertEqual(config['Healthcheck']['Test'], ['CMD', 'dispynode.py', '--ctl', 'status'])

    def test_a_loop_of_containers_serves_one_client_each(self):
        clients, _python = configuration()
        for program in ([], [], ['dispynode.py']):              # the manual names the program, too
            with Container(*(program + ['--serve', '1', '-i', '127.0.0.1'])) as container:
                told = run_client(clients[0], 'no_op.py', 5, node=container)
                self.assertEqual((told['right'], told['lost']), (5, 0), told)
                wait_until(lambda: container.process.poll() is not None, WAIT,
                           lambda: 'the end of the container:\n' + container.log_tail())
                self.assertEqual(container.process.returncode, 0, container.log_tail())

    def test_health_check_user_and_state_in_the_volume(self):
        config = json.loads(buildah('inspect', '--type', 'image', IMAGE))['Docker']['config']
        check, volume = config['Healthcheck']['Test'][1:], list(config['Volumes'])[0]
        folder = tempfile.mkdtemp(prefix='dispynode-volume-')
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        os.chown(folder, OWNER, OWNER)
        with Container('-i', '127.0.0.1', volumes=['%s:%s' % (folder, volume)]) as container:
            self.assertIn('dispynode', container.run(*check))
            self.assertEqual(container.run('id', '-un').strip(), 'dispynode')
            self.assertIn('.node-51348', os.listdir(folder))
            self.assertEqual(os.stat(os.path.join(folder, '.node-51348', 'state.json')).st_uid, OWNER)
        with self.assertRaises(AssertionError) as caught:       # a container whose node does not run is not healthy
            buildah('run', '--isolation', 'chroot', container_without_node(self), *check)
        self.assertIn('not running', str(caught.exception))

    def test_the_log_of_the_build_ends_well(self):
        self.assertEqual(_build_log.splitlines()[-2], 'Successfully tagged %s:latest' % IMAGE)
        self.assertNotIn('WARN', _build_log.upper())


def container_without_node(test):
    """Return the name of a container of the image in which nothing runs."""
    name = buildah('from', '--pull-never', IMAGE).strip()
    test.addCleanup(buildah, 'rm', name)
    return name


class FirstProcessTest(unittest.TestCase):
    """The entry point of the image as process 1 of a process namespace, as container engines run it."""

    def test_it_reaps_orphans_and_stops_on_the_stop_signal(self):
        config = json.loads(buildah('inspect', '--type', 'image', IMAGE))['Docker']['config']
        root = buildah('mount', container_without_node(self)).strip()
        variables = [word for word in config['Env'] if not word.startswith('PATH=')] + ['PATH=/usr/local/bin:/usr/bin:/bin']
        folder = tempfile.mkdtemp(prefix='dispynode-first-')
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        mark, path = processes.new_mark(), os.path.join(folder, 'log')
        variables.append('%s=%s' % (processes.MARK, mark))
        with open(path, 'wb') as log:
            process = processes.spawn(
                ['unshare', '--pid', '--fork', '--mount-proc=%s/proc' % root, 'chroot', '--userspec=dispynode', root, 'env', '-i']
                + variables + config['Entrypoint'] + ['-i', '127.0.0.1'], mark, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.addCleanup(processes.end_marked, mark)

        def text():
            with open(path, 'rb') as source:
                return source.read().decode('utf-8', 'replace')

        wait_until(lambda: STARTED in text() or process.poll() is not None, WAIT, text)
        self.assertIsNone(process.poll(), text())
        node = _children(process.pid, None)[0]
        self.assertEqual(_owner(node), OWNER)
        orphan = subprocess.Popen(['nsenter', '--pid=/proc/%d/ns/pid' % node, 'sh', '-c', 'exec 3<&0; (read word <&3) & exec true'],
                                  stdin=subprocess.PIPE)
        self.assertEqual(orphan.wait(), 0)
        wait_until(lambda: _children(node, 'sh'), WAIT, 'the orphan to become a child of process 1')
        orphan.stdin.close()                        # it ends
        wait_until(lambda: not _children(node, 'sh'), WAIT, 'the orphan to be reaped')
        os.kill(node, getattr(signal, config['StopSignal']))
        self.assertEqual(processes.wait_exit(process, WAIT), 0, text())


def _owner(pid):
    return os.stat('/proc/%d' % pid).st_uid


def _children(parent, name):
    """Return the children of a process, living or not, with this name of their program."""
    found = []
    for entry in os.listdir('/proc'):
        if entry.isdigit():
            try:
                with open('/proc/%s/stat' % entry) as stat:
                    head, _bracket, rest = stat.read().rpartition(')')
            except EnvironmentError:
                continue
            if int(rest.split()[1]) == parent and (name is None or head.partition('(')[2] == name):
                found.append(int(entry))
    return found
