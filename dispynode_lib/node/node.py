"""Builds the node's parts, starts them, drains and stops them."""
from __future__ import absolute_import, division, print_function

import os
import signal
import threading
import time

from dispynode_lib.errors import StartError
from dispynode_lib.host.network import net
from dispynode_lib.host.compat import fraction, monotonic, start_thread, to_text
from dispynode_lib.host.io.loop import Loop
from dispynode_lib.host.resources import Meter
from dispynode_lib.host.wording import counted
from dispynode_lib.host.io.workers import Workers
from dispynode_lib.log import Log
from dispynode_lib.node.access import guard, held
from dispynode_lib.node.operator import reasons
from dispynode_lib.node.timed import duties
from dispynode_lib.node.shared import state as states
from dispynode_lib.node.requests.addresses import Addresses, Host
from dispynode_lib.node.requests.admin import Administration
from dispynode_lib.node.files import bigfiles
from dispynode_lib.node.discovery.announcer import Announcer
from dispynode_lib.node.discovery.answers import Answers
from dispynode_lib.node.shared.common import Common
from dispynode_lib.node.shared.complaints import Complaints, printable
from dispynode_lib.node.replies.delivery import Delivery
from dispynode_lib.node.discovery.pings import Discovery
from dispynode_lib.node.files.folders import Folders
from dispynode_lib.node.operator.history import in_words
from dispynode_lib.node.computations.computation import Computation
from dispynode_lib.node.computations.joboutput import JobOutput
from dispynode_lib.node.replies.journal import Journal, settle
from dispynode_lib.node.computations.imports import KnownImports
from dispynode_lib.node.initfile import InitFile
from dispynode_lib.node.discovery.known import KnownReleases
from dispynode_lib.node.computations.nursery import Nursery
from dispynode_lib.node.discovery.notices import Notices
from dispynode_lib.node.operation import Operation, drain_jobs
from dispynode_lib.node.requests.ports import Ports
from dispynode_lib.node.access.penalties import Penalties
from dispynode_lib.node.requests.handlers import Requests
from dispynode_lib.node.requests.listeners import DatagramListener, Listener
from dispynode_lib.node.timed.service import Service
from dispynode_lib.node.shared.identity import Identity
from dispynode_lib.node.replies.spool import Spool
from dispynode_lib.node.requests.reception import Reception
from dispynode_lib.node.discovery.visitors import Visitors
from dispynode_lib.node.timed.watchdog import Watchdog
from dispynode_lib.wire import framing

log = Log('dispynode.node')

LAST_OUTPUT = 0.2                           # seconds that the end waits for what jobs wrote to standard error
STOPPED = u'the node was stopped before the job had ended'
BREATH = 0.1                                # seconds: its client may come back at once
SPREAD = 0.2                                # seconds over which nodes that become free together announce themselves
WORKERS = 16                                # threads at most, for what the node does itself


class Parts(object):
    """The node's parts, handed to each other; see Node for what they are."""


