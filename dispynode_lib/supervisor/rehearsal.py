"""Rehearsal: a computation and a job of no use, done once in the nursery before it forks.

What Python does when code runs for the first time (modules it imports, types it completes, byte
code it adapts to what it meets) is there for all supervisors and jobs then; each of them would do
it again, and pay for the pages that it changes. Without it a computation takes 1.3 times as long to
open, a job has 5 % more page faults (3.13).
"""
from __future__ import absolute_import, division, print_function

import os
import sys

from dispynode_lib.supervisor.job import job
from dispynode_lib.supervisor.job.computation import Computation
from dispynode_lib.supervisor.processes.descriptors import (
    close_quietly, move_out_of_reach, read_some, socket_pair)
from dispynode_lib.wire import control

CODE = b'def rehearsal(number):\n    return number\n'
ARGUMENT, NO_KEYWORDS = b'\x80\x02K\x01\x85.', b'\x80\x02}.'     # pickles of (1,) and {}
SETTINGS = {
    'id': b'0', 'type': b'1', 'name': b'rehearsal', 'code': CODE, 'folder': b'.', 'python2': b'0',
    'protocol': b'3', 'setup_accepts': b'0', 'limits': b''
}


def rehearse():
    """Do a computation and a job in this process, and undo what they changed."""
    main, path, argv, environment = sys.modules['__main__'], sys.path[:], sys.argv[:], dict(
        os.environ)
    finders = sys.meta_path[:]
    near, far = socket_pair()
    far = move_out_of_reach(far)
    try:
        computation = Computation(dict(dict.fromkeys(control.OPEN_KEYS, b''), **SETTINGS), None)
        computation.open()
        computation.run_setup(b'none', None)
        job.rehearse(far, computation, ARGUMENT, NO_KEYWORDS)
        read_some(near, 4096)
    finally:
        sys.modules['__main__'] = main
        sys.path[:], sys.argv[:], sys.meta_path[:] = path, argv, finders
        for name in set(os.environ) - set(environment):
            del os.environ[name]
        os.environ.update(environment)
        close_quietly(near)
        close_quietly(far)
