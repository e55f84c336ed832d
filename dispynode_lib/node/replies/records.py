"""What the disk knows of the open computations: enough for the next node to go on with them, or to
tidy up after them."""
from __future__ import absolute_import, division, print_function

import os

from dispynode_lib.host import files
from dispynode_lib.host.compat import random_hex, to_bytes, to_text
from dispynode_lib.log import Log
from dispynode_lib.wire import control
from dispynode_lib.wire.control import CLEANED, SUPERVISORS

log = Log('dispynode.state')

FORMAT = 1                                  # of all that the state folder tells the next node
COMPUTATIONS = 'computations'               # ID: a line of JSON, what COMPUTE said
ARGUMENTS = 'arguments'                     # ID.setup, ID.files
ROOM = 1024                                 # bytes of that line, filled up with spaces

# of that line, what changes
TOLD = (u', "release": %s, "python2": %s, "protocol": %s, "set_up": %s, "answered": %s, '
        u'"again": %s, "stage": %s, "closed_by_client": %s}')


class Records(object):
    """The records in one state folder; any thread."""

    def __init__(self, folder, orphan_timeout, generation):
        """`folder`: the state folder (path); `orphan_timeout`: of supervisors (seconds)."""
        self.folder, self.orphan_timeout, self.generation = folder, orphan_timeout, generation
        self._spare = []                    # paths of files for the next records: nearly always one
        self._troubled = False              # a record could not be written, and that was told

    def prepare(self):
        """Make the folders in which supervisors and records are to be. May wait."""
        try:
            for name in (COMPUTATIONS, ARGUMENTS,
                         SUPERVISORS) if self.orphan_timeout else (COMPUTATIONS, ):
                if not os.path.isdir(self.path(name)):
                    files.make_folder(self.path(name))
        except EnvironmentError as error:
            log.warning('should this node die, its computations would be lost: %s', error)

    def write(self, computation_id, *pieces):
        """Write a new record, all or nothing. May wait. Raises EnvironmentError."""
        path, spare = self.record_path(computation_id), self._take_spare()
        if spare is None or not files.write_into(spare, path, *pieces):
            files.write(path, *pieces)
        if self._troubled:
            self._troubled = False
            log.info('records of computations can be written again')

    def _take_spare(self):
        try:
            return self._spare.pop()
        except IndexError:
            return None

    def remove(self, computation_id):
        """Remove a record; its file is kept for the next one, under another kind of name.

        To make a file takes the system 0.5 ms where many have been removed in the last seconds.
        """
        path = self.record_path(computation_id)
        if not self._spare and files.rename(path, path + files.PARTIAL):
            self._spare.append(path + files.PARTIAL)
        else:
            files.remove(path)

    def record_path(self, computation_id):
        """Return the path of a record."""
        return self.path(COMPUTATIONS, '%d' % computation_id)

    def complain(self, computation_id, error):
        """Tell that a record cannot be written: in full for the first one."""
        if self._troubled:
            log.debug('computation %d: its record cannot be written: %s', computation_id, error)
        else:
            self._troubled = True
            log.warning(
                'computation %d: its record cannot be written: %s; while that lasts, should this '
                'node die, what was opened meanwhile is lost', computation_id, error)

    def new_key(self):
        """Return the key (16 bytes) of a new supervisor, None if it ends with this node."""
        return to_bytes(random_hex(8)) if self.orphan_timeout else None

    def socket_path(self, computation_id, key):
        """Return where the supervisor with `key` is found; '' for none."""
        return '' if key is None else os.path.join(
            self.folder, SUPERVISORS, '%d-%s' % (computation_id, key.decode('ascii')))

    def path(self, *names):
        """Return the path of a file."""
        return os.path.join(self.folder, *names)

    def supervisors(self):
        """Return {computation id: [(key, path)]} of the sockets, the newest first."""
        found = {}
        for name in files.listing(self.path(SUPERVISORS)):
            number, _dash, key = name.rpartition('-')
            if len(key) == 16 and number.lstrip('-').isdigit():
                path = self.path(SUPERVISORS, name)
                found.setdefault(int(number), []).append((files.made_at(path),
                                                          key.encode('ascii'), path))
        return dict((number, [entry[1:] for entry in sorted(entries, reverse=True)])
                    for number, entries in found.items())

    def cleaned(self, computation_id):
        """Return the paths by which supervisors of a computation tell that cleanup began."""
        return [self.path(SUPERVISORS, name) for name in files.listing(self.path(SUPERVISORS))
                if name.startswith('%d-' % computation_id) and name.endswith(CLEANED)]


