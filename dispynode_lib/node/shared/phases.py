"""A life cycle: phases, and a table of edges that is the only place that changes them."""
from __future__ import absolute_import, division, print_function

from dispynode_lib.log import Log

log = Log('dispynode.phases')

FAULT = 'a fault of dispynode'              # how the line in the log begins; tests look for it


class Life(object):
    """The life cycle of one kind of object, which keeps its phase in an attribute `phase`.

    It takes no lock: at any time one thread changes an object (who does is said beside the table).
    """

    def __init__(self, noun, edges, ignored=()):
        """Take the table.

        noun      what it is the life of, for the log
        edges     {(phase, event): the phase that follows}
        ignored   (phase, event) for events that mean nothing in that phase: they come late, or
                  again
        """
        self.noun, self.edges, self.ignored = noun, edges, frozenset(ignored)

    def change(self, thing, event):
        """Change the phase of `thing` by an event; return whether there is an edge for it.

        An event that has none and is not to be ignored is a fault: logged, and refused.
        """
        try:
            thing.phase = self.edges[thing.phase, event]
        except KeyError:
            if (thing.phase, event) not in self.ignored:
                on_fault(u'%s: %s, %s, cannot %s: that is refused' %
                         (FAULT, self.noun, thing.phase, event))
            return False
        return True


def every(phases, events):
    """Return all pairs (phase, event) of these, as a list."""
    return [(phase, event) for phase in phases for event in events]


def on_fault(sentence):
    """Log a fault; tests put something here that raises."""
    log.error('%s', sentence)
