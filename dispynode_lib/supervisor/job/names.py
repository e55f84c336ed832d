"""The names that user code finds without defining them (docs/protocol.rst, "A function job")."""
from __future__ import absolute_import, division, print_function

import _socket
import sys

ModuleType = type(sys)

# The original node's own imports: seen by user code through an accident, and relied on since
MODULES = ('os', 'sys', 'time', 'socket', 're', 'io', 'struct', 'copy', 'glob', 'stat', 'signal',
           'platform', 'hashlib', 'pickle', 'marshal', 'shutil', 'tempfile', 'threading',
           'subprocess', 'traceback', 'multiprocessing', 'dispy')


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
