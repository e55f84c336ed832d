"""Immortal objects, in a process of their own."""
from __future__ import absolute_import, division, print_function

import subprocess
import sys
import unittest

from dispynode_lib.host import compat
from tests.support.nodeprocess import PROJECT

CODE = '''
import gc, sys, weakref
sys.path.insert(0, %r)
from dispynode_lib.supervisor import immortal

class Thing(object):
    pass

def function(number):
    return [number, Thing]

thing = Thing()
count = immortal.make_immortal()
later = Thing()
gone = weakref.ref(later)
del later
before = sys.getrefcount(function), sys.getrefcount(Thing)
held = [function, Thing] * 1000
after = sys.getrefcount(function), sys.getrefcount(Thing)
for _ in range(3):
    gc.collect()
assert function(2) == [2, Thing] and isinstance(thing, Thing)
assert gone() is None
sys.stdout.write('%%d %%s' %% (count, before == after))
'''


class MakeImmortal(unittest.TestCase):

    def test_references_to_what_was_there_are_not_counted_any_more_and_later_objects_die(self):
        output = subprocess.check_output([sys.executable, '-c', CODE % (PROJECT,)])
        count, same = compat.to_text(output).split()
        if sys.version_info >= (3, 12) and not set('dt') & set(sys.abiflags):
            self.assertGreater(int(count), 1000)
            self.assertEqual(same, 'True')
        else:
            self.assertEqual((int(count), same), (0, 'False'))


if __name__ == '__main__':
    unittest.main()
