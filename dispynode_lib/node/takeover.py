"""Going on where an earlier node stopped: its sign, computations, supervisors and jobs."""
from __future__ import absolute_import, division, print_function

import os
import select
import socket

from dispynode_lib.errors import PeerGone, ProtocolError
from dispynode_lib.host.compat import to_text
from dispynode_lib.host.descriptors import recv_fd, set_cloexec
from dispynode_lib.host.io.streams import wait_for
from dispynode_lib.host.network import unixsocket
from dispynode_lib.host.wording import counted
from dispynode_lib.log import Log
from dispynode_lib.node.computations import adoption, link
from dispynode_lib.node.operator.statefolder import KEEPER
from dispynode_lib.node.replies.records import FORMAT, Records, Remembered
from dispynode_lib.node.files import bigfiles
from dispynode_lib.node.replies import journal as journals
from dispynode_lib.node.replies.journal import Journal
from dispynode_lib.wire import control

log = Log('dispynode.takeover')

SIGN_SIZE = 40
LAST_LINES = 0.2                            # seconds for the log
TIMEOUT = 2.0                               # seconds for the keeper of listeners
JOURNAL = 'journal'


class Before(object):
    """The node before this one, by the traces that this one finds at its start.

    records    node.replies.records.Records
    keeper     Keeper
    heritage   Heritage, None if there is nothing to go on with
    """

    def __init__(self, options, folder, identity):
        """Look in `folder`, the open StateFolder; `identity` gets the sign of before."""
        self.records = Records(folder.path, options.orphan_timeout, folder.generation)
        self.keeper = Keeper(folder.file(KEEPER), options.orphan_timeout)
        before, records = folder.before()
        self.heritage = None if options.clean else find(before, records, self.records,
                                                        folder.is_of_client)
        if self.heritage is not None:
            identity.keep_sign(self.heritage.sign, options)
            folder.keep_records()
        folder.sign, self._folder, self._supervisors = identity.sign, folder, None

    def begin(self):
        """End what is not to go on: this node has its ports, so no other one lives here."""
        self._folder.clean()
        if self.heritage is None:
            end_all(self.records)
            self.keeper.let_go()

    def give_up(self):
        """This start has failed: leave all as it was."""
        self.keeper.close()
        self._folder.close(clean=False)

    def hand_on(self, nursery, listeners):
        """Have the nursery keep `listeners` (dict by socket); end what was left."""
        self.keeper.hand_on(nursery, listeners)
        supervisors = self._supervisors = nursery.supervisors
        supervisors.mark, supervisors.is_replaced = self._folder.mark, self._folder.is_replaced
        supervisors.keeper_pids = self.keeper.pids
        self._folder.end_before = supervisors.end_before

    def settle(self, path, spool):
        """Keep a final reply for each job in the journal at `path`, if none of them goes on."""
        if self.heritage is None:
            journals.settle(path, spool)

    def set_aside(self, delivery):
        """Set aside what is not to go on; return the schedulers of before."""
        schedulers = self._folder.schedulers()
        if schedulers and self.heritage is None:
            delivery.hold_back()
        self._folder.set_aside()
        return schedulers

    def take_over(self, common, computations, folders, notices, journal, spool, big_folder):
        """Go on with what there is; the arguments are the node's parts. Raises StartError."""
        if self.heritage is not None:
            self._folder.begin()            # its generation, before it is used
            self.heritage.take_over(computations, folders, notices, common.state, common.loop,
                                    journal, spool, big_folder, self._supervisors)


def on_replaced(loop):
    """Another node has taken this one's supervisors: all that is here is its own now."""
    log.error(
        'another node has taken over the computations of this one, which was stopped for too long; '
        'this one ends')
    loop.call_later(LAST_LINES, os._exit, os.EX_TEMPFAIL)


