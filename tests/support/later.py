"""A node of a later release, which speaks to supervisors in a version that those of this one do not
know."""
from __future__ import absolute_import, division, print_function

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from dispynode_lib.cli import main
from dispynode_lib.wire import control

control.HAND_OVER += 1

if __name__ == '__main__':
    main.program()
