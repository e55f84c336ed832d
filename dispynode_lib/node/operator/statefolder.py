"""The state folder of one node: its lock, what a dead node left there, and cleaning."""
from __future__ import absolute_import, division, print_function

import os
import socket
import stat

from dispynode_lib.errors import StartError
from dispynode_lib.host import files, processes
from dispynode_lib.host.network import net
from dispynode_lib.host.process import lockfile
from dispynode_lib.host.compat import random_hex, text_type, to_native, to_path, to_text
from dispynode_lib.log import INFO, WARNING, Log
from dispynode_lib.node.replies import records
from dispynode_lib.node.replies.records import COMPUTATIONS
from dispynode_lib.node.files.removal import move, remove_tree
from dispynode_lib.wire import releases

log = Log('dispynode.state')

PID, STATE, SOCKET, LOG = 'pid', 'state.json', 'ctl', 'log'
# see node.replies.spool, node.files.bigfiles, node.replies.journal
UNDELIVERED, BIG, JOURNAL = 'undelivered', 'big', 'journal'
KEEPER = 'keeper'  # socket of who keeps listeners open, see supervisor/keeping
LEFT = 'left'  # folders of a dead node's computations, until they are removed
LOOK_INTERVAL = 5.0  # seconds between looks of a node whether somebody tidied up
PREFIX = '.node-'


def default_root(uid):
    """Return the folder for clients' files of a user when none is given: TMP/dispy/node, or
    TMP/dispy-UID/node.

    Raises StartError if others could change what is in both.
    """
    base = os.path.realpath(os.environ.get('TMPDIR') or '/tmp')
    for folder in ('dispy', 'dispy-%d' % uid):
        path = os.path.join(base, folder, 'node')
        weak = files.weak_spot(path, uid, base)
        if weak is None:
            return path
    raise StartError(
        u'there is no safe folder for files of clients: %s; have it removed or put right, or give '
        u'another one with --dest_path_prefix' % weak, os.EX_NOPERM)


def place(options):
    """Return (folder of clients' files, state folder), absolute. Raises StartError."""
    if options.dest_path_prefix:
        root = os.path.realpath(os.path.abspath(to_native(options.dest_path_prefix)))
    else:
        root = default_root(owner(options))
    port = options.node_port or releases.NODE_PORTS[0]
    return root, os.path.join(root, '%s%d' % (PREFIX, port))


def owner(options):
    """Return the number of the user that node and jobs are to be. Raises StartError."""
    if not options.user or os.geteuid() != 0:
        return os.geteuid()
    from dispynode_lib.host.process import accounts
    return accounts.find(options.user).pw_uid


def make(options):
    """Make both folders; refuse one that is not private. Raises StartError."""
    root, path = place(options)
    try:
        files.make_folder(root)
        files.make_folder(path)
    except EnvironmentError as error:
        raise StartError(
            u'the folder %s for files of clients cannot be made: %s; give another one with '
            u'--dest_path_prefix' % (to_text(root), error.strerror or error), os.EX_CANTCREAT)
    if place(options) != (root, path):      # by who watched
        raise StartError(
            u'%s was changed by another user while it was made; give another folder with '
            u'--dest_path_prefix' % to_text(root), os.EX_NOPERM)
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise StartError(
            u'the state folder %s belongs to another user (%d); give another folder with '
            u'--dest_path_prefix' % (to_text(path), found.st_uid), os.EX_NOPERM)
    if found.st_mode & 0o022:
        raise StartError(
            u'others may write to the state folder %s (mode %o): what is in it cannot be trusted; '
            u'remove it, or chmod 700 it if it is right' %
            (to_text(path), stat.S_IMODE(found.st_mode)), os.EX_NOPERM)


def log_path(options):
    """Return where a node in the background writes its log, if nothing else was said."""
    return os.path.join(place(options)[1], LOG)


