"""Modules imported before jobs are forked, and put aside until a job imports them itself.

A job finds what it would find without them: `sys.modules` does not hold a module that it has not
imported, and a module that would be found earlier on its `sys.path` wins. So only the time of an
import changes.
"""
from __future__ import absolute_import, division, print_function

import atexit
import os
import sys
import time

from dispynode_lib.supervisor.processes.lean import (
    COMPLETE_LAST, EXECUTORS_EXIT, NAMES_ARE_IMMORTAL, PYTHON2, imp)

# packages that came with _multiprocessing, by which Python 2 passes descriptors: not for jobs
BROUGHT = ('subprocess', 'multiprocessing') if PYTHON2 else ()
# modules of the standard library that do something when they are imported, or want a terminal or a
# screen
NOT_TAKEN = frozenset([
    '__main__', 'antigravity', 'curses', 'distutils', 'ensurepip', 'idlelib', 'lib2to3', 'msilib',
    'pip', 'readline', 'rlcompleter', 'setuptools', 'site', 'sitecustomize', 'test', 'this',
    'Tkinter', 'tkinter', 'turtle', 'turtledemo', 'usercustomize', 'venv'
])

EMPTY = frozenset()
# seconds after a change in which a folder may change unseen, for its clock has ticks: clocks of
# whole seconds, and others
COARSE, FINE = 2.0, 0.1
STOCK, GAPS = 128, 512  # module objects that are made at once, and those that are not used
IMPORT_SYSTEM = sys.modules.get('_frozen_importlib')    # Python 3; before that a finder has to do
SHORT_WAY = compile("""
def _find_and_load(name, import_, **options):
    module = None if options else at_once(name)
    return find_and_load(name, import_, **options) if module is None else module
""", '<frozen importlib._bootstrap>', 'exec', 0, True)  # Python hides such frames in tracebacks


def _renew_process(module):
    module.ORIGINAL_DIR = os.path.abspath(os.getcwd())
    module.current_process().authkey = os.urandom(32)


def _renew_logging(module):
    module._startTime = time.time() if isinstance(module._startTime, float) else time.time_ns()
    atexit.register(module.shutdown)


def _renew_threading(module):
    main = getattr(module, '_main_thread', None)        # Python 3
    if hasattr(main, '_set_native_id'):                 # Python 3.8
        main._set_native_id()


def _renew_executors(module):
    if EXECUTORS_EXIT:
        atexit.register(module._python_exit)


# modules that took something from the process that imported them, or gave it something to do at its
# end: what to do with them in a job
GENERATORS = {'random': lambda module: module.seed(),
              'numpy.random': lambda module: module.seed(),
              'torch.random': lambda module: module.default_generator.seed()}
RENEWED = dict(
    GENERATORS, **{
        'concurrent.futures.process': _renew_executors,
        'concurrent.futures.thread': _renew_executors, 'logging': _renew_logging,
        'multiprocessing.process': _renew_process, 'threading': _renew_threading,
        'zoneinfo': lambda module: module.reset_tzpath()
    })


def renewals():
    """Return the functions (no arguments) that each job has to call, for what is in `sys.modules`
    before it is forked."""
    found = []
    for name, renew in sorted(GENERATORS.items()):
        module = sys.modules.get(name)
        # since Python 3.7 the module random has itself called at forks
        if module is not None and (name != 'random' or not hasattr(os, 'register_at_fork')):
            found.append(lambda renew=renew, module=module: renew(module))
    return found


