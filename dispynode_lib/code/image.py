"""Images of this program: new processes start from the code that this one began with.

Whoever replaces the program's files while a node runs changes nothing for that node: it keeps the
code of its supervisors, and of what it has not imported yet, in memory. A new process reads it from
its standard input.
"""
from __future__ import absolute_import, division, print_function

import errno
import marshal
import os
import sys

from dispynode_lib.code import packed
from dispynode_lib.code import bytecode
from dispynode_lib.host import compat, files

PACKAGE = 'dispynode_lib'
AT_START = tuple(PACKAGE + name for name in ('.cli', '.code.cache'))
# besides those in supervisor/, what supervisors and jobs import
SHARED = ('errors', 'texts', 'code', 'code.packed', 'host', 'host.compat', 'host.descriptors',
          'host.proc', 'host.network', 'host.network.connections', 'host.network.tls', 'wire',
          'wire.control', 'wire.framing', 'wire.peers', 'wire.pickle', 'wire.pickle.objects',
          'wire.pickle.opcodes', 'wire.pickle.pickles', 'wire.pickle.reader', 'wire.pickle.records',
          'wire.replies')
FOR_PYTHON2 = PACKAGE + '.supervisor.pickles.python3_pickles'
FLAGS = ('debug', 'dont_write_bytecode', 'no_user_site', 'no_site', 'ignore_environment', 'verbose',
         'bytes_warning', 'quiet', 'optimize', 'isolated', 'safe_path', 'dev_mode', 'inspect',
         'interactive', 'division_new', 'division_warning', 'tabcheck', 'unicode')
SUPERVISORS = frozenset([PACKAGE, PACKAGE + '.supervisor'] +
                        [PACKAGE + '.' + name for name in SHARED])
NURSERY = 'packed.importer.once = True\nfrom dispynode_lib.supervisor.nursery import main\nmain()\n'
TRIAL = 10.0                                # seconds for the program on disk to tell its version
BACKGROUND = ('--detach', '--ensure')       # not for a program that is in the background already
NODE = 'from dispynode_lib.cli.main import program\nprogram()\n'

# what a new Python reads first; the rest of its standard input is of this many bytes
BOOTSTRAP = """\
import marshal, os, sys
def read(size):
    pieces = []
    while size:
        piece = os.read(0, size)
        if not piece:
            os._exit(0)
        pieces.append(piece)
        size -= len(piece)
    return b''.join(pieces)
if sys.version.split('.')[:2] != %(version)r:
    sys.exit('dispynode: Python at ' + sys.executable + ' has become another version; restart the node')
if sys.path[:1] == ['']:
    del sys.path[0]
del sys.argv[0]
modules = dict(marshal.loads(read(size)) for size in %(sizes)r)
files = marshal.loads(read(%(size)d))
packed = sys.modules['dispynode_lib.code.packed'] = type(sys)('dispynode_lib.code.packed')
exec(marshal.loads(modules['dispynode_lib.code.packed'][2]), packed.__dict__)
packed.install(modules, files)
%(run)s"""

_supervisor = None


class Store(object):
    """Store for bytes in an unlinked file, with their checksums; it saves memory.

    put() for one thread at a time.
    """

    def __init__(self, folder=None):
        """`folder`: where there may be a file; None, or where there can be none: in memory."""
        self._fd, self._end = None, 0
        if folder is not None:
            path = os.path.join(folder, '.code')
            try:
                files.remove(path)          # of a node that was killed between the next two lines
                fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
                os.unlink(path)
            except EnvironmentError:
                return                      # a read-only disk
            compat.set_cloexec(fd)
            self._fd = fd

    def put(self, data):
        """Return a handle for get(): the place in the file, or the bytes themselves."""
        try:
            if self._fd is not None:
                if compat.write_at(self._fd, data, self._end) == len(data):
                    self._end += len(data)
                    return self._end - len(data), len(data), compat.sha1(data).digest()
        except EnvironmentError:
            return data                     # the disk is full
        return data

    def get(self, handle):
        """Return the bytes. Raises EnvironmentError if they are not those any more."""
        if isinstance(handle, bytes):
            return handle
        offset, size, digest = handle
        data = compat.read_at(self._fd, size, offset)
        # a bad disk, or somebody with the same rights as the node
        if compat.sha1(data).digest() != digest:
            raise EnvironmentError(errno.EIO, 'the code that the node put away has been changed')
        return data