class StateFolder(object):
    """The state folder of this node: open() once, close() at the end."""

    def __init__(self, options):
        self._options = options
        self.root, self.path = place(options)
        self._port = options.node_port or releases.NODE_PORTS[0]
        self._locks = [lockfile.LockFile(os.path.join(self.path, PID))]
        if options.pid_file:
            self._locks.append(lockfile.LockFile(os.path.abspath(to_native(options.pid_file))))
        self._clean = options.clean
        self._before = None                 # what a node that ended badly wrote about itself
        self._records = []                  # read_records() of its computations
        self._kept = []                     # of those that go on in this node
        self.sign = None                    # of this node
        self.generation = 1                 # of the nodes that have taken over from each other
        # of all that nurseries start: of this node and of those from which it has taken over
        self.mark = None
        self.end_before = lambda _identity: None        # see nursery.Supervisors

    def file(self, name):
        """Return the absolute path of a file in it."""
        return os.path.join(self.path, name)

    def open(self):
        """Make the folder, lock it, look for what a dead node left. Raises StartError."""
        make(self._options)
        for lock in self._locks:
            self._acquire(lock)
        self._before = self._read_before()
        self._records = read_records(self.path)
        try:
            self.generation = 1 + int((self._before or {}).get(u'generation', 0))
        except (TypeError, ValueError):
            self._before = {}
        for folder in (self.path, self.file(COMPUTATIONS), self.file(records.ARGUMENTS)):
            files.remove_partial(folder)
        before, own = self._before or {}, processes.identity(os.getpid()) or u'-'
        self.mark = to_native(before.get(u'mark', before.get(u'identity', u'jobs-' + own)))
        os.environ[processes.MARK] = to_native(own)

    def clean(self):
        """Remove what --clean names, if given: this node has its ports, so no other is here."""
        if self._clean:
            clean(self.root, self.path)

    def begin(self):
        """The node serves: write down who it is, for the next one. Raises StartError."""
        self._write_state(False)

    def note_left(self):
        """The node ends, and leaves its jobs to the next one on purpose."""
        try:
            self._write_state(True)
        except StartError as error:         # the next one will take this for a fault
            log.warning('%s', error)

    def _write_state(self, has_left):
        from dispynode_lib.host import plainjson
        path, state = self.file(STATE), {
            u'format': records.FORMAT, u'generation': self.generation, u'sign': self.sign,
            u'pid': os.getpid(), u'identity': to_text(os.environ[processes.MARK]),
            u'mark': to_text(self.mark), u'host': to_text(socket.gethostname()),
            u'port': self._port, u'root': to_text(self.root), u'left': has_left}
        try:
            files.write(path, plainjson.dumps(state).encode('ascii'), b'\n')
        except EnvironmentError as error:
            raise StartError(
                u'%s cannot be written: %s; make room or give access there, or choose another '
                u'place with --dest_path_prefix' % (to_text(path), error.strerror or error),
                os.EX_CANTCREAT)

    def renew(self):
        """Make anew what was removed. Raises StartError, EnvironmentError, lockfile.Held."""
        files.make_folder(self.path)
        for lock in self._locks:
            lock.renew()
        if not os.path.exists(self.file(STATE)):
            self.begin()

    def _acquire(self, lock):
        try:
            lock.acquire()
        except lockfile.Held as held:
            self.close(clean=False)
            raise StartError(
                u'a node with port %d and files in %s is running already: process %s; end it by '
                u'--ctl quit with the same options, or choose another port with -p' %
                (self._port, to_text(self.root), held.pid or u'(unknown)'), os.EX_TEMPFAIL)
        except EnvironmentError as error:
            self.close(clean=False)
            option = u'--dest_path_prefix' if lock is self._locks[0] else u'--pid_file'
            raise StartError(
                u'the pid file %s cannot be written: %s; make room or give access there, or choose '
                u'another place with %s' % (to_text(lock.path), error.strerror or error, option),
                os.EX_CANTCREAT)

    def _read_before(self):
        try:
            with open(self.file(STATE), 'rb') as source:
                text = to_text(source.read())
        except EnvironmentError:
            return None
        import json
        try:
            before = json.loads(text)
        except (ValueError, RuntimeError):
            return {}                       # the host went down while it was written
        right = isinstance(before, dict) and all(
            isinstance(before.get(key, u''), text_type)
            for key in (u'identity', u'mark')) and u'identity' in before
        return before if right else {}

    def close(self, clean=True):
        """Leave only undelivered results; `clean` False: nor touch what a dead node left."""
        if clean:
            for name in (STATE, SOCKET, KEEPER):
                files.remove(self.file(name))
            files.remove_partial(self.file(COMPUTATIONS))
            for name in (COMPUTATIONS, UNDELIVERED, BIG, records.ARGUMENTS, records.SUPERVISORS):
                files.remove_empty(self.file(name))
        for lock in reversed(self._locks):
            lock.release()
        files.remove_empty(self.path)

    def is_replaced(self):
        """Return whether another node has taken over from this one."""
        found = (self._read_before() or {}).get(u'generation')
        return isinstance(found, int) and found > self.generation

    # -- what a dead node left

    def schedulers(self):
        """Return whom a dead node served, [(address, port, release or None)], each once."""
        found = [_scheduler(record) for _name, record in self._records + self._kept]
        return sorted(set(one for one in found if one is not None))

    def before(self):
        """Return (dict of a dead node about itself or None, its records: [(file name, dict)])."""
        return self._before, self._records

    def make_big(self, anew):
        """Make the folder for big arguments and results on their way, `anew`: an empty one; return
        its path."""
        path = self.file(BIG)
        if anew:
            remove_tree(path)
        try:
            files.make_folder(path)
        except EnvironmentError as error:
            log.warning('big arguments will be held in memory: %s', error)
        return path

    def keep_records(self, names):
        """Computations of the dead node, in records with these `names`, go on in this one."""
        self._kept = [pair for pair in self._records if pair[0] in names]
        self._records = [pair for pair in self._records if pair[0] not in names]

    def leftovers(self):
        """Return a function that ends and removes what a dead node left, None: nothing."""
        if self._before is not None or self._records:
            before = self._before or {}
            level, how = (INFO, 'has left its jobs to this one') if before.get('left') else (
                WARNING, 'ended without tidying up; this one does')
            log.log(level, 'the node before this one (process %s) %s', before.get('pid', 'unknown'),
                    how)
        elif not os.path.isdir(self.file(LEFT)):    # perhaps of one before that
            return None
        return self._tidy

    def _tidy(self):
        if self._before:
            # what this process has started when it was that node goes on
            self.end_before(None if self._before[u'identity'] == os.environ[processes.MARK] else
                            self._before[u'identity'])
        if os.path.isdir(self.file(LEFT)):
            remove_tree(self.file(LEFT))

    def set_aside(self):
        """Move folders of a dead node to LEFT: clients may be back with the same dest_path."""
        kept = [record for path in other_nodes(self.root, self.path)
                for _name, record in read_records(path)]
        kept += [record for _name, record in self._kept]
        kept += [record for _name, record in self._records if record.get('folder')
                 and not record.get('cleanup')]
        for name, record in self._records:
            folder = to_path(record.get('folder') or '/')
            if record.get('cleanup') and self.is_of_client(folder) and not in_use(folder, kept):
                self._move_aside(folder, record.get('id'))
            files.remove(self.file(os.path.join(COMPUTATIONS, name)))

    def _move_aside(self, folder, computation_id):
        parent, place = os.path.dirname(folder), os.path.join(self.file(LEFT), str(random_hex(8)))
        try:
            files.make_folder(self.file(LEFT))
            os.chmod(parent, 0o700)         # a job may have locked it
        except EnvironmentError as error:
            log.debug('moving %s: %s', folder, error)
        if move(folder, place):
            log.info('removing %s, left by computation %s', folder, computation_id)
        elif os.path.isdir(folder):
            log.warning(
                '%s, left by computation %s, cannot be moved away: it stays; --clean removes it',
                folder, computation_id)
        while parent != self.root and files.remove_empty(parent):
            parent = os.path.dirname(parent)

    def is_of_client(self, folder):
        """Return whether a path of a record is in a client's folder, with no link on the way."""
        if not files.is_inside(folder, self.root):
            return False
        below = os.path.relpath(folder, self.root).split(os.sep)
        return (len(below) > 1 and not below[0].startswith(PREFIX)
                and os.path.realpath(folder) == folder)


