"""What is fuzzed: every reader of what peers, jobs and files say. A target takes bytes; only the
errors it names may come out."""
from __future__ import absolute_import, division, print_function

import errno
import os
import shutil
import tempfile

from dispynode_lib.options import configfile
from dispynode_lib.errors import ConfigError, OptionError, PeerGone, ProtocolError
from dispynode_lib.log import CRITICAL, output
from dispynode_lib.node.computations import frames
from dispynode_lib.node.operator import control_socket, statefolder
from dispynode_lib.node.replies import journal
from dispynode_lib.node.shared import identity, known
from dispynode_lib.node.operator.commands import Commands
from dispynode_lib.node.operator.health import Pages
from dispynode_lib.node.requests.reception import Connection
from dispynode_lib.node.replies.spool import Spool
from dispynode_lib.options.parser import Options
from dispynode_lib.wire import control, framing, messages
from dispynode_lib.wire.pickle import blobs, pickles

READERS = (
    messages.read_ping,
    messages.read_pulse,
    messages.read_node_info_udp,
    messages.read_compute,
    messages.read_file,
    messages.read_job,
    messages.read_setup,
    messages.read_close,
    messages.read_question,
    messages.read_admin,
    messages.read_job_reply,
    messages.read_pong,
    messages.read_value,
)
KINDS = ('_Compute', '_XferFile', '_Function', '_DispyJob_', '_JobReply', 'DispyNodeAvailInfo',
         'stat', 'set')
LARGEST = 1 << 16
ANSWER = object()                           # what the pages and commands of the stand-ins give


def read_message(data):
    """The first byte chooses the reader of the rest."""
    reader = READERS[bytearray(data[:1] or b'\0')[0] % len(READERS)]
    try:
        reader(data[1:])
    except ProtocolError:
        return


def plain_pickle(data):
    """Whatever can be read: as the strict readers do it, with every class."""
    try:
        pickles.load(data, KINDS)
    except ProtocolError:
        return


def user_pickle(data):
    """A pickle that may hold objects of users."""
    try:
        pickles.load(data, KINDS, True)
    except ProtocolError:
        pass
    pickles.load_first(data, u'compute_id')


