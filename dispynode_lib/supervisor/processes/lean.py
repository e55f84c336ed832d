"""Differences between Python versions, for supervisors and jobs.

host/compat does this for the node, but it brings sockets and threads, which would make every fork
of a supervisor dearer. For the same reason the C halves of standard modules are taken where Python
3 has them.
"""
from __future__ import absolute_import, division, print_function

import os
import sys

from dispynode_lib.texts import to_bytes, to_native, to_path, to_text      # noqa: F401

PYTHON2 = str is bytes
FORKS_BY_DEFAULT = sys.version_info < (3, 14)       # the module multiprocessing
# the import system moves a complete module to the end of sys.modules
COMPLETE_LAST = sys.version_info >= (3, 8)
EXECUTORS_EXIT = sys.version_info < (3, 9)  # executors are ended by atexit, later by threading
NAMES_ARE_IMMORTAL = sys.version_info >= (3, 12)    # using a name of a program does not write to it

if PYTHON2:
    import cPickle as pickles
    import imp
    import signal
else:
    import _imp as imp
    import _pickle as pickles
    import _signal as signal

try:
    import resource                         # os.wait4 needs it
    HAS_WAIT4 = hasattr(resource, 'struct_rusage') and hasattr(os, 'wait4')
except ImportError:
    HAS_WAIT4 = False


_word = None                                # the class of its arguments, once there is one


def call_system(name, *arguments):
    """Call function `name` of the C library with whole numbers from 0 on, each as wide as an
    address; return its result, None if that cannot be done.

    By the C half of ctypes: the rest of it would make every fork dearer, and jobs have not imported
    it.
    """
    global _word
    try:
        import _ctypes
        if _word is None:                   # by the nursery, for all
            _word = type(_ctypes._SimpleCData)('Word', (_ctypes._SimpleCData,), {'_type_': 'L'})
        return _ctypes.call_function(_ctypes.dlsym(_ctypes.dlopen(None, 0), name),
                                     tuple(_word(number) for number in arguments))
    except (ImportError, EnvironmentError, AttributeError, TypeError):
        return None                         # another system, or a Python without ctypes
