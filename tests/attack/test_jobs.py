"""Attacks of jobs: each gives one reply, and neither the node nor other jobs notice."""
from __future__ import absolute_import, division, print_function

import os
import signal
import sys
import textwrap
import unittest

from tests.attack import attacker
from tests.attack.attacker import NATIVE, WAIT, assert_serves, served
from tests.attack.test_clients import all_files
from tests.support import processes
from tests.support.nodeprocess import NodeProcess
from tests.support.scheduler import FakeScheduler
from tests.support.waiting import clock, wait_until

PY2 = str is bytes

# statuses of a job that ends its supervisor: it is ended with it unless it ends before
EITHER = 9, 11
ENDED_TOO = 'the supervisor of the computation ended, and the job with it'
# what a hostile job does -> (source of its body, status of its reply, text in its exception)
BODIES = {
    'kills its parent': ('os.kill(parent(), 9)\nreturn 1', EITHER, ENDED_TOO),
    'interrupts its parent': (
        'os.kill(parent(), 2); os.kill(parent(), 1); return 1', EITHER, ENDED_TOO),
    'stops and continues its parent': (
        'os.kill(parent(), 19); time.sleep(0.2); os.kill(parent(), 18); return 1', 11, ''),
    'kills its group': ('os.killpg(0, 9)\ntime.sleep(60)', 9, 'SIGKILL'),
    'kills the group of its parent': (
        'import signal\nsignal.signal(2, signal.SIG_IGN)\nos.killpg(parent(), 15)\nreturn 1',
        EITHER, ENDED_TOO),
    'closes all descriptors': ('os.closerange(0, 1 << 17)\nreturn 1', 9, ''),
    'closes all descriptors and lives on': ('os.closerange(0, 1 << 17)\ntime.sleep(600)', 9,
                                            'closed'),
    'writes nonsense into every descriptor': (
        'for fd in fds():\n    try: os.write(fd, b"\\0\\0\\0\\5hello" * 9)\n'
        '    except OSError: pass\nreturn 1', 9, ''),
    'tells a false end': (
        'import struct\nfor fd in fds():\n    try: os.write(fd, frame(b"done", b"eleven", None, '
        'b"", b"",'
        ' None, b"x", b"nan"))\n    except OSError: pass\nreturn 1', 9, ''),
    'tells an odd status': (
        'for fd in fds():\n    try: os.write(fd, frame(b"done", b"7", None, b"", b"", None, b"1", '
        'b"2"))\n'
        '    except OSError: pass\nreturn 1', 9, ''),
    'tells of a limit that there is none of': (
        'for fd in fds():\n    try: os.write(fd, frame(b"limit", b"--\\xff", b"mine"))\n'
        '    except OSError: pass\nreturn 1', 9, ''),
    'tells two ends': (
        'for fd in fds():\n    try: os.write(fd, frame(b"done", b"9", None, b"", b"", b"mine", '
        'b"1", b"2") * 2)\n'
        '    except OSError: pass\nreturn 1', 9, 'mine'),
    'logs forged lines': (
        'dispynode_logger.warning("x\\n2030-01-01 00:00:00 ERROR dispynode.node: '
        'forged\\x1b[2J")\nreturn 1',
        11, ''),
    'exits at once': ('os._exit(3)', 9, 'exit status 3'),
    'raises SystemExit': ('sys.exit("bye")', 9, 'bye'),
    'raises KeyboardInterrupt': ('raise KeyboardInterrupt', 9, 'interrupted'),
    'raises an exception without text': (
        'class Silent(BaseException):\n    def __str__(self): return None\nraise Silent()', 9,
        'Silent'),
    'raises an exception that cannot be shown': (
        'class Bad(Exception):\n    def __str__(self): raise self\n    __repr__ = __str__\n'
        'raise Bad()', 9, 'Bad'),
    'returns what cannot be pickled': ('return lambda: 1', 9, 'pickle'),
    'returns what kills the pickler': (
        'class Evil(object):\n    def __reduce__(self): os._exit(7)\nreturn Evil()', 9,
        'exit status 7'),
    'returns something very deep': ('deep = []\nfor _ in range(100000): deep = [deep]\nreturn deep',
                                    9, ''),
    'crashes the interpreter': ('import ctypes\nctypes.string_at(0)', 9, 'SIG'),
    'aborts': ('os.abort()', 9, 'SIGABRT'),
    'removes its folder': ('import shutil\nshutil.rmtree(os.environ["dispy_job_path"])\nreturn 1',
                           11, ''),
    'leaves threads': (
        'import threading\nfor _ in range(20): threading.Thread(target=time.sleep, args=(600,)).start()\nreturn 1',
        11, ''),
    'masks every signal': (
        'import signal\nfor n in range(1, 64):\n    try: signal.signal(n, signal.SIG_IGN)\n'
        '    except (OSError, ValueError, RuntimeError): pass\nreturn 1', 11, ''),
    'leaves a process': ('if not os.fork():\n    time.sleep(600)\n    os._exit(0)\nreturn 1', 11,
                         ''),
    'detaches a grandchild': (
        'if not os.fork():\n    os.setsid()\n    if os.fork(): os._exit(0)\n    os.environ.clear()\n'
        '    time.sleep(600)\n    os._exit(0)\ntime.sleep(0.2)\nreturn 1', 11, ''),
    'detaches a program with an empty environment': (
        'import subprocess\nsubprocess.Popen(["/bin/sh", "-c", "setsid sleep 600 & exit"], env={}).wait()\nreturn 1',
        11, ''),
    'forks again and again': (
        'for _ in range(60):\n    if not os.fork():\n        os.setsid()\n        time.sleep(600)\n        os._exit(0)\n'
        'return 1', 11, ''),
    'prints 200 MB': ('for _ in range(200): sys.stdout.write("x" * (1 << 20))\nreturn 1', 11, ''),
    'ends the whole node by garbage collection': (
        'import gc\nfor thing in gc.get_objects():\n    try: thing.clear()\n'
        '    except Exception: pass\nreturn 1', None, ''),
    'walks the frames and ends what it finds there': (
        'import gc\nframe = sys._getframe()\nwhile frame is not None:\n    for name, value in list(frame.f_locals.items()):\n'
        '        for act in ("close", "stop", "clear", "shutdown", "terminate", "kill", "run_cleanup"):\n'
        '            try: getattr(value, act)()\n            except Exception: pass\n    frame = frame.f_back\nreturn 1',
        None, ''),
    'calls whatever it finds by garbage collection': (
        'import gc\nfor thing in gc.get_objects():\n    if type(thing).__module__.startswith("dispynode"):\n        for name in dir(thing):\n'
        '            if not name.startswith("__") and "exit" not in name:\n                try: getattr(thing, name)()\n                except BaseException: pass\nreturn 1',
        None, ''),
    'replaces functions of the standard library': (
        'import pickle, struct\nfor module in (os, pickle, struct, time, sys):\n    for name in dir(module):\n'
        '        if not name.startswith("__") and name not in ("exc_info", "modules"):\n            try: setattr(module, name, None)\n            except Exception: pass\nreturn 1',
        None, ''),
    'sets limits for itself': (
        'import resource\nfor which in (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, resource.RLIMIT_AS):\n'
        '    resource.setrlimit(which, (0, 0))\nreturn 1', None, ''),
    'stops itself': ('os.kill(os.getpid(), 19)\nreturn 1', 'stopped', ''),
    'traces and profiles': (
        'sys.settrace(lambda *args: 1 // 0)\nsys.setprofile(lambda *args: 1 // 0)\nreturn 1', None,
        ''),
    'exhausts descriptors': (
        'import resource, socket\nresource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))\nheld = []\ntry:\n    while True: held.append(socket.socket())\nexcept EnvironmentError: return 1',
        11, ''),
    'recurses without end': (
        'def again(): return again()\nsys.setrecursionlimit(10 ** 6)\nreturn again()', 9, ''),
    'makes folders nobody may enter': (
        'os.makedirs("locked/inner")\nopen("locked/inner/file", "w").close()\n'
        'os.chmod("locked/inner", 0)\nos.chmod("locked", 0)\nreturn 1', 11, ''),
    'nests folders deeply': (
        'for _ in range(3000):\n    os.mkdir("d")\n    os.chdir("d")\nreturn 1', 11, ''),
}
HEAD = '''
import os, struct, sys, time
def parent():
    # the supervisor, if it still lives: never a process that has nothing to do with this test
    pid = os.getppid()
    with open('/proc/%d/cmdline' % pid, 'rb') as source:
        is_ours = b'--supervise' in source.read()
    if pid < 2 or not is_ours:
        raise RuntimeError('the supervisor has gone')
    return pid
def fds():
    return sorted(int(fd) for fd in os.listdir('/proc/self/fd') if int(fd) > 2)
def frame(*parts):
    packed = b''.join(struct.pack('>L', 0xFFFFFFFF) if part is None else struct.pack('>L', len(part)) + part for part in parts)
    return struct.pack('>L', len(packed)) + packed
'''