def read_records(path):
    """Return [(file name, dict)] of the computations that the state folder `path` tells of."""
    folder = os.path.join(path, COMPUTATIONS)
    names = [name for name in files.listing(folder) if not name.endswith(files.PARTIAL)]
    if not names:
        return []
    import json
    found = []
    for name in names:
        try:
            with open(os.path.join(folder, name), 'rb') as source:
                record = json.loads(to_text(source.readline()))
            os.path.realpath(to_path(record['folder']))
        except (EnvironmentError, ValueError, TypeError, KeyError, AttributeError, RuntimeError):
            record = {}                     # not as this node writes them
        found.append((name, record))
    return found


def _scheduler(record):
    """Return (address, port, release or '') of a record, None if it holds none."""
    try:
        address, port = record['scheduler']
        release = record.get('release') or u''
        if net.is_address(address) and 0 < port < 65536 and (not release
                                                             or releases.is_release(release)):
            return net.canonical(address), int(port), release
    except (KeyError, TypeError, ValueError, AttributeError):
        pass
    return None


def other_nodes(root, own):
    """Return the state folders (paths) of other living nodes in the same folder."""
    paths = [os.path.join(root, name) for name in files.listing(root) if name.startswith(PREFIX)]
    return [path for path in paths if path != own and lockfile.owner(os.path.join(path, PID))]


def in_use(folder, records):
    """Return whether one of `records` (dicts) uses `folder`, something in it or around it."""
    for record in records:
        other = os.path.realpath(to_path(record.get('folder') or '/'))
        if files.is_inside(other, folder) or files.is_inside(folder, other):
            return True
    return False


def clean(root, own):
    """Do --clean in `root`: remove what earlier runs have left, in the state folder `own`, too, and
    nothing of living nodes. Log what stays."""
    used = [record for path in other_nodes(root, own) for _name, record in read_records(path)]
    for name in os.listdir(root):
        path = os.path.join(root, name)
        if os.path.islink(path) or not _is_clients(name, path):
            continue
        if in_use(path, used):
            log.warning('--clean: %s stays, a running node uses it', path)
            continue
        remove_tree(path)
    for name in (UNDELIVERED, COMPUTATIONS, records.ARGUMENTS, LEFT):
        path = os.path.join(own, name)
        if os.path.isdir(path):
            remove_tree(path)
    files.remove(os.path.join(own, LOG + '.1'))


def _is_clients(name, path):
    """Return whether this is a folder of a client, named by its address."""
    return (os.path.isdir(path) and os.stat(path).st_uid == os.geteuid()
            and '%' not in name and net.is_address(name))
