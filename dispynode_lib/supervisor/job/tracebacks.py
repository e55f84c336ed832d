"""Tracebacks of user code, without frames of this program."""
from __future__ import absolute_import, division, print_function

import sys

from dispynode_lib.supervisor.processes.lean import to_text

OURS = 'dispynode_lib.'
HEADING = 'Traceback (most recent call last):\n'
MOST_LINES = 50
MOST_TEXT = 1 << 20                         # a longer traceback loses its middle

_hidden = set(['', '.'])
_REHEARSAL = '<rehearsal>'
_sources = {}                               # file name in the traceback -> its source text


def add_source(file_name, text):
    """Register the source of code that lies in no file, for tracebacks."""
    _sources[file_name] = text


def hide(folder):
    """Exclude `folder` from imports of this program: files of the user's may have any name."""
    _hidden.add(folder)


def prepare():
    """Load what describe() needs, not before jobs fail, for it makes each fork dearer.

    A failure of no use is described once: what that imports differs from Python to Python, and
    takes up to 4 ms.
    """
    if _REHEARSAL in _sources:
        return
    add_source(_REHEARSAL, 'def fail():\n    return 1 // 0\nfail()\n')
    try:
        exec(compile(_sources[_REHEARSAL], _REHEARSAL, 'exec'), {})
    except ZeroDivisionError:
        describe(sys.exc_info())


def _with_our_path(function, *args):
    """Call `function`, which may import of the standard library, without hide()'s part."""
    path = sys.path[:]
    sys.path[:] = [folder for folder in path if folder not in _hidden]
    try:
        return function(*args)
    finally:
        sys.path[:] = path


def describe(error_info, sentence=None):
    """Return a failure's text: the sentence, if any, and the traceback of users' frames.

    error_info   as sys.exc_info() gives it
    """
    try:
        text = _with_our_path(_format, *error_info)
    except Exception:  # a class of the user's may break any rule: say what can be said
        text = _without_traceback(*error_info)
    text = to_text(text)
    if len(text) > MOST_TEXT:
        text = u'%s\n  [...]\n%s' % (text[:MOST_TEXT // 2], text[-MOST_TEXT // 2:])
    return text if sentence is None else u'%s\n%s' % (sentence, text)


def describe_places(error_info, sentence):
    """Return the sentence and where users' code was, innermost last, without its lines.

    For a job that is being stopped: the modules for a whole traceback take 20 ms to import.
    """
    lines, frames = [sentence], error_info[2]
    while frames is not None and len(lines) < MOST_LINES:
        code = frames.tb_frame.f_code
        if not _is_ours(frames.tb_frame):
            lines.append(
                u'  File "%s", line %d, in %s' % (code.co_filename, frames.tb_lineno, code.co_name))
        frames = frames.tb_next
    return u'\n'.join(lines)


def _without_traceback(kind, error, frames):
    """Return a failure's text where the module traceback fails: the job may have set a low limit
    of recursion, or become a user who may not read Python's files."""
    name = getattr(kind, '__name__', 'unknown exception')
    try:
        line = u'%s: %s' % (name, to_text(str(error)))
    except Exception:                       # as in describe()
        line = name
    try:
        return describe_places((kind, error, frames), HEADING.rstrip()) + u'\n' + line
    except Exception:
        return u'%s (no traceback available)' % line


def _format(kind, error, frames):
    from dispynode_lib.supervisor.job import failures           # not before one: it needs much
    while frames is not None and _is_ours(frames.tb_frame):
        frames = frames.tb_next
    return failures.describe(kind, error, frames, _sources, HEADING)


def _is_ours(frame):
    return (frame.f_globals.get('__name__') or '').startswith(OURS)
