"""Run six jobs, with a setup function and a file, and tell how they ended and what the user's
callback was told of them.

    cut_off.py FILE
"""
from __future__ import absolute_import, division, print_function

import json
import os
import sys
import time

import dispy

from main_job import cluster_options

JOBS = 6
told = {}                                   # number of a job -> statuses that the callback saw


def setup(*args):
    with open('set up', 'a') as notes:
        notes.write('once\n')
    return 0


def square(number, path):
    import time
    with open('set up') as notes:
        times = notes.read().count('once')
    with open(path, 'a') as notes:
        notes.write('%d\n' % number)
    time.sleep(0.1)
    return number * number, times


def on_change(job):
    told.setdefault(job.id, []).append(job.status)


def main(path):
    cluster = dispy.JobCluster(square, setup=setup, depends=[os.path.abspath(__file__)],
                               callback=on_change, **cluster_options())
    jobs = []
    for number in range(JOBS):
        jobs.append(cluster.submit(number, path))
        jobs[-1].id = number
    deadline, ends = time.time() + 60, []
    for number, job in enumerate(jobs):
        job.finish.wait(max(0, deadline - time.time()))
        right = job.status == dispy.DispyJob.Finished and tuple(job.result) == (number * number, 1)
        ends.append('finished' if right and not job.exception else [
            job.status, repr(job.result), job.exception])
    time.sleep(1)                           # a second reply would come soon
    with open(path) as notes:
        runs = sorted(int(line) for line in notes)
    print('RESULT ' + json.dumps({'ends': ends, 'runs': runs, 'told': sorted(told.items())}))
    sys.stdout.flush()
    os._exit(0)                         # close() would wait for jobs without an end


if __name__ == '__main__':
    main(sys.argv[1])
