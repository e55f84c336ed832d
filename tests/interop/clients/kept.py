"""Jobs that go on while their node is restarted; run like main_job.py.

    kept.py NUMBER_OF_JOBS LONGEST_SECONDS RUNS STARTED

RUNS: file on the node's host in which each job notes its number; STARTED: file made here once jobs
have ended and others run. Jobs use the folder for temporary files before and after they wait.
"""
from __future__ import absolute_import, division, print_function

import json
import os
import sys
import time

import dispy

from main_job import cluster_options
from no_op import progress_until_done


def kept(number, seconds, path):
    import os
    import tempfile
    import time
    with open(path, 'a') as runs:
        runs.write('%d\n' % number)
    with tempfile.NamedTemporaryFile() as before:
        time.sleep(seconds)
        with tempfile.NamedTemporaryFile() as after:
            here = os.path.exists(before.name) and os.path.exists(after.name)
    return number if here else 'no folder for temporary files'


def main(count, longest, runs, started):
    cluster = dispy.JobCluster(kept, **cluster_options())
    jobs = [cluster.submit(number, 0.1 + (longest - 0.1) * (number % 10) / 9, runs)
            for number in range(count)]
    while not any(job.finish.is_set() for job in jobs):
        time.sleep(0.01)
    open(started, 'w').close()
    lost = progress_until_done(jobs, 30)
    right = sum(1 for number, job in enumerate(jobs)
                if job.status == dispy.DispyJob.Finished and job.result == number)
    others = ['%s %s' % (job.status, job.exception or job.result) for job in jobs
              if job.status != dispy.DispyJob.Finished or not isinstance(job.result, int)]
    print('RESULT ' + json.dumps({'right': right, 'lost': lost, 'others': others[:5]}))
    sys.stdout.flush()
    if lost:
        os._exit(0)                     # close() would wait for them
    cluster.close()


if __name__ == '__main__':
    main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3], sys.argv[4])