class Heritage(object):
    """What a dead node has left; find() makes it, take_over() uses it before serving."""

    def __init__(self, records, sign, remembered):
        """`remembered`: [records.Remembered]; `sign`: by which clients know the dead node."""
        self._records, self.sign, self._remembered = records, sign, remembered

    def take_over(self, computations, folders, notices, state, loop, journal, spool, big_folder,
                  supervisors):
        """Make the computations known to this node, and begin to talk to their supervisors.

        The arguments are the node's parts. Raises EnvironmentError, ProtocolError: nothing was
        changed.
        """
        noted = journal.take_over()
        sockets, made = self._records.supervisors(), {}
        for one in self._remembered:
            computation = self._make(one, computations, folders, notices)
            state.adopt_computation(computation, one.data['stage'] == u'closing')
            made[computation.id, computation.auth] = computation, one, []
        for job in noted:
            self._adopt_job(job, made, state, journal, spool)
        adoption.number_programs_after(max([job.number for job in noted] + [0]))
        bigfiles.remove_but(big_folder, [argument_file(job) for job in noted])
        begun = [(computation, one, self._find(computation, sockets.pop(computation.id, []), loop),
                  its_jobs) for computation, one, its_jobs in made.values()]
        for left in sockets.values():       # their COMPUTE was never answered
            for _key, path in left:
                link.end_supervisor(path)
        self._end_lost(begun, supervisors)
        for parts in begun:
            loop.call_soon(computations.adopt, *parts)
        log.info(
            'taken over from the node before this one: %s, %s', counted(len(made), u'computation'),
            counted(sum(len(its_jobs) for _computation, _one, its_jobs in made.values()), u'job'))

    @staticmethod
    def _end_lost(begun, supervisors):
        """End jobs whose supervisors have died, before their clients are told."""
        pids = [found.pid for _computation, _one, found, _its_jobs in begun if found is not None]
        for pid in pids:
            supervisors.note(pid)
        if all(pids) and any(adoption.is_lost(noted, found) for _computation, _one, found, its_jobs
                             in begun for _job, noted in its_jobs):
            supervisors.end_before(None, 0)

    @staticmethod
    def _make(one, computations, folders, notices):
        peer = notices.peer_at(*one.scheduler)
        peer.version, peer.python2 = one.peer.version, one.peer.python2
        peer.protocol = one.peer.protocol
        computation = computations.make(one.request, one.argument, peer, one.scheduler,
                                        one.node_ip_addr)
        computation.callers = one.callers
        computation.folder = folders.adopt(one.folder)
        computation.folder.note_uses(one.files_path)
        computation.record.adopt(one.data)
        computation.begun.set()
        return computation

    @staticmethod
    def _adopt_job(noted, made, state, journal, spool):
        computation, _one, its_jobs = made.get((noted.computation_id, noted.auth),
                                               (None, None, None))
        if computation is None or (noted.uid, noted.hash) in spool.jobs(
            (noted.computation_id, noted.auth)):
            journals.keep_lost(noted, spool)        # unless its reply is kept already
            journal.remove(noted.slot)
            return
        job = state.adopt_job(computation, noted.uid, noted.hash, noted.xfer_files, noted.started)
        job.slot = noted.slot
        path = argument_file(noted)
        if path is not None:
            job.big = bigfiles.Arguments(path, None)
        its_jobs.append((job, noted))

    def _find(self, computation, sockets, loop):
        """Return the Link to its supervisor, None if that has died."""
        found = None
        for key, path in sockets:
            if found is None:
                found = self._connect(path, key, loop)
            else:
                link.end_supervisor(path)
        if found is None:
            log.warning(
                'computation %d: its supervisor has died with the node; its running jobs are lost',
                computation.id)
        return found

    def _connect(self, path, key, loop):
        try:
            return link.take_over(loop, path, key, self._records.generation)
        except EnvironmentError as error:
            log.debug('no supervisor at %s: %s', path, error)
            link.end_supervisor(path)
            return None


def argument_file(noted):
    """Return the path of the file with the arguments of a noted job, None if it has none."""
    if noted.frame is None:
        return None
    try:
        parts = control.unpack(noted.frame[4:])
    except ProtocolError:
        return None
    return to_text(parts[-1]) if parts[:1] == [b'filejob'] else None


