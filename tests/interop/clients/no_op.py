"""Many jobs that do nothing, by a real dispy client; run like main_job.py.

    no_op.py NUMBER_OF_JOBS [IN_FLIGHT]

IN_FLIGHT: so many threads each submit a job and wait for it (default 0: all are submitted at once).
"""
from __future__ import absolute_import, division, print_function

import json
import os
import sys
import threading
import time

import dispy

from submitting import again, submit


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


def submit_in_turn(cluster, count, in_flight, seconds):
    """Have `in_flight` threads submit a job each and wait for it; return [(number, job)].

    seconds   list that gets what each job took, from before submit() until it is done
    """
    numbers, numbered, lock = iter(range(count)), [], threading.Lock()

    def work():
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            begun = time.time()
            job = submit(cluster, number)
            numbered.append((number, job))
            if job is not None and not job.finish.wait(20):
                return
            if job is not None:
                seconds.append(time.time() - begun)

    threads = [threading.Thread(target=work) for _number in range(in_flight)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return numbered


def main():
    count = int(sys.argv[1])
    in_flight = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    seconds = []
    release = tuple(int(part) for part in dispy.__version__.split('.'))
    options = {'host' if release >= (4, 13) else 'ip_addr': '127.0.0.1'}
    cluster = dispy.JobCluster(no_op, nodes=['127.0.0.1'], loglevel=dispy.logger.WARNING, **options)
    started = time.time()
    if in_flight:
        numbered = submit_in_turn(cluster, count, in_flight, seconds)
    else:
        numbered = [(number, submit(cluster, number)) for number in range(count)]
    jobs = [job for _number, job in numbered if job is not None]
    lost = progress_until_done(jobs, 20)
    right = sum(1 for number, job in numbered if job is not None and job.finish.is_set()
                and job.status == dispy.DispyJob.Finished and job.result == number)
    seconds.sort()
    print('RESULT ' + json.dumps({
        'p50': seconds[len(seconds) // 2] if seconds else None, 'right': right, 'lost': lost,
        'none': len(again), 'unsent': count - len(numbered), 'wrong': len(jobs) -
        lost - right, 'seconds': time.time() - started
    }))
    sys.stdout.flush()
    if lost:
        os._exit(1)
    cluster.close()


if __name__ == '__main__':
    main()
