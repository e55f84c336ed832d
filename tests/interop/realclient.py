"""Run a client script in an environment with dispy, and read its RESULT line."""
from __future__ import absolute_import, division, print_function

import io
import json
import os
import shutil
import signal
import tempfile

from tests.support import processes
from tests.support.nodeprocess import in_own_network

CLIENTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'clients')


class Client(object):
    """A real client: name (text for people), release (text), python (path)."""

    def __init__(self, name, release, python):
        self.name, self.release, self.python = name, release, python


def configuration():
    """Return (list of Clients, Python of the node), as the test command chose them."""
    told = os.environ.get('DISPYNODE_TEST_INTEROP')
    if not told or not in_own_network():
        raise AssertionError('run this by: python3 -m tests --only interop')
    told = json.loads(told)
    return [Client(**client) for client in told['clients']], told['node']


def run_client(client, script, *args, **settings):
    """Run tests/interop/clients/SCRIPT; return the dict of its RESULT line.

    settings: node (NodeProcess; its log goes into the error), timeout (seconds)
    AssertionError with all its output if it hangs, fails or prints no RESULT.
    """
    node, timeout = settings.pop('node'), settings.pop('timeout', 60)
    folder = tempfile.mkdtemp(prefix='dispynode-client-')
    mark = processes.new_mark()
    path = os.path.join(folder, 'output')
    try:
        with open(path, 'wb') as output, open(os.devnull, 'rb') as null:
            process = processes.spawn(
                [client.python, os.path.join(CLIENTS, script)] + [str(arg) for arg in args],
                mark, dict(os.environ, PYTHONDONTWRITEBYTECODE='1'),
                stdin=null, stdout=output, stderr=output, cwd=folder)
        status = processes.wait_exit(process, timeout)
        if status is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        with io.open(path, encoding='utf-8', errors='replace') as source:
            lines = source.read().splitlines()
    finally:
        processes.end_marked(mark)
        shutil.rmtree(folder, ignore_errors=True)
    # the client's log, written by other threads, may stand in the same line before and behind it
    results = [
        line[line.index('RESULT {') + len('RESULT '):] for line in lines if 'RESULT {' in line
    ]
    if status != 0 or len(results) != 1:
        how = 'is not done after %s s' % timeout if status is None else 'ended with %s' % status
        raise AssertionError(
            'client %s, %s: %s\n--- its output ---\n%s\n--- log of the node ---\n%s' %
            (client.name, script, how, '\n'.join(lines[-80:]), node.log_tail()))
    return json.JSONDecoder().raw_decode(results[0])[0]
