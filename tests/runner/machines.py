"""Machines other than this one, as far as they run here.

Debian roots of 32 bits, and of other processors by qemu; Pythons from which all that only Linux has
was taken away.
"""
from __future__ import absolute_import, division, print_function

import glob
import os
import shutil
import subprocess
import threading

from tests.runner.environments import PROJECT, CannotBuild, default_folder, locked

ENTER = os.path.join(PROJECT, 'tests', 'runner', 'enter_root.sh')
LACKING = os.path.join(PROJECT, 'tests', 'support', 'lacking')
BINFMT = '/proc/sys/fs/binfmt_misc'
STEP_TIMEOUT = 1800                         # seconds; qemu takes its time


class Machine(object):
    """name: what stands for a minor version in tables, 'i386-3.11'; architecture and suite: of
    Debian.

    python      command there; the rest of its name: the package with it
    client      name of the recipe of a real client
    emulated    processor in the name of its qemu-*-static; None: this processor runs it
    """

    def __init__(self, name, architecture, suite, python, client, emulated=None):
        self.name, self.architecture, self.suite, self.python = name, architecture, suite, python
        self.client, self.emulated = client, emulated

    def interpreter(self):
        """Return the path of a command that is its Python; its root is made if it is not there.
        Raises CannotBuild."""
        missing = [
            tool for tool in ('debootstrap', 'unshare', 'chroot') if shutil.which(tool) is None
        ]
        if missing:
            raise CannotBuild('not installed: ' + ', '.join(missing))
        if os.geteuid():
            raise CannotBuild('debootstrap and chroot want to be run by root')
        folder = os.path.join(default_folder(), 'machines')
        os.makedirs(folder, exist_ok=True)
        root = os.path.join(folder, self.name)
        with locked(root + '.lock'):
            if self.emulated:
                register(self.emulated)
            if not os.path.isdir(root):
                self._make(root)
            command = _command(self.name, 'exec "%s" "%s" %s' % (ENTER, root, self.python))
            _run([command, '-c', 'import ctypes, ssl'])
        return command

    def _make(self, root):
        part = root + '.part'
        shutil.rmtree(part, ignore_errors=True)
        try:
            _run([
                'debootstrap', '--arch=' +
                self.architecture, '--variant=minbase', '--include=openssl,procps,' + self.python
            ] + (['--foreign'] if self.emulated else []) + [self.suite, part])
            if self.emulated:
                _run(['chroot', part, '/debootstrap/debootstrap', '--second-stage'])
            for name in glob.glob(os.path.join(part, 'var', 'cache', 'apt', '*')):
                shutil.rmtree(name, ignore_errors=True)
            with open(os.path.join(part, 'etc', 'hosts'), 'w') as hosts:
                hosts.write('127.0.0.1 localhost\n')
            os.rename(part, root)
        finally:
            shutil.rmtree(part, ignore_errors=True)


class WithoutLinux(object):
    """A Python of this machine that believes to be on another system (tests/support/lacking); for
    nodes only."""

    def __init__(self, minor, python):
        """`python`: function that returns the path of the Python, or raises CannotBuild."""
        self.name, self._python = 'nolinux-' + minor, python

    def interpreter(self):
        """Return the path of a command that is it."""
        os.makedirs(os.path.join(default_folder(), 'machines'), exist_ok=True)
        return _command(
            self.name,
            'DISPYNODE_TEST_LACKS=linux PYTHONPATH="%s" exec "%s"' % (LACKING, self._python()))


def _command(name, line):
    """Write a script that runs a Python; return its path."""
    path = os.path.join(default_folder(), 'machines', name + '.python')
    part = '%s.%d.%d' % (path, os.getpid(), threading.get_ident())
    with open(part, 'w') as script:
        script.write('#!/bin/sh\n%s "$@"\n' % line)
    os.chmod(part, 0o755)
    os.rename(part, path)
    return path


MACHINES = (
    Machine('i386-2.7', 'i386', 'bullseye', 'python2.7', '4.8.7 on 2.7'),
    Machine('i386-3.11', 'i386', 'bookworm', 'python3', '4.15.2 on 3.11'),
    # 32 bits, but a time of 64
    Machine('armhf-3.13', 'armhf', 'trixie', 'python3', '4.15.2 on 3.11', 'arm'),
    Machine('arm64-3.13', 'arm64', 'trixie', 'python3', '4.15.2 on 3.11', 'aarch64'),
)


def register(processor):
    """Have the kernel run programs for `processor` by qemu, as Debian's packages do at boot. Raises
    CannotBuild."""
    description = '/usr/lib/binfmt.d/qemu-%s.conf' % processor
    if not os.path.exists(description):
        raise CannotBuild('not installed: qemu-user-static')
    try:
        if not os.path.exists(os.path.join(BINFMT, 'register')):
            _run(['mount', '-t', 'binfmt_misc', 'none', BINFMT])
        if not os.path.exists(os.path.join(BINFMT, 'qemu-' + processor)):
            with open(description) as source, open(os.path.join(BINFMT, 'register'), 'w') as target:
                target.write(source.read().strip())
    except EnvironmentError as error:
        raise CannotBuild('this kernel runs no programs for %s by qemu: %s' % (processor, error))


def _run(command):
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=STEP_TIMEOUT, cwd=PROJECT)
    except subprocess.TimeoutExpired:
        raise CannotBuild('%s: not done after %d s' % (' '.join(command), STEP_TIMEOUT))
    if done.returncode:
        lines = done.stdout.decode('utf-8', 'replace').strip().splitlines() or ['no output']
        raise CannotBuild('%s: %s' % (' '.join(command), lines[-1]))
