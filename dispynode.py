#!/usr/bin/env python3
"""A node of dispy: runs the jobs that dispy clients send. `dispynode.py --help` lists the
options."""
from __future__ import absolute_import, division, print_function

import os
import sys

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, HERE)
import dispynode_lib        # noqa: E402,F401
del sys.path[0]
if os.path.realpath(sys.path[0] or '.') == HERE:
    del sys.path[0]         # a user's random.py in this folder is not the standard library's


if __name__ == '__main__':
    try:
        from dispynode_lib.__main__ import program
        program()
    except ImportError as error:
        if 'dispynode_lib' in str(error):
            raise
        sys.stderr.write(
            'dispynode: %s has no complete standard library: %s; install it, on Debian the package '
            'python3\n'
            % (sys.executable, error))
        sys.exit(78)
    except KeyboardInterrupt:               # while modules are imported
        sys.exit(130)
