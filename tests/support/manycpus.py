"""A node that believes to have 20 processors: for tests whose jobs only wait."""
from __future__ import absolute_import, division, print_function

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from dispynode_lib import cli
from dispynode_lib.host import resources

resources.host_cpus = lambda: 20
resources.usable_cpus = lambda *args, **kwargs: (20, 'a test says so')

if __name__ == '__main__':
    cli.program()
