"""Surroundings of user code as dispy's own node has them: calls that succeed, modules of dispy, names
that it finds without defining them (docs/protocol.rst, "A function job")."""
from __future__ import absolute_import, division, print_function

import _socket
import errno
import os
import sys

from dispynode_lib.supervisor.processes.lean import FORKS_BY_DEFAULT

ModuleType = type(sys)
CONTEXT = 'multiprocessing.context'
# The original node's own imports: seen by user code through an accident, and relied on since
MODULES = ('os', 'sys', 'time', 'socket', 're', 'io', 'struct', 'copy', 'glob', 'stat', 'signal',
           'platform', 'hashlib', 'pickle', 'marshal', 'shutil', 'tempfile', 'threading',
           'subprocess', 'traceback', 'multiprocessing', 'dispy')


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
    """Finds `dispy` and `dispy.dispynode` for user code where none is installed, as the last."""

    NAMES = ('dispy', 'dispy.dispynode')

    def __init__(self, namespace):
        """`namespace`: of the user's code, with the functions that jobs may call."""
        self._namespace = namespace

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
    """Has `multiprocessing` fork by default, as before Python 3.14; early in sys.meta_path.

    Other ways import the module of the function to call, and the code of a computation can be
    imported nowhere.
    """

    def __init__(self):
        self._loader = None

    def find_spec(self, name, path=None, target=None):
        """Return the usual spec of the module CONTEXT, with this object as its loader."""
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


class LazyModule(ModuleType):
    """Lazy module of the standard library: imported when one of its names is asked for.

    Importing them all would make each fork several times dearer.
    """

    def __getattr__(self, attribute):
        if attribute.startswith('__') and attribute != '__all__':
            raise AttributeError(attribute)
        return getattr(self._load(), attribute)

    def __setattr__(self, attribute, value):
        """Set the attribute in the module itself, which is imported for that."""
        setattr(self._load(), attribute, value)
        self.__dict__[attribute] = value

    def __delattr__(self, attribute):
        delattr(self._load(), attribute)
        del self.__dict__[attribute]

    def _load(self):
        """Import the module and take its names over; return it."""
        name = self.__name__
        __import__(name)
        module = sys.modules[name]
        self.__dict__.update(module.__dict__)
        user = sys.modules['__main__'].__dict__
        if user.get(name) is self:
            user[name] = module
        return module


def add_modules(namespace):
    """Put the modules into `namespace`: those that are loaded, and stand-ins for the others."""
    for name in MODULES:
        namespace[name] = sys.modules.get(name) or LazyModule(name)


def add_values(namespace, computation):
    """Put the plain values that user code may read into `namespace`."""
    namespace['__file__'] = sys.argv[0]     # as the original has it: code asks for its folder
    namespace['dispy_node_name'] = computation.node_name
    namespace['dispy_node_ip_addr'] = computation.node_ip_addr
    namespace['dispy_job_path'] = computation.folder
    six = ':' in computation.node_ip_addr
    namespace['dispy_sock_family'] = _socket.AF_INET6 if six else _socket.AF_INET
