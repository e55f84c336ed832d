"""Virtual environments with dispy of several releases, made from the package index.

An environment is kept while its recipe, its interpreter and itself are sound; its marker file
holds the recipe's text. Old releases need old tools: dispy to 4.9 does not work after Python 3.6,
its setup.py neither with newer setuptools; 4.10 to 4.14 want setuptools < 60. The pip that old
Pythons bring (9.0.1 with some 3.8) may not know where the package index is today: virtualenv,
which brings a newer one, makes their environments.
"""
from __future__ import absolute_import, division, print_function

import contextlib
import fcntl
import os
import shutil
import subprocess
import threading

PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MARKER = 'dispynode-recipe.txt'
STEP_TIMEOUT = 400
OPTIONAL = '?'              # first word of a step that may fail
OLD_PIP = ('2.7', '3.6', '3.7', '3.8')      # Pythons whose environments virtualenv makes


class CannotBuild(Exception):
    """An environment could not be made; the text says why."""


class Recipe(object):
    """name; release of dispy ('' for a tool); python: minor versions that will do, best first.

    steps   lists of arguments of pip
    check   Python code that must run in the finished environment
    """

    def __init__(self, name, python, steps, release='', check='import dispy'):
        self.name, self.python, self.steps = name, tuple(python), steps
        self.release, self.check = release, check

    def text(self, version, maker):
        """Return what the marker holds; `version`: of the interpreter; `maker`: of the
        environment."""
        lines = [self.name, 'python ' + version, 'maker ' + maker, self.check]
        return '\n'.join(lines + [' '.join(step) for step in self.steps]) + '\n'


def _legacy(release, pycos='4.7.2'):
    return [['install', 'pycos==' + pycos, 'dispy==' + release]]


def _modern(release):
    return [['install', 'pycos==4.12.2', 'dispy==' + release],
            [OPTIONAL, 'install', '--only-binary=:all:', 'psutil']]


def _middle(release, pycos='4.12.2'):
    return [['install', 'setuptools<60', 'wheel<0.46'],
            ['install', '--no-build-isolation', 'pycos==' + pycos, 'dispy==' + release],
            [OPTIONAL, 'install', '--only-binary=:all:', 'psutil']]


TOOLS = Recipe('virtualenv', ('3.9', '3.8', '3.7', '3.6'), [['install', 'virtualenv==20.15.1']],
               check='import virtualenv')

DOCUMENTS = Recipe('documents', ('3.13', '3.12', '3.11', '3.10'), [
    ['install', 'docutils==0.21.2', 'setuptools', 'wheel', 'twine', 'kubernetes-validate==1.30.0']],
    check='import docutils, kubernetes_validate, twine, wheel')

CLIENTS = (
    Recipe('4.8.7 on 2.7', ('2.7', ),
           _legacy('4.8.7') + [[OPTIONAL, 'install', '--only-binary=:all:', 'psutil<7']], '4.8.7'),
    Recipe('4.8.7 on 3.6', ('3.6', ),
           _legacy('4.8.7') + [[OPTIONAL, 'install', '--only-binary=:all:', 'psutil']], '4.8.7'),
    Recipe('4.12.4 on 3.8', ('3.8', ), _middle('4.12.4'), '4.12.4'),
    Recipe('4.14.0 on 3.8', ('3.8', ), _middle('4.14.0'), '4.14.0'),
    Recipe('4.15.2 on 3.10', ('3.10', ), _modern('4.15.2'), '4.15.2'),
    Recipe('4.15.2 on 3.11', ('3.11', ), _modern('4.15.2'), '4.15.2'),
    Recipe('4.15.2 on 3.12', ('3.12', ), _modern('4.15.2'), '4.15.2'),
)

# clients that only have to find a node, and be found (tests/network/network_releases.py)
FINDERS = (
    Recipe('4.6.17 on 2.7', ('2.7', ), [['install', 'asyncoro==4.5.6', 'dispy==4.6.17']], '4.6.17'),
    Recipe('4.7.7 on 2.7', ('2.7', ), _legacy('4.7.7'), '4.7.7'),
    Recipe('4.8.9 on 3.6', ('3.6', ), _legacy('4.8.9', '4.8.15'), '4.8.9'),
    Recipe('4.9.1 on 3.6', ('3.6', ), _legacy('4.9.1', '4.8.15'), '4.9.1'),
    Recipe('4.10.6 on 3.8', ('3.8', ), _middle('4.10.6', '4.8.15'), '4.10.6'),
    Recipe('4.11.1 on 3.8', ('3.8', ), _middle('4.11.1', '4.8.15'), '4.11.1'),
    Recipe('4.13.0 on 3.8', ('3.8', ), _middle('4.13.0'), '4.13.0'),
    Recipe('4.15.0 on 3.10', ('3.10', ), _modern('4.15.0'), '4.15.0'),
)


