"""The program, however it is started: dispynode.py, the script dispynode, python -m
dispynode_lib."""
from __future__ import absolute_import, division, print_function

import sys

from dispynode_lib.code import bytecode


def program():
    """Be the program; ends this process with the exit status."""
    bytecode.install()
    from dispynode_lib.cli import main
    main.program()


if __name__ == '__main__':
    try:
        program()
    except KeyboardInterrupt:               # while modules are imported
        sys.exit(130)
