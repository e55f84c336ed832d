"""python -m dispynode_lib: the node."""
from __future__ import absolute_import, division, print_function

import sys

from dispynode_lib.cli.main import program

if __name__ == '__main__':
    try:
        program()
    except KeyboardInterrupt:               # while modules are imported
        sys.exit(130)
