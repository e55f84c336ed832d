"""Common objects that nearly every part of the node needs."""
from __future__ import absolute_import, division, print_function

import collections

# options    as the command line and the config file give them; some change when that file is read
# again
# state      node.shared.state.NodeState
# loop       host.io.loop.Loop
# workers    host.io.workers.Workers, for what may wait
# identity   node.shared.identity.Identity
Common = collections.namedtuple('Common', 'options state loop workers identity')
