"""Many jobs that do nothing: the traffic at which the original node loses replies or stalls. And
the first ten: README.rst."""
from __future__ import absolute_import, division, print_function

import io
import os
import re
import shutil
import subprocess
import tempfile
import textwrap
import unittest

from tests.interop.realclient import configuration, run_client
from tests.support import processes
from tests.support.nodeprocess import PROJECT, NodeProcess

# DISPYNODE_TEST_JOBS=2000 for the full number
JOBS = int(os.environ.get('DISPYNODE_TEST_JOBS', 500))


class ManyJobsTest(unittest.TestCase):

    def test_not_one_of_many_jobs_is_lost(self):
        clients, node_python = configuration()
        with NodeProcess(python=node_python, port='default') as node:
            told = run_client(clients[0], 'no_op.py', JOBS, node=node, timeout=60 + JOBS // 10)
        self.assertEqual((told['right'], told['wrong'], told['lost']), (JOBS, 0, 0), told)


class QuickStartTest(unittest.TestCase):

    def test_the_quick_start_of_the_readme(self):
        clients, node_python = configuration()
        with io.open(os.path.join(PROJECT, 'README.rst'), encoding='utf-8') as source:
            sample = re.search(r'``sample\.py``::\n(.*?)\nand run it', source.read(), re.S).group(1)
        folder, mark = tempfile.mkdtemp(prefix='dispynode-sample-'), processes.new_mark()
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        self.addCleanup(processes.end_marked, mark)
        with io.open(os.path.join(folder, 'sample.py'), 'w', encoding='utf-8') as target:
            target.write(textwrap.dedent(sample))
        # python3 dispynode.py -i 127.0.0.1
        with NodeProcess(python=node_python, port='default', daemon=False) as node:
            process = processes.spawn([clients[0].python, 'sample.py'], mark,
                                      stdin=subprocess.DEVNULL, cwd=folder, stdout=subprocess.PIPE,
                                      stderr=subprocess.STDOUT)
            output = process.communicate(timeout=60)[0].decode('utf-8', 'replace')
            self.assertIn(str([number * number for number in range(10)]), output, node.log_tail())
            self.assertEqual(process.returncode, 0, output)
