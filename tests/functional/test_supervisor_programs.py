"""Program jobs in a real supervisor process."""
from __future__ import absolute_import, division, print_function

import os
import signal
import sys
import time
import unittest

from tests.functional.test_supervisor import SupervisorCase
from tests.support.processes import lives
from tests.support.fakenode import QUICK_STEPS, Done
from tests.support.waiting import wait_until


class ProgramTest(SupervisorCase):

    def program_node(self, name, text=None, mode=0o755, **fields):
        node = self.node(u'', type=b'2', name=name, **fields)
        if text is not None:
            node.write(os.path.basename(name), text, mode)
        return node

    def test_arguments_output_and_exit_code(self):
        node = self.program_node('/somewhere/tool',
                                 '#!/bin/sh\necho "$1,$2"\necho err >&2\nexit 3\n')
        done = node.program(u'a b', u'\xe9')
        self.assertEqual((done.status, done.result, done.error), (b'11', 3, None))
        self.assertEqual((done.stdout, done.stderr), (u'a b,\xe9\n'.encode('utf-8'), b'err\n'))
        self.assertEqual(node.program(u'x', u'y').stdout, b'x,y\n')

    def test_surroundings(self):
        node = self.program_node(
            'tool', '#!/bin/sh\npwd\necho $dispy_node_name $dispy_node_ip_addr $dispy_job_path\n'
            'echo $PATH\ncat\nps -o pgid= -p $$\necho $$\n'
            'exec ls -l /proc/self/fd\n')
        lines = node.program().stdout.decode('utf-8').splitlines()
        self.assertEqual(lines[0], node.folder)
        self.assertEqual(lines[1], 'here 127.0.0.1 ' + node.folder)
        self.assertEqual(lines[2].split(':')[0], node.folder)
        self.assertEqual(lines[3].strip(), lines[4])
        opened = [line.rpartition(' ')[2] for line in lines[6:]]
        self.assertEqual(opened[0], '/dev/null')
        self.assertEqual(sum(name.startswith('pipe:') for name in opened), 2)
        self.assertEqual(sum(name.startswith('socket:') for name in opened), 0)

    def test_a_program_has_the_signals_of_a_shell(self):
        node = self.program_node('tool', '#!/bin/sh\nexec grep Sig[IB] /proc/self/status\n')
        masks = node.program().stdout.split()[1::2]
        library = 1 << 31 | 1 << 32             # the C library's own two
        self.assertEqual([int(mask, 16) & ~library for mask in masks], [0, 0])

    def test_python_programs_run_under_the_python_of_the_node(self):
        node = self.program_node(
            'tool.py', 'import sys\nprint(sys.executable)\nsys.exit(int(sys.argv[1]))', 0o644)
        done = node.program(u'4')
        self.assertEqual((done.stdout.decode('utf-8').strip(), done.result), (sys.executable, 4))

    def test_a_script_without_its_first_line_runs_in_the_shell(self):
        node = self.program_node('tool', 'echo plain $1\n')
        self.assertEqual(node.program(u'x').stdout, b'plain x\n')

    def test_what_cannot_be_started_is_told_with_path_and_reason(self):
        missing = self.program_node('tool')
        done = missing.program()
        self.assertEqual((done.status, done.result), (b'9', None))
        self.assertIn('%s cannot be started: No such file' % os.path.join(missing.folder, 'tool'),
                      done.error)
        self.assertIn('Permission denied',
                      self.program_node('tool', '#!/bin/sh\n', 0o644).program().error)
        self.assertIn('cannot be started',
                      self.program_node('tool', '#!/no/such/interpreter\n').program().error)
        node = self.program_node('tool', '#!/bin/sh\necho ok')
        self.assertEqual(node.program(u'a\0b').status, b'9')
        self.assertIn('arguments of the program', node.program({}).error)
        self.assertEqual(node.program().stdout, b'ok\n')        # and life goes on

    def test_a_name_from_another_system(self):
        node = self.program_node('C:\\tools\\tool')
        node.write('tool', '#!/bin/sh\necho ok', 0o755)
        self.assertEqual(node.program().stdout, b'ok\n')

    def test_a_program_that_is_killed_by_a_signal(self):
        node = self.program_node('tool', '#!/bin/sh\nkill -SEGV $$\n')
        done = node.program()
        self.assertEqual((done.status, done.result), (b'11', -signal.SIGSEGV))

    def test_much_output(self):
        node = self.program_node(
            'tool', '#!/bin/sh\nhead -c 3000000 /dev/zero\nhead -c 100000 /dev/zero >&2\n')
        done = node.program()
        self.assertEqual((len(done.stdout), len(done.stderr)), (3000000, 100000))

    def test_something_in_the_background_does_not_hold_up_the_reply(self):
        node = self.program_node('tool', '#!/bin/sh\necho begun\nsleep 60 &\necho $!\n')
        started = time.time()
        done = node.program()
        self.assertLess(time.time() - started, 30)
        word, pid = done.stdout.split()
        self.assertEqual(word, b'begun')
        self.assertTrue(lives(int(pid)))
        node.close()
        wait_until(lambda: not lives(int(pid)))

    def test_a_stopped_program_has_status_9(self):
        node = self.program_node(
            'tool', '#!/bin/sh\ntrap "" INT TERM\nsleep 60 &\necho $! > ready.new\n'
            'mv ready.new ready\nwait\nwait\n', prelude=QUICK_STEPS)
        node.start_program()
        ready = os.path.join(node.folder, 'ready')
        wait_until(lambda: os.path.exists(ready))
        node.control.send(b'stop', b'1000000000')
        done = Done(node.control.take(b'done')[1:])
        self.assertEqual((done.status, done.result), (b'9', None))
        self.assertEqual(int(node.control.take(b'exited')[1]), signal.SIGKILL)
        with open(ready) as stream:
            pid = int(stream.read())
        wait_until(lambda: not lives(pid))

    def test_several_at_once(self):
        node = self.program_node('tool', '#!/bin/sh\nsleep 0.$1\necho $1\n')
        for number in (1, 2, 3):
            args = b'\x80\x02]X\x01\x00\x00\x00%da.' % number
            node.control.send(b'program', b'%d' % (1000000000 + number), args, b'\x80\x02}.', b'1',
                              b'a')
        outputs = {}
        for _turn in range(3):
            parts = node.control.take(b'done')
            outputs[parts[0]] = parts[3]
        self.assertEqual(outputs,
                         {b'1000000001': b'1\n', b'1000000002': b'2\n', b'1000000003': b'3\n'})

    def test_setup_of_a_program_computation_changes_its_environment(self):
        code = u'import os\ndef setup():\n    os.environ["WORD"] = "from setup"\n    os.chdir("/")\n    return 0\n'
        node = self.node(code, set_up=False, type=b'2', name='tool', setup='setup')
        self.assertEqual(node.setup(b'\x80\x02}.', b'setup'), (b'0', None))
        node.write('tool', '#!/bin/sh\necho $WORD\n', 0o755)
        self.assertEqual(node.program().stdout, b'from setup\n')


if __name__ == '__main__':
    unittest.main()
