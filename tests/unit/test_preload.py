"""supervisor/imports/preload: modules that wait until they are imported. Each test in a process of
its own: it changes `sys`."""
from __future__ import absolute_import, division, print_function

import os
import platform
import shutil
import subprocess
import sys
import tempfile
import unittest

from tests.support.nodeprocess import PROJECT

BEGIN = '''from __future__ import print_function
import os, sys
sys.path[:] = [entry for entry in sys.path if entry] + [%(home)r]
sys.dont_write_bytecode = True
sys.path.insert(0, %(project)r)
from dispynode_lib.supervisor.imports import preload
sys.path.remove(%(project)r)
preloaded = preload.Preloaded()
preloaded.install()
def write(name, text):
    with open(os.path.join(%(home)r, name), "w") as module: module.write(text)
'''
MODULES = {
    'lower.py': 'mark = 1\n',
    'upper.py': 'import lower\nmark = 2\n',
    'broken.py': 'import lower\nraise ValueError("no")\n',
    'case/__init__.py': 'mark = 3\n',
    'case/inner.py': 'import upper\nmark = 4\n',
    'other.py': 'import lower\nmark = 5\n',
}


class PreloadTest(unittest.TestCase):
    """`home` is a folder at the end of the path of the process, `folder` one that a user's code may
    add."""

    def setUp(self):
        self.home = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.home)
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        for name, text in MODULES.items():
            self.write(self.home, name, text)

    @staticmethod
    def write(folder, name, text):
        path = os.path.join(folder, name)
        if not os.path.isdir(os.path.dirname(path)):
            os.makedirs(os.path.dirname(path))
        with open(path, 'w') as target:
            target.write(text)

    def run_code(self, code):
        """Run code after BEGIN; return what it printed."""
        names = {'home': self.home, 'project': PROJECT, 'folder': self.folder}
        process = subprocess.Popen([sys.executable, '-c',
                                    (BEGIN + code) % names], stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, cwd=self.folder, env=dict(
                                       os.environ, PYTHONPATH=''))
        return process.communicate()[0].decode('utf-8').strip()

    def test_a_module_is_there_only_when_it_is_imported(self):
        self.assertEqual(self.run_code('''
print(preloaded.load("upper"), "upper" in sys.modules, "lower" in sys.modules)
write("upper.py", "mark = 9")
import upper
print(upper.mark, "lower" in sys.modules, upper.lower is sys.modules["lower"])'''),
                         'None False False\n2 True True')

    def test_what_it_needs_can_be_imported_by_itself(self):
        self.assertEqual(self.run_code('''
for name in ("lower", "upper"): preloaded.load(name)
import lower
print("upper" in sys.modules)
import upper
print(upper.lower is lower)'''), 'False\nTrue')

    def test_a_module_of_the_user_wins(self):
        self.write(self.folder, 'upper.py', 'mark = "the user\'s"\n')
        self.assertEqual(self.run_code('''
preloaded.load("upper")
sys.path.insert(0, %(folder)r)
import upper
print(upper.mark)'''), "the user's")

    def test_a_module_of_the_user_wins_in_what_needs_it(self):
        self.write(self.folder, 'lower/__init__.py', 'mark = "the user\'s"\n')
        self.assertEqual(self.run_code('''
preloaded.load("upper")
sys.path.insert(0, %(folder)r)
import upper
print(upper.lower.mark)'''), "the user's")

    def test_a_module_that_was_loaded_otherwise_is_used(self):
        self.assertEqual(self.run_code('''
preloaded.load("upper")
sys.modules["lower"] = os
import upper
print(upper.lower is os)'''), 'True')

    def test_a_module_that_comes_while_the_process_runs_wins(self):
        self.assertEqual(self.run_code('''
for name in ("lower", "upper", "other"): preloaded.load(name)
sys.path.insert(0, "")
import other
with open("upper.py", "w") as module: module.write("mark = 7")
import upper
print(other.mark, upper.mark)'''), '5 7')

    TICK = """
import time
soon = time.time() + 100
for name in ("lower", "upper", "other"): preloaded.load(name)
sys.path.insert(0, "")
os.utime(".", (soon, soon))
import other
with open("upper.py", "w") as module: module.write("mark = 7")
os.utime(".", (soon, soon))
getattr(__import__("importlib"), "invalidate_caches", int)()    # the usual import remembers folders
"""

    def test_a_module_that_comes_within_the_tick_of_a_clock_wins(self):
        self.assertEqual(self.run_code(self.TICK + 'import upper; print(upper.mark)'), '7')

    def test_a_module_that_came_within_the_tick_of_a_clock_wins_later(self):
        self.assertEqual(self.run_code(self.TICK + """
preload.time = type("Clock", (), {"time": staticmethod(lambda: soon + 1000)})
import upper; print(upper.mark)"""), '7')

    def test_a_module_that_comes_while_a_folder_is_listed_slowly_wins(self):
        self.assertEqual(self.run_code(self.TICK[:self.TICK.index('import other')] + """
changed, clock, real = soon - 200, [soon - 200], os.listdir
def listdir(folder):
    names = real(folder)
    if not os.path.exists("upper.py"):                          # in the tick of the clock
        with open("upper.py", "w") as module: module.write("mark = 7")
        os.utime(".", (changed, changed))
    clock[0] += 1000
    return names
preload.time = type("Clock", (), {"time": staticmethod(lambda: clock[0])})
os.utime(".", (changed, changed))
os.listdir = listdir
import other
os.listdir = real
getattr(__import__("importlib"), "invalidate_caches", int)()
import upper; print(upper.mark)"""), '7')

    def test_names_and_objects_that_lie_side_by_side_are_the_usual_ones(self):
        self.assertEqual(self.run_code('''
preloaded.load("case.inner")
preloaded.load("other")
preloaded.settle()
preloaded.load("json.decoder")
preloaded.settle()
import case
print(hasattr(case, "inner"), "other" in sys.modules)
import case.inner, other, json, json.decoder
print(case.inner.mark, other.mark, case.inner.__name__, type(other) is type(os), other.__doc__)
print(json.decoder is sys.modules["json.decoder"], json.loads("[1]"), repr(other).startswith("<module 'other' from"))'''),
            "False False\n4 5 case.inner True None\nTrue [1] True")

    @unittest.skipIf(sys.version_info < (3, 4), 'there are no specs')
    def test_a_finder_that_the_user_has_put_in_front_is_asked_first(self):
        self.assertEqual(self.run_code('''
import importlib.machinery
class Finder(object):
    def find_spec(self, name, path=None, target=None):
        return importlib.machinery.ModuleSpec(name, self) if name == "upper" else None
    def create_module(self, spec): return None
    def exec_module(self, module): module.mark = "the user's"
for name in ("lower", "upper"): preloaded.load(name)
sys.meta_path.insert(0, Finder())
import lower, upper
print(lower.mark, upper.mark)'''), "1 the user's")

    @unittest.skipIf(sys.version_info < (3, 3), 'all frames are shown there')
    def test_tracebacks_of_failed_imports_show_the_usual_frames(self):
        self.write(self.home, 'fails.py', 'import nowhere\n')
        self.assertEqual(self.run_code('''
import traceback
preloaded.load("upper")
for name in ("fails", "broken"):
    try:
        __import__(name)
    except Exception:
        print([os.path.basename(row[0]) for row in traceback.extract_tb(sys.exc_info()[2])])'''),
                         "['<string>', 'fails.py']\n['<string>', 'broken.py']")

    def test_threads_that_import_at_once_get_whole_modules(self):
        self.assertEqual(self.run_code('''
import threading
for name in ("other", "case.inner"): preloaded.load(name)
def imports():
    import case.inner, other
    seen.append((case.inner.mark, other.lower.mark, case.inner is sys.modules["case.inner"]))
seen, threads = [], [threading.Thread(target=imports) for _ in range(16)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(seen), set(seen) == set([(4, 1, True)]))'''), '16 True')

    @unittest.skipIf(platform.python_implementation() == 'PyPy', 'sizes are unknown there')
    def test_a_job_need_not_make_the_table_of_modules_bigger(self):
        self.assertEqual(self.run_code('''
names = ["module_%%d" %% number for number in range(200)]
for name in names: write(name + ".py", "")
for name in names: preloaded.load(name)
preloaded.settle()
before = sys.getsizeof(sys.modules)
for name in names: __import__(name)
print(set(names) <= set(sys.modules), sys.getsizeof(sys.modules) == before)'''), 'True True')

    def test_a_module_that_its_package_imports_is_there_with_it(self):
        self.write(self.home, 'whole/__init__.py', 'import whole.part\n')
        self.write(self.home, 'whole/part.py', 'mark = 6\n')
        self.assertEqual(self.run_code('''
preloaded.load("whole.part")
print("whole" in sys.modules)
import whole
print(whole.part.mark, "whole.part" in sys.modules)'''), 'False\n6 True')

    def test_packages(self):
        self.assertEqual(self.run_code('''
preloaded.load("case.inner")
import case.inner
print(case.mark, case.inner.mark, sorted(name for name in sys.modules if name in ("case", "case.inner", "upper", "lower")))'''),
                         "3 4 ['case', 'case.inner', 'lower', 'upper']")

    def test_a_module_of_a_package_that_was_imported_before_is_loaded_once(self):
        self.write(self.home, 'needing.py', 'import case.inner\n')
        self.assertEqual(self.run_code("""
import case
print(preloaded.load("case.inner"), hasattr(case, "inner"), "upper" in sys.modules)
write("case/inner.py", "mark = 9")
preloaded.load("needing")
import needing, case.inner
print(case.inner.mark, needing.case is case, case.inner is sys.modules["case.inner"])"""),
                         'None False False\n4 True True')

    def test_a_module_of_a_package_that_was_replaced_is_made_anew(self):
        self.assertEqual(self.run_code("""
import case
preloaded.load("case.inner")
write("case/inner.py", "mark = 99")
del sys.modules["case"]
import case.inner
print(case.inner.mark)"""), '99')

    def test_a_package_does_not_show_modules_that_nobody_has_imported(self):
        self.assertEqual(self.run_code("""
preloaded.load("case"); preloaded.load("case.inner")
import case
print(hasattr(case, "inner"))
import case.inner
print(case.inner.mark)"""), 'False\n4')

    def test_a_module_within_a_package_of_the_user(self):
        self.write(self.folder, 'case/__init__.py', '')
        self.write(self.folder, 'case/inner.py', 'mark = "the user\'s"\n')
        self.assertEqual(self.run_code('''
preloaded.load("case.inner")
sys.path.insert(0, %(folder)r)
import case.inner
print(case.inner.mark)'''), "the user's")

    def test_one_that_was_thrown_away_is_made_anew(self):
        self.assertEqual(self.run_code('''
preloaded.load("upper")
import upper
upper.mark = 8
del sys.modules["upper"]
import upper
print(upper.mark)'''), '2')

    def test_one_that_cannot_be_imported_leaves_nothing(self):
        self.assertEqual(self.run_code('''
print(preloaded.load("broken"), "lower" in sys.modules, list(preloaded._needs))
print(preloaded.load("nowhere.at.all") is None)'''),
                         'broken: ValueError: no False []\nFalse')

    def test_one_that_exits_ends_nobody(self):
        self.write(self.home, 'exits.py', 'import lower\nraise SystemExit(3)\n')
        self.assertEqual(self.run_code('print(preloaded.load("exits"), list(preloaded._needs))'),
                         'exits: SystemExit: 3 []')

    @unittest.skipIf(sys.version_info < (3, 4), 'reload is a statement of its own there')
    def test_it_can_be_loaded_again(self):
        self.assertEqual(self.run_code('''
preloaded.load("upper")
import upper, importlib
upper.mark = 8
spec = upper.__spec__
print(importlib.reload(upper).mark, spec.origin.endswith("upper.py"))'''), '2 True')

    def test_who_only_asks_for_a_module_gets_the_usual_answer(self):
        self.assertEqual(self.run_code("""
import pkgutil
for name in ("lower", "upper", "case", "case.inner"): preloaded.load(name)
print(pkgutil.get_data("case", "inner.py") == b"import upper\\nmark = 4\\n", "upper" in sys.modules)
import case.inner
print(case.inner.mark, sys.modules["case"].inner is case.inner)"""), 'True False\n4 True')

    @unittest.skipIf(sys.version_info < (3, 4), 'there is no such function there')
    def test_the_import_after_a_question_is_whole(self):
        self.assertEqual(self.run_code("""
import importlib.util
for name in ("lower", "upper", "case", "case.inner"): preloaded.load(name)
print(importlib.util.find_spec("case").origin.endswith("__init__.py"), "case" in sys.modules)
print(importlib.util.find_spec("upper").origin.endswith("upper.py"), "lower" in sys.modules)
import case.inner
print(case.inner.mark, hasattr(case, "inner"))"""), 'True False\nTrue False\n4 True')

    @unittest.skipIf(sys.version_info < (3, 8), 'the order of modules tells too little there')
    def test_only_what_a_module_needs_comes_with_it(self):
        self.assertEqual(self.run_code("""
write("all.py", "import lower, other, case.inner")
print(preloaded.load("all"))
import other
print(sorted(set(["lower", "upper", "case", "all", "other"]) & set(sys.modules)))"""), "None\n['lower', 'other']")

    def test_random_numbers_differ_after_a_fork(self):
        numbers = self.run_code('''
preloaded.load("random")
for _ in range(2):
    if not os.fork():
        import random
        print(random.random()); sys.stdout.flush()
        os._exit(0)
    os.wait()''').split()
        self.assertEqual(len(set(numbers)), 2, numbers)

    @unittest.skipIf(sys.version_info < (3, 7), 'modules have nothing called at forks there')
    def test_what_modules_do_at_forks_is_done_only_where_they_were_imported(self):
        self.assertEqual(self.run_code("""
real, calls = os.register_at_fork, []
def register(**hooks):
    calls.append(sorted(hooks))
os.register_at_fork = register
for name in list(sys.modules):
    if name.partition(".")[0] in ("logging", "threading", "concurrent"): del sys.modules[name]
preloaded.load("logging")
preloaded.load("concurrent.futures.thread")
print(calls, os.register_at_fork is register)
if not os.fork():
    import logging
    print(len(calls), ["after_in_child"] in calls); sys.stdout.flush()
    os._exit(0)
os.wait()"""), "[] True\n2 True")

    @unittest.skipIf(sys.version_info < (3, 8), 'threads have no such numbers there')
    def test_the_main_thread_has_the_number_of_the_job(self):
        self.assertEqual(self.run_code("""
sys.modules.pop("threading", None)
preloaded.load("threading")
if not os.fork():
    import threading
    print(threading.main_thread().native_id == threading.get_native_id() == os.getpid())
    sys.stdout.flush()
    os._exit(0)
os.wait()"""), 'True')

    def test_the_working_folder_is_that_of_who_imports_it(self):
        self.assertEqual(self.run_code('''
preloaded.load("multiprocessing")
if not os.fork():
    os.chdir("/")
    from multiprocessing import process
    print(process.ORIGINAL_DIR); sys.stdout.flush()
    os._exit(0)
os.wait()'''), '/')
