"""A client that goes away while its jobs run, and another one that gets the results.

    python recovery.py submit [NODE [OWN_ADDRESS]]
    python recovery.py recover

For dispy 4.12.4: recover_jobs() of 4.15.2 ends with KeyError: 'ip_addrs', whatever the node.
"""
import os
import sys
import time

import dispy

FILE = 'jobs.recover'                           # keep it: without it nobody gets the results


def slow_square(number):
    import time
    time.sleep(2)
    return number * number


def submit(node='127.0.0.1', own='127.0.0.1'):
    cluster = dispy.JobCluster(slow_square, nodes=[node], ip_addr=own, recover_file=FILE)
    job = cluster.submit(7)
    while job.status != dispy.DispyJob.Running:
        time.sleep(0.05)
    print('a job runs; this client ends without waiting for it')
    sys.stdout.flush()
    os._exit(0)                                 # as if it were killed


def recover():
    for job in dispy.recover_jobs(FILE):
        print('recovered: %s' % job.result)


if __name__ == '__main__':
    {'submit': submit, 'recover': recover}[sys.argv[1]](*sys.argv[2:])
