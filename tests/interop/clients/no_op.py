"""Many jobs that do nothing, by a real dispy client; run like main_job.py.

    no_op.py NUMBER_OF_JOBS
"""
from __future__ import absolute_import, division, print_function

import json
import os
import sys
import time

import dispy


def no_op(number):
    return number


def progress_until_done(jobs, patience):
    """Wait for all jobs; return how many are not done after `patience` seconds without progress."""
    seen, since = -1, time.time()
    while True:
        done = sum(1 for job in jobs if job.finish.is_set())
        if done == len(jobs):
            return 0
        if done != seen:
            seen, since = done, time.time()
        elif time.time() - since > patience:
            return len(jobs) - done
        time.sleep(0.05)


def main():
    count = int(sys.argv[1])
    release = tuple(int(part) for part in dispy.__version__.split('.'))
    options = {'host' if release >= (4, 13) else 'ip_addr': '127.0.0.1'}
    cluster = dispy.JobCluster(no_op, nodes=['127.0.0.1'], loglevel=dispy.logger.WARNING, **options)
    started = time.time()
    numbered = [(number, cluster.submit(number)) for number in range(count)]
    jobs = [job for _number, job in numbered if job is not None]
    lost = progress_until_done(jobs, 20)
    right = sum(1 for number, job in numbered if job is not None and job.finish.is_set()
                and job.status == dispy.DispyJob.Finished and job.result == number)
    print('RESULT ' + json.dumps({
        'right': right, 'lost': lost, 'none': count - len(jobs),
        'wrong': len(jobs) - lost - right, 'seconds': time.time() - started}))
    sys.stdout.flush()
    if lost:
        os._exit(1)
    cluster.close()


if __name__ == '__main__':
    main()
