"""How a node ends: by leaving all to the next one (--keep_jobs, --ctl restart), or by force."""
from __future__ import absolute_import, division, print_function

import signal
import time

from dispynode_lib.host.compat import monotonic
from dispynode_lib.log import Log

log = Log('dispynode.node')

REQUESTS, REPLIES = 0.2, 2.0  # seconds for what is under way: else its client would see it cut off


def leave(common, listeners, delivery, nursery):
    """Accept nothing more, let end what is under way, stop the loop. May wait."""
    log.info('running jobs are left to the next node')
    nursery.share()
    for listener in listeners:
        listener.pause()
    time.sleep(REQUESTS)
    deadline = monotonic() + REPLIES
    while delivery.pending() and monotonic() < deadline:
        time.sleep(0.02)
    common.loop.stop()


def wait_until_empty(state, limit):
    """Wait until no computation is open, `limit` seconds at most, or None."""
    deadline = None if limit is None else monotonic() + limit
    while not state.wait_until_empty(None if deadline is None else deadline - monotonic()):
        if deadline is not None and monotonic() >= deadline:
            log.warning('draining has taken %g s: open computations are stopped', limit)
            break


def wait_until_no_jobs(state, delivery, limit):
    """Wait until no job runs and all replies are out, `limit` seconds at most, or None."""
    deadline = None if limit is None else monotonic() + limit
    while deadline is None or monotonic() < deadline:
        left = None if deadline is None else deadline - monotonic()
        if state.wait_until_no_jobs(left) and not delivery.pending():
            break
        time.sleep(0.02)
    else:
        log.warning('draining has taken %g s: running jobs are stopped', limit)


def kill_rest(state):
    """End what did not end in time: interrupt user code in supervisors, then end them by force."""
    for number, patience in ((signal.SIGTERM, 1.0), (signal.SIGKILL, 0.5)):
        left = state.computations() + state.ending()
        for computation in left:
            log.warning('computation %d did not end in time; its processes get %s', computation.id,
                        'SIGTERM' if number == signal.SIGTERM else 'SIGKILL')
            computation.kill(number)
        deadline = monotonic() + patience
        while left and monotonic() < deadline and not state.wait_until_empty(
                deadline - monotonic()):
            continue
