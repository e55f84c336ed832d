"""A node in the locale C, without UTF-8 mode: names beyond ASCII in everything that clients and
operators say."""
from __future__ import absolute_import, division, print_function

import os
import shutil
import subprocess
import sys
import unittest

from dispynode_lib.host.compat import to_text
from tests.support import processes
from tests.support.nodecase import PY2, NodeCase
from tests.support.nodeprocess import PROJECT, free_port

sys.path.insert(0, os.path.join(PROJECT, 'packaging'))
import onefile      # noqa: E402

LOCALE_C = {
    'LC_ALL': 'C', 'LANG': None, 'PYTHONCOERCECLOCALE': '0', 'PYTHONUTF8': '0',
    'PYTHONIOENCODING': None
}
NAME = u'n\xf6de'
NATIVE_NAME = NAME.encode('utf-8') if PY2 else os.fsdecode(NAME.encode('utf-8'))
LIST = (
    'def f():\n    import os\n    here = os.getcwd() if str is bytes else os.getcwdb()\n'
    '    return [here.decode("utf-8")] + sorted(name.decode("utf-8") for name in '
    'os.listdir(here))\n'
)
SCRIPT = b'#!/bin/sh\nbasename "$0"\necho "$dispy_node_name"\n'


class LocaleTest(NodeCase):

    options = ('-c', '2', '--name', NATIVE_NAME)
    env = LOCALE_C

    def transferred(self, computation, name, content=b'x'):
        """Send a file under another name; return the last offset."""
        scheduler = computation.scheduler
        path = self.file('plain', content, 0o755)
        record = scheduler.file_record(path, '', computation.record.id)
        record.name = name
        return scheduler.send_file(path, record=record)

    def test_names_of_node_files_and_folders_end_in_an_exception(self):
        computation = self.open(LIST, 'f', dest_path=u'\xdcbung/zwei')
        self.assertEqual(self.transferred(computation, u'h\xe4\xdflich.txt'), 1)
        found = self.finished(computation.run())
        self.assertTrue(found[0].endswith(u'/\xdcbung/zwei'), found)
        self.assertEqual(found[1:], [u'h\xe4\xdflich.txt'])
        computation.close()
        self.wait_files([])

    def test_a_program_with_a_name_beyond_ascii(self):
        scheduler = self.scheduler()
        computation = scheduler.open('', u'pr\xf6gram', type=2)
        self.assertEqual(self.transferred(computation, u'pr\xf6gram', SCRIPT), len(SCRIPT))
        reply = computation.submit().wait(60)
        self.assertEqual((to_text(reply.stdout), reply.status), (u'pr\xf6gram\n%s\n' % NAME, 11),
                         reply)

    if not PY2:                             # there, names in code are ASCII
        def test_a_function_with_a_name_beyond_ascii(self):
            computation = self.open(
                u'def \xfcber(n):\n    if n < 0:\n        raise ValueError("\xdf")\n    return 2 * '
                u'n\n',
                u'\xfcber')
            self.assertEqual(self.finished(computation.run(4)), 8)
            self.assertIn('ValueError', self.failed(computation.run(-1)))

    def test_a_client_waits_for_ever_when_a_name_cannot_be(self):
        computation = self.open(LIST, 'f')
        for name in (u'a' * 300, u'\xe4' * 200, u'x/../..'):
            self.assertLess(self.transferred(computation, name), 1)
        self.assertEqual(self.node.status, None)


class OneFileTest(unittest.TestCase):

    def test_the_one_file_in_a_folder_with_a_letter_beyond_ascii(self):
        folder = os.path.join(os.path.realpath(os.environ.get('TMPDIR') or '/tmp'),
                              'dispynode-test-%d' % os.getpid(), 'T\xc3\xa9l')
        folder = folder if PY2 else os.fsdecode(folder.encode('latin-1'))
        self.addCleanup(shutil.rmtree, os.path.dirname(folder))
        os.makedirs(folder)
        program = onefile.write(os.path.join(folder, 'dispynode.py'))
        for environment in (LOCALE_C, {}):
            env = dict(os.environ, HOME=folder,
                       **dict((key, value) for key, value in environment.items() if value))
            process = processes.spawn([sys.executable, program, '--check', '-p',
                                       str(free_port())], processes.new_mark(), env,
                                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            out = process.communicate()[0].decode('utf-8', 'replace')
            self.assertEqual(process.returncode, 0, out)


if __name__ == '__main__':
    unittest.main()
