"""Programs that share the node through the real dispyscheduler: alone, exclusively, two at once."""
from __future__ import absolute_import, division, print_function

import os
import shutil
import socket
import tempfile
import threading
import unittest

from tests.interop.realclient import configuration, run_client
from tests.support import processes
from tests.support.nodeprocess import NodeProcess
from tests.support.waiting import wait_until

JOBS = 6


class Scheduler(object):
    """A running dispyscheduler of the client's release."""

    def __init__(self, client):
        self.client, self.mark = client, processes.new_mark()

    def __enter__(self):
        self.folder = tempfile.mkdtemp(prefix='dispynode-scheduler-')
        self.log = self.folder + '.log'
        program = os.path.join(os.path.dirname(self.client.python), 'dispyscheduler.py')
        with open(self.log, 'wb') as log, open(os.devnull, 'rb') as null:
            self.process = processes.spawn([
                self.client.python, program, '-d', '--daemon', '--clean', '-i', '127.0.0.1', '-n',
                '127.0.0.1', '--dest_path_prefix',
                os.path.join(self.folder, 'files')
            ], self.mark, dict(os.environ, PYTHONUNBUFFERED='1'), stdin=null, stdout=log,
                                           stderr=log, cwd=self.folder)
        port = 9702 if self.client.release.startswith('4.15') else 51349
        wait_until(lambda: listens(port), 30, self.said)
        return self

    def __exit__(self, kind, error, traceback):
        if kind is not None:
            print('--- log of the scheduler ---\n' + self.said())
        processes.end_marked(self.mark)
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
        os.unlink(self.log)

    def said(self):
        with open(self.log, 'rb') as stream:
            return stream.read().decode('utf-8', 'replace')[-6000:]


def listens(port):
    """Return whether a TCP connection to the port on loopback is accepted."""
    sock = socket.socket()
    try:
        return sock.connect_ex(('127.0.0.1', port)) == 0
    finally:
        sock.close()


class SharedTest(unittest.TestCase):

    def check(self, told, name):
        """All jobs right, all files and provisional results arrived, the program ran."""
        self.assertEqual((told['right'], told['others'], told['files']), (JOBS, [], JOBS), name)
        self.assertEqual(told['provisional'], sorted(-number for number in range(JOBS)), name)
        self.assertEqual(told['program'], [11, 3, 'program says hello\n'], name)

    def test_programs_share_the_node_through_a_scheduler(self):
        clients, python = configuration()
        for client in clients:
            with NodeProcess('-c', '2', python=python, port='default') as node, Scheduler(client):
                for number, sharing in enumerate(('shared', 'exclusive')):
                    told = run_client(client, 'shared.py', 'alone', sharing, 9760 + number, JOBS,
                                      node=node, timeout=90)
                    self.check(told, '%s, %s' % (client.name, sharing))
                self.two_at_once(client, node)

    def two_at_once(self, client, node):
        """Run two programs at the same time."""
        told = {}

        def run(name, port):
            try:
                told[name] = run_client(client, 'shared.py', name, 'shared', port, JOBS, node=node,
                                        timeout=90)
            except AssertionError as error:
                told[name] = error

        threads = [
            threading.Thread(target=run, args=('program%d' % number, 9770 + number))
            for number in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len(told), 2)
        for error in [one for one in told.values() if isinstance(one, Exception)]:
            raise error
        for name in told:
            self.check(told[name], '%s, %s' % (client.name, name))


if __name__ == '__main__':
    unittest.main()
