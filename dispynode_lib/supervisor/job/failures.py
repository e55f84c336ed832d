"""Formatted tracebacks of user code, loaded once something of a user's has failed."""
from __future__ import absolute_import, division, print_function

import linecache
import traceback

from dispynode_lib.supervisor.processes.lean import PYTHON2, to_bytes

MOST_LINES = 50                             # at either end of a traceback that is longer


def describe(kind, error, frames, sources, heading):
    """Return the traceback of users' frames (native text).

    kind, error, frames   as sys.exc_info() gives them, without our own frames at the top
    sources               {file name: text} of code that lies in no file
    heading               first line of each traceback
    """
    for file_name, source in sources.items():
        lines = [line + '\n' for line in source.splitlines()]
        linecache.cache[file_name] = (len(source), None, lines, file_name)
    if PYTHON2:
        return _format_on_python2(kind, error, frames, heading)
    left_out, limit = _shorten(_chain(error, frames))
    whole = traceback.TracebackException(kind, error, frames, limit=limit)
    _drop_ours(whole, set())
    lines = ''.join(whole.format()).splitlines(True)
    # a heading over no frames at all would only puzzle
    text = ''.join([line for line, after in zip(lines, lines[1:] + [''])
                    if line != heading or after.startswith('  ')])
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


def _format_on_python2(kind, error, frames, heading):
    lines = [line for line in traceback.extract_tb(frames) if not _is_our_file(line[0])]
    if len(lines) > 2 * MOST_LINES:         # endless recursion; Python 3 shortens it by itself
        left_out = '  [%d frames]\n' % (len(lines) - 2 * MOST_LINES)
        shown = traceback.format_list(lines[:MOST_LINES]) + [left_out] + traceback.format_list(
            lines[-MOST_LINES:])
    else:
        shown = traceback.format_list(lines)
    text = [heading] if lines else []
    text += shown + traceback.format_exception_only(kind, error)
    return ''.join([to_bytes(line) for line in text])


# .../dispynode_lib/ as it stands in the code objects, also when they were loaded from one file
OUR_FILES = describe.__code__.co_filename[:-len('supervisor/job/failures.py')]
