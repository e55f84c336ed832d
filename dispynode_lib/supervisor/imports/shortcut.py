"""A short way to modules that were loaded ahead: the import system asks for them before it takes
locks, asks finders and makes a spec, which costs a job five page faults for each import statement.

Python 3 only; before that a finder has to do.
"""
from __future__ import absolute_import, division, print_function

import sys

IMPORT_SYSTEM = sys.modules.get('_frozen_importlib')
FILE = '<frozen importlib._bootstrap>'      # Python leaves its frames out of tracebacks
CODE = compile("""
def _find_and_load(name, import_, **options):
    module = None if options else at_once(name)
    return find_and_load(name, import_, **options) if module is None else module
""", FILE, 'exec', 0, True)                 # by the nursery: no supervisor has to


def install(at_once):
    """Have the import system call `at_once(name)` for what is not in `sys.modules`; it returns the
    module, or None if it has to be looked for."""
    if hasattr(IMPORT_SYSTEM, '_find_and_load'):
        names = {'at_once': at_once, 'find_and_load': IMPORT_SYSTEM._find_and_load}
        exec(CODE, names)
        IMPORT_SYSTEM._find_and_load = names['_find_and_load']
