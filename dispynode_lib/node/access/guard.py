"""Guard: who may connect, how many at once, who may speak about a computation; warnings for the
operator."""
from __future__ import absolute_import, division, print_function

import os

from dispynode_lib.host.network import net
from dispynode_lib.host.compat import LINUX, to_text
from dispynode_lib.host.wording import counted

CONNECTIONS = 4096  # held at most, whose first frame is not complete; fewer with fewer descriptors
WANTED_DESCRIPTORS = 16384
RESERVE = 3                                 # so many times more descriptors than that


def filter_of(networks):
    """Return a function address -> whether it is listened to at all; None if everybody is."""
    if not networks:
        return None
    known = {}

    def is_allowed(address):  # threads of TCP and UDP: what one has found the other may clear
        allowed = known.get(address)
        if allowed is None:
            if len(known) > 1000:
                known.clear()
            allowed = known[address] = any([network.holds(to_text(address))
                                            for network in networks])
        return allowed
    return is_allowed


def callers_of(compute, scheduler, source, notices):
    """Return the addresses (frozenset of text) that may ask (docs/security.rst, "Clients").

    compute     wire COMPUTE record
    scheduler   (address, port) of its scheduler
    source      address from which it came (text)
    notices     node.discovery.notices.Notices, which knows what the scheduler said of itself when
                it pinged
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


def limit_for(descriptors):
    """Return how many connections a process may hold that may have so many descriptors."""
    return max(8, min(CONNECTIONS, descriptors // RESERVE))


def cpus_for(descriptors):
    """Return how many CPUs a process with so many descriptors may offer."""
    return max(1, descriptors // RESERVE)


def descriptor_limit():
    """Ask for as many descriptors as we may; return (how many we had, and have now)."""
    import resource
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = WANTED_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, WANTED_DESCRIPTORS)
    if soft == resource.RLIM_INFINITY or soft >= most:
        return max(0, soft), max(soft, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return soft, most


def warnings(options, addresses, port):
    """Return warnings (list of text) about options that leave the node open.

    addresses   of the node; `port` its port
    """
    found = open_doors(options, addresses, port)
    if options.secret_shown:
        found.append(
            u'the secret stays in the list of processes, where all users of this host can read it: '
            u'use --secret_file')
    descriptors = descriptor_limit()[1]
    wanted = cpus_for(descriptors)
    if options.cpus > wanted:
        found.append(
            u'%d of %d CPUs are offered: this process may have only %d descriptors (ulimit -n), '
            u'and each job takes some' % (wanted, options.cpus, descriptors))
    if options.cpus > options.usable_cpus:
        found.append(u'%s offered, but this process may use %d: %s' % (
            counted(options.cpus, u'CPU'), options.usable_cpus, options.cpus_reason))
    if not LINUX:
        from dispynode_lib.host import surroundings
        found.append(surroundings.unlike_linux())
    if os.geteuid() == 0:
        found.append(
            u'the node runs as root, and so do the programs of its clients; say with --user as '
            u'whom they are to run')
    return found


def open_doors(options, addresses, port):
    """Return those of warnings() that come with an address."""
    at_all = [address for address in addresses if address in net.ANY]
    outside = [address for address in addresses if address in at_all or not net.is_special(address)]
    found = []
    if at_all and not options.ext_ip_addr:
        found.append(
            u'clients on other hosts cannot call %s: give --ip_addr an address of this host, or '
            u'--ext_ip_addr as well' % u' or '.join(at_all))
    if outside and not options.secret:
        found.append(
            u'no --secret: whoever reaches port %d of %s runs programs on this host as %s; set '
            u'--secret or --secret_file%s' %
            (port, u' or '.join(outside), _user(),
             u'' if options.allow else u', and say with --allow who may connect'))
    return found


def _user():
    if os.geteuid() == 0:
        return u'root'
    return u'user %s' % to_text(os.environ.get('LOGNAME') or '%d' % os.geteuid())
