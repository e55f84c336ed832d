"""`dispynode.py --check` as an operator runs it."""
from __future__ import absolute_import, division, print_function

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import unittest

from dispynode_lib.cli import check, trial
from dispynode_lib.host import compat
from dispynode_lib.node.shared.known import KnownImports
from tests.support import processes
from tests.support.nodeprocess import PROGRAM, free_port
from tests.support.waiting import clock

WAIT = 60


class Check(unittest.TestCase):

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix='dispynode-test-')
        self.mark = processes.new_mark()
        self.port = free_port()

    def tearDown(self):
        left = processes.end_marked(self.mark, 5)
        remains = os.listdir(self.folder)
        shutil.rmtree(self.folder)
        self.assertEqual((left, remains), ({}, []))

    def start(self, *options, **variables):
        """Start the check with its temporary files in our folder; return the Popen."""
        command = [sys.executable, PROGRAM, '--check', '-i', '127.0.0.1', '-p',
                   str(self.port)] + list(options)
        env = dict(os.environ, TMPDIR=self.folder, **variables)
        return processes.spawn(command, self.mark, env, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)

    def check(self, *options, **variables):
        """Run the check; return ({check: its line without the name}, all that it said)."""
        process = self.start(*options, **variables)
        out, err = [compat.to_text(text) for text in process.communicate()]
        lines = out.splitlines()
        self.assertTrue(lines[0].startswith('dispynode '), out)
        found = {'sum': lines[-1]}
        for line in lines[1:-1]:
            if line.startswith('      |'):
                continue
            word, name, text = line[:6].strip(), line[6:20].strip(), line[20:]
            self.assertIn(word, ('ok', 'lacks', 'WRONG'), line)
            self.assertTrue(text, line)
            found[name] = word + ' ' + text
        return found, out + err

    def status(self, *options):
        process = self.start(*options)
        err = compat.to_text(process.communicate()[1])
        return process.returncode, err

    def test_all_is_well(self):
        process = self.start()
        out, err = [compat.to_text(text) for text in process.communicate()]
        self.assertEqual((process.returncode, err), (0, ''), out)
        self.assertNotIn('WRONG', out)
        for name, _check in check.HOST_CHECKS + trial.CHECKS:
            self.assertIn('\nok    ' + name, out)
        self.assertIn('all %d checks passed' % len(check.HOST_CHECKS + trial.CHECKS), out)

    def test_it_tells_what_it_found(self):
        found, shown = self.check('-c', '1', '-d')
        self.assertIn(compat.PYTHON_VERSION, found['python'])
        self.assertEqual(found['options'], 'ok valid: -c -d -i -p')
        self.assertEqual(
            found['address'],
            'ok 127.0.0.1: option --ip_addr 127.0.0.1; only clients on this host can '
            'use it: give another one with -i')
        self.assertIn('TCP and UDP %d,' % self.port, found['ports'])
        self.assertTrue(found['CPUs'].startswith('ok 1, as -c says'), shown)
        self.assertIn('installed', found['psutil'])
        self.assertIn('free in ' + self.folder, found['disk'])

    def preload(self, policy, **modules):
        """Return what is said of --preload `policy`, with `modules` (name=text) on the path."""
        place = os.path.join(self.folder, 'modules')
        os.mkdir(place)
        try:
            for name, text in modules.items():
                with open(os.path.join(place, name + '.py'), 'w') as module:
                    module.write(text)
            found, shown = self.check('--preload', policy, PYTHONPATH=place)
        finally:
            shutil.rmtree(place)
        return re.sub('[0-9]+ ms', 'N ms', found.get('preload', shown))

    def test_it_tells_which_modules_are_loaded_ahead_of_jobs(self):
        self.assertEqual(self.preload('none'), 'ok nothing, as --preload none says')
        self.assertEqual(self.preload('learn'), 'ok whatever jobs import')
        self.assertEqual(
            self.preload('prints,opens', prints='print("heard")', opens='kept = open("/dev/null")'),
            'ok what jobs import of the standard library; prints (N ms); opens (N ms; leaves open '
            'files, so only because it is named)')

    def test_it_tells_which_modules_cannot_be_loaded_ahead_of_jobs(self):
        said = self.preload('fails,ends,exits,good', fails='raise ValueError("no such luck")',
                            ends='import os; os._exit(3)', exits='raise SystemExit(3)', good='')
        self.assertEqual(
            said, 'lacks what jobs import of the standard library; good (N ms); not loaded ahead of '
            'jobs: fails: ValueError: no such luck; ends: it ends the process that imports it; '
            'exits: SystemExit: 3')

    def test_it_tries_modules_that_jobs_have_imported(self):
        folder = os.path.join(self.folder, 'files')
        state = os.path.join(folder, '.node-%d' % self.port)
        os.makedirs(state)
        try:
            for _ in range(2):
                path = os.path.join(state, KnownImports.FILE)
                KnownImports(path).note([b'colorsys', b'no_such_module'])
            said = self.check('--dest_path_prefix', folder)[0]['preload']
        finally:
            shutil.rmtree(folder)
        self.assertIn('; 1 known from earlier jobs (', said)
        self.assertIn('; not loaded ahead of jobs: no_such_module: ', said)

    def test_taken_port(self):
        sock = socket.socket()
        try:
            sock.bind(('127.0.0.1', self.port))
            sock.listen(1)
            found, shown = self.check()
        finally:
            sock.close()
        self.assertTrue(
            found['ports'].startswith('WRONG TCP port %d on 127.0.0.1 is in use by ' % self.port),
            shown)
        self.assertIn('choose another port with -p', found['ports'])
        self.assertEqual(found['stop'][:2], 'ok')       # the trial has a port of its own
        self.assertIn('1 of %d checks failed' % len(check.HOST_CHECKS + trial.CHECKS), found['sum'])

    def test_folder_that_cannot_be_made(self):
        found, shown = self.check('--dest_path_prefix', os.path.join(PROGRAM, 'files'))
        self.assertIn('%s is no folder; give another one with --dest_path_prefix' % PROGRAM,
                      found['disk'], shown)
        self.assertEqual(self.status('--dest_path_prefix', os.path.join(PROGRAM, 'files'))[0], 78)

    def test_address_of_another_host(self):
        status, err = self.status('-i', '198.51.100.1')
        self.assertEqual((status, err), (78, ''))

    def test_wrong_option(self):
        status, err = self.status('--msg_timeout', 'soon')
        self.assertEqual((status, err),
                         (64, 'dispynode: --msg_timeout soon: give seconds from 0.1 to 3600\n'))

    def test_interrupted_check_leaves_nothing(self):
        last = len(check.HOST_CHECKS)
        for number, lines in ((signal.SIGTERM, 1), (signal.SIGTERM, last + 1),
                              (signal.SIGINT, last + 1), (signal.SIGTERM, last + 4),
                              (signal.SIGINT, last + 6)):
            ended, deadline = (0, ''), clock() + WAIT
            # on a busy machine it may be done before the signal
            while ended == (0, '') and clock() < deadline:
                process = self.start()
                for _ in range(lines):
                    process.stdout.readline()
                process.send_signal(number)
                err = compat.to_text(process.communicate()[1])
                ended = process.returncode, err
            self.assertEqual(ended, (130, ''))


class Saying(unittest.TestCase):
    """The report, with checks that fail in known ways."""

    def report(self, *checks):
        lines = []
        report = check.Report(lines.append)
        results = [report.run('a check', function, None) for function in checks]
        return results, report.end(), ''.join(lines)

    def test_failures_are_lines(self):
        def failed(_subject):
            raise trial.Failed(u'no good; mend it')

        def unreadable(_subject):
            raise EnvironmentError(13, 'Permission denied', '/x')

        results, status, text = self.report(failed, unreadable, lambda subject: u'fine')
        self.assertEqual((results, status), ([False, False, True], 78))
        self.assertIn(u'WRONG a check       no good; mend it\n', text)
        self.assertIn(u'Permission denied', text)
        self.assertIn(u'ok    a check       fine\n2 of 3 checks failed, ', text)


if __name__ == '__main__':
    unittest.main()
