"""The base image for the tests of Dockerfile: a Debian made by debootstrap, under the name of the
one in Dockerfile."""
from __future__ import absolute_import, division, print_function

import os
import re
import shutil
import subprocess

from tests.runner.environments import PROJECT, CannotBuild, default_folder, locked

TOOLS = ('buildah', 'debootstrap', 'nsenter')
SUITE = 'bookworm'
PACKAGES = 'python3-minimal,libpython3-stdlib'
HOST_PACKAGES = 'python3,systemd,cron,logrotate'
# systemd as process 1 wants its own hierarchy, with or without controllers
GROUPS = '/sys/fs/cgroup/systemd'
STEP_TIMEOUT = 400


def make_base():
    """Return the folder of buildah's store that has the base image; it is kept, see bare_root().
    Raises CannotBuild."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        raise CannotBuild('not installed: ' + ', '.join(missing))
    if os.geteuid():
        raise CannotBuild('debootstrap and buildah --isolation chroot want to be run by root')
    store = os.path.join(default_folder(), 'containers')
    os.makedirs(store, exist_ok=True)
    with locked(store + '.lock'):
        if not os.path.isdir(bare_root(store)):
            _debootstrap(bare_root(store), PACKAGES)
        if base_name() not in _run(_buildah(store, 'images', '--format', '{{.Name}}:{{.Tag}}')):
            _make(store)
    return store


def make_host():
    """Return the root of a Debian with systemd, cron and logrotate, to be the lower layer of
    others. Raises CannotBuild."""
    missing = [
        tool for tool in ('debootstrap', 'nsenter', 'pivot_root', 'pgrep')
        if shutil.which(tool) is None
    ]
    if missing:
        raise CannotBuild('not installed: ' + ', '.join(missing))
    if os.geteuid():
        raise CannotBuild('debootstrap and systemd want to be run by root')
    if not os.access(GROUPS, os.W_OK):
        raise CannotBuild('no control groups for systemd in %s' % GROUPS)
    _run(['unshare', '--cgroup', '--pid', '--fork', '--mount', 'true'])
    store = os.path.join(default_folder(), 'containers')
    os.makedirs(store, exist_ok=True)
    root = os.path.join(store, 'host')
    with locked(root + '.lock'):
        if not os.path.isdir(root):
            _debootstrap(root, HOST_PACKAGES)
    return root


def bare_root(store):
    """Return the path of the root that the base image was made from: a Debian with nothing but its
    Python."""
    return os.path.join(store, 'root')


def base_name():
    """Return the name of the image that Dockerfile starts from, in full."""
    with open(os.path.join(PROJECT, 'Dockerfile')) as source:
        return 'docker.io/library/' + re.findall(r'^FROM (\S+)', source.read(), re.M)[-1]


def _debootstrap(root, packages):
    part = root + '.part'
    shutil.rmtree(part, ignore_errors=True)
    try:
        _run(['debootstrap', '--variant=minbase', '--include=' + packages, SUITE, part])
        shutil.rmtree(os.path.join(part, 'var', 'cache', 'apt'), ignore_errors=True)
        os.rename(part, root)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _make(store):
    container = _run(_buildah(store, 'from', 'scratch')).split()[-1]
    _run(_buildah(store, 'copy', container, bare_root(store), '/'))
    _run(_buildah(store, 'commit', container, base_name()))
    _run(_buildah(store, 'rm', container))


def _buildah(store, *words):
    return ['buildah', '--root', store, '--runroot', store + '-run'] + list(words)


def _run(command):
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=STEP_TIMEOUT)
    except subprocess.TimeoutExpired:
        raise CannotBuild('%s: not done after %d s' % (' '.join(command), STEP_TIMEOUT))
    text = done.stdout.decode('utf-8', 'replace')
    if done.returncode:
        raise CannotBuild(
            '%s: %s' % (' '.join(command), (text.strip().splitlines() or ['no output'])[-1]))
    return text
