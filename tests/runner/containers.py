"""The base image for the tests of Dockerfile: a Debian made by debootstrap, under the name of the one in Dockerfile."""
from __future__ import absolute_import, division, print_function

import os
import re
import shutil
import subprocess

from tests.runner.environments import PROJECT, CannotBuild, default_folder

TOOLS = ('buildah', 'debootstrap', 'nsenter')
SUITE = 'bookworm'
PACKAGES = 'python3-minimal,libpython3-stdlib'
STEP_TIMEOUT = 400


def make_base():
    """Return the folder of buildah's store that has the base image; it is kept. Raises CannotBuild."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        raise CannotBuild('not installed: ' + ', '.join(missing))
    if os.geteuid():
        raise CannotBuild('debootstrap and buildah --isolation chroot want to be run by root')
    store = os.path.join(default_folder(), 'containers')
    os.makedirs(store, exist_ok=True)
    if base_name() not in _run(_buildah(store, 'images', '--format', '{{.Name}}:{{.Tag}}')):
        _make(store)
    return store


def base_name():
    """Return the name of the image that Dockerfile starts from, in full."""
    with open(os.path.join(PROJECT, 'Dockerfile')) as source:
        return 'docker.io/library/' + re.findall(r'^FROM (\S+)', source.read(), re.M)[-1]


def _make(store):
    root = os.path.join(store, 'root')
    shutil.rmtree(root, ignore_errors=True)
    try:
        _run(['debootstrap', '--variant=minbase', '--include=' + PACKAGES, SUITE, root])
        container = _run(_buildah(store, 'from', 'scratch')).split()[-1]
        _run(_buildah(store, 'copy', container, root, '/'))
        _run(_buildah(store, 'commit', container, base_name()))
        _run(_buildah(store, 'rm', container))
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _buildah(store, *words):
    return ['buildah', '--root', store, '--runroot', store + '-run'] + list(words)


def _run(command):
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=STEP_TIMEOUT)
    except subprocess.TimeoutExpired:
        raise CannotBuild('%s: not done after %d s' % (' '.join(command), STEP_TIMEOUT))
    text = done.stdout.decode('utf-8', 'replace')
    if done.returncode:
        raise CannotBuild('%s: %s' % (' '.join(command), (text.strip().splitlines() or ['no output'])[-1]))
    return text