def source(body):
    """Return the code of a computation whose function `hostile` has this body."""
    return HEAD + 'def hostile():\n' + textwrap.indent(body, '    ') if hasattr(textwrap, 'indent') else \
        HEAD + 'def hostile():\n' + ''.join('    %s\n' % line for line in body.split('\n'))


class HostileJobsTest(unittest.TestCase):

    def test_each_gives_one_reply_and_nothing_is_left(self):
        with NodeProcess('-c', 2, '--msg_timeout', 5) as node, FakeScheduler(node,
                                                                             NATIVE) as scheduler:
            neighbour = scheduler.open(attacker.CODE, 'job')
            assert_serves(self, neighbour)
            wait_until(lambda: len(node.processes()) >= 3, WAIT)
            for name in sorted(BODIES):
                body, status, text = BODIES[name]
                self.attack(node, scheduler, neighbour, name, source(body), status, text)
            log = node.log()
            self.assertNotIn('\n2030-01-01', log)
            self.assertNotIn('\x1b', log)
            self.assertNotIn('dispynode.loop', log)             # callbacks that failed
            self.assertNotIn('dispynode.workers', log)
            neighbour.close()
            wait_until(lambda: not all_files(node.folder), WAIT,
                       lambda: 'no files; there are %r' % all_files(node.folder))

    def attack(self, node, scheduler, neighbour, name, code, status, text):
        computation = scheduler.open(code, 'hostile')
        job = computation.submit()
        if status == 'stopped':  # it can do nothing for itself: somebody has to wake it
            self.wake(node)
            status = 11
        reply = job.wait(WAIT)
        if status is EITHER:
            self.assertIn((reply.status, reply.exception), ((9, text), (11, None)), name)
        elif status is not None:
            self.assertEqual(reply.status, status, (name, reply))
            self.assertIn(text, reply.exception or '', name)
        assert_serves(self, neighbour)
        self.assertEqual(computation.close(), b'ACK')
        wait_until(lambda: 'computation %d (hostile) ended' % computation.id in node.log(), WAIT,
                   lambda: '%s: the end; log:\n%s' % (name, node.log_tail()))
        wait_until(lambda: len(node.processes()) <= 6, WAIT,
                   lambda: '%s: no processes but %r' % (name, node.processes()), interval=0.05)
        self.assertEqual(len(job.replies), 1, name)

    def test_a_deep_recursion_is_told_soon(self):
        """On 3.13 describing one frame takes a millisecond."""
        code = source(
            'def again(n): return again(n + 1)\nsys.setrecursionlimit(10000)\nreturn again(1)')
        with NodeProcess('-c', 1) as node, FakeScheduler(node, NATIVE) as scheduler:
            computation = scheduler.open(code, 'hostile')
            begun = clock()
            reply = computation.run()
            self.assertLess(clock() - begun, 5)
            self.assertEqual(reply.status, 9)
            self.assertLess(len(reply.exception), 20000)

    @staticmethod
    def wake(node):
        """Continue a process of the node that has stopped itself."""
        def stopped():
            found = [pid for pid in node.processes() if processes.state(pid) == 'T']
            for pid in found:
                os.kill(pid, signal.SIGCONT)
            return found
        wait_until(stopped, WAIT)

    def test_a_detached_process_does_not_outlive_a_killed_supervisor(self):
        code = source(
            'if not os.fork():\n    os.setsid()\n    if os.fork(): os._exit(0)\n    time.sleep(600)\n    os._exit(0)\n'
            'time.sleep(0.2)\nos.kill(parent(), 9)\nreturn 1')
        with NodeProcess('-c', 1) as node, FakeScheduler(node, NATIVE) as scheduler:
            computation = scheduler.open(code, 'hostile')
            before = set(node.processes())
            self.assertIn(computation.run().status, (9, 11))    # it is told, or the job is killed first
            wait_until(lambda: len(node.processes()) <= len(before), WAIT)
            node.wait_log('left by a supervisor that had died: ')


