"""Jobs that finish, fail, are cancelled and exceed limits, and programs: what the client sees of
each.

Prints one line: RESULT and a JSON object {name: [status, start, end, result]};
`again`: how many were submitted twice.
"""
from __future__ import absolute_import, division, print_function

import json
import os
import sys
import time

import dispy

from main_job import cluster_options
from submitting import again, submit

PROGRAM = '#!/bin/sh\nexit $1\n'


def work(what, *args):
    import os
    import time
    if what == 'burn':
        while sum(os.times()[:2]) < args[0]:
            pass
    if what == 'fail':
        raise ValueError('no luck')
    if what == 'memory':
        kept = []
        while True:
            kept.append(b'x' * (4 << 20))
            time.sleep(0.01)
    if what in ('time', 'cancel'):
        with open(args[0], 'w') as stream:
            stream.write('begun')
        time.sleep(60)
    return what


def seen(job, timeout=60):
    """Return what a client sees of a job that has ended."""
    if not job.finish.wait(timeout):
        raise SystemExit('no reply within %s s' % timeout)
    return [job.status, job.start_time, job.end_time, job.result]


def main():
    told, mark = {'release': dispy.__version__,
                  'finished': dispy.DispyJob.Finished}, os.path.abspath('mark')
    cluster = dispy.JobCluster(work, **cluster_options())
    for name, args in (('burn', ('burn', 0.2)), ('plain', ('plain', )), ('fail', ('fail', )),
                       ('memory', ('memory', )), ('time', ('time', mark + '1'))):
        told[name] = seen(submit(cluster, *args))
    job = submit(cluster, 'cancel', mark)
    deadline = time.time() + 30
    while not os.path.exists(mark) and time.time() < deadline:
        time.sleep(0.02)
    cluster.cancel(job)
    told['cancel'] = seen(job)
    cluster.close()
    with open('program.sh', 'w') as stream:
        stream.write(PROGRAM)
    os.chmod('program.sh', 0o755)
    cluster = dispy.JobCluster(os.path.abspath('program.sh'), **cluster_options())
    for name, status in (('good', '0'), ('bad', '3')):
        told[name] = seen(submit(cluster, status))
    cluster.close()
    told['again'] = len(again)
    print('\nRESULT ' + json.dumps(told))
    sys.stdout.flush()


if __name__ == '__main__':
    main()
