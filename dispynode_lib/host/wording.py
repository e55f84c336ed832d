"""Numbers in sentences."""
from __future__ import absolute_import, division, print_function


def counted(number, noun):
    """Return '1 client', '2 clients', '0 processes' (text)."""
    ending = u'' if number == 1 else u'es' if noun.endswith((u's', u'ch')) else u's'
    return u'%d %s%s' % (number, noun, ending)
