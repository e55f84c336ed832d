"""What the node says about itself: its name, secret, sign and addresses."""
from __future__ import absolute_import, division, print_function

import os
import socket

from dispynode_lib.errors import StartError
from dispynode_lib.host import files
from dispynode_lib.host.network import net
from dispynode_lib.host.compat import random_hex, to_text
from dispynode_lib.log import Log
from dispynode_lib.wire import framing

log = Log('dispynode.identity')

SIGN_SIZE = 40  # characters of this node's sign, and of a client's at most
SIGNS = 200                                 # of earlier runs, remembered


class Identity(object):
    """Name, secret, addresses, sign; constant once the node has started, but for the addresses."""

    def __init__(self, options):
        self.secret = options.secret
        self.name = options.name or to_text(socket.gethostname())
        self.earlier = []                   # tokens of earlier runs alone
        self.keep_sign(random_hex(20), options)
        self.port = None                    # where requests are to be sent
        # of this node now: a new list for each change (node.requests.addresses)
        self.addresses = []
        self.external = external_addresses(options.ext_ip_addr)
        self.meter = None

    def keep_sign(self, sign, options):
        """Be to clients what the node before this one was to them; before anything else is done."""
        self.sign = sign
        self.token = framing.token(self.secret, sign)
        self.tokens = [self.token]  # and of earlier runs: kept replies are still given for those
        if options.admin_secret is not None:
            self.tokens.append(framing.token(options.admin_secret, sign))

    def remember_signs(self, path):
        """Learn the signs of earlier runs from the file `path`, and add this run's."""
        self.earlier = [framing.token(self.secret, sign)
                        for sign in remembered_signs(path, self.sign) if sign != self.sign]
        self.tokens += self.earlier

    def is_present(self, token):
        """Return whether a client that sends `token` (bytes) knows this node as it is."""
        return framing.same_token(token, self.token)

    def is_earlier(self, token):
        """Return whether a client with `token` (bytes) knows this node from an earlier run."""
        return any([framing.same_token(token, other) for other in self.earlier])

    def answer_to(self, sign):
        """Return the token (bytes) that proves this node's secret to whoever announced `sign`.

        None if it would let him in here, or at an administrator's door: then he is no client.
        """
        token = framing.token(self.secret, sign)
        known = [framing.same_token(token, other) for other in self.tokens]
        return None if len(sign) > SIGN_SIZE or any(known) else token

    def announced(self, own_address):
        """Return the address (text) to announce when a message came in on `own_address`."""
        own_address = net.canonical(own_address)
        for external in self.external:
            if net.family_of(external) == net.family_of(own_address):
                return external
        return own_address

    def own_address(self, peer, arrived_at=None):
        """Return the node's address that `peer` should use, None: there is none of its kind.

        arrived_at   address of this host at which a message of the peer arrived, if that is known
        """
        addresses, family = self.addresses, net.family_of(peer)
        if arrived_at in addresses:
            return arrived_at
        # one that the host has just lost would have the client wait for a connection to nowhere
        same = [address for address in addresses if net.family_of(address) == family
                and own_interface(address)]
        if any(net.is_loopback(address) for address in same) and not (
                self.external or net.is_loopback(peer) or own_interface(peer)):
            # of no use on another host
            same = [address for address in same if not net.is_loopback(address)]
        if len(same) > 1:
            routed = net.address_towards(peer)
            if routed in same:
                return routed
        return same[0] if same else None

    def is_ours(self, address):
        """Return whether a client may mean this node by `address` (canonical)."""
        return address in self.external or address in self.addresses or own_interface(address)


def external_addresses(names):
    """Return the addresses that --ext_ip_addr names. Raises StartError."""
    found = []
    for name in names:
        try:
            found.append(net.resolve(name)[0])
        except EnvironmentError as error:
            raise StartError(
                u'--ext_ip_addr %s: no address for this name: %s; give the address of the router' %
                (name, error.strerror or error), os.EX_UNAVAILABLE)
        net.refuse_group(u'--ext_ip_addr', name, found[-1])
    return found


def own_interface(address):
    """Return whether `address` is one of this host's."""
    return net.has_address(address)


def remembered_signs(path, sign):
    """Return the signs (list of text) in the file `path`, after `sign` was added to it.

    They are those of earlier runs: a ping that has one of them is no client's.
    """
    found = _read_signs(path)
    kept = [one for one in found if one != sign][1 - SIGNS:] + [sign]
    try:
        files.write(path, u''.join([u'%s\n' % one for one in kept]).encode('ascii'))
    except EnvironmentError as error:
        log.warning('writing %s: %s', path, error)
    return found


def _read_signs(path):
    try:
        with open(path, 'rb') as source:
            lines = to_text(source.read((SIGN_SIZE + 1) * SIGNS)).splitlines()
    except EnvironmentError:
        return []                           # the first run
    return [line for line in lines if is_sign(line)]


def is_sign(text):
    """Return whether `text` is as the signs of nodes are."""
    return len(text) == SIGN_SIZE and not text.strip(u'0123456789abcdef')