class Node(object):
    """One dispynode. start() once, then drain() or stop(), then wait()."""

    def __init__(self, options, tls=None):
        """`options`: as options.parse() and finish() give them; `tls`: host.network.tls.Tls, None for plain connections."""
        self.options = options
        self._tls = tls
        self.exit_status = os.EX_OK
        self.on_end = None
        self.is_wanted = lambda: True       # asked while start() waits
        self._ended = threading.Event()
        self._stop_lock = threading.Lock()
        self._stop_began = False
        self._listeners = {}                # socket -> Listener
        self._datagrams = None
        self._init_file = InitFile(options.init)
        parts = self._parts = Parts()
        parts.options = options
        parts.descriptors, most = held.descriptor_limit()
        parts.identity = Identity(options)
        parts.name = parts.identity.name
        parts.state = states.NodeState(min(options.cpus, held.cpus_for(most)), options.serve)
        parts.complaints = Complaints()
        parts.penalties = Penalties(bool(options.secret or options.admin_secret))
        parts.freed, parts.client_shutdown, parts.computations, parts.node = self.freed, self.drain, self, self
        self.operation = parts.operation = Operation(parts)

    # -- starting

    def start(self):
        """Open ports and folders and serve. Raises StartError."""
        self.operation.open()
        try:
            self._init_file.init(self.is_wanted)
            self._start()
        except StartError:
            self._init_file.close(self.options.stop_timeout)
            self.operation.failed()
            raise

    def _start(self):
        parts, options = self._parts, self.options
        identity = parts.identity
        identity.meter = Meter(parts.root)
        chosen = net.node_addresses(options.ip_addr)
        identity.addresses = [address for address, _why in chosen]
        parts.ports = Ports(options.node_port)
        socks = parts.ports.open(identity.addresses)
        identity.port = parts.ports.main()
        as_client = self._tls.as_client if self._tls is not None else None
        parts.loop = Loop()
        parts.workers = Workers(WORKERS, parts.loop)
        parts.watchdog = Watchdog()
        parts.common = Common(options, parts.state, parts.loop, parts.workers, identity)
        parts.job_output = JobOutput(parts.loop)
        parts.nursery = Nursery(parts.loop, parts.workers, parts.state_folder, parts.job_output.fd)
        self._begin_preload()
        parts.folders = Folders(parts.root, options.max_file_size, options.force_cleanup)
        parts.big_folder = os.path.join(parts.state_folder, 'big')
        bigfiles.make_folder(parts.big_folder)
        parts.spool = Spool(os.path.join(parts.state_folder, 'undelivered'), identity.token)
        parts.delivery = Delivery(parts.loop, parts.workers, parts.spool, options, as_client)
        parts.journal = Journal(os.path.join(parts.state_folder, 'journal'), identity.token)
        settle(os.path.join(parts.state_folder, 'journal'), parts.spool)
        parts.delivery.on_settled = parts.journal.remove
        schedulers = self._take_over()
        parts.notices = Notices(parts.loop, parts.state, identity, options, as_client)
        parts.delivery.on_unreached = parts.notices.unreached
        parts.visitors, parts.answers, parts.service = Visitors(), Answers(parts), Service(parts, options)
        parts.announcer = Announcer(parts, KnownReleases(os.path.join(parts.state_folder, 'releases')))
        parts.nursery.on_news = parts.watchdog.reschedule
        parts.addresses = Addresses(
            parts.common, Host(options.ip_addr), self._serve_at, parts.watchdog.reschedule,
            on_more=parts.announcer.begin_anew, on_network_changed=self.operation.network_changed)
        parts.admin = Administration(
            parts.common, parts.service, parts.notices, parts.complaints, parts.penalties, self.set_cpus,
            parts.watchdog.reschedule)
        parts.discovery = Discovery(parts)
        self._requests = Requests(
            parts.common, dict(parts.discovery.table(), **parts.admin.table()), self._new_computation,
            nursery=parts.nursery, folders=parts.folders, delivery=parts.delivery, spool=parts.spool,
            journal=parts.journal, notices=parts.notices, announcer=parts.announcer, complaints=parts.complaints,
            penalties=parts.penalties, on_opened=self.opened, on_freed=self.freed)
        identity.remember_signs(os.path.join(parts.state_folder, 'signs'))
        self._serve(socks, chosen, schedulers)

    def _serve(self, socks, chosen, schedulers):
        parts, options, identity = self._parts, self.options, self._parts.identity
        start_thread('loop', parts.loop.run)
        is_allowed = guard.filter_of(options.allow)
        self._reception = Reception(
            parts.loop, options, parts.complaints, parts.penalties,
            is_allowed=is_allowed, is_token=self._is_token, is_earlier=identity.is_earlier,
            handle=self._requests.handle, handle_at_once=self._requests.job_at_once,
            serve_http=self.operation.serve_http, big_folder=parts.big_folder, tls=self._tls)
        self._listen(socks)
        parts.service.look(monotonic())
        self._datagrams = DatagramListener(
            parts.ports.udp_sockets(), parts.discovery.on_datagram, parts.complaints, is_allowed)
        self._datagrams.start()
        parts.announcer.expect(schedulers)
        if socks:
            parts.announcer.begin()
        self.operation.begin()
        parts.addresses.begin(chosen, monotonic())
        parts.watchdog.start(duties.table(parts) + self.operation.duties())
        parts.delivery.retry_all()
        if socks:
            self._tell_ports()
        for line in parts.announcer.describe():
            log.info('%s', line)
        for line in guard.warnings(options, identity.addresses, identity.port):
            log.warning('%s', line)

    def _take_over(self):
        """Deal with what a node that was killed has left; return its schedulers, as StateFolder.schedulers() does."""
        folder = self.operation.folder
        schedulers = folder.schedulers()
        if schedulers:
            self._parts.delivery.hold_back()
        folder.set_aside()
        return schedulers

    def _listen(self, socks):
        """Take connections at TCP sockets; with the first ones the node serves."""
        parts = self._parts
        if socks and parts.state.phase() == states.STARTING:
            parts.state.set_phase(states.SERVING)
            parts.delivery.serving()
        for sock in socks:
            listener = self._listeners[sock] = Listener(sock, self._reception, parts.loop)
            listener.start()

    def _serve_at(self, addresses, held):
        """Listen at these addresses and nowhere else, see Ports.follow(); return where that works. Connections go on."""
        opened, useless = self._parts.ports.follow(addresses, held)
        self._datagrams.follow(self._parts.ports.udp_sockets())
        self._listen(opened)
        for sock in useless:
            self._listeners.pop(sock).stop()
        return self._parts.ports.addresses_with(self._parts.identity.port)

    def _tell_ports(self):
        parts = self._parts
        for address, why in parts.addresses.describe():
            log.info('%s serves at %s (%s), TCP and UDP ports %s, with %s', parts.name, address, why,
                     ', '.join(str(port) for port in parts.ports.numbers()),
                     counted(parts.state.cpus(), u'CPU'))

    def take_missing_ports(self, _now):
        """Serve at the ports that connections had when the node was started, if they are free; a duty."""
        parts = self._parts
        try:
            socks = parts.ports.take_missing()
        except StartError as error:
            log.error('%s', error)
            self.exit_status = error.status
            self.stop()
            return
        self._datagrams.follow(parts.ports.udp_sockets())
        self._listen(socks)
        if socks:
            self._tell_ports()
            parts.announcer.begin()
            parts.addresses.look_soon()

    def _is_token(self, token):
        return framing.same_token(token, self._parts.identity.token)

    # -- computations that end

    def _new_computation(self, *described):
        return Computation(self._parts, *described)

    def opened(self, computation):
        """A computation has been opened: the node is in use."""
        parts = self._parts
        parts.state.note_served()
        self.operation.opened(computation)
        parts.announcer.served(computation.scheduler, computation.peer.version)
        parts.watchdog.reschedule()

    def ending(self, computation):
        """A computation has no job left and takes no more: its scheduler may lose the node by that."""
        if self._parts.state.begin_cleanup(computation):
            if computation.zombie or computation.moved:
                self._parts.notices.terminated(computation)
            self.freed()

    def ended(self, computation):
        """All of a computation is gone, its files too."""
        jobs = sum(computation.outcomes.values())
        log.info('computation %d (%s) ended: %s%s', computation.id, printable(computation.name), counted(jobs, u'job'),
                 u': ' + in_words(computation.outcomes) if jobs else u'')
        self.operation.ended(computation)
        state = self._parts.state
        state.end_cleanup(computation)
        if not state.computations():
            self._preload()
            self._parts.nursery.refresh()
        if state.counts()['serve'] == 0 and state.scheduler() is None:
            log.info('the node has served as many clients as it was to')
            self._parts.notices.terminated(computation)
            self.stop()

    def _begin_preload(self):
        keeps = u'none' not in self.options.preload
        self._parts.imports = KnownImports(os.path.join(self._parts.state_folder, 'imports') if keeps else None)
        if self._preload():
            self._parts.nursery.prepare()   # it takes its time

    def _preload(self):
        """Have the nursery load what the operator names, and what jobs import again and again; return those names."""
        names = [name for name in self.options.preload if name not in (u'learn', u'none')]
        names += [name for name in self._parts.imports.names() if name not in names]
        self._parts.nursery.preload(names)
        return names

    def freed(self):
        """The node has no scheduler any more."""
        log.info('the node is free')
        self._parts.answers.forget()
        self._parts.announcer.begin(BREATH + SPREAD * fraction())
        self._parts.watchdog.reschedule()

    # -- what operators ask for

    def set_cpus(self, cpus):
        """Offer `cpus` processors, from 0; tell the scheduler, or look for one."""
        parts = self._parts
        parts.state.set_cpus(cpus)
        if parts.service.is_open():
            shown = 0 if parts.state.phase() == states.PAUSED else cpus
            for computation in duties.one_for_each_scheduler(parts.state.computations()):
                parts.notices.node_cpus(computation, shown)
        parts.announcer.begin()
        parts.watchdog.reschedule()

    def why_idle(self):
        """Return sentences (list of text) on why this node has no work: what it waits for, whom it turned away."""
        parts = self._parts
        lines = reasons.sentences(parts) + [parts.service.describe()]
        lines += [u'it ' + line for line in parts.announcer.describe()[:1]] + parts.announcer.describe()[1:]
        lines += parts.ports.describe()
        lines[:0] = [trouble for trouble in (parts.nursery.trouble(), parts.addresses.trouble()) if trouble is not None]
        return lines + parts.penalties.sentences() + (parts.complaints.sentences() or [u'no client has been turned away'])

    # -- ending

    def drain(self):
        """Take no new computation; stop when the open ones have been closed. Returns soon."""
        if self._parts.state.set_phase(states.DRAINING):
            log.info('draining: no new computations, waiting for %s; interrupt again to stop',
                     counted(len(self._parts.state.computations()), u'open computation'))
            start_thread('drain', self._stop_when_empty)

    def drain_jobs(self):
        """Take no new job; stop when the running ones have ended. Returns soon."""
        drain_jobs(self, self._parts, self.options.drain_timeout)

    def terminate(self):
        """As stop(), but running jobs may go on for --grace before that; no new ones start. Returns soon."""
        if self.options.grace:
            drain_jobs(self, self._parts, self.options.grace)
        else:
            self.stop()

    def command(self, words, done):
        """Do the operator's command `words` in a thread of its own; `done(Answer)` there."""
        self._parts.workers.run(lambda: done(self.operation.run_command(words)))

    def dump(self):
        """Write state and stacks to the log. Returns soon."""
        self._parts.workers.run(self.operation.dump)

    def _stop_when_empty(self):
        limit = self.options.drain_timeout
        deadline = None if limit is None else monotonic() + limit
        while not self._parts.state.wait_until_empty(None if deadline is None else deadline - monotonic()):
            if deadline is not None and monotonic() >= deadline:
                log.warning('draining has taken %g s: open computations are stopped', limit)
                break
        self.stop()

    def stop(self, at_once=False):
        """End jobs, tell schedulers, close everything. Returns soon; wait() tells when it has been done."""
        with self._stop_lock:
            if self._stop_began and not at_once:
                return
            first, self._stop_began = not self._stop_began, True
        if first:
            try:
                start_thread('stop', self._stop, at_once)
            except threading.ThreadError:   # no more threads to be had: in this one
                self._stop(at_once)

    def wait(self, timeout):
        """Wait up to `timeout` seconds (None: without limit) for the end; return whether it has come."""
        return self._ended.wait(timeout)

    def _stop(self, at_once):
        try:
            self._stop_parts(at_once)
        except Exception:
            log.exception('stopping failed')
            self.exit_status = os.EX_SOFTWARE
        finally:
            self._ended.set()
            if self.on_end is not None:
                self.on_end()

    def _stop_parts(self, at_once):
        parts = self._parts
        parts.state.set_phase(states.STOPPING)
        self.operation.stopping()
        parts.watchdog.stop()
        deadline = monotonic() + (0.5 if at_once else self.options.stop_timeout)
        computations = parts.state.computations()
        self._tell_schedulers(computations)
        for listener in list(self._listeners.values()):
            listener.stop()
        self._datagrams.stop()
        for computation in computations:
            computation.close(terminate=True, why=STOPPED)
        while monotonic() < deadline:
            if parts.state.wait_until_empty(deadline - monotonic()) and not parts.delivery.pending():
                break
            time.sleep(0.01)
        self._kill_rest()
        parts.delivery.keep_rest()
        parts.journal.close()
        parts.nursery.close()
        parts.workers.finish(max(0.2, deadline - monotonic()))
        parts.job_output.finish(LAST_OUTPUT)
        parts.loop.stop()
        self._datagrams.close()
        parts.addresses.close()
        bigfiles.remove_folder(parts.big_folder)
        self._init_file.close(0.5 if at_once else self.options.stop_timeout)
        self.operation.close()
        if parts.spool.total():
            log.warning('%s to clients could not be delivered: kept in %s, for the next node with this port and folder',
                        counted(parts.spool.total(), u'reply'), to_text(parts.state_folder))
        log.info('stopped')

    def _kill_rest(self):
        """End what did not end in time: interrupt user code in supervisors, then end them by force."""
        state = self._parts.state
        for number, patience in ((signal.SIGTERM, 1.0), (signal.SIGKILL, 0.5)):
            left = state.computations() + state.ending()
            for computation in left:
                log.warning('computation %d did not end in time; its processes get %s', computation.id,
                            'SIGTERM' if number == signal.SIGTERM else 'SIGKILL')
                computation.kill(number)
            deadline = monotonic() + patience
            while left and monotonic() < deadline and not state.wait_until_empty(deadline - monotonic()):
                continue

    def _tell_schedulers(self, computations):
        told = set()
        for computation in computations:
            if computation.scheduler not in told:
                told.add(computation.scheduler)
                self._parts.notices.terminated(computation)
        self._parts.announcer.say_goodbye()
