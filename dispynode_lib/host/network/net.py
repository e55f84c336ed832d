"""This machine's network: addresses, listeners; networks by their addresses."""
from __future__ import absolute_import, division, print_function

import errno
import os
import socket
import struct

from dispynode_lib.errors import PortTaken, StartError
from dispynode_lib.host import compat, proc, resources
from dispynode_lib.host.network.connections import for_resolver


BACKLOG = 1024
EVERYBODY = u'255.255.255.255'
ANY = (u'0.0.0.0', u'::')                   # to listen at all addresses; nobody can be called there
SOMEWHERE = (u'192.0.2.1', u'2001:db8::1')                       # documentation networks
SIOCGIFFLAGS, SIOCGIFADDR, SIOCGIFBRDADDR = 0x8913, 0x8915, 0x8919      # Linux
IFF_UP, IFF_RUNNING = 0x1, 0x40
LINK_LOCAL = u'fe80:'                       # beginning of addresses of IPv6 that count on one link


# Addresses

def family_of(address):
    """Return the socket family of an IP address (text)."""
    return socket.AF_INET6 if ':' in address else socket.AF_INET


def canonical(address):
    """Return an IP address as peers compare it: text, no scope, zeros compressed.

    Raises ValueError if it is none. Source: docs/protocol.rst, "Addresses".
    """
    plain = compat.to_text(address).partition(u'%')[0]
    family = family_of(plain)
    try:
        if u'\0' in plain:                  # PyPy would pass over it and what follows
            raise ValueError
        return compat.to_text(socket.inet_ntop(family, socket.inet_pton(family, str(plain))))
    except (EnvironmentError, UnicodeError, ValueError, TypeError):
        raise ValueError('%r is no IP address' % (address,))


def is_address(text):
    """Return whether `text` is an IP address, not a name."""
    try:
        canonical(text)
    except ValueError:
        return False
    return True


def resolve(name):
    """Return the canonical addresses of a host (text), IPv4 first. May take seconds.

    Raises EnvironmentError if there is none.
    """
    if is_address(name):
        return [canonical(name)]
    try:
        found = socket.getaddrinfo(for_resolver(name), None, 0, socket.SOCK_STREAM)
    except UnicodeError as error:           # a label of no or too many characters
        raise socket.gaierror(socket.EAI_NONAME, str(error))
    addresses = unique([
        canonical(sockaddr[0]) for family, _kind, _protocol, _name, sockaddr in found
        if family in (socket.AF_INET, socket.AF_INET6)])
    if not addresses:
        raise socket.gaierror(socket.EAI_NONAME, 'no IP address')
    return sorted(addresses, key=family_of)


def unique(items):
    """Return the list of different items in their order."""
    return [item for at, item in enumerate(items) if item not in items[:at]]


def node_addresses(given):
    """Return [(address, why)] under which the node is to be reached, at least one.

    given   list of names and addresses from `--ip_addr`; if empty, the host chooses
    Raises StartError for a name that has no address, or one that no single host can have.
    """
    if not given:
        return [local_address()]
    chosen = []
    for name in given:
        try:
            found = (resolve(name)[0], u'option --ip_addr %s' % name)
        except EnvironmentError as error:
            raise StartError(
                u'--ip_addr %s: no address for this name: %s; give an address of this host' %
                (name, error.strerror or error), os.EX_UNAVAILABLE)
        if found[0].startswith(LINK_LOCAL):
            raise StartError(
                u'--ip_addr %s: %s counts on one link only, and clients do not know which; give '
                u'another address of this host' % (name, found[0]), os.EX_UNAVAILABLE)
        refuse_group(u'--ip_addr', name, found[0])
        if found[0] not in [address for address, _why in chosen]:
            chosen.append(found)
    return chosen


def local_address():
    """Return (address that this host uses to reach the network, why). Sends nothing."""
    for target in SOMEWHERE:
        address = address_towards(target)
        if address is not None and not is_loopback(address):
            return address, u'address of the route to other networks'
    for name, address in [found[:2] for found in interfaces()] + interfaces6():
        if not is_loopback(address) and has_address(address):
            return address, u'address of interface %s; there is no route to other networks' % name
    name = socket.gethostname()
    try:
        for address in resolve(name):
            if not is_loopback(address) and has_address(address):
                return address, u'address of the host name %s' % compat.to_text(name)
    except EnvironmentError as error:
        return u'127.0.0.1', u'no network found (%s: %s)' % (
            compat.to_text(name), error.strerror or error)
    return u'127.0.0.1', u'no network found'


