"""Going on where an earlier node stopped: its sign, computations, supervisors and jobs."""
from __future__ import absolute_import, division, print_function

import os

from dispynode_lib.errors import ProtocolError
from dispynode_lib.host.compat import to_path, to_text
from dispynode_lib.host.wording import counted
from dispynode_lib.log import Log
from dispynode_lib.node.computations import adoption, link
from dispynode_lib.node.files import bigfiles
from dispynode_lib.node.operator.statefolder import JOURNAL, STATE
from dispynode_lib.node.replies import journal as journals
from dispynode_lib.node.replies.journal import Journal
from dispynode_lib.node.replies.records import ARGUMENTS, COMPUTATIONS, FORMAT
from dispynode_lib.node.shared.identity import is_sign
from dispynode_lib.wire import control, messages
from dispynode_lib.wire.peers import Peer

log = Log('dispynode.takeover')


class Heritage(object):
    """What a dead node has left; find() makes it, take_over() uses it before serving."""

    def __init__(self, records, sign, remembered):
        """`remembered`: [Remembered]; `sign`: by which clients know the dead node."""
        self._records, self.sign, self._remembered = records, sign, remembered
        # of the records that are of use
        self.names = frozenset(['%d' % one.data['id'] for one in remembered])

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
            state.adopt_computation(computation, one.stage == u'closing')
            made[computation.id, computation.auth] = computation, one, []
        for job in noted:
            self._adopt_job(job, made, state, journal, spool)
        link.number_programs_after(max([job.number for job in noted] + [0]))
        bigfiles.remove_but(big_folder, [argument_file(job) for job in noted])
        begun = [(computation, one, self._find(one, sockets.pop(computation.id, []), loop),
                  its_jobs) for computation, one, its_jobs in made.values()]
        for left in sockets.values():       # COMPUTE was never answered, or the record is damaged
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

    def _find(self, one, sockets, loop):
        """Return the Link to the supervisor of a Remembered, None if that has died."""
        found = None
        for key, path in sockets:
            if found is None:
                found = self._connect(path, key, loop)
            else:
                link.end_supervisor(path)
        if found is None:
            # not before: until now it may have gone on alone, and begun cleanup
            one.cleaned = bool(self._records.cleaned(one.request.id))
            log.warning(
                'computation %d: its supervisor has died with the node; its running jobs are lost',
                one.request.id)
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

    before          dict that it wrote about itself; empty, or None: that is damaged, or gone
    all_data        [(file name, dict)]: its records of computations
    is_folder_ours  function(path): may a computation's folder be there
    """
    try:
        if not before:
            raise ProtocolError('%s is damaged, or gone' % records.path(STATE))
        if before.get('format') != FORMAT:
            raise ProtocolError('its state has the format %r, this release knows %d' %
                                (before.get('format'), FORMAT))
        sign = to_text(before['sign'])
        if not is_sign(sign):
            raise ProtocolError('its sign is damaged')
        journals.require(records.path(JOURNAL))
        Journal(records.path(JOURNAL), b'').take_over()         # can it be read?
        return Heritage(records, sign,
                        remember_all(records, all_data, is_folder_ours))
    except (EnvironmentError, ProtocolError) as error:
        why = error
    except (KeyError, TypeError, ValueError):
        why = '%s is damaged' % records.path(STATE)
    log.error('the computations of the node before this one cannot be taken over: %s; they are '
              'ended, and their clients told', why)
    return None


def remember_all(records, all_data, is_folder_ours):
    """Return the Remembered of all records that are whole; a line tells of each other one.

    Raises ProtocolError if none is.
    """
    found = []
    for name, data in all_data:
        try:
            found.append(remember(records, data, is_folder_ours))
            continue
        except (EnvironmentError, ProtocolError) as error:
            why = error
        except (KeyError, TypeError, ValueError, AttributeError):
            why = 'it is damaged'
        log.error('the computation in %s cannot be taken over: %s; it is ended, and its client '
                  'told', records.path(COMPUTATIONS, name), why)
    if not found:
        raise ProtocolError('none of their records in %s is whole' % records.path(COMPUTATIONS))
    return found


def remember(records, data, is_folder_ours):
    """Return the Remembered of a record `data`. Raises what that does."""
    one = Remembered(records, data)
    if not is_folder_ours(one.folder):
        raise ProtocolError('computation %d has its folder at %s' % (data['id'], one.folder))
    return one


class Remembered(object):
    """A computation as its record tells of it.

    data      dict of what Record.write() wrote
    argument  of COMPUTE (bytes); `request` what it says
    setup     parts of the setup frame, None if it was not asked for
    folder    its path
    scheduler, peer, node_ip_addr, callers, stage, closed_by_client   as of a Computation
    cleaned   whether a supervisor has begun cleanup and died: known when it was looked for
    """

    def __init__(self, records, data):
        """Raises ProtocolError, EnvironmentError, KeyError, TypeError, ValueError: no use."""
        if data['format'] != FORMAT:
            raise ProtocolError(
                'its format is %r, this release knows %d' % (data['format'], FORMAT))
        self.data = data
        path = records.path(ARGUMENTS, '%d.' % data['id'])
        self.argument = _read(records.path(COMPUTATIONS, '%d' % data['id'])).partition(b'\n')[2]
        self.request = messages.read_compute(self.argument)
        if self.request.id != data['id']:
            raise ProtocolError('it is of another computation')
        self.setup = None
        if os.path.exists(path + 'setup'):
            self.setup = tuple(control.unpack(_read(path + 'setup')[4:]))
        self.folder = to_path(data['folder'])
        self.files_path = path + 'files'
        self.cleaned = False
        self.scheduler = to_text(data['scheduler'][0]), int(data['scheduler'][1])
        self.peer = Peer(data['release'], bool(data['python2']), int(data['protocol']))
        self.node_ip_addr = to_text(data['node_ip_addr'])
        self.callers = frozenset([to_text(address) for address in data['callers']])
        self.stage, self.closed_by_client = data['stage'], bool(data['closed_by_client'])


def _read(path):
    with open(path, 'rb') as source:
        return source.read()
