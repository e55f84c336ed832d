"""Builds the node's parts, starts them, drains and stops them."""
from __future__ import absolute_import, division, print_function

import logging
import os
import socket
import threading
import time

from dispynode_lib import option_table
from dispynode_lib.errors import StartError
from dispynode_lib.host import net
from dispynode_lib.host.compat import (
    monotonic, random_hex, start_thread, to_native, to_text)
from dispynode_lib.host.loop import Loop
from dispynode_lib.host.resources import Meter
from dispynode_lib.host.workers import Workers
from dispynode_lib.node import state as states
from dispynode_lib.node.complaints import Complaints
from dispynode_lib.node.delivery import Delivery
from dispynode_lib.node.folders import make_folder
from dispynode_lib.node.link import Spares
from dispynode_lib.node.notices import Notices
from dispynode_lib.node.requests import Requests
from dispynode_lib.node.server import DatagramListener, Listener, Reception
from dispynode_lib.node.spool import Spool
from dispynode_lib.node.watchdog import Duty, Watchdog
from dispynode_lib.wire import framing

log = logging.getLogger('dispynode.node')

WORKERS = 64                                # threads for requests at most
DEFAULT_PULSE = 600.0                       # seconds (docs/protocol.rst, "Pulses")
IDLE_CHILDREN = 30.0                        # seconds between looks for job processes that wait in vain
CANNOT_CREATE = 73                          # sysexits.h


class Settings(object):
    """What the node says about itself; constant once it has started."""

    def __init__(self, options):
        self.secret = options.secret
        self.name = options.name or to_text(socket.gethostname())
        self.sign = random_hex(20)
        self.token = framing.token(self.secret, self.sign)
        self.port = None                    # where requests are to be sent
        self.addresses = []                 # of this node, chosen or given
        self.external = [net.canonical(net.resolve(name)[0]) for name in options.ext_ip_addr]
        self.meter = None

    def announced(self, own_address):
        """Return the address (text) to announce when a message came in on `own_address`."""
        own_address = net.canonical(own_address)
        for external in self.external:
            if net.family_of(external) == net.family_of(own_address):
                return external
        return own_address

    def is_ours(self, address):
        """Return whether a client may mean this node by `address` (canonical)."""
        return address in self.external or address in self.addresses or own_interface(address)


def own_interface(address):
    """Return whether `address` is one of this host's: a socket can be bound to it."""
    sock = socket.socket(net.family_of(address), socket.SOCK_DGRAM)
    try:
        sock.bind(net.sockaddr(address, 0))
        return True
    except EnvironmentError:
        return False
    finally:
        sock.close()


class Parts(object):
    """The node's parts, handed to each other; see Node for what they are."""


