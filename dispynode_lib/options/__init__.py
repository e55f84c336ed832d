"""Options: their table, the command line, config files."""
from __future__ import absolute_import, division, print_function

import sys


class Plain(object):
    """Options as a running node has them: the attributes only, see parser.Options."""


def plain(chosen):
    """Return `chosen`, Options, as Plain, and forget all that has read them: 1 % of a node's memory.

    SIGHUP imports that anew.
    """
    chosen.__class__ = Plain                # that of parser has functions, and they the module
    for name in ('parser', 'table', 'configfile'):
        module = sys.modules.pop('%s.%s' % (__name__, name), None)
        if module is not None:
            delattr(sys.modules[__name__], name)
            vars(module).clear()            # its functions and this dict keep each other
    return chosen
