"""A module that the client of the tests sends to the node with its computation."""
from __future__ import absolute_import, division, print_function


def plus(left, right):
    """Return the sum of two values."""
    return left + right
