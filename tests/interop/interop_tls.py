"""Real clients and a node that share a certificate: jobs, provisional results and files from jobs."""
from __future__ import absolute_import, division, print_function

import os
import socket
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
        with NodeProcess('-c', '2', '--certfile', CERTIFICATE, python=self.python, port='default') as node:
            for client in self.clients:
                told = run_client(client, 'tls_jobs.py', JOBS, CERTIFICATE, node=node)
                self.assertEqual((told['right'], told['others']), (JOBS + 2, []), client.name)

    def test_a_silent_peer_holds_up_nobody(self):
        with NodeProcess('-c', '2', '--certfile', CERTIFICATE, python=self.python, port='default') as node:
            silent = [socket.create_connection(('127.0.0.1', 9701)) for _ in range(5)]
            told = run_client(self.clients[-1], 'tls_jobs.py', 1, CERTIFICATE, node=node)
            self.assertEqual(told['right'], 3, told)
            wait_until(lambda: 'too slow' in node.log(), 30)
            for sock in silent:
                sock.close()