def find(before, all_data, records, is_folder_ours):
    """Return the Heritage of a dead node, None: nothing, or of no use, as a line then tells.

    before          dict that it wrote about itself; empty, or None: it ended in order
    all_data        list of dict: its records of computations
    is_folder_ours  function(path): may a computation's folder be there
    """
    if not before or not all_data or not records.orphan_timeout:
        return None
    try:
        if before.get('format') != FORMAT:
            raise ProtocolError('its state has the format %r, this release knows %d' %
                                (before.get('format'), FORMAT))
        sign = to_text(before['sign'])
        if len(sign) != SIGN_SIZE or sign.strip(u'0123456789abcdef'):
            raise ProtocolError('its sign is damaged')
        Journal(records.path(JOURNAL), b'').take_over()         # can it be read?
        return Heritage(records, sign,
                        [remember(records, data, is_folder_ours) for data in all_data])
    except (EnvironmentError, ProtocolError, KeyError, TypeError, ValueError,
            AttributeError) as error:
        log.error('the computations of the node before this one cannot be taken over: %s; they are '
                  'ended, and their clients told', error or type(error).__name__)
        return None


def remember(records, data, is_folder_ours):
    """Return the records.Remembered of a record `data`. Raises what that does."""
    one = Remembered(records, data)
    if not is_folder_ours(one.folder):
        raise ProtocolError('computation %d has its folder at %s' % (data['id'], one.folder))
    return one


class Keeper(object):
    """The process that has kept the listeners of a dead node: the nursery of that one."""

    def __init__(self, path, timeout):
        """`path`: its socket; `timeout`: seconds that the one of this node is to wait."""
        self.wanted = '%g:%s' % (timeout, path) if timeout else None
        self._sock, self._pid, self.listeners = None, None, []
        try:
            self._sock = unixsocket.connect(path, TIMEOUT)
            self._pid = unixsocket.peer_pid(self._sock)
        except EnvironmentError:
            return                          # there is none, as nearly always
        try:
            self._sock.setblocking(True)    # on Python 2 what takes descriptors knows no time limit
            while True:
                wait_for(self._sock, select.POLLIN, TIMEOUT)
                fd = recv_fd(self._sock)
                if fd is None:
                    break
                self.listeners.append(socket_from(fd))
        except (EnvironmentError, PeerGone) as error:  # a byte without a descriptor: that is all
            log.debug('the listeners of the node before this one: %d, %s', len(self.listeners),
                      error)

    def hand_on(self, nursery, listeners):
        """Have the nursery keep what is in `listeners` (dict, sockets are its keys) from now on."""
        nursery.listeners, nursery.on_shared = lambda: list(listeners), self.let_go
        nursery.keeper = self.wanted

    def pids(self):
        """Return its pid as long as it is needed, in a list."""
        return [self._pid] if self._sock is not None and self._pid else []

    def let_go(self):
        """Let the process go, which is not needed any more. Any thread."""
        sock, self._sock = self._sock, None
        if sock is not None:
            try:
                sock.sendall(control.KEEP_NO_MORE)
            except EnvironmentError as error:
                log.debug('the keeper of listeners: %s', error)
            sock.close()

    def close(self):
        """Close what this node has of it; the process itself goes on."""
        if self._sock is not None:
            self._sock.close()
        for sock in self.listeners:
            sock.close()


def socket_from(fd):
    """Return the TCP socket with descriptor `fd`, which is closed."""
    sock = socket.fromfd(fd, socket.AF_INET, socket.SOCK_STREAM)
    if len(sock.getsockname()) == 4:
        sock.close()
        sock = socket.fromfd(fd, socket.AF_INET6, socket.SOCK_STREAM)
    os.close(fd)
    set_cloexec(sock.fileno())
    return sock


def end_all(records):
    """End all supervisors that are there: they are not taken over."""
    for sockets in records.supervisors().values():
        for _key, path in sockets:
            link.end_supervisor(path)