class ProgramsTest(unittest.TestCase):

    def test_programs_that_misbehave(self):
        for script, status in (('yes | head -c 100000000', 11), (
                'setsid sleep 600 & exit 3', 11
        ), ('test $PPID -gt 1 && grep -q -- --supervise /proc/$PPID/cmdline && kill -9 $PPID; sleep 1',
                None), ('kill -9 $$', 11)):
            with NodeProcess('-c', 1) as node, FakeScheduler(node, NATIVE) as scheduler:
                path = os.path.join(node.folder, 'program.sh')
                with open(path, 'w') as target:
                    target.write('#!/bin/sh\n%s\n' % script)
                os.chmod(path, 0o755)
                computation = scheduler.open_program(path)
                os.unlink(path)
                job = computation.submit()
                reply = job.wait(WAIT)
                if status is not None:
                    self.assertEqual(reply.status, status, (script, reply))
                computation.close()
                wait_until(
                    lambda: 'computation %d' % computation.id + ' (program.sh) ended' in node.log()
                    or ') ended' in node.log(), WAIT)
                self.assertEqual(len(job.replies), 1)
                wait_until(
                    lambda: not any('sleep' in command
                                    for command in node.processes().values()), WAIT)


class HostileSetupTest(unittest.TestCase):
    """Setup and cleanup run in the supervisor, which talks to the node."""

    def test_setup_that_attacks_its_supervisor(self):
        with served() as (node, scheduler, neighbour):
            for body in (
                    'os.closerange(3, 1 << 17)', 'os._exit(1)', 'os.kill(os.getpid(), 9)',
                    'for fd in fds():\n    try: os.write(fd, frame(b"shutdown"))\n    except OSError: pass',
                    'for fd in fds():\n    try: os.write(fd, frame(b"done", b"1") + frame(b"exited") + frame() + frame(b"log"))\n'
                    '    except OSError: pass',
                    'for fd in fds():\n    try: os.write(fd, b"\\xff" * 100)\n    except OSError: pass',
                    'sys.exit(0)', 'raise KeyboardInterrupt'):
                code = source(body).replace('def hostile', 'def setup') + '\ndef job(): return 5\n'
                record = scheduler.compute_record(code, 'job', setup='setup')
                self.assertEqual(type(scheduler.ask('COMPUTE', record)), int)
                self.assertTrue(scheduler.call('SETUP', NATIVE.setup(record.id, ()), timeout=WAIT),
                                body)
                scheduler.call(
                    'CLOSE',
                    {'compute_id': record.id, 'auth': record.auth, 'terminate_pending': True})
                assert_serves(self, neighbour)
            self.assertNotIn('draining', node.log())
            self.assertNotIn('dispynode.loop', node.log())