def big_job(data):
    """A JOB that comes in two parts: with a stand-in in its arguments it is the one that it is as a
    whole."""
    whole = _job_of(data)
    for end in [len(data) * part // 8 for part in range(1, 9)]:
        blob = blobs.find(data[:end], KINDS)
        if blob is None:
            continue
        missing = blob.size - len(blob.begun)
        assert 0 < missing <= blob.size
        job = _job_of(blob.message(data[end:][missing:] or data[:40]))
        if job is None or missing > len(data) - end:
            continue
        try:
            setattr(job, blobs.holder(job, blob.stand_in), None)
        except ProtocolError:
            assert whole is None, 'a good job is refused'
            continue
        assert blob.stand_in not in (
            job.args, job.kwargs) and blob.stand_in.decode('ascii') not in job.code + job.hash
        assert whole is None or (whole.code, whole.hash, whole.uid) == (job.code, job.hash, job.uid)


def _job_of(data):
    try:
        return messages.read_job(data)
    except ProtocolError:
        return None


def split_frame(data):
    """A datagram, or the payload of a frame."""
    try:
        opcode = framing.split(data)[0]
        assert 0 < len(opcode) <= framing.MAX_OPCODE
    except ProtocolError:
        return


class FakeSocket(object):
    """A socket on which `data` comes in pieces whose sizes it says itself."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def recv(self, size):
        """Return the next piece; after the last one there is nothing, then end of file."""
        rest = self.data[self.at:]
        if not rest:
            if self.at < 0:
                return b''
            self.at, self.data = -1, b''
            raise EnvironmentError(errno.EAGAIN, 'nothing there')
        piece = rest[:min(size, 1 + bytearray(rest)[0] % 64)]
        self.at += len(piece)
        return piece

    def settimeout(self, seconds):
        """Nothing ever waits here."""


def new_connection(data):
    """What a stranger sends first: no more than one small frame is kept of it."""
    connection = Connection(FakeSocket(data), ('192.0.2.1', 1))
    try:
        for _turn in range(len(data) + 2):
            if connection.advance(lambda token: token == framing.DUMMY_TOKEN):
                break
    except (PeerGone, ProtocolError):
        pass
    assert connection.authorised or len(connection.data) <= 2 * 16384 + 44


def framed_reply(data):
    """A frame read by a thread that waits for it."""
    try:
        framing.read_frame(FakeSocket(data), LARGEST)
    except (PeerGone, ProtocolError):
        return


def control_frames(data):
    """What a job writes to its channel, in pieces."""
    splitter = control.Splitter(LARGEST)
    log = frames.JobLog(1)
    try:
        for start in range(0, len(data), 7):
            for parts in splitter.feed(data[start:start + 7]):
                if parts[:1] == [b'log']:
                    log.write(parts, 7)
                else:
                    frames.read_done(parts[1:], program=len(data) % 2 == 0)
    except ProtocolError:
        return


def http_request(data):
    """What begins like a GET."""
    pages = Pages.__new__(Pages)
    page = lambda: (200, 'text/plain', u'')                     # noqa: E731
    pages._table = {'/': page, '/healthz': page}
    assert pages.answer(b'GET ' + data).startswith(b'HTTP/1.1 ')


class _Commands(Commands):
    """The commands, none of which does anything."""

    def __init__(self):
        self._table = dict((name, (lambda *words: ANSWER, most))
                           for name, most in (('status', 0), ('cpus', 1), ('release', 1)))


def command_line(data):
    """What comes on the command socket."""
    line = control_socket._read_line(FakeSocket(data + b'\n'))
    words = control_socket.to_text(line).split()
    if words:
        _Commands().run(words)


# files: of the operator, and of nodes before this one

_folder = []


def _write(name, data):
    """Write `data` to a file that readers find; return its path."""
    if not _folder:
        import atexit
        _folder.append(tempfile.mkdtemp(prefix='dispynode-fuzz-'))
        atexit.register(shutil.rmtree, _folder[0], True)
    path = os.path.join(_folder[0], name)
    with open(path, 'wb') as target:
        target.write(data)
    return path


class _NoSpool(object):
    """Takes the place of the spool."""

    @staticmethod
    def jobs(_key):
        """No job has a reply yet."""
        return ()

    @staticmethod
    def keep(_owner, _uid, _hash, payload, _mark):
        """Whatever is kept can be read."""
        messages.read_job_reply(payload.partition(b':')[2])
        return True


def journal_file(data):
    """The notes of a node that was killed; each slot as the case says, then as long as it has to
    be."""
    slot = journal.HEAD.pack(len(data), journal.VERSION, 0, 0, b'') + data
    journal.settle(_write('journal', slot[:journal.SLOT].ljust(journal.SLOT, b'\0') + data),
                   _NoSpool)


def spool_owner(data):
    """To whom kept replies belong."""
    spool = Spool('/nowhere')
    spool._read = lambda path: data
    spool._read_owner((1, u'a'))


def small_state_files(data):
    """The releases heard before, the signs of earlier runs."""
    path = _write('small', data)
    for port, release in known.KnownReleases(path).all():
        assert 0 < port < 65536 and release
    for sign in identity._read_signs(path):
        assert len(sign) == 40


def computation_record(data):
    """What a dead node noted of an open computation."""
    folder = os.path.dirname(_write('small', b''))
    if not os.path.isdir(os.path.join(folder, 'computations')):
        os.mkdir(os.path.join(folder, 'computations'))
    _write(os.path.join('computations', '1'), data)
    statefolder.in_use('/nowhere', [record for _name, record in statefolder.read_records(folder)])


def config_file(data):
    """A config file, and the same texts in the environment."""
    options = Options()
    options.config = _write('config', data)
    try:
        configfile.apply(options, {})
    except (ConfigError, OptionError):
        pass
    if b'\0' not in data:
        try:
            name, _equals, text = data.decode('latin-1').partition(u'=')
            configfile.apply(Options(),
                             {
                                 str('DISPYNODE_') + str(
                                     name.encode('ascii', 'replace').decode('ascii')).upper(): text
                             })
        except (ConfigError, OptionError):
            return


TARGETS = (read_message, plain_pickle, user_pickle, big_job, split_frame, new_connection,
           framed_reply, control_frames, http_request, command_line, journal_file, spool_owner,
           small_state_files, computation_record, config_file)


def one_input(data):
    """Give a case to the target that its first byte chooses."""
    if data:
        TARGETS[bytearray(data[:1])[0] % len(TARGETS)](bytes(data[1:]))


def quiet():
    """Let nobody hear what the readers log."""
    output.level = CRITICAL + 1
