"""Modules that jobs import are loaded before jobs are forked; nothing changes for the job but
time."""
from __future__ import absolute_import, division, print_function

import itertools
import os
import sys
import unittest

from tests.support.nodecase import PY2, TIMEOUT, NodeCase
from tests.support.nodeprocess import NodeProcess
from tests.support.waiting import wait_until

CODE = '''
import os, sys

def f(what, *args):
    return globals()[what](*args)

def aside():
    """What this process was given aside, and what a job would find without having imported it."""
    names = []
    for finder in sys.meta_path:
        if type(finder).__name__ == 'Preloaded':
            names = list(finder._needs)
    return sorted(names), sorted(name for name in names if name in sys.modules)

def taken():
    """As aside(), without what Python 2 passes descriptors with."""
    names, found = aside()
    brought = ('subprocess', 'multiprocessing') if sys.version_info[0] == 2 else ()
    return [name for name in names if name.partition('.')[0] not in brought], found

def lacking(*names):
    return [name for name in names if name not in sys.modules and name not in aside()[0]]

def is_loaded(*names):
    return any(name in sys.modules for name in names)

def use(*names):
    for name in names:
        __import__(name)
    return [getattr(sys.modules[name], 'mark', None) for name in names]

def draw():
    import random
    return random.random()

def surroundings():
    from multiprocessing import process
    import tempfile
    return process.ORIGINAL_DIR, os.getcwd(), tempfile.gettempdir(), bytes(process.current_process().authkey)

def view(*names):
    """What a job that imports `names` sees of itself and of them."""
    for name in names:
        __import__(name)
    import locale, logging, multiprocessing, signal, tempfile, threading
    modules = dict((name, sys.modules[name]) for name in sorted(sys.modules) if sys.modules[name])
    modules.pop('_pypy_wait', None)     # os.wait4() of PyPy imports it in the supervisor
    seen = {'folders': (os.getcwd(), tempfile.gettempdir(), sys.path), 'environment': dict(os.environ),
            'locale': locale.setlocale(locale.LC_ALL), 'arguments': sys.argv,
            'signals': [str(signal.getsignal(number)).partition(' at ')[0] for number in range(1, 32)],
            'threads': [thread.name for thread in threading.enumerate()],
            'process': multiprocessing.current_process().name,
            'logging': (logging.getLogger().level, len(logging.getLogger().handlers), len(logging._handlerList)),
            'modules': sorted(modules)}
    for name in names:
        module = modules[name]
        # Python 2 names the byte code as the file, but not in the process that compiled it
        path = str(getattr(module, '__file__', None)).replace('.pyc', '.py')
        spec = getattr(module, '__spec__', None)
        seen[name] = (module.__name__, path, module.__package__, getattr(spec, 'name', None),
                      type(getattr(module, '__loader__', None)).__name__, getattr(spec, 'origin', None), module.__doc__,
                      sorted(name for name in vars(module) if name[:2] != '__'))
    return seen

def count_open():
    return len(os.listdir('/dev/fd'))

def add_folder(path):
    sys.path.insert(0, path)
    return use('colorsys')

def log_by_memory(path):
    import logging, logging.handlers
    handler = logging.handlers.MemoryHandler(1000, target=logging.FileHandler(path))
    logger = logging.getLogger('of a job')
    logger.addHandler(handler)
    logger.warning('a line')

def run_later(path):
    import concurrent.futures, time
    pool = concurrent.futures.ThreadPoolExecutor(1)
    def late():
        time.sleep(0.2)
        open(path, 'w').close()
    pool.submit(late)

def brought():
    before = set(sys.modules)
    import socket
    return sorted(name for name in set(sys.modules) - before if '.' not in name and name[0] != '_')

def patch():
    shutil.rmtree = len
    import shutil as real
    return real.rmtree is len

def draw_after_setup():
    return random.random()

def setup():
    global random
    import random
    return 0
'''



def write_module(folder, name, text, _times=itertools.count(1000000000, 10)):
    """Write a module that is newer than all before: Python tells byte code that is stale by the
    second."""
    path = os.path.join(folder, name + '.py')
    with open(path, 'w') as module:
        module.write(text)
    now = next(_times)
    os.utime(path, (now, now))


