"""From where a client may speak about its computation (docs/security.rst, "Clients")."""
from __future__ import absolute_import, division, print_function

from dispynode_lib.host.network import net
from dispynode_lib.host.compat import compare_digest, to_bytes, to_text


def callers_of(compute, scheduler, source, notices):
    """Return the addresses (frozenset of text) from which requests about a new computation may come.

    compute     wire COMPUTE record
    scheduler   (address, port) of its scheduler
    source      address from which it came (text)
    notices     node.discovery.notices.Notices, which knows what the scheduler said of itself when it pinged
    """
    addresses = [source, scheduler[0]] + notices.addresses_at(*scheduler)
    if compute.client_reply_addr:
        addresses.append(compute.client_reply_addr[0])          # it sends files itself
    return frozenset(net.canonical(address) for address in addresses if net.is_address(address))


def may_speak(computation, address, identity):
    """Return whether a request about `computation` may come from `address` (of a socket)."""
    callers = computation.callers
    if address in callers:
        return True
    address = net.canonical(to_text(address))
    if address in callers:
        return True
    # a client on this host may use any of the host's addresses
    return identity.is_ours(address) and any(identity.is_ours(caller) for caller in callers)


def same(one, other):
    """Return whether two texts are equal, in a time that does not tell where they differ."""
    return compare_digest(to_bytes(one), to_bytes(other))
