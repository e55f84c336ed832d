"""How a node ends: by leaving all to the next one (--keep_jobs, --ctl restart), or by force."""
from __future__ import absolute_import, division, print_function

import time

from dispynode_lib.host.compat import signal
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
    delivery.wait_until_out(lambda _seconds: True, REPLIES)
    common.loop.stop()


def kill_rest(state):
    """End what did not end in time: interrupt user code in supervisors, then end them by force."""
    for number, patience in ((signal.SIGTERM, 1.0), (signal.SIGKILL, 0.5)):
        left = state.computations() + state.ending()
        for computation in left:
            log.warning('computation %d did not end in time; its processes get %s', computation.id,
                        'SIGTERM' if number == signal.SIGTERM else 'SIGKILL')
            computation.kill(number)
        state.wait_until_empty(patience)