class ImportsCase(NodeCase):
    """Helpers."""

    options = ('-c', '1')

    def learn(self, computation, *names):
        """Have jobs import `names` until the supervisor has those aside."""
        def known():
            computation.run('use', *names)
            return not computation.run('lacking', *names).value

        wait_until(known, TIMEOUT, lambda: 'modules %s aside; node log:\n%s' %
                   (names, self.node.log_tail()))

    def wait_until_known(self, name):
        def known():
            computation = self.open(CODE, 'f')
            try:
                return name in computation.run('aside').value[0]
            finally:
                computation.close()

        wait_until(known, TIMEOUT, lambda: '%s in a new computation; node log:\n%s' %
                   (name, self.node.log_tail()))


class LearnedTest(ImportsCase):
    """What jobs of a computation import is loaded by its supervisor."""

    def test_what_jobs_import_is_loaded_before_the_next_ones(self):
        computation = self.open(CODE, 'f')
        self.learn(computation, 'colorsys', 'xml.dom')
        aside, present = computation.run('aside').value
        self.assertIn('xml', aside)
        self.assertEqual(present, [])
        self.assertEqual(computation.run('use', 'colorsys', 'xml.dom').value, [None, None])

    def test_a_module_that_the_client_sends_wins_over_a_loaded_one(self):
        computation = self.open(CODE, 'f')
        self.learn(computation, 'colorsys')
        folder = self.folder()
        for text in ('first', 'second'):
            write_module(folder, 'colorsys', 'mark = %r\n' % text)
            computation.send_file(os.path.join(folder, 'colorsys.py'))
            self.assertEqual(computation.run('use', 'colorsys').value, [text])

    def test_a_module_that_the_client_sends_wins_over_one_that_passes_descriptors(self):
        folder, names = self.folder(), ('subprocess', 'multiprocessing')
        computation = self.open(CODE, 'f')
        for name in names:
            write_module(folder, name, 'mark = 1\n')
            computation.send_file(os.path.join(folder, name + '.py'))
        self.assertEqual(computation.run('use', *names).value, [1, 1])

    def test_a_module_of_the_user_elsewhere_wins(self):
        computation = self.open(CODE, 'f')
        self.learn(computation, 'colorsys')
        folder = self.folder()
        with open(os.path.join(folder, 'colorsys.py'), 'w') as module:
            module.write('mark = "elsewhere"\n')
        self.assertEqual(computation.run('add_folder', folder).value, ['elsewhere'])

    def test_a_job_sees_the_same_where_modules_were_loaded_before(self):
        names = ('random', 'tempfile', 'logging.handlers', 'json', 'multiprocessing', 'socket',
                 'threading', 'decimal', 'email.mime.text', 'xml.dom.minidom', 'subprocess')
        computation = self.open(CODE, 'f')
        fresh, opened = computation.run('view', *names).value, computation.run('count_open').value
        self.learn(computation, *names)
        for _ in range(2):
            seen = computation.run('view', *names).value
            if sys.version_info < (3, 8):   # the order of modules tells too little there
                seen['modules'] = fresh['modules']
            for what in sorted(fresh):
                self.assertEqual(fresh[what], seen[what], what)
        if not PY2:                         # its os.urandom() keeps a descriptor
            self.assertEqual(computation.run('count_open').value, opened)

    def test_modules_of_the_user_are_not_kept(self):
        computation = self.open(CODE, 'f')
        folder = self.folder()
        for number in range(4):
            write_module(folder, 'usersmodule', 'mark = %d\n' % number)
            computation.send_file(os.path.join(folder, 'usersmodule.py'))
            self.assertEqual(
                computation.run('use', 'usersmodule', 'colorsys').value, [number, None])
        self.learn(computation, 'colorsys')
        self.assertNotIn('usersmodule', computation.run('aside').value[0])

    def test_random_numbers_of_jobs_differ(self):
        computation = self.open(CODE, 'f')
        self.learn(computation, 'random')
        drawn = [computation.run('draw').value for _ in range(5)]
        self.assertEqual(len(set(drawn)), 5, drawn)

    def test_random_numbers_of_jobs_differ_after_setup_imported_random(self):
        computation = self.open(CODE, 'f', setup='setup')
        drawn = [computation.run('draw_after_setup').value for _ in range(5)]
        self.assertEqual(len(set(drawn)), 5, drawn)

    def test_a_module_sees_the_surroundings_of_the_job(self):
        computation = self.open(CODE, 'f')
        fresh = computation.run('surroundings').value
        self.learn(computation, 'multiprocessing', 'tempfile')
        first, second = computation.run('surroundings').value, computation.run('surroundings').value
        self.assertEqual(first[:3], fresh[:3])
        self.assertNotEqual(first[3], second[3])

    def test_what_a_job_changes_in_a_module_that_it_did_not_import_is_changed_in_the_module(self):
        self.assertIs(self.open(CODE, 'f').run('patch').value, True)

    def test_what_a_loaded_module_does_at_the_end_is_done(self):
        computation = self.open(CODE, 'f')
        self.learn(computation, 'logging.handlers')
        path = os.path.join(self.folder(), 'log')
        computation.run('log_by_memory', path)
        wait_until(lambda: os.path.exists(path) and os.path.getsize(path), TIMEOUT,
                   'the line of the job')

    @unittest.skipIf(PY2, 'there are no executors')
    def test_an_executor_of_a_job_does_what_it_was_given(self):
        computation = self.open(CODE, 'f')
        self.learn(computation, 'concurrent.futures.thread')
        path = os.path.join(self.folder(), 'late')
        computation.run('run_later', path)
        wait_until(lambda: os.path.exists(path), TIMEOUT, 'the file of the job')

    @unittest.skipIf(sys.version_info < (3, 8), 'the order of modules tells too little there')
    def test_a_module_brings_what_it_needs_and_nothing_else(self):
        computation = self.open(CODE, 'f')
        usual = computation.run('brought').value
        self.learn(computation, 'socket', 'http.client', 'ssl', 'xml.dom.minidom')
        self.assertEqual(computation.run('brought').value, usual)

    def test_words_of_a_job_that_are_no_modules(self):
        computation = self.open(CODE + '''
def lie():
    for name in ('../x', 'os; x', 'x' * 5000, '', 'colorsys.none', 'no.such'):
        sys.modules[name] = os
''', 'f')
        for _ in range(3):
            computation.run('lie')
        self.learn(computation, 'colorsys')


