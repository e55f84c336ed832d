"""A real dispy client; run by the Python of an environment with dispy.

    jobs.py SETTINGS

SETTINGS is a JSON object: `nodes`, `jobs` (number), `seconds` (each job sleeps), `shared` (address
of a dispyscheduler), `hold` (keep the cluster for so many seconds after the last job); all else
goes to JobCluster. Prints RESULT lines: {"event": "first" | "done" | "closed", "time": ..., ...}.
"""
from __future__ import absolute_import, division, print_function

import json
import os
import sys
import time

import dispy

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'interop',
                             'clients'))
from submitting import submit               # noqa: E402

LIMIT = 150         # seconds for all jobs
RELEASE = tuple(int(part) for part in dispy.__version__.split('.'))


def job(number, seconds):
    import time
    time.sleep(seconds)
    return number


def tell(event, **more):
    sys.stdout.write(
        'RESULT %s\n' %
        json.dumps(dict(more, event=event, time=time.time(), release=dispy.__version__)))
    sys.stdout.flush()


def follow(jobs):
    """Wait until all jobs have ended; tell of the first."""
    waiting, told = list(jobs), False
    deadline = time.time() + LIMIT
    while waiting and time.time() < deadline:
        ended = [one for one in waiting if one.status not in (
            dispy.DispyJob.Created, dispy.DispyJob.Running, dispy.DispyJob.ProvisionalResult)]
        waiting = [one for one in waiting if one not in ended]
        if ended and not told:
            told = True
            tell('first', ip_addr=ended[0].ip_addr, status=ended[0].status)
        time.sleep(0.02)


def native(value):
    """Return texts as the `str` that dispy expects."""
    return str(value) if hasattr(value, 'encode') else value


def main(settings):
    nodes, count = settings.pop('nodes'), settings.pop('jobs', 1)
    seconds, hold, shared = settings.pop('seconds', 0), settings.pop('hold', 0), settings.pop(
        'shared', None)
    settings = dict((str(key), native(value)) for key, value in settings.items())
    nodes, shared = [str(node) for node in nodes], shared and str(shared)
    if shared:
        settings['scheduler_host' if RELEASE >= (4, 13) else 'scheduler_node'] = shared
        cluster = dispy.SharedJobCluster(job, nodes=nodes, **settings)
    else:
        cluster = dispy.JobCluster(job, nodes=nodes, **settings)
    tell('started')
    jobs = [submit(cluster, number, seconds) for number in range(count)]
    follow(jobs)
    states = [one.status for one in jobs]
    tell('done', right=sum(one.status == dispy.DispyJob.Finished and one.result == number
                           for number, one in enumerate(jobs)),
         states=states, nodes=sorted(set(one.ip_addr for one in jobs if one.ip_addr)))
    time.sleep(hold)
    cluster.close()
    tell('closed')
    os._exit(0)


if __name__ == '__main__':
    main(json.loads(sys.argv[1]))
