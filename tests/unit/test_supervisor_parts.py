from __future__ import absolute_import, division, print_function

import os
import sys
import unittest

from dispynode_lib.host import proc
from dispynode_lib.supervisor.job import surroundings, tracebacks
from dispynode_lib.supervisor.processes import stopping
from dispynode_lib.supervisor.processes.timers import Timers


def raise_from(source, file_name='<user code>'):
    tracebacks.add_source(file_name, source)
    try:
        exec(compile(source, file_name, 'exec'), {'__name__': '__main__', 'tracebacks': tracebacks})
    except BaseException:
        return sys.exc_info()
    raise AssertionError('nothing was raised')


class TracebackTest(unittest.TestCase):

    def test_source_lines_of_code_without_a_file_are_shown(self):
        text = tracebacks.describe(raise_from('def f():\n    1 / 0\n\nf()\n'))
        self.assertIn('line 2, in f\n    1 / 0\n', text)
        self.assertTrue(text.startswith('Traceback (most recent call last):\n'))

    def test_frames_of_ours_in_the_middle_are_left_out(self):
        text = tracebacks.describe(raise_from('def f():\n    tracebacks.add_source()\n\nf()\n'))
        self.assertIn('TypeError', text)
        self.assertNotIn('tracebacks.py', text)

    def test_frames_of_ours_in_another_folder_are_left_out(self):
        text = tracebacks.describe(raise_from(
            'from dispynode_lib.wire import control\ncontrol.unpack(None)\n'))
        self.assertIn('TypeError', text)
        self.assertNotIn('control.py', text)

    def test_without_a_traceback_the_text_of_an_exception_is_told_all_the_same(self):
        self.addCleanup(setattr, tracebacks, '_format', tracebacks._format)
        tracebacks._format = lambda *_error_info: 1 // 0
        text = tracebacks.describe(raise_from('def f():\n    raise ValueError("low")\nf()\n'))
        self.assertTrue(text.startswith('Traceback (most recent call last):\n  File'), text)
        self.assertIn(', in f\n', text)
        self.assertTrue(text.endswith('ValueError: low'), text)

    def test_a_sentence_comes_first(self):
        self.assertTrue(
            tracebacks.describe(raise_from('[][1]'),
                                u'it failed').startswith(u'it failed\nTraceback'))

    def test_an_exception_that_cannot_be_shown_is_named(self):
        source = (
            'class Odd(Exception):\n    def __str__(self): raise Odd\n    __repr__ = __str__\n'
            '    @property\n    def __cause__(self): raise Odd\nraise Odd\n')
        self.assertIn('Odd', tracebacks.describe(raise_from(source)))

    def test_a_long_recursion_is_shortened(self):
        self.assertLess(len(tracebacks.describe(raise_from('def f(): f()\nf()'))), 20000)

    def test_letters_in_messages(self):
        self.assertIn(
            u'\xe9',
            tracebacks.describe(
                raise_from(u'raise ValueError("\\xc3\\xa9".encode("latin-1")'
                           u'.decode("utf-8"))' if sys.version_info[0] >
                           2 else u'raise ValueError("\\xc3\\xa9")')))


class LazyModuleTest(unittest.TestCase):

    def test_a_module_is_imported_when_it_is_used(self):
        module = surroundings.LazyModule('colorsys')
        self.assertEqual(module.__name__, 'colorsys')
        self.assertEqual(module.rgb_to_hls(0, 0, 0), (0.0, 0.0, 0.0))
        self.assertIn('hls_to_rgb', dir(module))

    def test_what_it_does_not_have_is_an_attribute_error(self):
        self.assertFalse(hasattr(surroundings.LazyModule('colorsys'), 'no_such_name'))
        self.assertFalse(hasattr(surroundings.LazyModule('no_such_module'), '__path__'))


class BelowTest(unittest.TestCase):

    def below(self, pid, *rows):
        table = dict((row[0], proc.Relative(row[0], row[1], row[2], 1, False)) for row in rows)
        return sorted(relative.pid for relative in stopping.below(pid, table))

    def test_descendants_and_members_of_the_session(self):
        rows = ((10, 1, 10), (11, 10, 10), (12, 11, 12), (13, 12, 13), (14, 1, 10), (15, 14, 15),
                (16, 1, 12), (20, 1, 20), (21, 20, 20))
        self.assertEqual(self.below(10, *rows), [11, 12, 13, 14, 15, 16])
        self.assertEqual(self.below(20, *rows), [21])
        self.assertEqual(self.below(99, *rows), [])

    @unittest.skipUnless(os.path.exists('/proc/self/stat'), 'needs /proc')
    def test_this_process_is_seen(self):
        mine = proc.all_processes()[os.getpid()]
        self.assertEqual((mine.parent, mine.session), (os.getppid(), os.getsid(0)))


class TimersTest(unittest.TestCase):

    def test_what_is_due_is_called_in_its_order_and_once(self):
        timers, called = Timers(), []
        self.assertIsNone(timers.next_wait())
        timers.add(0, called.append, 'now')
        timers.add(60, called.append, 'later')
        self.assertLessEqual(timers.next_wait(), 1)
        timers.run_due()
        timers.run_due()
        self.assertEqual(called, ['now'])
        self.assertGreater(timers.next_wait(), 50000)

    def test_what_was_cancelled_neither_wakes_nor_is_called(self):
        timers, called = Timers(), []
        timers.add(60, called.append, 'later')
        sooner = timers.add(0, called.append, 'now')
        timers.cancel(sooner)
        self.assertGreater(timers.next_wait(), 50000)
        timers.run_due()
        timers.cancel(sooner)
        self.assertEqual(called, [])


if __name__ == '__main__':
    unittest.main()
