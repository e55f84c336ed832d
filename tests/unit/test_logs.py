"""What lines of the log look like, and what becomes of records that cannot be written."""
from __future__ import absolute_import, division, print_function

import io
import json
import os
import shutil
import sys
import tempfile
import unittest

from dispynode_lib.host.io import logfile, logs, writer
from dispynode_lib.host.descriptors import set_blocking
from dispynode_lib.log import DEBUG, ERROR, INFO, WARNING, Log, Record, output

MOMENT = 1700000000.25


def record(level, message, exc_info=None):
    """Return a Record of a known time."""
    made = Record(level, 'dispynode.test', message, exc_info)
    made.created = MOMENT
    return made


def failure():
    """Return the exc_info of a division."""
    try:
        return 1 // 0
    except ZeroDivisionError:
        return sys.exc_info()


class LogTest(unittest.TestCase):

    def setUp(self):
        self.records = []
        before = output.level, output.handler
        self.addCleanup(
            lambda: setattr(output, 'level', before[0]) or setattr(output, 'handler', before[1]))
        output.level, output.handler = INFO, self.records.append
        self.log = Log('dispynode.test')

    def told(self):
        return [(one.level, one.message) for one in self.records]

    def test_level_decides_what_is_told(self):
        for level, expected in ((DEBUG, 4), (INFO, 3), (WARNING, 2), (ERROR, 1), (ERROR + 1, 0)):
            del self.records[:]
            output.level = level
            self.log.debug('a %d', 1)
            self.log.info('b')
            self.log.warning('c %s', u'\xe9')
            self.log.error('d')
            self.assertEqual(len(self.records), expected, level)
        output.level = ERROR + 1
        self.log.exception('hidden')
        self.assertEqual(self.records, [])

    def test_arguments(self):
        self.log.info('%s of %d', 'one', 2)
        self.log.info('100 %')
        self.log.log(25, 'x')
        self.assertEqual(self.told(), [(INFO, 'one of 2'), (INFO, '100 %'), (25, 'x')])
        self.assertEqual([one.level_name() for one in self.records], ['INFO', 'INFO', 'Level 25'])

    def test_a_wrong_argument_harms_nobody(self):
        self.log.info('%d CPUs', 'two')
        self.assertIn('two', self.records[0].message)
        self.log.info('%s %s', 'one')
        self.assertIn('one', self.records[1].message)

    def test_an_exception_has_its_traceback(self):
        try:
            failing = [][1]
        except IndexError:
            self.log.exception('a duty')
        else:
            self.fail(failing)
        line = logs.plain_line(self.records[0])
        self.assertIn(u' ERROR dispynode.test: a duty\nTraceback (most recent call last):\n', line)
        self.assertIn(u'IndexError', line.splitlines()[-1])

    def test_an_exception_is_told_though_no_file_can_be_read_for_its_traceback(self):
        import traceback

        def no_descriptor(*_error_info):
            raise EnvironmentError(24, 'Too many open files')
        self.addCleanup(setattr, traceback, 'format_exception', traceback.format_exception)
        traceback.format_exception = no_descriptor
        lines = logs.plain_line(record(ERROR, 'a duty', failure())).splitlines()
        self.assertEqual((len(lines), lines[-1][:18]), (3, u'ZeroDivisionError:'))
        self.assertIn(u'test_logs.py", line ', lines[1])


class LinesTest(unittest.TestCase):

    def test_plain(self):
        line = logs.plain_line(record(INFO, u'caf\xe9'))
        self.assertTrue(line.endswith(u',250 INFO dispynode.test: caf\xe9'), line)
        self.assertEqual(len(line.split(u',')[0]), len('2023-11-14 22:13:20'))

    def test_json(self):
        line = logs.json_line(record(WARNING, u'job 7 of computation 3: "x"\n', failure()))
        self.assertEqual(len(line.splitlines()), 1)
        found = json.loads(line)
        self.assertIn('ZeroDivisionError', found.pop('traceback'))
        self.assertEqual(
            found, {
                'time': '2023-11-14T22:13:20.250Z', 'level': 'WARNING', 'logger': 'dispynode.test',
                'computation': 3, 'job': 7, 'message': u'job 7 of computation 3: "x"\n'
            })