class Image(object):
    """A program for a new process: start `command` (list), give it pieces() as standard input."""

    def __init__(self, modules, files, run, arguments=(), store=None):
        """`modules`: yields (name, module) as of the Importer; `store`: where they are kept."""
        self._store = store or Store()
        sizes, self._handles = [], []
        for item in modules:
            piece = marshal.dumps(item)
            sizes.append(len(piece))
            self._handles.append(self._store.put(piece))
        last = marshal.dumps(files)
        self._handles.append(self._store.put(last))
        start = BOOTSTRAP % {'version': sys.version.split('.')[:2], 'sizes': sizes,
                             'size': len(last), 'run': run}
        self._start = start.encode('ascii')
        self.command = [sys.executable] + python_flags() + [
            '-c', 'import os;exec(os.read(0,%d))' % len(start), own_name()] + list(arguments)

    def pieces(self):
        """Yield what the new process reads (bytes)."""
        yield self._start
        for handle in self._handles:
            yield self._store.get(handle)


def python_flags():
    """Return the options that Python itself was started with, for another one."""
    if not sys.warnoptions and not getattr(sys, '_xoptions', None) and not any(
            getattr(sys.flags, name, 0) for name in FLAGS):
        return []                           # the usual case: subprocess would bring much else
    import subprocess
    return getattr(subprocess, '_args_from_interpreter_flags', list)()      # not in the first 2.7


def own_name():
    """Return the path of this program for lists of processes; it need not exist."""
    name = sys.argv[0] if sys.argv else ''
    return os.path.abspath(name) if name and name[0] != '-' else 'dispynode.py'


def supervisor_image(folder=None):
    """Return the Image of the nursery of supervisors, as it was when it was first asked for.

    folder   see Store
    One thread at a time.
    """
    global _supervisor
    if _supervisor is None:
        store = Store(folder)
        _supervisor = Image(_take_modules(store), None, NURSERY, ['--supervise'], store)
    return _supervisor


def node_image():
    """Return the Image of the whole program, to be started with options behind its command."""
    importer = packed.importer
    if importer is None or importer.files is None:
        return Image(read_tree(), None, NODE)
    modules = ((name, (importer.modules[name][0], importer.modules[name][1],
                       importer.get_marshalled(name))) for name in list(importer.modules))
    return Image(modules, importer.files, NODE)


def _take_modules(store):
    """Yield (name, (path, None, code)) for a supervisor; keep what this process may import."""
    importer = packed.importer
    if importer is None:                    # a tree
        ours = {}
        for name, (path, source, code) in read_tree(_is_needed):
            if _is_ours(name):
                ours[name] = path, source, store.put(code)
            if _is_supervisors(name):
                yield name, (path, source, code)
        packed.install(ours).store = store
        return
    for name in list(importer.modules):
        if _is_supervisors(name):
            yield name, (importer.modules[name][0], None, importer.get_marshalled(name))
    if importer.cache is not None:
        importer.cache.save(importer.modules)
        importer.cache = None
    for name, (path, source, _code) in list(importer.modules.items()):
        if source is not None or name in sys.modules:
            importer.modules[name] = path, source, None


def replace(chosen, argv):
    """Have this process become the program that is on disk now (--ctl restart); does not return.

    chosen   the Options with which it was started
    argv     list without the program's name
    It is here, in memory, for the files may be those of another release. Raises EnvironmentError.
    """
    command, environment, folder = _on_disk(chosen, argv)
    os.chdir(folder)
    os.execve(command[0], command, environment)