def default_folder():
    """Return where environments are kept."""
    return os.path.abspath(os.environ.get('DISPYNODE_TEST_VENVS')
                           or os.path.join(PROJECT, '.venvs'))


class Environments(object):
    """Makes environments on demand, each once, also when several threads or runs ask."""

    def __init__(self, interpreters, folder=None):
        """`interpreters`: {minor: Interpreter}."""
        self._interpreters = interpreters
        self._folder = folder or default_folder()
        self._locks = dict((recipe.name, threading.Lock())
                           for recipe in CLIENTS + FINDERS + (TOOLS, DOCUMENTS))
        self._done = {}

    def interpreter(self, recipe):
        """Return the Interpreter for a recipe; raise CannotBuild if there is none."""
        for minor in recipe.python:
            if minor in self._interpreters:
                return self._interpreters[minor]
        raise CannotBuild('no Python %s here' % ' or '.join(recipe.python))

    def python(self, recipe):
        """Return the path of the Python of the finished environment; raise CannotBuild."""
        with self._locks[recipe.name]:
            if recipe.name not in self._done:
                try:
                    self._done[recipe.name] = self._ensure(recipe)
                except CannotBuild as error:
                    self._done[recipe.name] = error
            found = self._done[recipe.name]
        if isinstance(found, CannotBuild):
            raise found
        return found

    def maker(self, interpreter, recipe=None):
        """Return the command that makes an environment of an Interpreter in the folder that
        follows; raise CannotBuild."""
        if _wants_virtualenv(recipe, interpreter):
            return [self.python(TOOLS), '-m', 'virtualenv', '-q', '-p', interpreter.python]
        return [interpreter.python, '-m', 'venv']

    def _ensure(self, recipe):
        interpreter = self.interpreter(recipe)
        path = os.path.join(self._folder, recipe.name.replace(' ', '-'))
        python = os.path.join(path, 'bin', 'python')
        maker = TOOLS.name if _wants_virtualenv(recipe, interpreter) else 'venv'
        text = recipe.text(interpreter.version, maker)
        try:
            os.makedirs(self._folder, exist_ok=True)
            with locked(path + '.lock'):
                if not _is_sound(path, python, text, recipe.check):
                    shutil.rmtree(path, ignore_errors=True)
                    self._build(recipe, interpreter, path, python)
                    _write(os.path.join(path, MARKER), text)
        except EnvironmentError as error:
            raise CannotBuild('cannot make %s: %s' % (path, error))
        return python

    def _build(self, recipe, interpreter, path, python):
        _run(self.maker(interpreter, recipe) + [path])
        for step in recipe.steps:
            try:
                _run([python, '-m', 'pip', '-q'] + [word for word in step if word != OPTIONAL])
            except CannotBuild:
                if step[0] != OPTIONAL:
                    raise
        _run([python, '-c', recipe.check])


def _wants_virtualenv(recipe, interpreter):
    return recipe is not TOOLS and interpreter.minor in OLD_PIP


def _is_sound(path, python, text, check):
    """Tell whether a finished environment by this recipe is there and works."""
    try:
        with open(os.path.join(path, MARKER)) as source:
            if source.read() != text:
                return False
        _run([python, '-c', check])
        return True
    except (EnvironmentError, CannotBuild):
        return False


def _write(path, text):
    with open(path, 'w') as target:
        target.write(text)


@contextlib.contextmanager
def locked(path):
    """Hold a lock that another test command on this machine respects."""
    with open(path, 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(command):
    """Run a command quietly; raise CannotBuild with its last words if it fails."""
    env = dict(os.environ, PIP_DISABLE_PIP_VERSION_CHECK='1', PIP_NO_INPUT='1')
    for name in ('PYTHONPATH', 'PYTHONHOME', 'PIP_REQUIRE_VIRTUALENV', 'PIP_USER', 'PIP_TARGET'):
        env.pop(name, None)
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=STEP_TIMEOUT, env=env)
    except subprocess.TimeoutExpired:
        raise CannotBuild('%s: not done after %d s' % (' '.join(command[1:]), STEP_TIMEOUT))
    except EnvironmentError as error:
        raise CannotBuild('%s: %s' % (command[0], error))
    if done.returncode:
        lines = done.stdout.decode('utf-8', 'replace').strip().splitlines() or ['no output']
        errors = [line for line in lines if line.startswith('ERROR')] or lines
        raise CannotBuild('%s: %s' % (' '.join(command[1:]), errors[-1].strip()))
