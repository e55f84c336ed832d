"""Python 2.7.5, simulated by taking away what it does not have."""
from __future__ import absolute_import, division, print_function

import os
import shutil
import subprocess
import symtable
import sys
import tempfile
import unittest

from tests.support.dialects import Dialect
from tests.support.nodeprocess import PROGRAM, PROJECT, NodeProcess, free_port
from tests.support.scheduler import FakeScheduler

sys.path.insert(0, os.path.join(PROJECT, 'packaging'))
import onefile      # noqa: E402

WAIT = 30
CODE = '''
def setup():
    global factor
    factor = 2
    return 0

def job(n, data=b''):
    import hmac, ssl, struct, sys
    new = [name for module, name in ((hmac, 'compare_digest'), (ssl, 'SSLContext')) if hasattr(module, name)]
    return factor * n, len(data), sys.version.split()[0], new

def cleanup():
    global factor
    del factor
'''
# what came with 2.7.6 to 2.7.18: PEP 466, PEP 476, struct formats that are unicode
SITE = '''
import collections, hashlib, hmac, operator, ssl, struct, sys
for module, names in (
        (hmac, ['compare_digest']), (operator, ['_compare_digest']),
        (hashlib, ['pbkdf2_hmac', 'algorithms_available', 'algorithms_guaranteed']), (ssl, [
            'SSLContext', 'create_default_context', '_create_unverified_context', '_create_default_https_context',
            '_create_stdlib_context', 'match_hostname', 'CertificateError', 'SSLZeroReturnError', 'SSLWantReadError',
            'SSLWantWriteError', 'SSLSyscallError', 'SSLEOFError', 'HAS_SNI', 'HAS_ALPN', 'HAS_ECDH', 'HAS_NPN', 'HAS_TLSv1_3',
            'OP_ALL', 'OP_NO_SSLv2', 'OP_NO_SSLv3', 'OP_NO_TLSv1', 'OP_NO_TLSv1_1', 'OP_NO_TLSv1_2', 'OP_NO_TLSv1_3',
            'OP_NO_COMPRESSION', 'OP_SINGLE_DH_USE', 'OP_SINGLE_ECDH_USE', 'OP_CIPHER_SERVER_PREFERENCE', 'PROTOCOL_TLS',
            'PROTOCOL_TLSv1_1', 'PROTOCOL_TLSv1_2', 'Purpose', 'get_default_verify_paths', 'enum_certificates'])):
    for name in names:
        if hasattr(module, name):
            delattr(module, name)

def only_str(function):
    def checked(form, *rest):
        if type(form) is not str:
            raise TypeError('Struct() argument 1 must be string, not ' + type(form).__name__)
        return function(form, *rest)
    return checked

class Struct(struct.Struct):
    def __init__(self, form):
        only_str(super(Struct, self).__init__)(form)

struct.Struct = Struct
for name in ('pack', 'unpack', 'calcsize', 'pack_into', 'unpack_from'):
    setattr(struct, name, only_str(getattr(struct, name)))
sys.version = sys.version.replace(sys.version.split()[0], '2.7.5', 1)
sys.version_info = collections.namedtuple('version_info', 'major minor micro releaselevel serial')(2, 7, 5, 'final', 0)
sys.hexversion = 0x020705f0
'''


@unittest.skipUnless(str is bytes, 'Python 3 has all of it')
class OldPythonTest(unittest.TestCase):

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix='dispynode-old-')
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        with open(os.path.join(self.folder, 'sitecustomize.py'), 'w') as target:
            target.write(SITE)
        self.env = {'PYTHONPATH': self.folder}
        self.program = onefile.write(os.path.join(self.folder, 'one', 'dispynode.py'))

    def run_program(self, *options):
        """Run the one file to its end; return (exit status, what it said)."""
        process = subprocess.Popen([sys.executable, self.program] + list(options), env=dict(
            os.environ, **self.env), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        output = process.communicate()[0]
        return process.returncode, output

    def test_all_but_tls_works(self):
        for program in (PROGRAM, self.program):
            for dialect in (Dialect('4.8.7', True, 2), Dialect('4.15.2', False, 4)):
                with NodeProcess('-c', 1, '--secret', 'x', env=self.env, program=program) as node, \
                        FakeScheduler(node, dialect, secret='x') as scheduler:
                    scheduler.ping(timeout=WAIT)
                    computation = scheduler.open(CODE, 'job', setup='setup', cleanup='cleanup')
                    for size in (5, 1 << 20):               # the second in a file
                        self.assertEqual(list(computation.run(21, b'x' * size).value),
                                         [42, size, '2.7.5', []])

    def test_the_check_passes(self):
        status, output = self.run_program('--check', '-i', '127.0.0.1', '-p', str(free_port()))
        self.assertIn('ok    python        2.7.5', output)
        self.assertIn('ok    program job', output)
        self.assertEqual((status, output.count('WRONG')), (0, 0), output)

    def test_it_says_what_it_is(self):
        self.assertIn('Python 2.7.5)', self.run_program('--version')[1])

    def test_tls_is_refused_in_one_line(self):
        certificate = os.path.join(PROJECT, 'tests', 'interop', 'clients', 'tls.pem')
        with NodeProcess('--certfile', certificate, env=self.env, wait=False) as node:
            self.assertEqual(node.wait_exit(), 78)
            node.wait_log('no modern TLS')

    def test_no_exec_that_only_newer_ones_compile(self):
        """Before 2.7.9 `exec(code, names)` was no qualified exec where inner functions have free
        variables."""
        names = {}
        exec(compile(onefile.build().split('def load():')[0], 'head', 'exec', 0, True), names)
        texts = dict(names['MODULES'], program=onefile.HEAD + onefile.TAIL)
        wrong, seen = [], 0
        for name, text in texts.items():
            waiting = [symtable.symtable(text, name, 'exec')]
            while waiting:
                table = waiting.pop()
                inner = table.get_children()
                waiting += inner
                if table.get_type() == 'function' and table.has_exec():
                    seen += 1
                    if table.get_frees() or any(one.get_type() == 'function' and one.get_frees()
                                                for one in inner):
                        wrong.append((name, table.get_name()))
        self.assertGreater(seen, 3)
        self.assertEqual(wrong, [])