class RememberedTest(ImportsCase):
    """What two computations import is there for the third, and after a restart."""

    options = ('-c', '1')

    def have_known(self, folder, name):
        """Have two computations import module `name`, until the next ones have it."""
        for _ in range(2):
            computation = self.open(CODE, 'f')
            self.learn(computation, name)
            self.wait_for_line(folder, name)
            computation.close()
        self.wait_until_known(name)

    def test_the_next_computations_and_the_next_node_have_it(self):
        folder = self.folder()
        name = "colorsys"
        self.node.__exit__(None, None, None)
        with NodeProcess(*self.options, folder=folder) as type(self).node:
            self.have_known(folder, name)
        with NodeProcess(*self.options, folder=folder, port=self.node.port) as type(self).node:
            self.wait_until_known(name)
        type(self).node = NodeProcess(*self.options)
        self.node.__enter__()

    def test_a_node_without_the_option_does_not_load_what_one_with_it_has_learned(self):
        folder, name = self.folder(), 'package.part'
        env = {'PYTHONPATH': FOLDER.make()}
        self.node.__exit__(None, None, None)
        with NodeProcess('-c', '1', '--preload', 'package', folder=folder,
                         env=env) as type(self).node:
            self.have_known(folder, name)
        with NodeProcess('-c', '1', folder=folder, port=self.node.port,
                         env=env) as type(self).node:
            for _ in range(3):
                computation = self.open(CODE, 'f')
                self.assertNotIn(name, computation.run('aside').value[0])
                computation.close()
        type(self).node = NodeProcess(*self.options)
        self.node.__enter__()

    def test_it_is_there_for_the_next_ones_where_one_computation_is_always_open(self):
        client, name = self.scheduler(), 'sched'
        always = client.open(CODE, 'f')

        def known():
            computation = client.open(CODE, 'f')
            try:
                if name in computation.run('aside').value[0]:
                    return True
                self.learn(computation, name)
            finally:
                computation.close()

        wait_until(known, TIMEOUT, name + ' in a new computation')
        always.close()

    def test_what_describes_a_failure_is_not_taken_for_an_import_of_jobs(self):
        computation = self.open(CODE, 'f')
        for _ in range(3):
            self.assertIn('no_such', computation.run('no_such').exception)
        wait_until(lambda: computation.run('is_loaded', 'linecache', 'traceback').value or PY2,
                   TIMEOUT, 'what the supervisor loads after failures')
        self.learn(computation, 'colorsys')
        computation.close()
        known = self.wait_for_line(self.node.folder, 'colorsys')
        self.assertNotIn('traceback', known)

    @staticmethod
    def wait_for_line(folder, name):
        """Wait until the node in `folder` has noted module `name`; return all words of its note."""
        paths = [
            os.path.join(folder, each, 'imports') for each in os.listdir(folder)
            if each.startswith('.node-')
        ]

        def noted():
            for path in paths:
                if os.path.exists(path):
                    with open(path) as source:
                        words = source.read().split()
                        return words if name in words else None
        return wait_until(noted, TIMEOUT, 'a line about %s in %s' % (name, paths))


