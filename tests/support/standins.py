"""A stand-in for the module `dispy`, so that the real pickle module can write and read its
classes."""
from __future__ import absolute_import, division, print_function

import collections
import contextlib
import sys
import types

NAMES = ('_Compute', '_XferFile', '_DispyJob_', '_JobReply', 'DispyNodeAvailInfo')


@contextlib.contextmanager
def dispy_module(name='dispy'):
    """Install an imitation of the module for the time of a `with`; it has the classes of the
    wire."""
    module = types.ModuleType(name)
    for kind in NAMES:
        setattr(module, kind, type(kind, (object,), {'__module__': name}))
    module._Function = collections.namedtuple('_Function', ['name', 'args', 'kwargs'])
    module._Function.__module__ = name
    before = sys.modules.get(name)
    sys.modules[name] = module
    try:
        yield module
    finally:
        if before is None:
            del sys.modules[name]
        else:
            sys.modules[name] = before


def instance(kind, **fields):
    """Return an instance of a class of the module, with these attributes."""
    made = kind()
    made.__dict__.update(fields)
    return made