def fault_on_disk(chosen, argv):
    """Return why the program on disk cannot replace this one (text), None if it can. May wait.

    The arguments are those of replace(). Other releases may know other options: they are read, too.
    """
    import subprocess
    import threading
    try:
        command, environment, folder = _on_disk(chosen, argv)
        with open(os.devnull, 'rb') as null:
            process = subprocess.Popen(command + ['--version'], cwd=folder, env=environment,
                                       close_fds=True, stdin=null, stdout=subprocess.PIPE,
                                       stderr=subprocess.STDOUT)
        timer = threading.Timer(TRIAL, process.kill)
        timer.start()
        said = compat.to_text(process.communicate()[0]).strip()
        timer.cancel()
    except EnvironmentError as error:
        return compat.to_text(error)
    if not process.returncode:
        return None
    return said.split(u'\n')[-1] or u'%s ended with %d' % (u' '.join(command), process.returncode)


def _on_disk(chosen, argv):
    """Return (command as a list, environment, folder) of the program on disk, see replace()."""
    folder = chosen.folder or os.getcwd()       # in which it was started
    program = os.path.join(folder, sys.argv[0])
    start = ['-m', PACKAGE] if program.endswith('__main__.py') else [program]
    options = [word for word in argv if word not in BACKGROUND]
    if len(options) != len(argv):
        options.append('--daemon')
        if chosen.log_file and '--log_file' not in argv:
            options += ['--log_file', str(chosen.log_file)]
    environment = dict(os.environ)
    environment.update((name, value) for name, value in (chosen.environment or {}).items()
                       if name.startswith('DISPYNODE_'))
    return [sys.executable] + python_flags() + start + options, environment, folder


def build():
    """Return (hex digits of the text of this program, 'one file' or 'tree')."""
    importer = packed.importer
    if importer is not None and importer.files is not None:
        texts = dict((_inside(path), source) for path, source, _code in importer.modules.values())
        texts.update(('%s/data/%s' % (PACKAGE, name), text)
                     for name, text in importer.files.items())
        return _digits(texts), 'one file'
    texts = {}
    for folder, path in _files():
        if path.endswith('.py') or os.path.basename(folder) == 'data':
            with open(path, 'rb') as source:
                texts[_inside(path)] = source.read()
    return _digits(texts), 'tree'


def _digits(texts):
    total = compat.sha1()
    for name in sorted(texts):
        text = compat.to_bytes(texts[name])
        total.update(('%s %d\n' % (name, len(text))).encode('ascii') + text)
    return total.hexdigest()[:12]


def _inside(path):
    """Return a path from the package's folder on."""
    return path[path.rindex('/%s/' % PACKAGE) + 1:].replace(os.sep, '/')


def _files():
    """Yield (folder, path) of each file in the package's folder."""
    for folder, folders, names in os.walk(
            os.path.dirname(os.path.dirname(os.path.abspath(__file__)))):
        if '__pycache__' in folders:
            folders.remove('__pycache__')
        for name in names:
            yield folder, os.path.join(folder, name)


def _is_supervisors(name):
    return name in SUPERVISORS or name.startswith(PACKAGE + '.supervisor.') and (
        compat.PY2 or name != FOR_PYTHON2)


def _is_ours(name):
    """Tell whether this process may still import a module."""
    return name not in sys.modules and not name.startswith(PACKAGE + '.supervisor.')


def _is_needed(name):
    """Tell whether supervisors, or a node that has started, may still import a module."""
    return _is_supervisors(name) or not (name in sys.modules or name.startswith(AT_START))


def read_tree(is_wanted=lambda name: True):
    """Yield (name, (path, None, marshalled code)) of wanted modules of the package."""
    for _folder, path in _files():
        if path.endswith('.py'):
            name = _inside(path)[:-3].replace('/', '.')
            name = name[:-len('.__init__')] if name.endswith('.__init__') else name
            if is_wanted(name):
                yield name, (path, None, bytecode.read(name, path))
