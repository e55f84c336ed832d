"""One computation in its supervisor: its code, its `__main__` module, setup and cleanup."""
from __future__ import absolute_import, division, print_function

import errno
import gc
import os
import sys

from dispynode_lib.supervisor.imports import preload
from dispynode_lib.supervisor.job import surroundings, tracebacks
from dispynode_lib.supervisor.pickles import pickling
from dispynode_lib.supervisor.processes import hugepages
from dispynode_lib.supervisor.job.finalizers import Finalizers
from dispynode_lib.supervisor.job.jobapi import JobApi
from dispynode_lib.supervisor.processes.lean import PYTHON2, to_bytes, to_native, to_path
from dispynode_lib.supervisor.job.output import TextOutput

FUNCTION = '1'
# absolute_import, division, print_function and unicode_literals, for compile() of Python 2
PYTHON3_FLAGS = 0x4000 | 0x2000 | 0x10000 | 0x20000
# others are text
BYTES, PATHS = ('code', 'compute'), ('folder', 'big_folder', 'certfile', 'keyfile', 'socket')
UTF8_MARK = b'\xef\xbb\xbf'


def compile_source(source, file_name, python2=False):
    """Return the code object of `source` (UTF-8 bytes); raises SyntaxError, ValueError.

    python2   the client's Python: on Python 2 code of a Python 3 client has the meaning that it has
              there, as far as Python 2 can give it: literals are text, print is a function,
              division is true division
    """
    if PYTHON2:
        if b'coding' not in b'\n'.join(source.split(b'\n', 2)[:2]):
            source = UTF8_MARK + source     # or else Python 2 takes text literals for Latin-1
    else:
        source = bytes(source).decode('utf-8')
    tracebacks.add_source(file_name, source)
    return compile(source, file_name, 'exec', PYTHON3_FLAGS if PYTHON2 and not python2 else 0, True)


