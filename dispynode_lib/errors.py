"""All exceptions of dispynode."""
from __future__ import absolute_import, division, print_function

import os


class DispynodeError(Exception):
    """Base of all errors below; its text is one line for a person."""


class Refused(DispynodeError):
    """A request that the node will not do; the peer is told the text."""


class Busy(Refused):
    """A job that no CPU is free for."""


class NodeBusy(Refused):
    """A computation of another scheduler than the one that has the node."""


class NotAvailable(Refused):
    """A computation while the node takes none from anybody."""


class AlreadyOpen(Refused):
    """A computation with the number of another one that is open."""


class ProtocolError(DispynodeError):
    """Bytes from a peer that are no valid message; the connection is closed."""


class PeerGone(DispynodeError):
    """The other side closed, failed or was too slow in the middle of a dialogue."""


class OptionError(DispynodeError):
    """An option has a value that is not allowed; `status` is the exit status."""

    status = os.EX_USAGE


class ConfigError(OptionError):
    """A config file or the environment holds what is not allowed, or cannot be read or written."""

    def __init__(self, text, status=os.EX_CONFIG):
        super(ConfigError, self).__init__(text)
        self.status = status


class StartError(DispynodeError):
    """The node cannot start; `status` is its exit status (one of os.EX_...)."""

    def __init__(self, text, status):
        super(StartError, self).__init__(text)
        self.status = status


class PortTaken(StartError):
    """A program or a connection has a port of this host."""