class Preloaded(object):
    """Finder for `sys.meta_path`: imports modules ahead, gives them to later imports."""

    def __init__(self):
        self._pid = os.getpid()
        self._path = [entry for entry in sys.path if entry and os.path.isabs(entry)]
        self._modules = {}                  # name -> module
        self._needs = {}                    # name -> names of all modules that importing it brings
        self._packages = {}  # name of a module -> its package, which was imported before
        self._hooks = {}                    # name -> what it registered to be called at a fork
        self._unbound = {}  # name -> its last part, of those that their packages do not have
        self._stock = []                    # empty module objects, see _take_object()
        self._place = 0                     # in sys.meta_path
        self._has_new = False               # something was loaded since settle()
        self._given = set()                 # names of those that were imported since
        self._loading = False
        self._known_path, self._added = None, None  # sys.path; entries of it that are not in _path
        self._listed = {}  # folder -> (which, and when it changed; names of modules in it)

    def install(self):
        """Add this finder to `sys.meta_path`, behind that of this program."""
        if self not in sys.meta_path:
            self._place = int(sys.meta_path[:1] == [_packed_importer()])
            sys.meta_path.insert(self._place, self)
            shorten(self.at_once)
            for top in BROUGHT:
                self._put_away([name for name in list(sys.modules)
                                if name.partition('.')[0] == top], False)

    def has(self, name):
        """Return whether a module need not be loaded any more."""
        return name in self._needs or name in sys.modules

    def rebase(self):
        """Forget what was imported until now: it is in `sys.modules` for good."""
        self.look()
        for name in self._given:
            self._modules.pop(name, None)
            self._needs.pop(name, None)
        self._given = set()

    def count_given(self):
        """Return how many modules were imported from here since rebase()."""
        return len(self._given)

    def has_aside(self, name):
        """Return whether a module is put aside, or was."""
        return name in self._needs

    def load(self, name):
        """Import module `name`, after those that contain it, and put away what came; return an
        error text or None."""
        parent = name.rpartition('.')[0]
        if self.has(name):
            return None
        error = self.load(parent) if parent else None
        if error is not None or self.has(name):
            return error
        before, given, path = set(sys.modules), set(self._given), sys.path[:]
        sys.path[:] = self._path
        self._loading = True
        new_module = getattr(IMPORT_SYSTEM, '_new_module', None)
        register = getattr(os, 'register_at_fork', None)        # Python 3.7
        try:
            if register is not None:
                os.register_at_fork = lambda **hooks: self._note_hooks(register, hooks)
            if new_module is not None:
                IMPORT_SYSTEM._new_module = self._take_object
            __import__(name)
        except (Exception, SystemExit):     # some cannot be imported everywhere
            error = '%s: %s: %s' % ((name, sys.exc_info()[0].__name__) + sys.exc_info()[1:2])
        finally:
            if register is not None:
                os.register_at_fork = register
            if new_module is not None:
                IMPORT_SYSTEM._new_module = new_module
            self._loading, self._given = False, given
            sys.path[:] = path
            self._put_away([each
                            for each in list(sys.modules) if each not in before], error is not None)
        return error

    def _note_hooks(self, register, hooks):
        """Take what a module that is being loaded wants to have called at forks. In the standard
        library that matters only to a process that has imported it, and makes forks dearer."""
        name = sys._getframe(2).f_globals.get('__name__') or ''
        if name in self._needs or not is_standard(name.partition('.')[0]):
            register(**hooks)
        else:
            self._hooks.setdefault(name, []).append(hooks)

    def _put_away(self, came, failed):
        if failed:  # what was put aside before can stay, the rest may be half made
            for each in came:
                module = sys.modules.pop(each)
                if each in self._needs:
                    self._modules[each] = module
                else:
                    self._hooks.pop(each, None)
            return
        needs = complete_needs(came) if COMPLETE_LAST else all_needs(came)
        self._has_new = True
        for each in came:
            self._modules[each] = sys.modules.pop(each)
            self._needs.setdefault(each, needs[each])
        for each in came:
            parent = each.rpartition('.')[0]
            if parent and parent not in self._modules:
                self._packages[each] = sys.modules.get(parent)
            if each not in self._needs.get(parent, ()):
                self._unbind(each)          # its package can be had without it

    def _take_object(self, name):
        """Return a module object for the import system, from a stock of such that lie side by side.

        A job that puts a module into `sys.modules` writes to it (its count of references), and so
        copies the page in which it lies: modules that lie among their own contents are a page each.
        """
        if not self._stock:                 # the first ones fill gaps between other objects
            self._stock = [type(sys)('') for _ in range(GAPS + STOCK)][GAPS:]
        module = self._stock.pop()
        module.__init__(name)
        return module

    def settle(self):
        """Have all names side by side, too, where using them writes to them; called before others
        are forked."""
        if not self._has_new:
            return
        self._has_new = False
        make_room(len(self._modules))
        if NAMES_ARE_IMMORTAL:
            return
        names = dict((name, name[:1] + name[1:]) for name in self._modules)
        self._modules = dict((names[name], module) for name, module in self._modules.items())
        self._unbound = dict((names[name], own[:1] + own[1:])
                             for name, own in self._unbound.items() if name in names)
        self._needs = dict((names[name], [names[each] for each in needs if each in names])
                           for name, needs in self._needs.items() if name in names)

    def _unbind(self, name):
        """Take a module out of the package that contains it, where its import has put it."""
        parent, _dot, own = name.rpartition('.')
        package = self._modules.get(parent) or sys.modules.get(parent)
        module = self._modules[name]  # None on Python 2: there is no such module in the package
        if None not in (package, module) and package.__dict__.get(own) is module:
            delattr(package, own)
            self._unbound[name] = own

    def _bind(self, name, own):
        package = sys.modules[name.rpartition('.')[0]].__dict__
        if own not in package:
            package[own] = self._modules[name]

    # being asked for a module

    def at_once(self, name):
        """Import module `name` from here, with the packages that contain it; return it, None if
        finders have to be asked: Python 3."""
        if name not in self._needs or name in sys.modules or not self._is_asked_first():
            return None
        imp.acquire_lock()
        try:
            return sys.modules[name] if self._give(name) else None
        finally:
            imp.release_lock()

    def _is_asked_first(self):
        finders = sys.meta_path             # a user's may stand before this one
        return len(finders) > self._place and finders[self._place] is self

    def find_spec(self, name, _path=None, target=None):
        """Return the spec of a module that is here, and may be had: Python 3."""
        if name not in self._needs or target is not None or not is_import(
                sys._getframe(2)) or not self._give(name):
            return None                     # who only asks gets the usual answer
        del sys.modules[name]               # the import system puts it there; it is nobody's yet
        return type(sys.__spec__)(name, self)

    def create_module(self, spec):
        """Return the module, made before."""
        module = self._modules[spec.name]
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module):
        """Leave it as it is; its own spec comes back."""
        module.__spec__ = module.__spec__.loader_state

    def find_module(self, name, _path=None):
        """Return the loader of a module: Python 2."""
        asked = sys._getframe(1).f_globals.get('__name__') in ('pkgutil', 'runpy', 'imp')
        return self if name in self._needs and not asked and self._give(name) else None

    def load_module(self, name):
        """Return a module: Python 2."""
        sys.modules[name] = self._modules[name]
        return self._modules[name]

    def _give(self, name):
        """Put module `name` and what it needs into `sys.modules`, if a usual import would find the
        very same."""
        modules, present, needs, given = self._modules, sys.modules, self._needs[name], self._given
        parent = name.rpartition('.')[0]
        if name in given or (parent and (parent in present or parent not in needs) and
                             present.get(parent) is not
                             (modules.get(parent) or self._packages.get(name))):
            return False
        strangers = self._strangers()
        if strangers is None:
            return False
        missing = []
        for each in needs:
            if each in present:
                if each in modules and present[each] is not modules[each]:
                    return False
            elif each in given or each not in modules or (
                    strangers and each.partition('.')[0] in strangers):
                return False
            else:
                missing.append(each)
        for each in missing:
            present[each] = modules[each]
        for each in missing:
            if each in self._unbound:
                self._bind(each, self._unbound[each])
        if not self._loading:
            self._given.update(missing)
            if os.getpid() != self._pid:
                self._renew(missing)
        return True

    def _renew(self, names):
        """Do in this process what importing modules `names` would have done in it."""
        for name in names:
            for hooks in self._hooks.get(name, ()):
                os.register_at_fork(**hooks)
            if name in RENEWED:
                RENEWED[name](self._modules[name])

    def look(self):
        """Look at the folders on `sys.path` for all that are forked later."""
        self._strangers()

    def _strangers(self):
        """Return the names (a set) of modules in folders on `sys.path` that were not there before;
        None if that cannot be told."""
        if sys.path != self._known_path:
            self._known_path, self._added = sys.path[:], None
            if set(self._path) <= set(sys.path):
                self._added = [entry for entry in sys.path if entry not in self._path]
        if self._added is None:
            return None
        found = EMPTY
        for entry in self._added:
            names = self._list(entry)
            if names is None:
                return None
            found = found | names if found and names else found or names
        return found

    def _list(self, folder):
        try:
            status = os.stat(folder or '.')
        except EnvironmentError:
            return EMPTY                    # nothing can be found in it
        mark = status.st_dev, status.st_ino, status.st_mtime
        known = self._listed.get(folder)
        if known is not None and known[0] == mark:
            return known[1]
        now = time.time()                   # before the list: what comes after it is not in that
        try:
            names = frozenset([name.partition('.')[0] for name in os.listdir(folder or '.')])
        except EnvironmentError:
            return None                     # an archive
        if now - status.st_mtime > (FINE if status.st_mtime % 1 else COARSE):
            self._listed[folder] = mark, names
        return names


