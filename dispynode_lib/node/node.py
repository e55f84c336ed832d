"""Builds the node's parts, starts them, drains and stops them."""
from __future__ import absolute_import, division, print_function

import os
import threading

from dispynode_lib.errors import StartError
from dispynode_lib.host.network import net
from dispynode_lib.host.compat import fraction, monotonic, start_thread, to_native, to_text
from dispynode_lib.host.io.loop import Loop
from dispynode_lib.host.resources import Meter
from dispynode_lib.host.wording import counted
from dispynode_lib.host.io.workers import Workers
from dispynode_lib.log import Log
from dispynode_lib.node.access import guard
from dispynode_lib.node.access.penalties import Penalties
from dispynode_lib.node.computations.making import Computations, News, Uses
from dispynode_lib.node.computations.joboutput import JobOutput
from dispynode_lib.node.computations.nursery import Nursery
from dispynode_lib.node.discovery.announcer import Announcer
from dispynode_lib.node.discovery.cutoff import CutOff
from dispynode_lib.node.discovery.pings import Answers, Discovery
from dispynode_lib.node.discovery.notices import Notices
from dispynode_lib.node.discovery.visitors import Visitors
from dispynode_lib.node import leaving, takeover
from dispynode_lib.node.files.folders import Folders
from dispynode_lib.node.files.removal import remove_tree
from dispynode_lib.node.operation import Operation
from dispynode_lib.node.operator.statefolder import JOURNAL, UNDELIVERED, StateFolder
from dispynode_lib.node.replies.delivery import Delivery
from dispynode_lib.node.replies.journal import Journal
from dispynode_lib.node.replies.spool import Spool
from dispynode_lib.node.requests.addresses import Addresses, Host
from dispynode_lib.node.requests.callers import Callers
from dispynode_lib.node.requests.dispatcher import Dispatcher
from dispynode_lib.node.requests.jobs import JobRequests
from dispynode_lib.node.requests.opening import Opening
from dispynode_lib.node.requests.listeners import DatagramListener, Listener
from dispynode_lib.node.requests.ports import Ports
from dispynode_lib.node.requests.reception import Reception
from dispynode_lib.node.shared import state as states
from dispynode_lib.node.shared.common import Common, Orders
from dispynode_lib.node.shared.complaints import Complaints, printable
from dispynode_lib.node.shared.history import History, in_words
from dispynode_lib.node.shared.identity import Identity
from dispynode_lib.node.shared.known import KnownImports, KnownReleases
from dispynode_lib.node.timed import duties
from dispynode_lib.node.timed.service import Service
from dispynode_lib.node.timed.watchdog import Duty, Watchdog

log = Log('dispynode.node')

LAST_OUTPUT = 0.2  # seconds that the end waits for what jobs wrote to standard error
STOPPED = u'the node was stopped before the job had ended'
RESPITE = 0.1                               # seconds: its client may come back at once
SPREAD = 0.2  # seconds over which nodes that become free together announce themselves
WORKERS = 16                                # threads at most for what the node does itself