def address_towards(target):
    """Return the address that the host would send from to `target`, None if it cannot."""
    try:
        probe = socket.socket(family_of(target), socket.SOCK_DGRAM)
    except EnvironmentError:
        return None                         # no IPv6 in this kernel
    try:
        probe.connect((str(target), 9))
        return canonical(probe.getsockname()[0])
    except EnvironmentError:
        return None                         # no route
    finally:
        probe.close()


def has_address(address):
    """Return whether a socket can be bound to an IP address (canonical): it is our own."""
    try:
        sock = socket.socket(family_of(address), socket.SOCK_DGRAM)
    except EnvironmentError:
        return False                        # no IPv6 in this kernel
    try:
        sock.bind(sockaddr(address, 0))
        return True
    except EnvironmentError:
        return False
    finally:
        sock.close()


def is_loopback(address):
    """Return whether an IP address (canonical) is of no use to any other host."""
    return address.startswith(u'127.') or address == u'::1' or address in ANY


def refuse_group(flag, name, address):
    """Raise StartError if `address`, that of `name`, is for multicast or broadcast."""
    first = address.partition(u'.')[0]
    if address == EVERYBODY or first.startswith(u'ff') or (
            first.isdigit() and 224 <= int(first) < 240):
        raise StartError(
            u'%s %s: this address is that of many hosts; give one of a single host' % (flag, name),
            os.EX_UNAVAILABLE)


def is_special(address):
    """Return whether an IP address (canonical) is no single other host's."""
    if family_of(address) == socket.AF_INET6:
        return address in (u'::', u'::1') or address.startswith((u'ff', u'::ffff:'))
    first = int(address.partition(u'.')[0])
    return first in (0, 127) or first >= 224


def interfaces():
    """Return [(name, IPv4 address, broadcast address or None)] of this host's interfaces."""
    if compat.LINUX:                        # the kernel tells each interface's first address
        # a /32 interface names itself, one without broadcast 0.0.0.0
        return [(name, address, None if broadcast in (address, u'0.0.0.0') else broadcast)
                for name, address, broadcast, flags in _linux_links() if flags & IFF_UP]
    psutil = resources.import_psutil()
    if psutil is None:
        return []
    return [(compat.to_text(name), compat.to_text(entry.address), entry.broadcast
             and compat.to_text(entry.broadcast))
            for name, entries in sorted(psutil.net_if_addrs().items()) for entry in entries
            if entry.family == socket.AF_INET]


def _linux_links():
    """Return [(name, first IPv4 address, broadcast address, flags)] of all interfaces."""
    import fcntl
    found = []
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        for line in proc.lines('/proc/net/dev')[2:]:
            name = line.partition(':')[0].strip()
            request = struct.pack('256s', name.encode('ascii')[:15])
            try:
                address, broadcast, flags = [
                    fcntl.ioctl(sock.fileno(), question, request)
                    for question in (SIOCGIFADDR, SIOCGIFBRDADDR, SIOCGIFFLAGS)]
            except EnvironmentError:        # no IPv4 address
                continue
            address, broadcast = [
                compat.to_text(socket.inet_ntoa(answer[20:24])) for answer in (address, broadcast)]
            found.append((compat.to_text(name), address, broadcast,
                          struct.unpack_from('H', flags, 16)[0]))
    finally:
        sock.close()
    return found


def has_link(address):
    """Return whether the interface of an own address is up and plugged in, or nobody can tell."""
    if not compat.LINUX:
        return True
    working = IFF_UP | IFF_RUNNING
    flags = [flags for _name, own, _broadcast, flags in _linux_links() if own == address]
    return not flags or any(one & working == working for one in flags)


def broadcast_addresses(address):
    """Return the addresses to send broadcasts to from `address` (IPv4, canonical).

    Peers may listen on the interface's broadcast address or on 255.255.255.255 alone, so it is
    both (docs/protocol.rst, "Addresses"). What a node on loopback sends stays there: Linux takes
    the interface of the address that it is sent from.
    """
    if family_of(address) != socket.AF_INET:
        return []
    if is_loopback(address):
        return [u'127.255.255.255'] + [EVERYBODY] * compat.LINUX
    found = [broadcast for _name, own, broadcast in interfaces()
             if own == address and broadcast and not is_loopback(broadcast)]
    return [broadcast for broadcast in found if broadcast != EVERYBODY] + [EVERYBODY]


