"""Objects that live as long as their process: Python 3.12 and later do not count references to those (PEP 683).

A count that is not written leaves its page as it was when the process was forked. Without this each job would copy
some 40 pages more, and its supervisor some 30, only because both use functions and modules that were there before.
Nothing of a user's becomes immortal: his files are closed, and his memory is given back, when he lets go of them.
"""
from __future__ import absolute_import, division, print_function

import gc
import sys

from dispynode_lib.supervisor.lean import call_system, import_words

IMMORTAL = 0xFFFFFFFF
LEAST = 0x80000000                          # from here on objects are immortal


def prepare_memory():
    """Make the memory of this process cheap to fork: what is here stays, is not written to, and nothing is held in vain."""
    make_immortal()
    if hasattr(gc, 'freeze'):
        gc.freeze()                         # the collector's looking at objects would copy them, too
    call_system('malloc_trim', 0)


def make_immortal():
    """Make immortal what is in this process now, where that can be done; return the number of objects."""
    words = import_words()
    if words is None:
        return 0                            # counts are written, and pages copied
    function, code, frame = type(make_immortal), type(make_immortal.__code__), type(sys._getframe())
    found = gc.get_objects()
    found += [each.__code__ for each in found if type(each) is function]
    count = 0
    for each in found:
        place = id(each) >> 2
        if words[place] < LEAST and type(each) is not frame:
            words[place] = IMMORTAL
            count += 1
            if type(each) is code:
                found += each.co_consts
    return count
