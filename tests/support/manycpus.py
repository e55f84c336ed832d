"""A node that believes to have 20 CPUs, or DISPYNODE_TEST_CPUS: for tests whose jobs only wait."""
from __future__ import absolute_import, division, print_function

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from dispynode_lib.cli import main
from dispynode_lib.host import resources

if 'DISPYNODE_TEST_DESCRIPTORS' in os.environ:
    import resource
    resource.setrlimit(resource.RLIMIT_NOFILE, (int(os.environ['DISPYNODE_TEST_DESCRIPTORS']),) * 2)
CPUS = int(os.environ.get('DISPYNODE_TEST_CPUS', 20))
resources.host_cpus = lambda: CPUS
resources.usable_cpus = lambda *args, **kwargs: (CPUS, 'a test says so')

if __name__ == '__main__':
    main.program()