def interfaces6():
    """Return [(name, IPv6 address)] of this host's interfaces, as far as Linux tells; only
    addresses that reach beyond a link."""
    return [(name, address) for address, _index, scope, name in _links6() if scope == '00']


def _links6():
    """Return [(IPv6 address, number of the interface, scope, name)], as far as Linux tells."""
    found = []
    for line in proc.lines('/proc/net/if_inet6'):
        fields = line.split()               # address, index, bits, scope, flags, name
        if len(fields) == 6:
            packed = struct.pack('>4I', *[int(fields[0][at:at + 8], 16) for at in range(0, 32, 8)])
            found.append((compat.to_text(socket.inet_ntop(socket.AF_INET6, packed)),
                          int(fields[1], 16), fields[3], compat.to_text(fields[5])))
    return found


def hosts_of(broadcast):
    """Return how many addresses a network has by its IPv4 broadcast: 256 for 10.9.0.255."""
    number, = struct.unpack('!I', socket.inet_aton(str(broadcast)))
    return (number ^ (number + 1)) + 1 >> 1


def interface_index(address):
    """Return the number of the interface that has an IPv6 address; 0: the system's choice."""
    return ([index for own, index, _scope, _name in _links6() if own == address] or [0])[0]


# Networks

class Network(object):
    """A network, or one address, made from text such as 10.0.0.0/8, ::1 or 192.0.2.7."""

    def __init__(self, text):
        """Raise ValueError if `text` is none."""
        address, slash, bits = compat.to_text(text).partition(u'/')
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


# Sockets

def sockaddr(address, port):
    """Return what bind() and connect() take for an IP address (scope allowed) and a port."""
    flags = socket.AI_NUMERICHOST
    return socket.getaddrinfo(for_resolver(address), port, family_of(address), socket.SOCK_STREAM,
                              0, flags)[0][4]


def open_listener(address, port):
    """Return a TCP socket that listens at `address`, `port` (0: any). Raises StartError."""
    def prepare(sock):
        # on POSIX this lets a restarted node in at once, and never two listeners
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(sockaddr(address, port))
        sock.listen(BACKLOG)
    return _bound(u'TCP', address, port, prepare)


def udp_socket(port, family=socket.AF_INET):
    """Return a UDP socket at `port` of all addresses, for broadcasts too. Raises StartError."""
    address = u'::' if family == socket.AF_INET6 else u'0.0.0.0'

    def prepare(sock):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        # SO_REUSEADDR not before: two programs could have the port, and the last one would get all
        sock.bind((str(address), port))
        # from now on others may have single addresses: see shared_udp_socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return _bound(u'UDP', address, port, prepare)


def shared_udp_socket(address, port):
    """Return a UDP socket at one address that other programs share. Raises StartError."""
    def prepare(sock):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.bind(sockaddr(address, port))
    return _bound(u'UDP', address, port, prepare)


def _bound(protocol, address, port, prepare):
    """Return a new socket on which prepare(sock), which binds it, was called."""
    sock = None
    try:
        sock = _new_socket(family_of(address),
                           socket.SOCK_STREAM if protocol == u'TCP' else socket.SOCK_DGRAM)
        prepare(sock)
        return sock
    except EnvironmentError as error:
        if sock is not None:
            sock.close()
        raise _bind_error(error, protocol, address, port)


def _new_socket(family, kind):
    sock = socket.socket(family, kind)
    if compat.PY2:
        compat.set_cloexec(sock.fileno())
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return sock


# Why a port cannot be had

def _bind_error(error, protocol, address, port):
    """Return the StartError for a failed bind()."""
    what = u'%s port %d on %s' % (protocol, port, address)
    code = error.errno
    if code == errno.EADDRINUSE:
        from dispynode_lib.host.network import holders
        return PortTaken(
            u'%s is in use by %s; end that, or choose another port with -p' %
            (what, holders.port_holder(protocol, port) or u'another program'), os.EX_UNAVAILABLE)
    if code in (errno.EACCES, errno.EPERM):
        why = (u'only root may use ports below 1024' if port < 1024 else
               u'the system does not allow it')
        return StartError(u'%s: %s; choose another port with -p' % (what, why), os.EX_NOPERM)
    if code in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT) or isinstance(error, socket.gaierror):
        known = u', '.join(own for _name, own, _broadcast in interfaces())
        return StartError(u'%s: no interface of this host has that address; give one with -i%s'
                          % (what, u', such as ' + known if known else u''), os.EX_UNAVAILABLE)
    return StartError(u'%s: %s' % (what, os.strerror(code) if code else error), os.EX_UNAVAILABLE)
