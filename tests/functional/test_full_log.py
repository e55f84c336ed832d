"""A log that nobody reads: a full pipe as standard error, or a stopped terminal, holds up neither
the node nor its jobs."""
from __future__ import absolute_import, division, print_function

import os
import pty
import select
import signal
import termios

from tests.support import processes
from tests.support.operatorcase import OperatorCase
from tests.support.waiting import wait_until

JOBS = 200
# 200 bytes of each job by way of descriptor 2, besides the node's own lines of -d
LOUD = 'def loud(number):\n    import os\n    os.write(2, b"%d " % number + b"x" * 195 + b"\\n")\n    return number\n'
LINE = b'x' * 195 + b'\n'
LOUD_SETUP = 'def setup():\n    import os\n    os.write(2, b"y" * 100000)\n    return 0\n'


class Address(object):
    """Where the node is, for a FakeScheduler."""

    ip_addr = '127.0.0.1'

    def __init__(self, port):
        self.port = port

    @staticmethod
    def log_tail():
        """Nobody reads it."""
        return ''


class FullLogTest(OperatorCase):

    def start(self, err, *options, **settings):
        """Start a node whose standard error is descriptor `err`; return its Popen once it
        serves."""
        with open(os.devnull, 'r+b') as null:
            process = processes.spawn(self.command(*options), self.mark, stdin=settings.get(
                'stdin', null), stdout=settings.get('stdout', null), stderr=err)
        self.addCleanup(processes.wait_exit, process, 10)
        self.addCleanup(lambda: process.poll() is None and process.kill())
        self.wait(lambda: self.ask('status'))
        return process

    def full_pipe(self):
        """Return (read end, write end) of a pipe that has no room."""
        read_end, write_end = os.pipe()
        self.addCleanup(os.close, read_end)
        while select.select([], [write_end], [], 0)[1]:
            os.write(write_end, b'z' * 4096)
        return read_end, write_end

    def run_jobs(self):
        """Run JOBS jobs that write to descriptor 2, after a setup that does."""
        scheduler = self.scheduler(Address(self.port))
        self.addCleanup(scheduler.close)
        computation = scheduler.open(LOUD_SETUP + LOUD, 'loud', setup='setup')
        for number in range(JOBS):
            self.assertEqual(computation.run(number).value, number)
        return computation

    def assert_ends(self, process):
        """Ask for the end by SIGTERM."""
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: process.poll() is not None, 15, 'the node to end')
        self.assertEqual(process.returncode, 0)

    def test_a_full_pipe_as_standard_error_stops_neither_node_nor_jobs(self):
        _read_end, write_end = self.full_pipe()
        process = self.start(write_end, '--daemon', '-d')
        os.close(write_end)
        self.run_jobs()
        self.assertEqual(self.status()['jobs_done'], JOBS)
        self.assert_ends(process)

    def test_what_waited_is_written_once_somebody_reads(self):
        read_end, write_end = self.full_pipe()
        process = self.start(write_end, '--daemon')
        os.close(write_end)
        self.run_jobs().close()
        told = self.read(read_end,
                         lambda told: b'closed by its client' in told and told.count(LINE) == JOBS)
        self.assertIn(b' serves at ', told)
        self.assert_ends(process)
        self.assertIn(b'INFO dispynode.node: stopped\n',
                      self.read(read_end, lambda told: b'stopped' in told))

    def read(self, fd, done):
        """Return what comes from a pipe until done(that)."""
        told = []

        def read_more():
            if select.select([fd], [], [], 0.1)[0]:
                told.append(os.read(fd, 65536).lstrip(b'z'))
            return done(b''.join(told))
        self.wait(read_more, lambda: 'more than %r' % b''.join(told)[-2000:])
        return b''.join(told)

    def test_quit_at_a_stopped_terminal(self):
        master, slave = pty.openpty()
        self.addCleanup(os.close, master)
        process = self.start(slave, '-d', stdin=slave, stdout=slave)
        termios.tcflow(slave, termios.TCOOFF)                   # as Ctrl-S does
        for _ in range(50):
            os.write(master, b'status\n')  # the menu's answers have no room either
        self.run_jobs()
        os.close(slave)
        self.told('quit')
        wait_until(lambda: process.poll() is not None, 15, 'the node to end')
        self.assertEqual(process.returncode, 0)

    def test_a_log_file_that_is_a_fifo_nobody_reads(self):
        path = os.path.join(self.folder, 'fifo')
        os.mkfifo(path)
        for options in (('--daemon',), ('--detach',)):
            with open(os.devnull, 'r+b') as null:
                process = processes.spawn(self.command('--log_file', path, *options), self.mark,
                                          stdin=null, stdout=null, stderr=null)
            self.wait(lambda: self.ask('status'))
            self.told('quit')
            wait_until(lambda: process.poll() is not None, 15, 'the node to end')
            self.assertEqual(process.returncode, 0, options)
            self.wait(self.has_ended)
