"""A real dispy client whose node has another Python: each kind of argument in a job of its own.

Prints one line: RESULT and a JSON object {kind: 'ok', or what the user sees}. Values are compared
with their types, inside containers too. (Text and bytes of the same ASCII letters are one key to
Python 2.)
"""
from __future__ import absolute_import, division, print_function

import collections
import datetime
import decimal
import json
import os
import sys

import dispy

from submitting import submit

RELEASE = tuple(int(part) for part in dispy.__version__.split('.'))
AS_TEXT = 'ok, with str as unicode'         # to a client on Python 2


class Point(object):
    """A class that travels both ways."""

    def __init__(self, x, label):
        self.x = x
        self.label = label

    def __eq__(self, other):
        return typed(self.__dict__) == typed(other.__dict__)

    def __hash__(self):
        return hash(self.x)


def echo(value, keyword=None):
    return value if keyword is None else keyword


def made(kind):
    """Make a value from literals in this source, as its author means them."""
    if kind == 'text':
        return 'abc'
    if kind == 'bytes':
        return b'abc\xff'
    if kind == 'list':
        return ['abc', b'abc', {'k': 'v'}]
    if kind == 'quotient':
        return 1 / 2
    if kind == 'instance':
        return Point(1, 'made')
    return type('abc')().join(['%s' % number for number in range(3)])


def typed(value, loose=False):
    """Return a value that differs if a type inside differs; `loose`: str and long of Python 2 are
    as text and int."""
    if isinstance(value, dict):
        return sorted([(typed(key, loose), typed(item, loose))
                       for key, item in value.items()], key=repr)
    if isinstance(value, (list, tuple)):
        return [type(value).__name__] + [typed(item, loose) for item in value]
    if isinstance(value, (set, frozenset)):
        return [type(value).__name__] + sorted([typed(item, loose) for item in value], key=repr)
    if loose and isinstance(value, Point):
        return ['Point', typed(vars(value), loose)]
    if loose and isinstance(value, (type(u''), bytes)):
        return value.decode('latin-1') if isinstance(value, bytes) else value
    return 'int' if loose and type(value).__name__ == 'long' else type(value).__name__, value


ARGUMENTS = [('none and truth', [None, True, False]),
             ('integers', [0, -1, 255, 70000, 1 << 31, 1 << 40, -(1 << 70)]),
             ('floats', [2.5, -1e300, float('inf')]), ('complex', [1 + 2j]),
             ('text', [u'abc', u'\xe9\u20ac', u'']), ('long text', u'x' * 70000),
             ('bytes', [b'abc', b'\x00\xff', b'', b'y' * 300]), ('bytearray', bytearray(b'ab\xff')),
             ('lists', [1, [2, [u'a', b'a']]]),
             ('tuples', ((), (1, ), (1, 2), (1, 2, 3), (1, 2, 3, 4))),
             ('dicts', {u'k': 1, b'b': 2, 3: {u'x': u'y'}}),
             ('sets', [set([1, u'a', b'b']), frozenset([1, 2])]), ('shared objects', [[1]] * 3),
             ('instances', Point(1, u'label')), ('instances in lists', [Point(2, b'raw')]),
             ('dates', datetime.datetime(2024, 2, 29, 12, 30)),
             ('decimals', decimal.Decimal('1.50')),
             ('ordered dicts', collections.OrderedDict([(u'b', 1), (u'a', 2)])),
             ('exceptions', ValueError(u'text'))]
WALRUS = 'def half(number):\n    if (result := number // 2) > 0:\n        return result\n    return 0\n'
# Python 3 does not know it
PRINT = 'def half(number):\n    print "half of", number\n    return number // 2\n'
BEYOND = [('class missing there', FileNotFoundError(2, 'x'))] if bytes is not str else []
if sys.version_info >= (3, 10):
    import statistics
    BEYOND.append(('class of a newer Python', statistics.LinearRegression(1, 2)))


def outcome(job, value):
    """Return 'ok' if the job returned `value`, else what its user sees."""
    if job is None or not job.finish.wait(30):
        return 'LOST'
    if job.status != dispy.DispyJob.Finished:
        lines = job.exception.strip().splitlines()
        return 'failed: %s' % ': '.join(lines[:1] * (not lines[0].startswith('Traceback')) *
                                        (len(lines) > 1) + lines[-1:])
    if isinstance(value, Exception):
        same = typed(value.args) == typed(job.result.args) and type(value) is type(job.result)
    else:
        same = typed(value) == typed(job.result)
    if not same and str is bytes and typed(value, loose=True) == typed(job.result, loose=True):
        return AS_TEXT
    return 'ok' if same else 'CHANGED: %.200r' % (job.result,)


def newer_syntax(cluster_options):
    """Return what becomes of a function whose source the node's Python may not know."""
    if (3,) < sys.version_info < (3, 8):
        return None
    with open('walrus.py', 'w') as target:
        target.write(PRINT if str is bytes else WALRUS)
    sys.path.insert(0, os.getcwd())
    import walrus
    cluster = dispy.JobCluster(walrus.half, **cluster_options)
    told = outcome(submit(cluster, 42), 21)
    cluster.close()
    return told


def main():
    options = {'nodes': ['127.0.0.1'], 'loglevel': dispy.logger.DEBUG}
    options['host' if RELEASE >= (4, 13) else 'ip_addr'] = '127.0.0.1'
    told = collections.OrderedDict()
    cluster = dispy.JobCluster(echo, depends=[Point, typed], **options)
    for kind, value in ARGUMENTS:
        told[kind] = outcome(submit(cluster, value), value)
    told['keyword'] = outcome(submit(cluster, 1, keyword=u'word'), u'word')
    for kind, value in BEYOND:
        told[kind] = outcome(submit(cluster, value), value)
    cluster.close()
    cluster = dispy.JobCluster(made, depends=[Point, typed], **options)
    # the source of a function brings no `from __future__` of its module
    for kind in ('text', 'bytes', 'list', 'instance',
                 'joined') + ('quotient', ) * (bytes is not str):
        told['made: ' + kind] = outcome(submit(cluster, kind), made(kind))
    cluster.close()
    told['syntax of its own'] = newer_syntax(options)
    print('RESULT ' + json.dumps({'release': dispy.__version__, 'told': list(told.items())}))
    sys.stdout.flush()
    os._exit(0)


if __name__ == '__main__':
    main()
