"""Program jobs: scripts and executables, arguments, environment, output, how they end."""
from __future__ import absolute_import, division, print_function

import os
import sys
import unittest

from tests.support.dialects import DIALECTS
from tests.support.nodecase import NodeCase
from tests.support.waiting import TIMEOUT

PY2 = sys.version_info[0] == 2

SCRIPT = b'''#!/bin/sh
case "$1" in
args) shift; for one in "$@"; do printf '[%s]' "$one"; done ;;
place) pwd; echo "$dispy_job_path"; echo "$dispy_node_name"; echo "$dispy_node_ip_addr"; echo "$PATH" ;;
status) exit "$2" ;;
signal) kill -"$2" $$ ;;
both) printf '\\377\\376out'; printf 'err' >&2 ;;
input) wc -c ;;
group) ps -o pgid= -p $$ 2>/dev/null || cut -d' ' -f5 /proc/$$/stat; echo $$ ;;
fds) ls /proc/self/fd ;;
endless) yes 0123456789012345678901234567890123456789 | head -c 200000000; echo END ;;
background) sleep 60 & echo started ;;
esac
'''


class Programs(NodeCase):

    def setUp(self):
        self.program = self.scheduler().open_program(self.file('tool', SCRIPT, 0o755))

    def run_it(self, *args):
        reply = self.program.submit(*args).wait(60)
        return self.finished(reply), reply.stdout, reply.stderr

    def test_the_result_is_the_exit_status_and_the_output_is_bytes(self):
        self.assertEqual(self.run_it('status', '0')[0], 0)
        self.assertEqual(self.run_it('status', '7')[0], 7)
        self.assertEqual(self.run_it('both'), (0, b'\xff\xfeout', b'err'))

    def test_a_program_that_exits_with_113_or_114_never_ends_for_its_client(self):
        for number in ('113', '114'):
            self.assertEqual(self.run_it('status', number)[0], int(number))

    def test_an_end_by_signal_is_a_negative_status(self):
        self.assertEqual(self.run_it('signal', '9')[0], -9)

    def test_arguments_arrive_as_they_are(self):
        args = ['a', 'b c', '', '$HOME', '*', u'\xe9\u20ac'
                ] if not PY2 else ['a', 'b c', '', '$HOME', '*']
        expected = ''.join('[%s]' % arg for arg in args)
        self.assertEqual(self.run_it('args', *args)[1], expected.encode('utf-8'))

    def test_working_directory_and_environment(self):
        lines = self.run_it('place')[1].decode('utf-8').splitlines()
        self.assertEqual(lines[0], lines[1])
        self.assertTrue(lines[0].startswith(os.path.realpath(self.node.folder)))
        self.assertTrue(lines[2])
        self.assertEqual(lines[3], '127.0.0.1')
        self.assertTrue(lines[4].startswith(lines[0] + ':'))

    def test_the_program_has_a_process_group_of_its_own(self):
        group, pid = self.run_it('group')[1].split()
        self.assertEqual(group, pid)

    def test_standard_input_is_empty(self):
        self.assertEqual(self.run_it('input')[1].strip(), b'0')

    def test_d32_no_descriptor_is_inherited(self):
        self.assertLessEqual(set(self.run_it('fds')[1].split()), set((b'0', b'1', b'2', b'3')))

    def test_output_without_end_is_kept_in_bounded_memory(self):
        status, stdout, _stderr = self.run_it('endless')
        self.assertEqual(status, 0)
        self.assertLess(len(stdout), 65 << 20)
        self.assertTrue(stdout.startswith(b'0123456789') and stdout.endswith(b'END\n'))
        self.assertIn(b'bytes of output were left out here', stdout)

    def test_a_process_left_in_the_background_holds_nothing_up(self):
        self.assertEqual(self.run_it('background')[:2], (0, b'started\n'))

    def test_a_python_script_runs_by_the_python_of_the_node(self):
        path = self.file('tool.py',
                         b'import sys\nprint(sys.executable)\nprint(sys.argv[1:])\nsys.exit(3)\n')
        reply = self.program.scheduler.open_program(path).run('x')
        self.assertEqual(self.finished(reply), 3)
        self.assertEqual(reply.stdout.decode('utf-8').splitlines()[1], "['x']")

    def test_a_script_without_interpreter_line_runs_by_the_shell(self):
        path = self.file('plain', b'echo plain $1\n', 0o755)
        self.assertEqual(self.program.scheduler.open_program(path).run('x').stdout, b'plain x\n')

    def test_a_program_that_cannot_be_started(self):
        path = self.file('not_executable', b'#!/bin/sh\n', 0o644)
        self.assertIn('cannot be started',
                      self.failed(self.program.scheduler.open_program(path).run()))
        path = self.file('no_interpreter', b'#!/no/such/interpreter\n', 0o755)
        self.assertIn('cannot be started',
                      self.failed(self.program.scheduler.open_program(path).run()))

    def test_d4_an_absolute_program_name_makes_no_folder_beside_it(self):
        folder = self.folder()
        path = self.file('abs_tool', b'#!/bin/sh\npwd\n', 0o755, folder=folder)
        reply = self.program.scheduler.open_program(path).run()
        self.assertTrue(reply.stdout.decode('utf-8').startswith(os.path.realpath(self.node.folder)))
        self.assertEqual(os.listdir(folder), ['abs_tool'])

    def test_the_supervisor_is_killed_while_a_program_waits_and_another_is_started(self):
        self.assertEqual(self.run_it('status', '0')[0], 0)
        supervisor, = self.supervisors(self.run_it('place')[1].decode('utf-8').splitlines()[0])
        os.kill(supervisor, 9)
        self.node.wait_log('supervisor %d ended unexpectedly' % supervisor, TIMEOUT)
        self.assertEqual(self.run_it('status', '4')[0], 4)

    def supervisors(self, folder):
        """Return the pids of supervisors of the computation with that folder: it is their working
        directory."""
        found = []
        for pid, command in self.node.processes().items():
            try:
                if '--supervise' in command and os.readlink('/proc/%d/cwd' % pid) == folder:
                    found.append(pid)
            except EnvironmentError:
                continue                    # it has ended
        return found

    def test_clients_of_all_dialects(self):
        path = self.program.record.name
        self.let_go(self.program.scheduler)
        for dialect in DIALECTS:
            program = self.scheduler(dialect).open_program(path)
            reply = program.run('both')
            self.assertEqual((reply.status, reply.message.value.stdout), (11, b'\xff\xfeout'),
                             dialect)
            self.let_go(program.scheduler)


if __name__ == '__main__':
    unittest.main()
