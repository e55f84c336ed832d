"""A node that believes to have 20 CPUs and kills itself, once, at a point of its code.

DISPYNODE_TEST_DIES   MODULE CLASS.METHOD before|after, of that call; MODULE below dispynode_lib
                      half: after half of its last argument (bytes) was dealt with
DISPYNODE_TEST_ARMED  path of a file: the node dies only while it is there, and removes it before
"""
from __future__ import absolute_import, division, print_function

import functools
import importlib
import os
import signal
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from tests.support import manycpus


def is_armed():
    """Return whether this process is to end now."""
    try:
        os.unlink(os.environ['DISPYNODE_TEST_ARMED'])
        return True
    except EnvironmentError:
        return False


def die():
    """End this process as SIGKILL from outside does."""
    os.kill(os.getpid(), signal.SIGKILL)


def set_up(module, name, when):
    """Have the node die `when`, see above, a call of the method `name`, CLASS.METHOD."""
    class_name, method = name.split('.')
    owner = getattr(importlib.import_module('dispynode_lib.' + module), class_name)
    real = getattr(owner, method)

    @functools.wraps(real)
    def dying(*args, **kwargs):
        if when == 'before' and is_armed():
            die()
        if when == 'half' and is_armed():
            real(*(args[:-1] + (args[-1][:len(args[-1]) // 2], )))
            die()
        value = real(*args, **kwargs)
        if when == 'after' and is_armed():
            die()
        return value
    is_static = isinstance(owner.__dict__[method], staticmethod)
    setattr(owner, method, staticmethod(dying) if is_static else dying)


if __name__ == '__main__':
    if 'DISPYNODE_TEST_DIES' in os.environ:
        set_up(*os.environ['DISPYNODE_TEST_DIES'].split())
    manycpus.main.program()
