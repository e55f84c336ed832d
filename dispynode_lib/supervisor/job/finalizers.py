"""Finalizers in a job process: functions of `atexit`, temporary files, `__del__`."""
from __future__ import absolute_import, division, print_function

import atexit
import gc
import os
import sys

from dispynode_lib.supervisor.processes.lean import PYTHON2
from dispynode_lib.supervisor.job.surroundings import ModuleType

OWN_HANDLERS = 0 if PYTHON2 else 1          # that `logging` itself has
KEPT = (type(lambda: None), type, ModuleType)       # of the globals, what a __del__ may still call


def count_functions():
    """Return how many functions are registered with `atexit`."""
    return len(atexit._exithandlers) if PYTHON2 else atexit._ncallbacks()


def has_temporary_names():
    """Return whether this process has made names of temporary files."""
    names = getattr(sys.modules.get('tempfile'), '_name_sequence', None)
    return names is not None and getattr(names, '_rng_pid', None) == os.getpid()


def modules_have(word, folder):
    """Return whether the source of a module in `folder` contains `word` (bytes)."""
    for module in list(sys.modules.values()):
        path = getattr(module, '__file__', None)
        path = os.path.join(folder, path or os.sep)     # some are relative to that folder
        if path.startswith(folder + os.sep):
            try:
                with open(path[:-1] if path.endswith('c') else path, 'rb') as source:
                    if word in source.read():
                        return True
            except EnvironmentError:        # a folder, or it is gone
                continue
    return False


class Finalizers(object):
    """Finalizers of one computation; those that setup registered are the supervisor's."""

    def __init__(self):
        self._inherited = count_functions()
        self._at_start = 0
        self._always = False                # the code has classes with __del__
        self._inherits = False  # what setup imported has something to do at the end of each job
        self._before = {}                   # globals that were there before any job

    def settle(self, source, namespace):
        """Look at what setup has done; return functions that each job process has to call.

        source      the user's code, bytes
        namespace   its globals
        """
        self._always = b'__del__' in source
        self._before = dict(namespace)
        weakref = sys.modules.get('weakref')
        kept = getattr(getattr(weakref, 'finalize', None), '_registry', None)
        self._inherits = 'logging' in sys.modules
        return [self._forget] if kept or count_functions() > self._inherited else []

    @staticmethod
    def _forget():
        finalize = getattr(sys.modules.get('weakref'), 'finalize', None)
        for entry in getattr(finalize, '_registry', {}).values():
            entry.atexit = False
        if finalize is not None:
            finalize._registered_with_atexit = False
        if PYTHON2:
            del atexit._exithandlers[:]
        else:
            atexit._clear()
        if 'logging' in sys.modules:
            atexit.register(sys.modules['logging'].shutdown)

    def begin(self):
        """Note, in a job process, what is registered when the job begins."""
        self._at_start = count_functions()

    def look_into_modules(self, folder):
        """Look, in a job process, into modules that it may have imported from `folder`."""
        self._always = self._always or modules_have(b'__del__', folder)

    def are_wanted(self):
        """Return, in a job process, whether run() may have something to do."""
        functions = count_functions() - self._at_start
        logging = sys.modules.get('logging')
        if logging is not None and len(logging._handlerList) > OWN_HANDLERS:
            return True
        if logging is not None and not self._inherits:
            functions -= 1                  # to close the handlers at the end: there are none
        return functions != 0 or self._collects()

    def _collects(self):
        return self._always or has_temporary_names()

    def run(self, namespace):
        """Run the finalizers, in a job process. `namespace`: the globals of the user's code."""
        atexit._run_exitfuncs()
        if not self._collects():
            return
        for name, value in list(namespace.items()):
            if self._before.get(name) is not value and not isinstance(value, KEPT):
                del namespace[name]
        value = None
        gc.collect()