class NoneTest(ImportsCase):
    """--preload none."""

    options = ('-c', '1', '--preload', 'none')

    def test_nothing_is_loaded(self):
        computation = self.open(CODE, 'f')
        for _ in range(5):
            computation.run('use', 'colorsys')
        self.assertEqual(computation.run('taken').value, ([], []))


class PlaceCase(ImportsCase):
    """`preload`: the option's value; the modules of Folder are there."""

    @classmethod
    def setUpClass(cls):
        cls.place = FOLDER.make()
        cls.options = ('-c', '1', '--preload', cls.preload)
        cls.env = {'PYTHONPATH': cls.place}
        super(PlaceCase, cls).setUpClass()


class NamedTest(PlaceCase):
    """--preload NAMES."""

    preload = 'hangs,harmless,package,no_such_module'

    def test_named_modules_are_there_for_the_first_job(self):
        self.wait_until_known('harmless')
        self.assertEqual(self.open(CODE, 'f').run('use', 'harmless').value, ['harmless'])

    def test_modules_of_named_packages_are_learned(self):
        computation = self.open(CODE, 'f')
        for _ in range(3):
            computation.run('use', 'package.part', 'other')
        self.learn(computation, 'package.part')
        self.assertNotIn('other', computation.run('aside').value[0])

    def test_a_module_that_cannot_be_loaded_is_told(self):
        self.node.wait_log('no_such_module', TIMEOUT)
        self.node.wait_log('hangs: ', TIMEOUT)


class EndingTest(PlaceCase):
    """--preload of a module that ends the process that loads it."""

    preload = 'ends'

    def test_jobs_run_without_it_and_the_log_names_it(self):
        for _ in range(2):
            computation = self.open(CODE, 'f')
            self.assertEqual(computation.run('taken').value, ([], []))
            computation.close()
        self.node.wait_log('may have ended it (--preload): ends', TIMEOUT)


class LearnTest(PlaceCase):
    """--preload learn."""

    preload = 'learn'

    def test_only_modules_that_leave_the_process_as_it_is_are_loaded(self):
        computation = self.open(CODE, 'f')
        names = ['moves', 'starts_thread', 'opens', 'handles', 'harmless']
        for _ in range(3):
            computation.run('use', *names)
        self.learn(computation, 'harmless')
        self.assertEqual([name for name in computation.run('aside').value[0] if name in names],
                         ['harmless'])


class Folder(object):
    """Modules beside those of the standard library."""

    MODULES = {
        'package/__init__': '', 'package/part': 'mark = 1\n', 'other': '',
        'ends': 'import os\nos._exit(3)\n', 'hangs': 'import time\ntime.sleep(600)\n',
        'harmless': 'mark = "harmless"\n',
        'moves': 'import os\nos.chdir("/")\n',
        'starts_thread': 'import threading, time\nthread = threading.Thread(target=time.sleep, '
                         'args=(60,))\n'
        'thread.daemon = True\nthread.start()\n', 'opens': 'kept = open("/dev/null")\n',
        'handles': 'import signal\nsignal.signal(signal.SIGUSR1, lambda *_: None)\n'
    }

    def __init__(self):
        self.path = None

    def make(self):
        """Write them, once; return the folder."""
        import atexit
        import shutil
        import tempfile
        if self.path is None:
            self.path = tempfile.mkdtemp(prefix='dispynode-test-')
            atexit.register(shutil.rmtree, self.path)
            os.mkdir(os.path.join(self.path, 'package'))
            for name, text in self.MODULES.items():
                with open(os.path.join(self.path, name + '.py'), 'w') as module:
                    module.write(text)
        return self.path


FOLDER = Folder()

if __name__ == '__main__':
    unittest.main()
