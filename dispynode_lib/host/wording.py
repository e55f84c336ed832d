"""Numbers in sentences."""
from __future__ import absolute_import, division, print_function


def counted(number, noun):
    """Return '1 client', '2 clients', '0 processes', '3 replies' (text)."""
    if number == 1:
        return u'1 %s' % noun
    if noun.endswith(u'y'):
        return u'%d %sies' % (number, noun[:-1])
    return u'%d %s%s' % (number, noun, u'es' if noun.endswith(u's') else u's')
