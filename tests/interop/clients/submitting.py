"""How clients here submit a job."""
from __future__ import absolute_import, division, print_function

import time

TRIES = 50
again = []                                  # arguments of the jobs that were submitted once more


def submit(cluster, *args, **kwargs):
    """Submit a job; again if it was None.

    JobCluster.submit() gives None for a job that ends before it returns, and for one that lies in
    memory where dispy knows another, which it has not forgotten yet. The former has run.
    """
    for _try in range(TRIES):
        job = cluster.submit(*args, **kwargs)
        if job is not None:
            return job
        again.append(args)
        time.sleep(0.1)
    return None
