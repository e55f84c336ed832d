"""Surroundings of user code as dispy's own node has them: calls that succeed, modules of dispy."""
from __future__ import absolute_import, division, print_function

import errno
import os
import sys

from dispynode_lib.supervisor.processes.lean import FORKS_BY_DEFAULT
from dispynode_lib.supervisor.job.names import ModuleType

CONTEXT = 'multiprocessing.context'


def allow_leaders():
    """Let os.setsid(), os.setpgrp() and os.setpgid(0, 0) succeed where they change nothing.

    A job leads a session of its own, so the system would refuse them; a job of the original node
    does not.
    """
    for name in ('setsid', 'setpgrp', 'setpgid'):
        call = getattr(os, name)
        if not isinstance(call, Lenient):
            setattr(os, name, Lenient(name, call))


class Lenient(object):
    """A function of `os` that succeeds where there is nothing to change."""

    def __init__(self, name, call):
        self.__name__, self.__doc__, self._call = name, call.__doc__, call

    def __call__(self, *args):
        try:
            return self._call(*args)
        except EnvironmentError as error:
            own = os.getpid()
            if error.errno != errno.EPERM or os.getsid(0) != own or not set(args) <= set((0, own)):
                raise
            return None


class DispyModules(object):
    """Finds `dispy` and `dispy.dispynode` for user code where no dispy is installed; it stands last
    in `sys.meta_path`."""

    NAMES = ('dispy', 'dispy.dispynode')

    def __init__(self, namespace):
        """`namespace`: of the user's code, with the functions that jobs may call."""
        self._namespace = namespace

    def install(self):
        """Add this finder as the last one of `sys.meta_path`."""
        sys.meta_path.append(self)

    def find_spec(self, name, _path=None, _target=None):
        """Return the spec of a module: Python 3."""
        if name not in self.NAMES:
            return None
        return type(sys.__spec__)(name, self, is_package=name == 'dispy')

    def create_module(self, _spec):
        """Leave the making of the module to Python 3."""

    def exec_module(self, module):
        """Fill a module."""
        names = module.__dict__
        logger = self._namespace['dispynode_logger']
        names['logger'] = logger
        if module.__name__ == 'dispy.dispynode':
            for name in ('dispynode_logger', 'dispy_provisional_result', 'dispy_send_file'):
                names[name] = self._namespace[name]

    def find_module(self, name, _path=None):
        """Return the loader of a module: Python 2."""
        return self if name in self.NAMES else None

    def load_module(self, name):
        """Return a module: Python 2."""
        module = sys.modules.setdefault(name, ModuleType(name))
        module.__loader__ = self
        if name == 'dispy':
            module.__path__ = []
        self.exec_module(module)
        return module


class ForkByDefault(object):
    """Has `multiprocessing` fork by default, as before Python 3.14; it stands early in
    `sys.meta_path`.

    Other ways import the module of the function to call, and the code of a computation can be
    imported nowhere.
    """

    def __init__(self):
        self._loader = None

    def find_spec(self, name, path=None, target=None):
        """Return the usual spec of the module that knows the ways, with this object as its
        loader."""
        if name != CONTEXT or self not in sys.meta_path:
            return None
        for finder in sys.meta_path[sys.meta_path.index(self) + 1:]:
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                self._loader, spec.loader = spec.loader, self
                return spec
        return None

    def create_module(self, spec):
        """Have the module made as usual."""
        return self._loader.create_module(spec)

    def exec_module(self, module):
        """Execute the module, then change its default."""
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        fork = getattr(module, '_concrete_contexts', {}).get('fork')
        default = getattr(module, '_default_context', None)
        if fork is not None and hasattr(default, '_default_context'):
            default._default_context = fork


def prepare():
    """Prepare this process for user code; once is enough for all that are forked from it."""
    allow_leaders()
    if not FORKS_BY_DEFAULT and not any(isinstance(each, ForkByDefault) for each in sys.meta_path):
        sys.meta_path.insert(0, ForkByDefault())
