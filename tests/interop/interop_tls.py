"""Real clients and a node that share a certificate: jobs, provisional results and files from
jobs."""
from __future__ import absolute_import, division, print_function

import os
import socket
import subprocess
import unittest

from tests.interop.realclient import CLIENTS, configuration, run_client
from tests.support.nodeprocess import NodeProcess
from tests.support.waiting import wait_until

JOBS = 20
CERTIFICATE = os.path.join(CLIENTS, 'tls.pem')


class TlsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.clients, cls.python = configuration()

    def test_jobs_results_and_files_pass_through_tls(self):
        with NodeProcess('-c', '2', '--certfile', CERTIFICATE, python=self.python,
                         port='default') as node:
            for client in self.clients:
                told = run_client(client, 'tls_jobs.py', JOBS, CERTIFICATE, node=node)
                self.assertEqual((told['right'], told['others']), (JOBS + 2, []), client.name)

    def test_a_file_of_a_job_arrives_where_a_record_takes_several_packets(self):
        """A client of 4.8.7 gives up a file when it has read a part of a record."""
        self.addCleanup(subprocess.check_call,
                        ['ip', 'link', 'set', 'lo', 'mtu', '65536', 'gso_max_segs', '65535'])
        subprocess.check_call(['ip', 'link', 'set', 'lo', 'mtu', '1500', 'gso_max_segs', '1'])
        with NodeProcess('-c', '2', '--certfile', CERTIFICATE, python=self.python,
                         port='default') as node:
            for client in self.clients:
                told = run_client(client, 'tls_jobs.py', 1, CERTIFICATE, node=node)
                self.assertEqual((told['right'], told['others']), (3, []), client.name)

    def test_a_silent_peer_holds_up_nobody(self):
        with NodeProcess('-c', '2', '--certfile', CERTIFICATE, python=self.python,
                         port='default') as node:
            silent = [socket.create_connection(('127.0.0.1', 9701)) for _ in range(5)]
            told = run_client(self.clients[-1], 'tls_jobs.py', 1, CERTIFICATE, node=node)
            self.assertEqual(told['right'], 3, told)
            wait_until(lambda: 'too slow' in node.log(), 30)
            for sock in silent:
                sock.close()
