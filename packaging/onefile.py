"""Write the one file: the program, its modules and the files for operators as one text.

    python3 packaging/onefile.py [OUTPUT]       (default: build/dispynode.py)

The same sources give the same bytes on every Python.
"""
from __future__ import absolute_import, division, print_function

import io
import os
import sys

PROJECT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PACKAGE, DATA = 'dispynode_lib', 'data'
QUOTES = "'" * 3

HEAD = '''\
#!/usr/bin/env python3
"""A node of dispy: runs the jobs that dispy clients send. `dispynode.py --help` lists the options.

This is the whole program in one file, made from the sources by `python3 setup.py onefile`. Each module
is a text below, under its own name; tracebacks give the module and the line in it, counted from the line
after the name. Copy the file to a host and run it by any Python that it is for.
"""
from __future__ import absolute_import, division, print_function

import os
import sys

MODULES, FILES = {}, {}

'''

TAIL = '''\

def load():
    """Make the modules importable; return the path of this file, as far as it is known."""
    path = os.path.abspath(globals().get('__file__') or 'dispynode.py')
    if not os.path.exists(path):            # read from standard input
        path = '<stdin>'
    modules = dict(('.'.join(name[:-3].split('/')), name) for name in MODULES)
    for name in modules:
        file_name = modules[name]
        modules[name] = os.path.join(path, file_name), MODULES.pop(file_name)[1:], None
    for name in [name for name in modules if name.endswith('.__init__')]:
        modules[name[:-len('.__init__')]] = modules.pop(name)
    for name in FILES:
        FILES[name] = FILES[name][1:]
    packed = sys.modules['dispynode_lib.code.packed'] = type(sys)('dispynode_lib.code.packed')
    packed.__file__, source, _code = modules['dispynode_lib.code.packed']
    exec(compile(source, packed.__file__, 'exec', 0, True), packed.__dict__)
    importer = packed.install(modules, FILES)
    from dispynode_lib.code.cache import CodeCache
    importer.cache = CodeCache(path)
    sys.excepthook = show


def leave_folder():
    """Import nothing from the folder of this file: a user's random.py there is not the standard library's."""
    here = os.path.dirname(os.path.realpath(globals().get('__file__') or 'dispynode.py'))
    if sys.path and os.path.realpath(sys.path[0] or '.') == here:
        del sys.path[0]


def show(*error_info):
    """Print an error with the lines of the modules; Python itself would look for files."""
    import traceback
    traceback.print_exception(*error_info)


if __name__ == '__main__':
    try:
        leave_folder()
        load()
        from dispynode_lib.cli.main import program
        program()
    except ImportError as error:
        if 'dispynode_lib' in str(error):
            raise
        sys.stderr.write('dispynode: %s has no complete standard library: %s; install it, on Debian the package python3\\n'
                         % (sys.executable, error))
        sys.exit(78)
    except KeyboardInterrupt:               # while modules are imported
        sys.exit(130)
'''


def read(path):
    """Return the text of a source file; ValueError if it cannot stand in the one file."""
    with io.open(path, encoding='ascii', newline='') as source:
        text = source.read()
    if QUOTES in text or '\r' in text or not text.endswith('\n') and text:
        raise ValueError(
            '%s: three single quotes, carriage returns or an unfinished last line' % path)
    return text


def block(kind, name, text):
    """Return one module or file as Python text."""
    return "%s['%s'] = r%s\n%s%s\n\n" % (kind, name, QUOTES, text, QUOTES)


def build():
    """Return the one file as text."""
    modules, files = [], []
    for folder, folders, names in os.walk(os.path.join(PROJECT, PACKAGE)):
        folders[:] = sorted(name for name in folders if name != '__pycache__')
        inside = os.path.relpath(folder, PROJECT).replace(os.sep, '/')
        modules += [inside + '/' + name for name in names if name.endswith('.py')]
        if inside == PACKAGE + '/' + DATA:
            files += names
    parts = [
        block('MODULES', name, read(os.path.join(PROJECT, *name.split('/'))))
        for name in sorted(modules)
    ]
    parts += [
        block('FILES', name, read(os.path.join(PROJECT, PACKAGE, DATA, name)))
        for name in sorted(files)
    ]
    return HEAD + ''.join(parts) + TAIL


def write(output=None):
    """Write the one file; return its path."""
    output = output or os.path.join(PROJECT, 'build', 'dispynode.py')
    if not os.path.isdir(os.path.dirname(os.path.abspath(output))):
        os.makedirs(os.path.dirname(os.path.abspath(output)))
    part = '%s.%d' % (output, os.getpid())
    with io.open(part, 'wb') as target:
        target.write(build().encode('ascii'))
    os.chmod(part, 0o755)
    os.rename(part, output)
    return output


if __name__ == '__main__':
    print(write(*sys.argv[1:2]))