class StandardErrorTest(unittest.TestCase):

    def written(self, stream):
        before, sys.stderr = sys.stderr, stream
        try:
            target = logs.StandardError(logs.bare_line)
            target.write(u'caf\xe9 \u20ac')
            self.assertTrue(target.finish(10))
        finally:
            sys.stderr = before

    def test_what_the_encoding_lacks_is_escaped(self):
        raw = io.BytesIO()
        stream = io.TextIOWrapper(raw, encoding='latin-1') if str is not bytes else raw
        self.written(stream)
        # others in this process may be told of while it is standard error: the last line is ours
        self.assertIn(raw.getvalue().splitlines()[-1],
                      (b'caf\xe9 \\u20ac', u'caf\xe9 \u20ac'.encode('utf-8')))

    def test_no_stream_or_a_closed_one(self):
        self.written(None)
        # one of bytes takes no text
        closed = io.TextIOWrapper(io.BytesIO()) if str is not bytes else io.BytesIO()
        closed.close()
        self.written(closed)


class NobodyReadsTest(unittest.TestCase):
    """What is written to is full: a pipe that nobody reads, or not yet."""

    def pipe(self):
        """Return (read end, stream of the write end)."""
        read_end, write_end = os.pipe()
        stream = os.fdopen(write_end, 'w')
        self.addCleanup(stream.close)
        self.addCleanup(os.close, read_end)
        return read_end, stream

    @staticmethod
    def read_until(fd, text):
        """Return the lines (texts) that come from a pipe, up to one that holds `text`."""
        lines, rest = [], b''
        while not lines or text not in lines[-1]:
            whole, _newline, rest = (rest + os.read(fd, 65536)).rpartition(b'\n')
            lines += whole.decode('ascii').split('\n') if whole else []
        return lines

    def test_a_full_pipe_holds_up_nobody_and_what_is_left_out_is_counted(self):
        read_end, stream = self.pipe()
        target = logs.StandardError(logs.bare_line, stream)
        count = 3 * writer.ROOM // 100
        for number in range(count):
            target.write(u'%099d' % number)             # 3 MB: more than there is room for
        self.assertFalse(target.finish(0.1))
        lines = self.read_until(read_end, 'left out')
        self.assertEqual([int(line) for line in lines[:-1]], list(range(len(lines) - 1)))
        self.assertIn('that could not be written and are left out: %d' % (count - len(lines) + 1),
                      lines[-1])
        target.write(u'after it')
        self.assertEqual(self.read_until(read_end, 'after'), ['after it'])

    def test_a_pipe_that_does_not_block_loses_nothing(self):
        read_end, stream = self.pipe()
        set_blocking(stream.fileno(), False)  # as some programs leave it to whom they start
        target = logs.StandardError(logs.bare_line, stream)
        for number in range(5000):
            target.write(u'%099d' % number)
        target.write(u'the end')
        self.assertEqual(len(self.read_until(read_end, 'the end')), 5001)

    def test_a_log_file_that_is_a_fifo_waits_for_no_reader(self):
        folder = tempfile.mkdtemp(prefix='dispynode-test-')
        self.addCleanup(shutil.rmtree, folder)
        path = os.path.join(folder, 'fifo')
        os.mkfifo(path)
        target = logfile.LogFile(path, logs.bare_line)
        target.write(u'first')
        self.assertTrue(target.finish(10))
        reader = os.open(path, os.O_RDONLY)
        self.addCleanup(os.close, reader)
        self.assertEqual(self.read_until(reader, 'first'), ['first'])

    def test_lines_that_a_full_disk_does_not_take_are_counted(self):
        taken, works = [], [False]

        def write(data):
            taken.extend([data] if works[0] else [])
            return works[0]
        full = writer.Writer(write, lambda count: b'%d' % count)
        for word in (b'one', b'two'):
            full.put(word)
            self.assertTrue(full.finish(10))
        works[0] = True
        full.put(b'three')
        self.assertTrue(full.finish(10))
        self.assertEqual(taken, [b'three', b'2'])
