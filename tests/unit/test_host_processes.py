"""host.processes: what is found by a mark and ended, and what is not."""
from __future__ import absolute_import, division, print_function

import os
import signal
import subprocess
import unittest

from dispynode_lib.host import proc, processes
from tests.support.processes import lives
from tests.support.waiting import wait_until

VALUE = 'jobs-of-test-%d' % os.getpid()


class LeftTest(unittest.TestCase):

    def run_marked(self, script='exec sleep 60', value=VALUE):
        """Return the pid of a shell that was started with the mark."""
        process = subprocess.Popen(['sh', '-c', script], env=dict(os.environ, **{processes.MARK: value}))
        self.addCleanup(process.wait)
        self.addCleanup(processes.end, lambda: processes.left([value], (), ()))
        return process.pid

    @staticmethod
    def children(pid):
        return [one for one, relative in proc.all_processes().items()
                if relative.parent == pid and not relative.has_ended]

    def found(self, *args):
        return set(pid for pid, _started in processes.left([VALUE], *args))

    def test_all_that_descends_from_what_is_marked_but_what_is_kept(self):
        pid, kept = [self.run_marked('env -i sleep 60 & wait') for _turn in range(2)]
        self.run_marked(value=VALUE + '0')
        child, kept_child = [wait_until(lambda: self.children(one), 10)[0] for one in (pid, kept)]
        wait_until(lambda: not proc.is_marked(child, [VALUE]), 10)
        wait_until(lambda: not proc.is_marked(kept_child, [VALUE]), 10)
        self.assertEqual(self.found([kept], ()), set([pid, child]))
        self.assertEqual(self.found([kept], [pid]), set([child]))
        self.assertEqual(set(processes.end(lambda: processes.left([VALUE], [kept], ()))), set([pid, child]))
        self.assertEqual([lives(one) for one in (pid, child, kept, kept_child)], [False, False, True, True])

    def test_what_is_in_a_session_of_a_marked_process(self):
        pid = self.run_marked('exec setsid sh -c "env -i sleep 60 & wait"')
        child = wait_until(lambda: self.children(pid), 10)[0]
        os.kill(pid, signal.SIGSTOP)        # if it ended the number of the session would not be known
        self.assertEqual(proc.all_processes()[child].session, pid)
        self.assertEqual(self.found((), ()), set([pid, child]))

    def test_a_process_whose_parent_ended_while_one_looked_is_no_orphan(self):
        one = self.run_marked(), 0
        looks = [[(one[0], processes.start_time(one[0]))], []]
        self.assertEqual(processes.end(lambda: looks.pop(0)), [])
        self.assertTrue(lives(one[0]))

    def test_a_later_process_with_the_same_number_is_not_killed(self):
        pid = self.run_marked()
        self.assertEqual(processes.end(lambda: [(pid, processes.start_time(pid) - 1)]), [])
        self.assertTrue(lives(pid))


if __name__ == '__main__':
    unittest.main()