class Computation(object):
    """A computation: the fields of the `open` frame, and the state of the user's code."""

    def __init__(self, fields, emit):
        """`fields`: dict of the `open` frame, str to bytes; `emit`: see jobapi.JobApi."""
        for key, value in fields.items():
            setattr(self, key,
                    value if key in BYTES else to_path(value) if key in PATHS else to_native(value))
        self.python2 = self.python2 == '1'
        self.protocol = 2 if self.python2 else max(3, int(self.protocol))
        self.load = pickling.loader(self.python2, self.protocol)
        self.accepted = frozenset(int(word) for word in self.setup_accepts.split())
        self.file_name = '<computation %s>' % (os.path.basename(to_path(self.name)) or self.id)
        self.api = JobApi(self, emit)
        self.supervisor = os.getpid()       # the parent of job processes
        self.executed = False
        self.failure = None                 # text of what went wrong when the code was executed
        self._code = None
        self._cleanup_call = None
        self._cleanup_done = False
        self._main = None
        self.stdout, self.stderr = TextOutput('<stdout>'), TextOutput('<stderr>')   # of a job
        self.budget = None                  # limits.Budget for the output of a job
        self.output_limit = 0
        self.renewals = ()                  # functions that each job process has to call
        self.finalizers = Finalizers()
        self.learner = None                 # learning.Learner, if jobs tell what they import
        self.modules_before = 0             # modules there are when a job process is forked

    def open(self):
        """Compile the code and make the `__main__` module; return an error text or None."""
        self._make_main()
        try:
            self._code = compile_source(self.code, self.file_name, self.python2)
        except Exception:                   # source that no compiler takes
            error = tracebacks.describe(sys.exc_info(),
                                        u'the code of the computation cannot be compiled')
            if PYTHON2 == self.python2 and self.protocol <= pickling.HIGHEST:
                return error
            self._code = self._explanation(error)
        sys.path.insert(0, self.folder)
        tracebacks.hide(self.folder)
        del sys.argv[1:]                    # they are for the node's own use
        os.environ['dispy_node_name'] = to_path(self.node_name)
        os.environ['dispy_node_ip_addr'] = self.node_ip_addr
        os.environ['dispy_job_path'] = self.folder
        return None

    def _explanation(self, error):
        """Return code that raises the error of compiling, so that jobs tell the client.

        To refuse the computation would leave a client without another node waiting for ever.
        """
        client = (u'newer Python' if PYTHON2 == self.python2 else
                  u'Python 2' if self.python2 else u'Python 3')
        told = u'the code is for the %s of the client; this node runs Python %s: %s' % (
            client, sys.version.split()[0], error.strip().splitlines()[-1])
        return compile('raise SyntaxError(%r)' % to_native(told.encode('utf-8')), self.file_name,
                       'exec', 0, True)

    def _make_main(self):
        self._our_main = sys.modules['__main__']  # Python 2 clears a module that nobody refers to
        self._main = surroundings.ModuleType('__main__')
        sys.modules['__main__'] = self._main
        namespace = self._main.__dict__
        namespace['__builtins__'] = sys.modules['__builtin__' if PYTHON2 else 'builtins']
        surroundings.add_modules(namespace)
        surroundings.add_values(namespace, self)
        self.api.add_functions(namespace)
        sys.meta_path.append(surroundings.DispyModules(namespace))

    def set_limits(self, limits):
        """Set the limits of jobs (limits.Limits)."""
        self.output_limit = limits.output
        self.stdout.budget = self.stderr.budget = self.budget = limits.budget()

    @property
    def namespace(self):
        """The globals of the user's code."""
        return self._main.__dict__

    def enter_folder(self):
        """Go to the computation's folder, made anew if need be; raises EnvironmentError."""
        try:
            os.chdir(self.folder)
        except EnvironmentError as error:
            if error.errno != errno.ENOENT:
                raise
            os.makedirs(self.folder, 0o700)
            os.chdir(self.folder)

    def execute(self):
        """Execute the code in `__main__`, once, in the folder; what fails is kept in `failure`."""
        if self.executed:
            return
        self.executed = True
        try:
            self.run_code()
        except BaseException:  # the user's code may raise anything, SystemExit included
            self.failure = tracebacks.describe(sys.exc_info())

    def run_code(self):
        """Execute the code in `__main__`; raises what it raises."""
        self.enter_folder()
        exec(self._code, self._main.__dict__)

    def run_setup(self, which, argument):
        """Execute the code and call the setup function, if any; return (status, text) as bytes.

        which      b'compute': its arguments are in the COMPUTE argument; b'setup': in `argument`;
                   b'none'
        argument   the SETUP argument, or None
        """
        try:
            self.enter_folder()
            self.execute()
            if not self.setup:  # nor is failing code an error yet: each job will tell its author
                self._cleanup_call = self._calls(which, argument)[1]
                return b'0', None
            if self.failure is not None:
                return b'error', to_bytes(self.failure)
            return self._call_setup(which, argument)
        except BaseException:               # as in execute()
            return b'error', to_bytes(tracebacks.describe(sys.exc_info()))

    def _call_setup(self, which, argument):
        setup, self._cleanup_call = self._calls(which, argument)
        if setup is None:
            return b'0', None
        name, args, kwargs = setup
        value = self._main.__dict__[name](*args, **kwargs) if name in self._main.__dict__ else None
        if isinstance(value, int) and value in self.accepted:
            return b'%d' % value, None
        return b'error', self._bad_status(name, value)

    def _bad_status(self, name, value):
        if name not in self._main.__dict__:
            return to_bytes(
                '"setup" failed with no function "%s" in the code of the computation' % name)
        numbers = [str(number) for number in sorted(self.accepted)]
        try:
            shown = repr(value)[:200]
        except Exception:                   # a class of the user's
            shown = type(value).__name__
        text = '"setup" failed with %s: function "%s" has to return %s' % (
            shown, name, ' or '.join(numbers))
        return to_bytes(text)

    def _calls(self, which, argument):
        """Return (setup, cleanup), each None or (name, args, kwargs)."""
        setup = (self.setup, (), {}) if self.setup else None
        cleanup = (self.cleanup, (), {}) if self.cleanup else None
        if which == b'compute':
            record = self._load(argument if argument is not None else self.compute)
            setup = _call_of(getattr(record, 'setup', None)) or setup
            cleanup = _call_of(getattr(record, 'cleanup', None)) or cleanup
        elif which == b'setup' and argument is not None:
            message = self._load(argument)
            args = message.get('setup_args') or () if isinstance(message, dict) else ()
            setup = setup and (setup[0], args, {})
            cleanup = cleanup and (cleanup[0], args, {})
        return setup, cleanup

    def _load(self, data):
        return pickling.unpickle(data, self.python2, stand_ins=True)

    def remember_cleanup(self, which, argument):
        """Note arguments for cleanup, without setup; return an error text or None."""
        try:
            self.execute()                  # they may be objects of the user's classes
            self._cleanup_call = self._calls(which, argument)[1]
        except BaseException:               # as in execute()
            return tracebacks.describe(sys.exc_info(), u'the arguments of cleanup cannot be loaded')
        return None

    def run_cleanup(self, may_shut_down):
        """Call the cleanup function, if any, once; return an error text or None.

        may_shut_down   function for the user's `dispynode_shutdown`, or None
        """
        if self._cleanup_done or not self.cleanup:
            return None
        self._cleanup_done = True
        if may_shut_down is not None:
            self._main.__dict__['dispynode_shutdown'] = may_shut_down
        try:
            self.enter_folder()
            self.execute()
            if self.failure is not None:
                return self.failure
            call = self._cleanup_call or (self.cleanup, (), {})
            self._main.__dict__[call[0]](*call[1], **call[2])
        except BaseException:               # as in execute()
            return tracebacks.describe(sys.exc_info())
        return None

    def settle(self):
        """Make this process cheap to fork: called after setup, before the first job process.

        What each job process would have to do is done here, once; there it would cost page faults.
        The one place for what helps in this way.
        """
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()  # or each job process would hold a copy of what waits in it
            except Exception:               # the user's own stream may do as it likes
                continue
        if sys.path[:1] != ['.']:
            sys.path.insert(0, '.')
        try:
            self.enter_folder()
        except EnvironmentError as error:
            self.failure = 'cannot enter the folder of the computation: %s' % error
        self.api.prepare(self.code)
        self.renewals = preload.renewals() + self.finalizers.settle(self.code, self.namespace)
        _allow_forks_with_threads()
        hugepages.collapse()
        self.freeze()

    def note_modules(self):
        """Note, before a job process is forked, which modules are there: to describe the first
        failure some are loaded."""
        count = len(sys.modules)
        if self.modules_before != count:
            self.modules_before = count
            if self.learner is not None:
                self.learner.rebase()

    @staticmethod
    def freeze():
        """Exclude all present objects from garbage collection."""
        freeze = getattr(gc, 'freeze', None)
        if freeze is not None:
            freeze()                        # no collect(): it would touch, so copy, every page


def _allow_forks_with_threads():
    """Keep Python from warning at each fork of threads that setup has left."""
    threading = sys.modules.get('threading')
    if threading is not None and threading.active_count() > 1:
        import warnings
        warnings.filterwarnings('ignore', message='.*multi-threaded', category=DeprecationWarning)


def _call_of(function):
    """Return (name, args, kwargs) of the older generation's `_Function`; None for anything else."""
    if not isinstance(function, pickling.Function):
        return None
    return function.name, function.args, function.kwargs
