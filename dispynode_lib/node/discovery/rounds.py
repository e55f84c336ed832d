"""The whole list of releases, broadcast over some seconds: which bunch is due, and when."""
from __future__ import absolute_import, division, print_function

DELAY = 0.5                                 # seconds: a client of a likely release takes the node meanwhile, which ends it
BUNCH = 2                                   # releases
# seconds between two bunches, of each round: a datagram may be lost. When a thousand nodes start together, a client
# cannot take all of the first round, but those of the second one
GAPS = 0.2, 0.8


class Rounds(object):
    """What is left of one round, and how many there have been; the owner holds its lock."""

    def __init__(self, fraction):
        """`fraction`: function -> random number from 0 to 1."""
        self._fraction = fraction
        self._left, self._due, self._done = [], None, 0

    def forget(self):
        """Begin anew: nobody has been told of this node."""
        self._left, self._due, self._done = [], None, 0

    def begin(self, now, pairs, again=False):
        """Go on with what is left, or start a round with `pairs`, [(port, release)], likeliest first.

        again   even if there have been enough rounds
        """
        if not self._left and (again or self._done < len(GAPS)):
            self._left = list(pairs)
        self._due = now + DELAY * (0.5 + self._fraction())

    def due(self):
        """Return when the next bunch is due, None if nothing is left."""
        return self._due if self._left else None

    def take(self, now):
        """Return the bunch that is due."""
        bunch, self._left = self._left[:BUNCH], self._left[BUNCH:]
        self._due = now + GAPS[min(self._done, len(GAPS) - 1)] * (0.5 + self._fraction())
        if not self._left:
            self._done += 1
        return bunch