class LimitsTest(unittest.TestCase):
    """The operator's limits: the job is stopped and told which one, and by how much."""

    def stopped(self, options, body, *texts):
        with NodeProcess('-c', 1, *options) as node, FakeScheduler(node, NATIVE) as scheduler:
            computation = scheduler.open(source('return 4'), 'hostile')
            self.assertEqual(computation.run().value, 4)
            computation.close()
            computation = scheduler.open(source(body), 'hostile')
            job = computation.submit()
            reply = job.wait(WAIT)
            self.assertEqual(reply.status, 9, reply)
            for text in texts:
                self.assertIn(text, reply.exception)
            computation.close()
            wait_until(lambda: len(node.processes()) <= 2, WAIT,
                       lambda: 'an end of %r' % node.processes())
            self.assertEqual(len(job.replies), 1)

    def test_job_time(self):
        self.stopped(['--job_time', '2'], 'time.sleep(600)', 'it ran for',
                     '--job_time allows 2')

    def test_job_time_of_a_job_that_ignores_signals(self):
        self.stopped(
            ['--job_time', '2'],
            'import signal\nfor n in (2, 15): signal.signal(n, signal.SIG_IGN)\ntime.sleep(600)',
            '--job_time allows 2')

    def test_job_memory(self):
        self.stopped(['--job_memory', '60m'],
                     'data = bytearray(os.urandom(1 << 20)) * 100\ntime.sleep(600)',
                     'bytes of memory', '--job_memory allows %d' % (60 << 20))

    def test_job_memory_of_a_process_that_the_job_started(self):
        self.stopped([
            '--job_memory', '60m'
        ], 'if not os.fork():\n    data = bytearray(os.urandom(1 << 20)) * 100\n    time.sleep(600)\n'
                     'time.sleep(600)', '--job_memory allows')

    def test_job_memory_all_at_once(self):
        self.stopped(['--job_memory', '60m'], 'return len(bytearray(4 << 30))', 'memory')

    def test_job_output(self):
        self.stopped(['--job_output', '1m'], 'while True: sys.stdout.write("x" * 100000)',
                     '--job_output allows %d' % (1 << 20))

    def test_job_output_of_a_job_that_catches_all(self):
        self.stopped([
            '--job_output', '1m'
        ], 'for _ in range(30):\n    try: sys.stderr.write("x" * 100000)\n    except BaseException: pass\nreturn 1',
                     '--job_output allows')

    def test_job_processes(self):
        self.stopped(['--job_processes', '5'],
                     'for _ in range(30):\n    if not os.fork(): time.sleep(600)\ntime.sleep(600)',
                     'processes, --job_processes allows 5')

    def test_niceness_and_descriptors(self):
        with NodeProcess('-c', 1, '--nice', 7) as node, FakeScheduler(node, NATIVE) as scheduler:
            computation = scheduler.open(
                source(
                    'import resource\nreturn os.nice(0), resource.getrlimit(resource.RLIMIT_NOFILE)[0]'
                ), 'hostile')
            niceness, soft = computation.run().value
            import resource
            self.assertEqual(niceness, 7 + os.nice(0))
            self.assertEqual(soft, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
            self.assertEqual(processes.stat_fields(node.pid)[16], '%d' %
                             os.nice(0)) if sys.platform == 'linux' else None


if __name__ == '__main__':
    unittest.main()
