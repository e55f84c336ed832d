"""Run ten jobs one after another, make a file when two are done and one runs, and tell how all of
them ended.

    restart.py REENTRANT(0 or 1) SECONDS FILE
"""
from __future__ import absolute_import, division, print_function

import json
import os
import sys
import time

import dispy

from main_job import cluster_options

JOBS = 10


def square(number, seconds):
    import time
    time.sleep(seconds)
    return number * number


def main(reentrant, seconds, path):
    cluster = dispy.JobCluster(square, reentrant=reentrant, **cluster_options())
    jobs = [cluster.submit(number, seconds) for number in range(JOBS)]
    while [job.status
           for job in jobs[:3]] != [dispy.DispyJob.Finished] * 2 + [dispy.DispyJob.Running]:
        time.sleep(0.01)
    open(path, 'w').close()
    deadline, ends = time.time() + 60, []
    for number, job in enumerate(jobs):
        ended = job.finish.wait(max(0, deadline - time.time()))
        right = job.status == dispy.DispyJob.Finished and job.result == number * number
        ends.append('finished' if right else 'status %s' % job.status if ended else 'no end')
    print('RESULT ' + json.dumps({'ends': ends}))
    sys.stdout.flush()
    os._exit(0)                         # close() would wait for jobs without an end


if __name__ == '__main__':
    main(sys.argv[1] == '1', float(sys.argv[2]), sys.argv[3])
