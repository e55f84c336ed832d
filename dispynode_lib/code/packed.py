"""Modules of this program imported from memory: of the one file, and of a supervisor.

Nothing but built-in modules is imported here: this runs before anything else of the program can be
found.
"""
from __future__ import absolute_import, division, print_function

import marshal
import sys

PACKAGE_FILE = '/__init__.py'
# of compile(), as for python -OO: 2 % of a node's memory; Python 2 has no such argument
WITHOUT_DOCSTRINGS = () if str is bytes else (2,)

importer = None                             # the Importer of this process, once there is one


class Importer(object):
    """Stands first on sys.meta_path; modules are found by their full names.

    modules   {name: (file name, source text or None, marshalled code or its place in `store` or
              None)}
    files     {name: text} of the files for operators; None if they lie in a folder
    cache     see cache.py; None for none
    store     has get(place) -> bytes; None for none
    once      nothing is imported twice, and no other process started: give memory back (5 % of the
              nursery's)
    """

    def __init__(self, modules, files=None):
        self.modules, self.files = modules, files
        self.cache, self.once, self.store = None, False, None

    def find_spec(self, name, _path=None, _target=None):
        """Return the spec of a module, None for one that is not ours: Python 3."""
        if name not in self.modules:
            return None
        # without a location: else it is found out, and kept, where Python would keep its code
        spec = type(sys.__spec__)(name, self, origin=self.modules[name][0],
                                  is_package=self.is_package(name))
        if self.is_package(name):
            spec.submodule_search_locations = [self._folder(name)]
        return spec

    def create_module(self, _spec):
        """Leave the making of the module to Python 3."""

    def exec_module(self, module):
        """Run the code of a module: Python 3."""
        module.__file__ = self.modules[module.__name__][0]
        exec(self.get_code(module.__name__), module.__dict__)

    def find_module(self, name, _path=None):
        """Return who loads the module: Python 2."""
        return self if name in self.modules else None

    def load_module(self, name):
        """Return the module, loaded: Python 2."""
        if name in sys.modules:
            return sys.modules[name]
        module = sys.modules[name] = type(sys)(name)
        module.__file__, module.__loader__ = self.modules[name][0], self
        module.__package__ = name if self.is_package(name) else name.rpartition('.')[0]
        if self.is_package(name):
            module.__path__ = [self._folder(name)]
        try:
            exec(self.get_code(name), module.__dict__)
        except BaseException:
            del sys.modules[name]
            raise
        return sys.modules[name]

    def is_package(self, name):
        """Tell whether a module is a package."""
        return self.modules[name][0].endswith(PACKAGE_FILE)

    def _folder(self, name):
        return self.modules[name][0][:-len(PACKAGE_FILE)]

    def get_code(self, name):
        """Return the code object of a module; with `once` set its marshalled code is forgotten."""
        code = marshal.loads(self.get_marshalled(name))
        if self.once:
            self.modules[name] = self.modules[name][:2] + (None,)
        return code

    def get_marshalled(self, name):
        """Return a module's code as marshal writes it: given, kept earlier, or compiled."""
        path, source, code = self.modules[name]
        if isinstance(code, tuple):
            return self.store.get(code)
        if code is None and self.cache is not None:
            code = self.cache.get(name, source)
        if code is None:
            code = marshal.dumps(compile(source, path, 'exec', 0, True, *WITHOUT_DOCSTRINGS))
        self.modules[name] = path, source, code
        return code

    def get_data(self, path):
        """Return the content of a file for operators, in bytes."""
        if self.files is None:
            with open(path, 'rb') as kept:
                return kept.read()
        text = self.files[path.rpartition('/data/')[2]]
        return text if isinstance(text, bytes) else text.encode('ascii')

    def get_source(self, name):
        """Return the text of a module for tracebacks, None if there is none."""
        path, source, _code = self.modules[name]
        if source is not None:
            return source
        try:
            with open(path) as module:
                return module.read()
        except EnvironmentError:
            return None                     # it was there when the program was started


def install(modules, files=None):
    """Import `modules` from memory from now on; return the Importer."""
    global importer
    if importer is None:
        importer = Importer(modules, files)
        sys.meta_path.insert(0, importer)
        __import__('dispynode_lib.code').code.packed = sys.modules[__name__]
    else:
        importer.modules.update(modules)
    return importer
