"""Many jobs, a few of them submitted at a time, so that the client's memory does not grow with
their number.

    python bounded.py [NODE [OWN_ADDRESS]]
"""
import collections
import sys

import dispy

JOBS, AT_ONCE = 200, 20


def square(number):
    return number * number


def main(node='127.0.0.1', own='127.0.0.1'):
    cluster = dispy.JobCluster(square, nodes=[node], host=own)
    waiting, total = collections.deque(), 0
    for number in range(JOBS):
        if len(waiting) == AT_ONCE:
            total += waiting.popleft()()        # calling a job waits for its result
        waiting.append(cluster.submit(number))
    total += sum(job() for job in waiting)
    cluster.close()
    print('sum of %d squares: %d' % (JOBS, total))


if __name__ == '__main__':
    main(*sys.argv[1:])