def shorten(at_once):
    """Have the import system call `at_once(name)` for what is not in `sys.modules`; it returns the
    module, or None if it has to be looked for.

    So it is asked before the import system takes locks, asks finders and makes a spec, which costs
    a job five page faults for each import statement.
    """
    if hasattr(IMPORT_SYSTEM, '_find_and_load'):
        names = {'at_once': at_once, 'find_and_load': IMPORT_SYSTEM._find_and_load}
        exec(SHORT_WAY, names)
        IMPORT_SYSTEM._find_and_load = names['_find_and_load']


def make_room(count):
    """Have `sys.modules` take `count` more modules without growing, as it would in each job."""
    size, added = sys.getsizeof(sys.modules, 0), []
    while len(added) < count or sys.getsizeof(sys.modules, 0) == size != 0:
        added.append('%d' % len(added))
        if len(added) == count:
            size = sys.getsizeof(sys.modules, 0)
        sys.modules[added[-1]] = None
    for name in added:
        del sys.modules[name]


def complete_needs(came):
    """Return {name: what comes with it} for modules in the order in which they were complete: a
    module after what it needs."""
    place = dict((name, at) for at, name in enumerate(came))
    complete = dict((name, max([place.get(each, 0) for each in packages_of(name)] + [place[name]]))
                    for name in came)
    # a module of a package that is complete only later is no need of others
    return dict((name, [each for each in came if complete[each] <= complete[name]])
                for name in came)


