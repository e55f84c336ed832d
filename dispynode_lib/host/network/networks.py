"""Networks, and whether an address belongs to one."""
from __future__ import absolute_import, division, print_function

import socket

from dispynode_lib.host.compat import to_text


class Network(object):
    """A network, or one address, made from text such as 10.0.0.0/8, ::1 or 192.0.2.7."""

    def __init__(self, text):
        """Raise ValueError if `text` is none."""
        address, slash, bits = to_text(text).partition(u'/')
        try:
            self._packed, self._size = _pack(address)
        except EnvironmentError:
            raise ValueError('give an address, or a network such as 10.0.0.0/8')
        if slash and not (bits.isdigit() and int(bits) <= self._size):
            raise ValueError('give an address, or a network such as 10.0.0.0/8')
        self._shift = self._size - int(bits) if slash else 0

    def holds(self, address):
        """Return whether `address` (text) belongs to it."""
        packed, size = _pack(address)
        return size == self._size and packed >> self._shift == self._packed >> self._shift


def _pack(address):
    """Return (address as an int, its bits); IPv4 in IPv6 form counts as IPv4."""
    address = str(address.partition(u'%')[0])
    if address.lower().startswith('::ffff:') and '.' in address:
        address = address[7:]
    family = socket.AF_INET6 if ':' in address else socket.AF_INET
    number = 0
    for byte in bytearray(socket.inet_pton(family, address)):
        number = number << 8 | byte
    return number, 128 if family == socket.AF_INET6 else 32
