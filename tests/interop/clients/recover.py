"""Submit jobs and wait to be killed (submit), or get the results of such jobs (recover)."""
from __future__ import absolute_import, division, print_function

import json
import sys
import time

import dispy

from main_job import cluster_options


def wait_for(path, number):
    import os
    import time
    while not os.path.exists(path):
        time.sleep(0.05)
    return number * number


def submit(recover_file, count, paths):
    cluster = dispy.JobCluster(wait_for, recover_file=recover_file, **cluster_options())
    jobs = [cluster.submit(paths[number % len(paths)], number) for number in range(count)]
    while sum(job.status == dispy.DispyJob.Running for job in jobs) < count:
        time.sleep(0.05)
    print('RUNNING')
    sys.stdout.flush()
    time.sleep(1000)


def recover(recover_file):
    jobs = dispy.recover_jobs(recover_file, timeout=60)
    print('RESULT ' + json.dumps({'results': sorted(job.result for job in jobs if job.status == 11),
                                  'jobs': len(jobs)}))


if __name__ == '__main__':
    if sys.argv[1] == 'submit':
        submit(sys.argv[2], int(sys.argv[3]), sys.argv[4:])
    else:
        recover(sys.argv[2])
