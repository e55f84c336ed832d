"""What a computation may do besides plain jobs: setup, cleanup, files, cancelling, odd ends, a
program."""
from __future__ import absolute_import, division, print_function

import functools
import json
import os
import sys
import time

import dispy

from main_job import as_text, cluster_options
from submitting import submit

ENDED = (dispy.DispyJob.Finished, dispy.DispyJob.Terminated, dispy.DispyJob.Cancelled,
         dispy.DispyJob.Abandoned)


def helper(value):
    return value * 2


def setup(notes, seconds):
    import time
    global made
    time.sleep(seconds)
    made = helper(21)
    with open(notes, 'a') as stream:
        stream.write('setup;')
    return 0


def cleanup(notes, seconds):
    with open(notes, 'a') as stream:
        stream.write('cleanup;')


def job(what, *args):
    import os
    import signal
    import time
    if what == 'made':
        return made                                         # noqa: F821
    if what == 'read':
        with open(args[0]) as stream:
            return stream.read()
    if what == 'send':
        with open(args[0], 'w') as stream:
            stream.write('from a job')
        return dispy_provisional_result('half'), dispy_send_file(args[0])   # noqa: F821
    if what == 'fail late':
        dispy_provisional_result('half')                    # noqa: F821
        raise ValueError('no luck')
    if what == 'exit':
        os._exit(3)
    if what == 'kill':
        os.kill(os.getpid(), signal.SIGKILL)
    if what == 'sleep':
        time.sleep(1000)
    if what == 'wait':
        if not os.fork():
            os.setsid()
            os.fork()
            with open(args[0], 'a') as stream:
                stream.write('%d;' % os.getpid())
            time.sleep(1000)
        time.sleep(1000)


def wait_for(job):
    deadline = time.time() + 60
    while job.status not in ENDED and time.time() < deadline:
        time.sleep(0.02)
    job.finish.wait(5)          # the status comes before the exception
    return {'status': job.status, 'result': job.result if job.status == 11 else None,
            'exception': as_text(job.exception), 'stdout': as_text(job.stdout)}


def cancelled(cluster, family):
    """Cancel a running job that has a child and a grandchild; tell how it ended and which of them
    live on."""
    job = submit(cluster, 'wait', family)
    deadline = time.time() + 30
    while not (os.path.exists(family)
               and open(family).read().count(';') == 2) and time.time() < deadline:
        time.sleep(0.02)
    cluster.cancel(job)
    told = wait_for(job)
    deadline = time.time() + 20
    while alive(family) and time.time() < deadline:
        time.sleep(0.02)
    told['alive'] = alive(family)
    return told


def alive(family):
    """Return those of the processes noted in a file that live."""
    with open(family) as stream:
        return [pid for pid in stream.read().split(';')
                if pid and os.access('/proc/%s/exe' % pid, os.R_OK)]


def cancelled_in_a_row(cluster):
    """Cancel jobs one after the other, two of which run, as the client knows; return how many ran
    on."""
    ran_on = 0
    for _round in range(6):
        jobs = [submit(cluster, 'sleep') for _number in range(6)]
        deadline = time.time() + 20
        while (sum(one.status == dispy.DispyJob.Running for one in jobs) < 2
               and time.time() < deadline):
            time.sleep(0.02)
        for one in jobs:
            cluster.cancel(one)
        deadline = time.time() + 20
        for one in jobs:
            one.finish.wait(max(0, deadline - time.time()))
        left = [one for one in jobs if one.status not in ENDED]
        ran_on += len(left)
        for one in left:
            cluster.cancel(one)
            one.finish.wait(20)
    return ran_on


def main(seconds):
    notes, family = os.path.abspath('notes'), os.path.abspath('family')
    told = {'release': dispy.__version__}
    with open('for_all.txt', 'w') as stream:
        stream.write('for all')
    with open('for_one.txt', 'w') as stream:
        stream.write('for one')
    options = cluster_options()
    if tuple(int(part) for part in dispy.__version__.split('.')) >= (4, 11):
        node = dispy.NodeAllocate('127.0.0.1')
        node.setup_args = (notes, seconds)
        options.update(nodes=[node], setup=setup, cleanup=cleanup)
    else:
        options.update(setup=functools.partial(setup, notes, seconds), cleanup=functools.partial(
            cleanup, notes, seconds))
    cluster = dispy.JobCluster(job, depends=[helper, os.path.abspath('for_all.txt')], **options)
    told['made'] = wait_for(submit(cluster, 'made'))
    told['for_all'] = wait_for(submit(cluster, 'read', 'for_all.txt'))
    told['for_one'] = wait_for(
        submit(cluster, 'read', 'for_one.txt', dispy_job_depends=[os.path.abspath('for_one.txt')]))
    told['send'] = wait_for(submit(cluster, 'send', 'sent.txt'))
    told['sent'] = open('sent.txt').read() if os.path.exists('sent.txt') else None
    for what in ('fail late', 'exit', 'kill'):
        told[what] = wait_for(submit(cluster, what))
    told['cancelled'] = cancelled(cluster, family)
    told['ran on'] = cancelled_in_a_row(cluster)
    told['made again'] = wait_for(submit(cluster, 'made'))
    cluster.close()
    deadline = time.time() + 20
    while 'cleanup' not in open(notes).read() and time.time() < deadline:
        time.sleep(0.02)
    told['notes'] = open(notes).read()
    print('\nRESULT ' + json.dumps(told))
    sys.stdout.flush()


if __name__ == '__main__':
    main(float(sys.argv[1]))