class Node(object):
    """One dispynode. start() once, then drain() or stop(), then wait()."""

    def __init__(self, options, tls=None):
        """`options`: parsed and finished; `tls`: host.network.tls.Tls or None."""
        self.options = options
        self._tls = tls
        self.exit_status = os.EX_OK
        self.on_end = lambda: None
        self.is_wanted = lambda: True       # asked while start() waits
        self._began = monotonic()
        self._ended = threading.Event()
        self.fault_on_disk = lambda: None   # why the program there cannot be the next node (text)
        self.is_replaced = False            # this process is to become the next node
        self._listeners = {}                # socket -> Listener
        self._init_file = None              # InitFile, with --init
        self._descriptors, most = guard.descriptor_limit()
        self._identity = Identity(options)
        self._state = states.NodeState(min(options.cpus, guard.cpus_for(most)), options.serve)
        self._folder = StateFolder(options)
        self._history, self._ledger = History(), None
        self._before = None                 # node.takeover.Before, once the folder is open

    # -- starting

    def start(self):
        """Open ports and folders and serve. Raises StartError."""
        if self.options.ledger:
            from dispynode_lib.node.shared.ledger import Ledger
            self._ledger = Ledger(to_native(self.options.ledger))
        self._folder.open()
        self._before = takeover.Before(self.options, self._folder, self._identity)
        try:
            if self.options.init is not None:
                from dispynode_lib.node.initfile import InitFile
                self._init_file = InitFile(self.options.init)
                self._init_file.init(self.is_wanted)
            chosen = net.node_addresses(self.options.ip_addr)
            socks = self._open_ports([address for address, _why in chosen])
            self._before.begin()
            schedulers = self._build()
            self._folder.begin()            # may fail; from here on nothing does
            self._serve(socks, chosen, schedulers)
        except StartError:
            self._close_init_file(self.options.stop_timeout)
            self._before.give_up()
            raise

    def _open_ports(self, addresses):
        identity, self._ports = self._identity, Ports(self.options.node_port,
                                                      self._before.keeper.listeners)
        identity.meter = Meter(self._folder.root)
        identity.addresses = addresses
        socks = self._ports.open(addresses)
        self._ports.close_inherited()
        identity.port = self._ports.main()
        return socks

    def _build(self):
        """Make all parts, the lowest room first; return what _take_over() does."""
        loop, options = Loop(), self.options
        self._common = Common(options, self._state, loop, Workers(WORKERS, loop), self._identity)
        self._watchdog = Watchdog()
        self._complaints = Complaints()
        self._penalties = Penalties(bool(options.secret or options.admin_secret))
        self._build_nursery()
        self._build_replies()
        schedulers = self._before.set_aside(self._delivery)
        self._build_discovery()
        self._service = Service(self._common, self._notices, self._announcer, self._delivery)
        self._addresses = Addresses(self._common, Host(self.options.ip_addr), self._serve_at,
                                    self._watchdog.reschedule, on_more=self._announcer.begin_anew,
                                    on_network_changed=lambda: self._operation.network_changed())
        self._build_operator()
        self._build_requests()
        return schedulers

    def _build_nursery(self):
        loop, keeps = self._common.loop, u'none' not in self.options.preload
        self._job_output, workers = JobOutput(loop), self._common.workers
        self._nursery = Nursery(loop, workers, self._folder.path, self._job_output.fd,
                                self._watchdog.reschedule)
        self._before.hand_on(self._nursery, self._listeners)
        self._imports = KnownImports(self._folder.file(KnownImports.FILE) if keeps else None,
                                     self.options.preload)
        if self._preload():
            self._nursery.prepare()         # it takes its time

    def _build_replies(self):
        token = self._identity.token
        self._folders = Folders(
            self._folder.root, self.options.max_file_size, self.options.force_cleanup)
        self._big_folder = self._folder.make_big(anew=self._before.heritage is None)
        self._spool = Spool(self._folder.file(UNDELIVERED), token)
        as_client = self._tls.as_client if self._tls is not None else None
        self._notices = Notices(self._common, as_client)
        self._delivery = Delivery(
            self._common, self._spool, lambda job: job.computation.settled(job),
            self._notices.unreached, as_client)
        self._journal = Journal(self._folder.file(JOURNAL), token)
        self._before.settle(self._folder.file(JOURNAL), self._spool)

    def _build_discovery(self):
        self._visitors = Visitors()
        self._announcer = Announcer(self._common, self._notices, self._visitors, self._complaints,
                                    KnownReleases(self._folder.file('releases')))
        self._cut_off = CutOff(self._common, self._notices)
        self._answers = Answers(
            self._common, self._notices, self._visitors, self._announcer, self._nursery)

    def _build_operator(self):
        self._orders = Orders(
            self.set_cpus, self.drain, self.drain_jobs, self.stop,
            restart=lambda: self.fault_on_disk() or self.leave(replaced=True),
            reschedule=self._watchdog.reschedule)
        self._operation = Operation(
            self._common, self._orders, self._folder, self._history, self._ledger, self._status,
            self._service, began=self._began, run_command=self._run_command)

    def _build_requests(self):
        is_allowed = guard.filter_of(self.options.allow)
        discovery = Discovery(self._common, self._answers, self._announcer, self._complaints,
                              self._administration)
        computations = self._computations()
        callers = Callers(self._common, self._complaints)
        opening = Opening(self._common, callers, computations.make, self._folders, self._delivery,
                          self._spool, self._notices, self._announcer, self._cut_off,
                          self._complaints, on_opened=self._on_opened, on_freed=self._on_freed)
        jobs = JobRequests(self._common, callers, self._journal, self._spool, self._delivery)
        dispatcher = Dispatcher(self._identity, discovery.table(), self._administration,
                                dict(opening.table(), **jobs.table()), jobs.at_once,
                                self._spool.knows_token, self._complaints, self._penalties)
        self._before.take_over(self._common, computations, self._folders, self._notices,
                               self._journal, self._spool, self._big_folder)
        self._identity.remember_signs(self._folder.file('signs'))
        self._reception = Reception(
            self._common, self._complaints, self._penalties, is_allowed=is_allowed,
            on_earlier=self._announcer.came_from_earlier, handle=dispatcher.handle,
            handle_at_once=dispatcher.job_at_once, serve_http=self._serve_page,
            big_folder=self._big_folder, tls=self._tls)
        self._datagrams = DatagramListener(
            self._ports.udp_sockets(), discovery.on_datagram, self._complaints, is_allowed)

    def _computations(self):
        uses = Uses(self._nursery, self._imports, self._delivery, self._journal, self._history,
                    self._ledger, self._big_folder, self._descriptors, self._before.records)
        news = News(self._on_ending, self._on_ended, self._notices.node_closed, self.drain,
                    takeover.on_replaced)
        return Computations(self._common, uses, news)

    def _serve(self, socks, chosen, schedulers):
        """Start what was built: `socks` listen, `chosen`: of Host.choose()."""
        start_thread('loop', self._common.loop.run)
        self._listen(socks)
        self._service.look(monotonic())
        self._datagrams.start()
        self._announcer.expect(schedulers)
        self._cut_off.come_back()
        if socks:
            self._announcer.begin()
        self._operation.begin()
        self._addresses.begin(chosen, monotonic())
        self._watchdog.start(self._duties())
        self._delivery.retry_all()
        if socks:
            self._tell_ports()
        for line in self._announcer.describe():
            log.info('%s', line)
        for line in guard.warnings(self.options, self._identity.addresses, self._identity.port):
            log.warning('%s', line)

    def _duties(self):
        found = duties.table(self._common, self._service, self._announcer, self._notices,
                             self._delivery, self._spool, self._nursery, self._addresses.gone_for)
        found.append(Duty('taking missing ports', self.take_missing_ports, self._ports.wait))
        found.append(Duty(
            'following the addresses of this host', self._addresses.look, self._addresses.wait))
        return found + self._operation.duties()

    # -- ports and addresses

    def _listen(self, socks):
        """Take connections at TCP sockets; with the first ones the node serves."""
        if socks and self._state.phase() == states.STARTING:
            self._state.set_phase(states.SERVING)
            self._delivery.serving()
        for sock in socks:
            listener = self._listeners[sock] = Listener(sock, self._reception, self._common.loop)
            listener.start()
        if socks and self._state.computations():
            self._common.workers.run(self._nursery.share)

    def _serve_at(self, addresses, held):
        """Listen at these addresses and nowhere else, see Ports.follow(); return where."""
        opened, useless = self._ports.follow(addresses, held)
        self._datagrams.follow(self._ports.udp_sockets())
        self._listen(opened)
        for sock in useless:
            self._listeners.pop(sock).stop()
        return self._ports.addresses_with(self._identity.port)

    def _tell_ports(self):
        for address, why in self._addresses.describe():
            log.info('%s serves at %s (%s), TCP and UDP ports %s, with %s', self._identity.name,
                     address, why, ', '.join(str(port) for port in self._ports.numbers()),
                     counted(self._state.cpus(), u'CPU'))

    def take_missing_ports(self, _now):
        """Serve at ports that connections had at the start, if they are free; a duty."""
        try:
            socks = self._ports.take_missing()
        except StartError as error:
            log.error('%s', error)
            self.exit_status = error.status
            self.stop()
            return
        self._datagrams.follow(self._ports.udp_sockets())
        self._listen(socks)
        if socks:
            self._tell_ports()
            self._announcer.begin()
            self._addresses.look_soon()

    # -- computations that come and go

    def _on_opened(self, computation):
        """A computation has been opened: the node is in use."""
        self._state.note_served()
        self._operation.opened(computation)
        self._announcer.served(computation.scheduler, computation.peer.version)
        self._watchdog.reschedule()

    def _on_ending(self, computation):
        """A computation has no job left and takes no more: its scheduler may lose the node."""
        if self._state.begin_cleanup(computation):
            if computation.zombie or computation.moved:
                self._notices.terminated(computation)
            self._on_freed()

    def _on_ended(self, computation):
        """All of a computation is gone, its files too."""
        jobs = sum(computation.outcomes.values())
        log.info('computation %d (%s) ended: %s%s', computation.id, printable(computation.name),
                 counted(jobs, u'job'), u': ' + in_words(computation.outcomes) if jobs else u'')
        self._operation.ended(computation)
        self._cut_off.ended(computation)
        self._state.end_cleanup(computation)
        self._preload()
        self._nursery.refresh(is_needed=bool(self._state.computations()))
        if self._state.counts()['serve'] == 0 and self._state.scheduler() is None:
            log.info('the node has served as many clients as it was to')
            self._notices.terminated(computation)
            self.stop()

    def _preload(self):
        """Have the nursery load what the operator names, and what jobs import often; return it."""
        names = [name for name in self.options.preload if name not in (u'learn', u'none')]
        names += [name for name in self._imports.names() if name not in names]
        self._nursery.preload(names)
        return names

    def _on_freed(self):
        """The node has no scheduler any more."""
        log.info('the node is free')
        self._answers.forget()
        self._announcer.begin(RESPITE + SPREAD * fraction())
        self._watchdog.reschedule()

    # -- what operators ask for

    def set_cpus(self, cpus):
        """Offer `cpus` CPUs, from 0; tell the scheduler, or look for one."""
        self._state.set_cpus(cpus)
        if self._service.is_open():
            self._notices.cpus_to_all(0 if self._state.phase() == states.PAUSED else cpus)
        self._announcer.begin()
        self._watchdog.reschedule()

    def _status(self):
        # few nodes are ever asked: what answers is imported then, and has no state of its own
        from dispynode_lib.node.operator.status import Status
        return Status(self._common, self._folder, self._history, self._ports, self._addresses,
                      self._nursery, self._visitors, self._announcer, self._delivery, self._spool,
                      self._service, self._complaints, self._penalties)

    def _administration(self):
        from dispynode_lib.node.requests.admin import Administration
        return Administration(self._common, self._orders, self._service, self._notices,
                              self._complaints, self._penalties)

    def command(self, words, done):
        """Do the operator's command `words` in a thread of its own; `done(Answer)` there."""
        self._common.workers.run(lambda: done(self._run_command(words)))

    def _run_command(self, words):
        from dispynode_lib.node.operator.commands import Commands
        return Commands(self._common, self._orders, self._status(), self._service, self._notices,
                        self._announcer).run(words)

    def _serve_page(self, connection):
        from dispynode_lib.node.operator.health import Pages
        Pages(self._common, self._status(), self._history, self._complaints).serve(connection)

    def dump(self):
        """Write state and stacks to the log. Returns soon."""
        self._common.workers.run(self._operation.dump)

    def change(self, new):
        """Take over from the options read again what differs and can change while the node runs."""
        self._operation.change(new)

    # -- ending

    def drain(self):
        """Take no new computation; stop when the open ones have been closed. Returns soon."""
        if self._state.set_phase(states.DRAINING):
            log.info('draining: no new computations, waiting for %s; interrupt again to stop',
                     counted(len(self._state.computations()), u'open computation'))
            self._common.loop.start_thread('drain', self._stop_when_empty)

    def _stop_when_empty(self):
        limit = self.options.drain_timeout
        if not self._state.wait_until_empty(limit):
            log.warning('draining has taken %g s: open computations are stopped', limit)
        self.stop()

    def drain_jobs(self):
        """Take no new job; stop when the running ones have ended. Returns soon."""
        self._drain_jobs(self.options.drain_timeout)

    def terminate(self, may_keep=True):
        """Stop as stop() does, but jobs may go on: --keep_jobs, if `may_keep`, or --grace."""
        if may_keep and self.options.keep_jobs and self.options.orphan_timeout:
            self.leave()
        elif self.options.grace:
            self._drain_jobs(self.options.grace)
        else:
            self.stop()

    def _drain_jobs(self, limit):
        """Take no more jobs, wait for those that run, `limit` seconds or None, and stop."""
        self._state.set_phase(states.DRAINING)
        if self._state.phase() != states.DRAINING:
            return
        self.set_cpus(0)
        log.info('draining: no new jobs, waiting for %s%s',
                 counted(self._state.used_cpus(), u'running job'),
                 u'' if limit is None else u', at most %g s' % limit)
        if limit is not None:
            self._operation.draining(limit)
        self._common.loop.start_thread('drain-jobs', self._stop_without_jobs, limit)

    def _stop_without_jobs(self, limit):
        if not self._delivery.wait_until_out(self._state.wait_until_no_jobs, limit):
            log.warning('draining has taken %g s: running jobs are stopped', limit)
        self.stop()

    def stop(self, at_once=False):
        """End jobs, tell schedulers, close everything. Returns soon; wait() tells the end."""
        if not self._state.begin_end(states.STOPPING):
            return                          # it is being stopped, or left to the next one
        try:
            start_thread('stop', self._stop, at_once)
        except threading.ThreadError:       # no more threads to be had: in this one
            self._stop(at_once)

    def leave(self, replaced=False):
        """End, and leave all to the next node; `replaced`: to be this process. Returns soon."""
        if self._state.begin_end():
            self._common.loop.start_thread('leave', self._leave, replaced)

    def _leave(self, replaced):
        self.is_replaced = replaced
        self._operation.stopping(replaced)
        self._watchdog.stop()
        leaving.leave(self._common, list(self._listeners.values()), self._delivery, self._nursery)
        self._close_init_file(self.options.stop_timeout)
        self._folder.note_left()
        self._end()

    def _close_init_file(self, timeout):
        if self._init_file is not None:
            self._init_file.close(timeout)

    def _end(self):
        self._ended.set()
        self.on_end()

    def wait(self, timeout):
        """Wait up to `timeout` seconds (None: no limit) for the end; return whether it has come."""
        return self._ended.wait(timeout)

    def _stop(self, at_once):
        try:
            self._stop_parts(at_once)
        except Exception:
            log.exception('stopping failed')
            self.exit_status = os.EX_SOFTWARE
        finally:
            self._end()

    def _stop_parts(self, at_once):
        self._operation.stopping()
        self._watchdog.stop()
        deadline = monotonic() + (0.5 if at_once else self.options.stop_timeout)
        computations = self._state.computations()
        if self._state.wait_until_empty(0):
            # nobody needs it: it ends while the rest is done
            self._common.workers.run(self._nursery.close)
        self._notices.node_ends(computations)
        self._announcer.say_goodbye()
        for listener in list(self._listeners.values()):
            listener.stop()
        self._datagrams.stop()
        for computation in computations:
            computation.close(terminate=True, why=STOPPED)
        self._delivery.wait_until_out(self._state.wait_until_empty, deadline - monotonic())
        leaving.kill_rest(self._state)
        self._delivery.keep_rest()
        self._journal.close()
        self._nursery.close()
        self._common.workers.finish(max(0.2, deadline - monotonic()))
        self._job_output.finish(LAST_OUTPUT)
        self._common.loop.stop()
        self._datagrams.close()
        self._addresses.close()
        remove_tree(self._big_folder)
        self._close_init_file(0.5 if at_once else self.options.stop_timeout)
        self._nursery.supervisors.end_rest()
        self._operation.close()
        if self._spool.total():
            log.warning(
                '%s to clients could not be delivered: kept in %s, for the next node with this '
                'port and folder',
                counted(self._spool.total(), u'reply'), to_text(self._folder.path))
        log.info('stopped')
