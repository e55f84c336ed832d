"""A real dispy client doing its main job; run by the Python of an environment with dispy.

    main_job.py NUMBER_OF_JOBS

Prints one line: RESULT and a JSON object with what came back. It judges nothing itself, except
that values that JSON cannot hold are compared here. Callbacks are avoided: those of 4.15.2 fail
on Python 3.11.
"""
from __future__ import absolute_import, division, print_function

import json
import os
import sys
import time

import dispy

from submitting import submit

HERE = os.path.dirname(os.path.abspath(__file__))
RELEASE = tuple(int(part) for part in dispy.__version__.split('.'))


class Point(object):
    """A class that travels both ways."""

    def __init__(self, x, y):
        self.x = x
        self.y = y

    def moved(self, dx, dy):
        return Point(self.x + dx, self.y + dy)


def double(number):
    return 2 * number


def everything(what, *args, **kwargs):
    if what == 'echo':
        return args, kwargs
    if what == 'depends':
        import addition
        return double(addition.plus(*args))
    if what == 'object':
        return args[0].moved(kwargs['dx'], kwargs.get('dy', 0))
    if what == 'output':
        import sys
        print('to stdout: %s' % args[0])
        sys.stderr.write('to stderr: %s\n' % args[0])
        return len(args)
    if what == 'place':
        import os
        return os.getpid(), os.getcwd(), sorted(os.listdir('.')), __name__
    if what == 'fail':
        print('before the failure')
        return fail_deep_inside(*args)
    return args[0] * args[0]


def fail_deep_inside(text):
    raise ValueError('no luck with %s' % text)


def cluster_options():
    """Return what every cluster here is given."""
    options = {'nodes': ['127.0.0.1'], 'loglevel': dispy.logger.DEBUG}
    options['host' if RELEASE >= (4, 13) else 'ip_addr'] = '127.0.0.1'
    return options


def outcome(job, timeout=30):
    """Return what is known of a job after its end."""
    if job is None:
        return {'lost': 'submit() returned None'}
    if not job.finish.wait(timeout):
        return {'lost': 'no reply within %s s' % timeout}
    return {'status': job.status, 'stdout': as_text(job.stdout), 'stderr': as_text(job.stderr),
            'exception': as_text(job.exception)}


def as_text(value):
    return value.decode('utf-8') if isinstance(value, bytes) and bytes is not str else value


def submit_one(cluster, *args, **kwargs):
    """Run one job; return (what is known of it, its result)."""
    job = submit(cluster, *args, **kwargs)
    told = outcome(job)
    return told, None if job is None else job.result


def try_everything(cluster):
    """Return {name: what is known}, one job each."""
    found = {}
    values = [0, -1, 70000, 1 << 40, 1 << 80, 2.5, True, None, 'text', u'\xe9\u20ac', b'bytes',
              [1, [2]], (1, 'a'), {'k': [1, 2]}, set([1, 2]), 'x' * 100000]
    found['echo'], result = submit_one(cluster, 'echo', *values, a=1, b=[2])
    found['echo']['same'] = result == (tuple(values), {'a': 1, 'b': [2]})
    found['depends'], found['depends']['result'] = submit_one(cluster, 'depends', 20, 1)
    found['object'], result = submit_one(cluster, 'object', Point(1, 2), dx=10)
    found['object']['same'] = (isinstance(result, Point) and (result.x, result.y) == (11, 2))
    found['output'], found['output']['result'] = submit_one(cluster, 'output', 'one', 'two')
    found['place'], found['place']['result'] = submit_one(cluster, 'place')
    found['fail'], found['fail']['result'] = submit_one(cluster, 'fail', 'that')
    return found


def many(cluster, count):
    """Run `count` jobs; return how many came back right, wrong, not at all."""
    started = time.time()
    jobs = [(number, submit(cluster, 'square', number)) for number in range(count)]
    told = {'right': 0, 'wrong': 0, 'lost': 0, 'none': 0, 'examples': []}
    deadline = time.time() + 60
    for number, job in jobs:
        if job is None:
            told['none'] += 1
            continue
        if not job.finish.wait(max(0, deadline - time.time())):
            told['lost'] += 1
            continue
        right = job.status == dispy.DispyJob.Finished and job.result == number * number
        told['right' if right else 'wrong'] += 1
        if not right and len(told['examples']) < 3:
            told['examples'].append([number, job.status, repr(job.result), job.exception])
    told['seconds'] = time.time() - started
    return told


def main():
    count = int(sys.argv[1])
    cluster = dispy.JobCluster(
        everything, depends=[double, Point, fail_deep_inside, os.path.join(HERE, 'addition.py')],
        **cluster_options())
    told = {'release': dispy.__version__, 'python': list(sys.version_info[:2])}
    told['single'] = try_everything(cluster)
    told['many'] = many(cluster, count)
    print('RESULT ' + json.dumps(told))
    sys.stdout.flush()
    if told['many']['lost']:
        os._exit(1)                     # close() would wait for the lost ones for ever
    cluster.close()


if __name__ == '__main__':
    main()
