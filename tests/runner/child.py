"""Run test modules in this interpreter and write the outcome to a file.

    python -m tests.runner.child RESULT SECONDS TARGET...

RESULT   file that gets a JSON object: passed, failures, skipped, seconds
SECONDS  after which the stacks of all threads are printed; the test command ends us soon after
TARGET   a folder (discovered), or a module name

With DISPYNODE_TEST_NETWORK=1 we are in a new network namespace, whose loopback is set up first.
"""
from __future__ import absolute_import, division, print_function

import json
import os
import signal
import socket
import struct
import sys
import threading
import time
import traceback
import unittest

PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class Result(unittest.TestResult):
    """Collects texts; keeps the name of the test that runs in a file for the test command."""

    def __init__(self, progress_path):
        super(Result, self).__init__()
        self.buffer = True
        self.passed = 0
        self._progress_path = progress_path

    def startTest(self, test):
        super(Result, self).startTest(test)
        with open(self._progress_path, 'w') as progress:
            progress.write(test.id())

    def addSuccess(self, test):
        super(Result, self).addSuccess(test)
        self.passed += 1

    def summary(self):
        """Return the outcome as plain values."""
        failures = [(test.id(), _decoded(text)) for test, text in self.failures + self.errors]
        failures += [(test.id(), 'passed, but is marked as an expected failure')
                     for test in self.unexpectedSuccesses]
        skipped = [(test.id(), reason) for test, reason in self.skipped]
        skipped += [(test.id(), 'expected failure') for test, _text in self.expectedFailures]
        return {'passed': self.passed, 'failures': failures, 'skipped': skipped}


def _decoded(text):
    """Return a text that has anything in it on Python 2 as JSON takes it."""
    return text.decode('utf-8', 'replace') if isinstance(text, bytes) else text


def load(targets):
    """Return the suite of all targets."""
    loader = unittest.TestLoader()
    suite = unittest.TestSuite()
    for target in targets:
        if os.path.isdir(os.path.join(PROJECT, target)):
            suite.addTests(loader.discover(os.path.join(PROJECT, target), 'test_*.py', PROJECT))
        else:
            suite.addTests(loader.loadTestsFromName(target))
    return suite


def dump_stacks_after(seconds):
    """Arrange that all threads' stacks are printed if we are still here after `seconds`."""
    try:
        import faulthandler
        faulthandler.enable()
        faulthandler.dump_traceback_later(seconds)
    except ImportError:
        watch = threading.Thread(target=_dump_stacks, args=(seconds,))
        watch.daemon = True
        watch.start()


def _dump_stacks(seconds):
    time.sleep(seconds)
    for number, stack in list(sys._current_frames().items()):
        sys.__stderr__.write('Thread %s\n%s\n' % (number, ''.join(traceback.format_stack(stack))))


def import_from(one_file):
    """Have the modules of the program imported from the one file from now on."""
    with open(one_file) as source:
        names = {'__name__': 'one_file', '__file__': one_file}
        exec(compile(source.read(), one_file, 'exec', 0, True), names)
    names['load']()
    sys.excepthook = sys.__excepthook__


def raise_loopback():
    """Switch the loopback interface on: SIOCGIFFLAGS, SIOCSIFFLAGS with IFF_UP."""
    import fcntl
    handle = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        request = struct.pack('16sh', b'lo', 0).ljust(40, b'\0')
        flags = struct.unpack_from('16sh', fcntl.ioctl(handle, 0x8913, request))[1]
        fcntl.ioctl(handle, 0x8914, struct.pack('16sh', b'lo', flags | 1).ljust(40, b'\0'))
    finally:
        handle.close()
    keep_ports_free()


def keep_ports_free():
    """Have connections of this network take none of the ports that nodes have by default."""
    try:
        with open('/proc/sys/net/ipv4/ip_local_port_range', 'w') as setting:
            setting.write('32768 51000')
    except EnvironmentError:                # who is not root may not
        return


def main(result_path, seconds, *targets):
    """Run all tests of the targets; the exit status tells nothing about them."""
    dump_stacks_after(float(seconds))
    # `command &` in a script ignores it, and all below do
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)                    # likewise nohup
    if os.environ.get('DISPYNODE_TEST_NETWORK') == '1':
        raise_loopback()
    program = os.environ.get('DISPYNODE_TEST_PROGRAM')
    if program and 'tests/unit' in targets:
        import_from(program)
    started = time.time()
    result = Result(result_path + '.progress')
    load(targets).run(result)
    summary = result.summary()
    summary['seconds'] = time.time() - started
    with open(result_path, 'w') as target:
        json.dump(summary, target)


if __name__ == '__main__':
    main(*sys.argv[1:])
