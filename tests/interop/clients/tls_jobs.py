"""A real dispy client whose cluster uses TLS; run by the Python of an environment with dispy.

    tls_jobs.py NUMBER_OF_JOBS CERTIFICATE_AND_KEY
"""
from __future__ import absolute_import, division, print_function

import json
import os
import sys
import time

import dispy

import main_job
from submitting import submit

ENDED = (dispy.DispyJob.Finished, dispy.DispyJob.Terminated, dispy.DispyJob.Cancelled,
         dispy.DispyJob.Abandoned)


def sender(number):
    with open('made-%d' % number, 'wb') as stream:
        stream.write(b'x' * number)
    return dispy_provisional_result(number), dispy_send_file('made-%d' % number)    # noqa: F821


def main():
    number, certificate = int(sys.argv[1]), sys.argv[2]
    options = main_job.cluster_options()
    cluster = dispy.JobCluster(sender, certfile=certificate, keyfile=certificate, **options)
    told = {'right': 0, 'others': []}
    for size in [10, 2500000] + [5] * number:
        job = submit(cluster, size)
        deadline = time.time() + 30         # a provisional result sets job.finish, too
        while job is not None and job.status not in ENDED and time.time() < deadline:
            time.sleep(0.005)
        result = job.result if job is not None and job.status in ENDED else None
        if result is not None and list(result) == [0, 0] and os.path.getsize(
                'made-%d' % size) == size:
            told['right'] += 1
        else:
            told['others'].append([main_job.outcome(job), repr(result)])
    cluster.close()
    print('RESULT ' + json.dumps(told))
    sys.stdout.flush()
    os._exit(0)


if __name__ == '__main__':
    main()
