"""Results on the way: a job tells how far it is before it ends.

    python provisional.py [NODE [OWN_ADDRESS]]
"""
import sys

import dispy

told = []


def search(limit):
    best = 0
    for number in range(1, limit + 1):
        best = max(best, number * (limit - number))
        if number % 25 == 0:
            dispy_provisional_result(best)      # noqa: F821
    return best


def on_change(job):                             # runs in a thread of dispy's
    if job.status == dispy.DispyJob.ProvisionalResult:
        told.append(job.result)


def main(node='127.0.0.1', own='127.0.0.1'):
    cluster = dispy.JobCluster(search, nodes=[node], host=own, callback=on_change)
    job = cluster.submit(100)
    cluster.wait()
    result = job.result
    cluster.close()
    print('on the way: %s; in the end: %s' % (sorted(told), result))


if __name__ == '__main__':
    main(*sys.argv[1:])