class Record(object):
    """The record of one computation, which says what is written."""

    def __init__(self, records, computation):
        self._records, self._computation = records, computation
        self._opened = self._removed = False
        self._answered = False              # SETUP was
        self._again = False                 # COMPUTE has come again, and SETUP not been answered
        self.adopted = False                # a node before this one has opened it
        self._room = 0                      # bytes that its first line may take, once it is written
        self._fixed = None                  # JSON of what never changes, without its last brace

    @property
    def in_doubt(self):
        """Whether its client may not have the answers of a node before this one."""
        return self.adopted and not self._answered

    @property
    def begun_again(self):
        """Whether its client had forgotten an earlier node, and was about to set up again."""
        return self.adopted and self._again

    def adopt(self, data):
        """Go on with `data`, what a node before this one has written."""
        self._opened = self.adopted = True
        self._answered, self._again = bool(data.get('answered')), bool(data.get('again'))

    def note_answered(self, answered=True):
        """Write whether SETUP was answered; False: COMPUTE came again. A worker's thread."""
        self._answered, self._again = answered, not answered
        self.write()

    def open(self):
        """Write what COMPUTE said, before it is answered."""
        self._opened = True
        self.write()

    def _path(self, kind):
        return self._records.path(ARGUMENTS, '%d.%s' % (self._computation.id, kind))

    @property
    def files_path(self):
        """Return where uses of files are noted; None if they are not to be."""
        return self._path('files') if self._records.orphan_timeout else None

    def _complain(self, error):
        self._records.complain(self._computation.id, error)

    def note_setup(self, frame):
        """Write how it is set up (parts of the frame), before that is done."""
        if self._opened and frame[1] is not None and self._records.orphan_timeout:
            try:
                files.write(self._path('setup'), control.pack(*frame))
            except EnvironmentError as error:
                self._complain(error)

    def write(self):
        """Write where it stands. A worker's thread."""
        from dispynode_lib.host import plainjson
        written = None
        try:
            # it may change, or be removed, while another thread writes what was true before
            while self._opened and not self._removed:
                told = self._told()
                if told == written:
                    break
                written = told
                self._fixed = self._fixed or plainjson.dumps(self._fixed_part())[:-1]
                values = tuple([plainjson.dumps(value) for value in told])
                self._put((self._fixed + TOLD % values).encode('ascii'))
            if self._removed:
                files.remove(self._records.record_path(self._computation.id))
        except EnvironmentError as error:
            self._complain(error)

    def _fixed_part(self):
        computation = self._computation
        return {u'format': FORMAT, u'id': computation.id, u'name': computation.name,
                u'folder': to_text(computation.folder.path),
                u'cleanup': bool(computation.request.cleanup),
                u'scheduler': list(computation.scheduler),
                u'node_ip_addr': computation.node_ip_addr, u'callers': sorted(computation.callers)}

    def _told(self):
        computation, peer = self._computation, self._computation.peer
        return (peer.version, peer.python2, peer.protocol, computation.setup is not None,
                self._answered, self._again, computation.stage(), computation.closed_by_client)

    def _put(self, line):
        """Write the first line, in place if it fits; the argument of COMPUTE follows it."""
        fits = len(line) < self._room <= files.ONE_PAGE
        room = self._room if fits else max(ROOM, 2 * len(line))
        line = line.ljust(room - 1) + b'\n'
        path = self._records.record_path(self._computation.id)
        if not fits or not files.write_over(path, line):
            argument = self._computation.argument if self._records.orphan_timeout else b''
            self._records.write(self._computation.id, line, argument)
            self._room = room

    def forget_cleanup(self):
        """Another supervisor sets it up: that one before has run cleanup is no more of interest."""
        for path in self._records.cleaned(self._computation.id):
            files.remove(path)

    def remove(self):
        """Remove the record: the computation has gone with all its files."""
        self._removed = True
        self._records.remove(self._computation.id)
        request = self._computation.request
        if self._opened:
            files.remove(self._path('files'))
            if self.adopted or request.setup or not isinstance(request.cleanup, bool):
                files.remove(self._path('setup'))
                self.forget_cleanup()
