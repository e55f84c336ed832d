"""Python 2.7.5, simulated by taking away what it does not have."""
from __future__ import absolute_import, division, print_function

import os
import shutil
import tempfile
import unittest

from tests.support.nodeprocess import NodeProcess
from tests.support.scheduler import FakeScheduler

WAIT = 20
CODE = 'def job(n):\n    return 2 * n\n'
# what came with 2.7.6 to 2.7.9
SITE = '''
import hmac, operator, ssl, struct, sys
for module, names in ((hmac, ['compare_digest']), (operator, ['_compare_digest']), (ssl, [
        'SSLContext', 'create_default_context', 'OP_NO_SSLv2', 'OP_NO_SSLv3', 'PROTOCOL_TLSv1_2', 'HAS_SNI'])):
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
sys.stderr.write('simulates 2.7.5\\n')
'''


@unittest.skipUnless(str is bytes, 'Python 3 has all of it')
class OldPythonTest(unittest.TestCase):

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix='dispynode-old-')
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        with open(os.path.join(self.folder, 'sitecustomize.py'), 'w') as target:
            target.write(SITE)
        self.env = {'PYTHONPATH': self.folder}

    def test_all_but_tls_works(self):
        with NodeProcess('-c', 1, '--secret', 'x', env=self.env) as node, FakeScheduler(node, secret='x') as scheduler:
            self.assertIn('simulates 2.7.5', node.log())
            scheduler.ping(timeout=WAIT)
            self.assertEqual(scheduler.open(CODE, 'job').run(21).value, 42)

    def test_tls_is_refused_in_one_line(self):
        certificate = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
                                   'interop', 'clients', 'tls.pem')
        with NodeProcess('--certfile', certificate, env=self.env, wait=False) as node:
            self.assertEqual(node.wait_exit(), 78)
            self.assertIn('no modern TLS', node.log())
