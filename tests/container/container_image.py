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
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=300)
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
            self.process = processes.spawn(command, self.mark, stdin=subprocess.DEVNULL, stdout=log,
                                           stderr=log)

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
    _build_log = buildah('bud', '--isolation', 'chroot', '--format', 'docker', '--pull-never', '-t',
                         IMAGE, PROJECT)


class ImageTest(unittest.TestCase):

    def test_what_the_image_says_of_itself(self):
        config = json.loads(buildah('inspect', '--type', 'image', IMAGE))['Docker']['config']
        self.assertEqual(config['User'], str(OWNER))
        self.assertEqual(config['Entrypoint'][:2], ['/bin/sh', '-c'])
        self.assertEqual(config['StopSignal'], 'SIGTERM')
        self.assertEqual(config['Volumes'], {'/var/lib/dispynode': {}})
        self.assertEqual(config['Healthcheck']['Test'], ['CMD', 'dispynode-health'])

    def test_a_loop_of_containers_serves_one_client_each(self):
        clients, _python = configuration()
        for program in ([], [], ['dispynode.py']):              # the manual names the program, too
            with Container(*(program + ['--serve', '1', '-i', '127.0.0.1'])) as container:
                told = run_client(clients[0], 'no_op.py', 5, node=container)
                self.assertEqual((told['right'], told['lost']), (5, 0), told)
                wait_until(lambda: container.process.poll() is not None, WAIT,
                           lambda: 'the end of the container:\n' + container.log_tail())
                self.assertEqual(container.process.returncode, 0, container.log_tail())

    def test_user_and_state_in_the_volume(self):
        config = json.loads(buildah('inspect', '--type', 'image', IMAGE))['Docker']['config']
        folder = tempfile.mkdtemp(prefix='dispynode-volume-')
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        os.chown(folder, OWNER, OWNER)
        with Container('-i', '127.0.0.1',
                       volumes=['%s:%s' % (folder, list(config['Volumes'])[0])]) as container:
            self.assertIn('dispynode', container.run('dispynode.py', '--ctl', 'status'))
            self.assertEqual(container.run('id', '-un').strip(), 'dispynode')
            self.assertIn('.node-51348', os.listdir(folder))
            self.assertEqual(
                os.stat(os.path.join(folder, '.node-51348', 'state.json')).st_uid, OWNER)

    def test_the_log_of_the_build_ends_well(self):
        self.assertEqual(_build_log.splitlines()[-2], 'Successfully tagged %s:latest' % IMAGE)
        self.assertNotIn('WARN', _build_log.upper())


def container_without_node(test):
    """Return the name of a container of the image in which nothing runs."""
    name = buildah('from', '--pull-never', IMAGE).strip()
    test.addCleanup(buildah, 'rm', name)
    return name


# The root is read-only, but for the folder of the volume; a number of a user that has no name runs
# it, with group 0
READ_ONLY = '''set -e
mount --bind "$1" "$1"
mount -t proc none "$1/proc"
mount --bind "$2" "$1/var/lib/dispynode"
mount -o remount,bind,ro "$1"
root=$1 user=$3
shift 3
exec chroot --userspec="$user:0" "$root" "$@"
'''


class FirstProcessTest(unittest.TestCase):
    """The entry point of the image as process 1 of a process namespace, as container engines run
    it."""

    def setUp(self):
        self.config = json.loads(buildah('inspect', '--type', 'image', IMAGE))['Docker']['config']
        self.root = buildah('mount', container_without_node(self)).strip()
        self.folder = tempfile.mkdtemp(prefix='dispynode-first-')
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.mark, self.path, self.started = processes.new_mark(), os.path.join(self.folder,
                                                                                'log'), []
        self.addCleanup(self.end)

    def end(self):
        processes.end_marked(self.mark)
        for process in self.started:
            process.wait()

    def text(self):
        with open(self.path, 'rb') as source:
            return source.read().decode('utf-8', 'replace')

    def start(self, user, *options, **settings):
        """Start the entry point as a user; return (Popen, number of process 1, seen from here).
        settings: reader."""
        variables = [word for word in self.config['Env']
                     if not word.startswith('PATH=')] + ['PATH=/usr/local/bin:/usr/bin:/bin']
        variables.append('%s=%s' % (processes.MARK, self.mark))
        volume, own = os.path.join(self.folder,
                                   'volume'), os.stat(self.root + list(self.config['Volumes'])[0])
        if not os.path.isdir(volume):
            os.mkdir(volume)                    # an engine makes it as the image has its own
            os.chown(volume, own.st_uid, own.st_gid)
            os.chmod(volume, own.st_mode & 0o7777)
        with open(self.path, 'wb') as log:
            process = processes.spawn([
                'unshare', '--pid', '--fork', '--mount', '--kill-child', 'sh', '-c', READ_ONLY,
                'sh', self.root, volume,
                str(user), 'env', '-i', '-C', self.config['WorkingDir']
            ] + variables + self.config['Entrypoint'] + list(options), self.mark,
                                      stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.started.append(process)
        wait_until(lambda: STARTED in self.text() or process.poll() is not None, WAIT, self.text)
        self.assertIsNone(process.poll(), self.text())
        return process, _children(process.pid, None)[0]

    def health(self, node, user):
        """Run the health check as the engine does, beside process 1; return (exit status, what it
        says)."""
        done = subprocess.run([
            'nsenter', '--target',
            str(node), '--pid', '--mount', '--root', '--wd', '--setuid',
            str(user), '--setgid', '0', 'env', '-i', 'PATH=/usr/local/bin:/usr/bin:/bin'
        ] + self.config['Env'][1:] + self.config['Healthcheck']['Test'][1:],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=WAIT)
        return done.returncode, done.stdout.decode('utf-8', 'replace')

    def test_any_user_number_and_a_read_only_root_serve_a_client_on_another_port(self):
        clients, _python = configuration()
        process, node = self.start(12345, '-i', '127.0.0.1', '-p', '5000')
        self.assertEqual(_owner(node), 12345)
        status, told = self.health(node, 12345)
        self.assertEqual(status, 0, told)
        self.assertIn('ports 5000', told)
        os.kill(node, signal.SIGTERM)
        self.assertEqual(processes.wait_exit(process, WAIT), 0, self.text())
        process, node = self.start(12345, 'dispynode.py', '-i', '127.0.0.1')
        self.assertEqual(self.health(node, 12345)[0], 0)
        told = run_client(clients[0], 'no_op.py', 5, node=self)
        self.assertEqual((told['right'], told['lost']), (5, 0), told)
        self.assertNotIn('Traceback', self.text())
        os.kill(node, signal.SIGSTOP)           # it does not answer: not healthy
        self.assertNotEqual(self.health(node, 12345)[0], 0)

    log_tail = text

    def test_it_reaps_orphans_and_stops_on_the_stop_signal(self):
        process, node = self.start(OWNER, '-i', '127.0.0.1')
        self.assertEqual(_owner(node), OWNER)
        orphan = subprocess.Popen([
            'nsenter',
            '--pid=/proc/%d/ns/pid' % node, 'sh', '-c', 'exec 3<&0; (read word <&3) & exec true'
        ], stdin=subprocess.PIPE)
        self.assertEqual(orphan.wait(), 0)
        wait_until(lambda: _children(node, 'sh'), WAIT, 'the orphan to become a child of process 1')
        orphan.stdin.close()                        # it ends
        wait_until(lambda: not _children(node, 'sh'), WAIT, 'the orphan to be reaped')
        os.kill(node, getattr(signal, self.config['StopSignal']))
        self.assertEqual(processes.wait_exit(process, WAIT), 0, self.text())


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
