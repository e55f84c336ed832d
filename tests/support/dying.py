"""A node that believes to have 20 CPUs and kills itself, once, at a point of its code.

DISPYNODE_TEST_DIES   MODULE CLASS.METHOD before|after, of that call; MODULE below dispynode_lib
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


def die():
    """End this process as SIGKILL from outside does, if it is to."""
    try:
        os.unlink(os.environ['DISPYNODE_TEST_ARMED'])
    except EnvironmentError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def set_up(module, name, when):
    """Have the node die `when`, before or after a call of the method `name`, CLASS.METHOD."""
    class_name, method = name.split('.')
    owner = getattr(importlib.import_module('dispynode_lib.' + module), class_name)
    real = getattr(owner, method)

    @functools.wraps(real)
    def dying(*args, **kwargs):
        if when == 'before':
            die()
        value = real(*args, **kwargs)
        if when == 'after':
            die()
        return value
    is_static = isinstance(owner.__dict__[method], staticmethod)
    setattr(owner, method, staticmethod(dying) if is_static else dying)


if __name__ == '__main__':
    if 'DISPYNODE_TEST_DIES' in os.environ:
        set_up(*os.environ['DISPYNODE_TEST_DIES'].split())
    manycpus.main.program()
