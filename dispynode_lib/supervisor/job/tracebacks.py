"""Tracebacks of user code, without frames of this program."""
from __future__ import absolute_import, division, print_function

import sys

from dispynode_lib.supervisor.processes.lean import PYTHON2, to_bytes, to_text

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
    import linecache
    import traceback
    for file_name, source in _sources.items():
        lines = [line + '\n' for line in source.splitlines()]
        linecache.cache[file_name] = (len(source), None, lines, file_name)
    while frames is not None and _is_ours(frames.tb_frame):
        frames = frames.tb_next
    if PYTHON2:
        return _format_on_python2(traceback, kind, error, frames)
    left_out, limit = _shorten(_chain(error, frames))
    whole = traceback.TracebackException(kind, error, frames, limit=limit)
    _drop_ours(whole, set())
    lines = ''.join(whole.format()).splitlines(True)
    # a heading over no frames at all would only puzzle
    text = ''.join([line for line, after in zip(lines, lines[1:] + [''])
                    if line != HEADING or after.startswith('  ')])
    return '[%d frames in the middle of the traceback are left out]\n%s' % (
        left_out, text) if left_out else text


def _chain(error, frames):
    """Return the first frames of an exception's traceback, and of those it is chained to."""
    found, seen, waiting = [frames], set([id(error)]), [error]
    while waiting:
        error = waiting.pop()
        for other in (getattr(error, '__cause__', None), getattr(error, '__context__', None)):
            if other is not None and id(other) not in seen:
                seen.add(id(other))
                found.append(other.__traceback__)
                waiting.append(other)
    return found


def _shorten(tracebacks):
    """Take the middle out of very long tracebacks: describing a frame may take a millisecond.

    Return (how many frames were left out, limit to give to the module traceback).
    """
    left_out, limit = 0, None
    for frames in tracebacks:
        chain = []
        while frames is not None:
            chain.append(frames)
            frames = frames.tb_next
        if len(chain) > 2 * MOST_LINES:
            left_out += len(chain) - 2 * MOST_LINES
            try:
                chain[MOST_LINES - 1].tb_next = chain[-MOST_LINES]
            except (AttributeError, TypeError):     # read-only before 3.7
                limit = -2 * MOST_LINES
    return left_out, limit


def _is_ours(frame):
    return (frame.f_globals.get('__name__') or '').startswith(OURS)


def _drop_ours(told, seen):
    """Drop frames of ours from a TracebackException and from those that it is chained to."""
    if told is None or id(told) in seen:
        return
    seen.add(id(told))
    told.stack[:] = [line for line in told.stack if not _is_our_file(line.filename)]
    for other in [told.__cause__, told.__context__] + list(getattr(told, 'exceptions', None) or ()):
        _drop_ours(other, seen)


def _is_our_file(file_name):
    return file_name.startswith(OUR_FILES)


def _format_on_python2(traceback, kind, error, frames):
    lines = [line for line in traceback.extract_tb(frames) if not _is_our_file(line[0])]
    if len(lines) > 2 * MOST_LINES:         # endless recursion; Python 3 shortens it by itself
        left_out = '  [%d frames]\n' % (len(lines) - 2 * MOST_LINES)
        shown = traceback.format_list(lines[:MOST_LINES]) + [left_out] + traceback.format_list(
            lines[-MOST_LINES:])
    else:
        shown = traceback.format_list(lines)
    text = [HEADING] if lines else []
    text += shown + traceback.format_exception_only(kind, error)
    return ''.join([to_bytes(line) for line in text])


# .../dispynode_lib/ as it stands in the code objects, also when they were loaded from one file
OUR_FILES = _is_ours.__code__.co_filename[:-len('supervisor/job/tracebacks.py')]