def packages_of(name):
    """Return the names of the packages that contain module `name`."""
    parts = name.split('.')
    return ['.'.join(parts[:count]) for count in range(1, len(parts))]


def all_needs(came):
    """Return {name: what comes with it} where the order tells little: all; for the standard library
    all of that."""
    standard = [name for name in came if is_standard(name.partition('.')[0])]
    return dict((name, standard if name in standard else came) for name in came)


def is_import(frame):
    """Return whether the import system itself runs in `frame`, and not importlib.util.find_spec()
    and the like."""
    return frame.f_code.co_name == '_find_and_load_unlocked'


def is_standard(top):
    """Return whether the standard library of this Python has a module or package `top`."""
    global _standard
    if _standard is None:
        _standard = getattr(sys, 'stdlib_module_names', None) or _look_for_standard()
    return top in _standard


_standard = None


def _look_for_standard():
    folder = os.path.dirname(os.path.abspath(os.__file__))
    names = set(sys.builtin_module_names)
    for path in (folder, os.path.join(folder, 'lib-dynload')):
        if os.path.isdir(path):
            names.update(name.partition('.')[0] for name in os.listdir(path))
    return names - set(['site-packages', 'dist-packages'])


def begin():
    """Return the Preloaded of this process, made at the first call: before anything of a user's is
    on `sys.path`."""
    global _preloaded
    if _preloaded is None:
        _preloaded = Preloaded()
    return _preloaded


_preloaded = None


def _packed_importer():
    packed = sys.modules.get('dispynode_lib.code.packed')
    return getattr(packed, 'importer', None)
