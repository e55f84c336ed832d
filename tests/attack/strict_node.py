"""The node's program, in a world where 127.0.0.9 belongs to another host; run by a test."""
from __future__ import absolute_import, division, print_function

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from dispynode_lib.__main__ import program                      # noqa: E402

if __name__ == '__main__':
    from dispynode_lib.node.shared import identity
    real = identity.own_interface
    identity.own_interface = lambda address: address != '127.0.0.9' and real(address)
    from dispynode_lib.host.network import net
    loopback = net.is_loopback
    net.is_loopback = lambda address: address != '127.0.0.9' and loopback(address)
    program()