class Node(object):
    """One dispynode. start() once, then drain() or stop(), then wait()."""

    def __init__(self, options):
        """`options`: as options.parse() and finish() give them."""
        self.options = options
        self.exit_status = 0
        self.on_end = None
        self._ended = threading.Event()
        self._stop_lock = threading.Lock()
        self._stop_began = False
        self._listeners = []
        self._datagrams = None
        parts = self._parts = Parts()
        parts.options = options
        parts.settings = Settings(options)
        parts.name = parts.settings.name
        parts.state = states.NodeState(options.cpus)
        parts.complaints = Complaints()
        parts.freed, parts.client_shutdown, parts.computations = self.freed, self.drain, self

    # -- starting

    def start(self):
        """Open ports and folders and serve. Raises StartError."""
        parts, options = self._parts, self.options
        self._make_root()
        settings = parts.settings
        settings.meter = Meter(parts.root)
        chosen = net.node_addresses(options.ip_addr)
        settings.addresses = [address for address, _why in chosen]
        socks, datagrams = self._open_ports(chosen)
        parts.loop = Loop()
        parts.workers = Workers(WORKERS)
        parts.spares = Spares(parts.loop, parts.workers)
        parts.spool = Spool(os.path.join(parts.state_folder, 'undelivered'))
        parts.delivery = Delivery(parts.loop, parts.workers, parts.spool, options.msg_timeout)
        parts.notices = Notices(parts.loop, parts.state, settings, options.msg_timeout)
        self._requests = Requests(parts)
        start_thread('loop', parts.loop.run)
        reception = Reception(parts.loop, parts.workers, self._is_token, options.msg_timeout,
                              self._requests.handle, self._requests.job_at_once, parts.complaints)
        parts.state.set_phase(states.SERVING)
        for sock in socks:
            listener = Listener(sock, reception)
            self._listeners.append(listener)
            start_thread('accept-%d' % sock.getsockname()[1], listener.serve_forever)
        self._datagrams = DatagramListener(datagrams, self._on_datagram, parts.complaints)
        self._datagrams.start()
        parts.watchdog = Watchdog(self._duties())
        parts.watchdog.start()
        for address, why in chosen:
            log.info('%s serves at %s (%s), TCP and UDP ports %s, with %d processors', settings.name, address, why,
                     ', '.join(str(port) for port in self.ports), parts.state.cpus())

    def _make_root(self):
        prefix = self.options.dest_path_prefix
        path = os.path.abspath(to_native(prefix)) if prefix else default_root()
        parts = self._parts
        parts.root = os.path.realpath(path)
        port = self.options.node_port or option_table.NODE_PORTS[0]
        parts.state_folder = os.path.join(parts.root, '.node-%d' % port)
        try:
            make_folder(parts.root)
            make_folder(parts.state_folder)
        except EnvironmentError as error:
            raise StartError('the folder %s for files of clients cannot be made: %s; give another one with '
                             '--dest_path_prefix' % (path, error.strerror or error), CANNOT_CREATE)

    def _open_ports(self, chosen):
        """Return (TCP sockets, UDP sockets): the chosen or default port, and unless chosen the other well-known ones."""
        chosen_port = self.options.node_port
        ports = [chosen_port] if chosen_port is not None else list(option_table.NODE_PORTS)
        socks, datagrams, self.ports = [], [], []
        for index, port in enumerate(ports):
            try:
                opened, port = self._open_port(port, chosen)
            except StartError as error:
                if index == 0:
                    raise
                log.warning('%s; clients of releases that use this port will not find the node', error)
                continue
            socks += opened[0]
            datagrams += opened[1]
            self.ports.append(port)
        self._parts.settings.port = self.ports[0]
        return socks, datagrams

    @staticmethod
    def _open_port(port, chosen):
        socks, datagrams = [], []
        try:
            for address, _why in chosen:
                socks.append(net.open_listener(address, port))
                port = socks[0].getsockname()[1]
            for family in set(net.family_of(address) for address, _why in chosen):
                datagrams.append(net.udp_socket(port, family))
        except StartError:
            for sock in socks + datagrams:
                sock.close()
            raise
        return (socks, datagrams), port

    def _is_token(self, token):
        return framing.same_token(token, self._parts.settings.token)

    def _on_datagram(self, opcode, argument, address):
        family = socket.AF_INET6 if ':' in address[0] else socket.AF_INET
        own = [mine for mine in self._parts.settings.addresses if net.family_of(mine) == family]
        if own:
            self._requests.handle_datagram(opcode, argument, net.canonical(to_text(address[0])), own[0])

    # -- duties

    def _duties(self):
        return [
            Duty('pulses', self._pulse, self._pulse_interval),
            Duty('dismissing idle job processes', self._dismiss_idle, lambda: IDLE_CHILDREN),
        ]

    def _pulse_interval(self):
        computations = self._parts.state.computations()
        if not computations:
            return None
        intervals = [computation.pulse_interval for computation in computations if computation.pulse_interval]
        return max(0.5, min(intervals + [DEFAULT_PULSE, self.options.zombie_interval / 5.0 or DEFAULT_PULSE]))

    def _pulse(self, _now):
        parts = self._parts
        busy = min(parts.state.used_cpus(), parts.state.cpus())
        told = set()
        for computation in parts.state.computations():
            if computation.scheduler in told:
                continue
            told.add(computation.scheduler)
            parts.notices.pulse(computation, busy, lambda reply, error, it=computation: self._pulsed(it, error))
            if parts.spool.holds(computation):
                parts.workers.run(parts.delivery.redeliver, computation)

    @staticmethod
    def _pulsed(computation, error):
        if error is None:
            computation.heard()
        else:
            log.info('pulse: %s', error)

    def _dismiss_idle(self, now):
        for computation in self._parts.state.computations():
            if computation.idle_since(now) > IDLE_CHILDREN:
                self._parts.loop.call_soon(computation.dismiss_idle)

    # -- computations that end

    def ending(self, computation):
        """A computation has no job left and takes no more: its scheduler may lose the node by that."""
        if self._parts.state.forget_computation(computation):
            self.freed()

    def ended(self, computation):
        """All of a computation is gone, its files too."""
        log.info('computation %d (%s) ended', computation.id, computation.name)

    def freed(self):
        """The node has no scheduler any more."""
        log.info('the node is free')
        self._parts.watchdog.reschedule()

    # -- ending

    def drain(self):
        """Take no new computation; stop when the open ones have been closed. Returns soon."""
        if self._parts.state.set_phase(states.DRAINING):
            log.info('draining: no new computations, waiting for %d open ones; interrupt again to stop them',
                     len(self._parts.state.computations()))
            start_thread('drain', self._stop_when_empty)

    def _stop_when_empty(self):
        while not self._parts.state.wait_until_empty(None):
            continue
        self.stop()

    def stop(self, at_once=False):
        """End jobs, tell schedulers, close everything. Returns soon; wait() tells when it has been done."""
        with self._stop_lock:
            if self._stop_began and not at_once:
                return
            first, self._stop_began = not self._stop_began, True
        if first:
            start_thread('stop', self._stop, at_once)

    def wait(self, timeout):
        """Wait up to `timeout` seconds (None: without limit) for the end; return whether it has come."""
        return self._ended.wait(timeout)

    def _stop(self, at_once):
        try:
            self._stop_parts(at_once)
        except Exception:
            log.exception('stopping failed')
            self.exit_status = 70
        finally:
            self._ended.set()
            if self.on_end is not None:
                self.on_end()

    def _stop_parts(self, at_once):
        parts = self._parts
        parts.state.set_phase(states.STOPPING)
        parts.watchdog.stop()
        deadline = monotonic() + (0.5 if at_once else self.options.stop_timeout)
        computations = parts.state.computations()
        self._tell_schedulers(computations)
        for listener in self._listeners:
            listener.stop()
        self._datagrams.stop()
        for computation in computations:
            computation.close(terminate=True)
        while monotonic() < deadline:
            if parts.state.wait_until_empty(deadline - monotonic()) and not parts.delivery.pending():
                break
            time.sleep(0.01)
        for computation in parts.state.computations():
            log.warning('computation %d did not end in time; its processes are killed', computation.id)
            computation.kill()
        parts.spares.close()
        parts.workers.finish(max(0.2, deadline - monotonic()))
        parts.loop.stop()
        self._datagrams.close()
        log.info('stopped')

    def _tell_schedulers(self, computations):
        told = set()
        for computation in computations:
            if computation.scheduler not in told:
                told.add(computation.scheduler)
                self._parts.notices.terminated(computation)


def default_root():
    """Return the folder for clients' files when none is given: TMP/dispy/node, or one of this user's own."""
    base = os.environ.get('TMPDIR') or '/tmp'
    path = os.path.join(base, 'dispy', 'node')
    for folder in (path, os.path.dirname(path)):
        if os.path.isdir(folder) and not (os.access(folder, os.W_OK) and os.stat(folder).st_uid == os.getuid()):
            return os.path.join(base, 'dispy-%d' % os.getuid(), 'node')
    return path
