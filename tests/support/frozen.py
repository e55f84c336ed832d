"""What a node of this release leaves on disk, and says to supervisors: made, kept in one file for
each release, unpacked again."""
from __future__ import absolute_import, division, print_function

import io
import json
import os
import re
import shutil
import stat
import tempfile

from dispynode_lib import __version__
from dispynode_lib.node.computations import link
from dispynode_lib.wire import control
from tests.support.dialects import NEWEST
from tests.support.nodeprocess import PROJECT, NodeProcess, free_port
from tests.support.scheduler import CLOSE, FakeScheduler, hex_digits
from tests.support.waiting import TIMEOUT, wait_until

FOLDER = os.path.join(PROJECT, 'tests', 'data', 'releases')
TAPPED = os.path.join(PROJECT, 'tests', 'support', 'tapped.py')
ROOT, DIGITS = '/tmp/dispynode-frozen-', 8  # all roots are of one length: paths can be replaced
RUNS = re.compile(u'((.)\\2{63,})', re.DOTALL)          # equal bytes that are written as a count
CODE = u'''
import os, time

def setup(path):
    dispynode_logger.warning('set up')
    return 0

def cleanup(path=None):
    pass

def leave(path=None):
    dispynode_shutdown()

def f(path, name, size=0, more=b''):
    import colorsys, signal
    for number in (signal.SIGINT, signal.SIGTERM) if name == 'stopped' else ():
        signal.signal(number, signal.SIG_IGN)
    dispynode_logger.info('begun')
    open(path + '.' + name + '.begun', 'w').close()
    for _number in range(6 if name == 'wide' else 0):
        if not os.fork():
            time.sleep(60)
            os._exit(0)
    while not os.path.exists(path + '.' + name):
        time.sleep(0.01)
    if name == 'gone':
        os._exit(3)
    open(path + '.' + name + '.ended', 'w').close()
    return name, 'x' * size
'''
PROGRAM = '''#!/bin/sh
: > "$1.begun"
while [ ! -e "$1" ]; do sleep 0.05; done
echo "$1" | tail -c 5
'''


def names():
    """Return the releases of which something is kept, the newest one last."""
    found = [name[:-len('.json')] for name in os.listdir(FOLDER) if name.endswith('.json')]
    return sorted(found, key=lambda name: [int(part) for part in name.split('.')])


def load(release):
    """Return the Frozen that is kept of a release."""
    with io.open(os.path.join(FOLDER, release + '.json'), encoding='ascii') as source:
        return Frozen(json.load(source))


def save(frozen):
    """Keep a Frozen as that of the present release, a line for each file and frame; return the
    path."""
    path, entries = os.path.join(FOLDER, __version__ + '.json'), []
    for key, value in sorted(frozen.data.items()):
        if key == u'files':
            lines = ['%s: %s' % (json.dumps(name), json.dumps(content))
                     for name, content in sorted(value.items())]
            text = '{\n%s}' % ',\n'.join(lines)
        elif key == u'frames':
            text = '[\n%s]' % ',\n'.join(json.dumps(frame) for frame in value)
        else:
            text = json.dumps(value, sort_keys=True)
        entries.append('"%s": %s' % (key, text))
    with open(path, 'w') as target:
        target.write('{%s}\n' % ',\n'.join(entries))
    return path


def squeeze(data):
    """Return bytes as a list of texts, and of [text, count] for long runs of one byte."""
    found, at, text = [], 0, data.decode('latin-1')
    for run in RUNS.finditer(text):
        found += [text[at:run.start()], [run.group(2), len(run.group(1))]]
        at = run.end()
    return [piece for piece in found + [text[at:]] if piece]


def unsqueeze(pieces):
    """Return what squeeze() was given."""
    return u''.join(piece if isinstance(piece, type(u'')) else piece[0] * piece[1]
                    for piece in pieces).encode('latin-1')


class Frozen(object):
    """What is kept of one release; `data` is written as JSON.

    root     folder of the clients' files, which holds the state folder
    files    {path below it: squeezed bytes, 'folder' or 'socket'}
    ports    of node and client; `sign` of the node; `jobs` {name: [computation, uid, hash]}
    opened   {name of a computation: [id, auth]}
    frames   [sender, id of the computation or None, number of the job process or None, squeezed
             frame], as they came one after the other
    """

    def __init__(self, data):
        self.data = data

    def __getattr__(self, name):
        try:
            return self.data[name]
        except KeyError:
            raise AttributeError(name)

    def unpack(self, root):
        """Make the files below the folder `root`, which new_root() has returned. Sockets are
        left out."""
        for path in sorted(self.files):
            there, content = os.path.join(root, path), self.files[path]
            if content == u'folder':
                os.makedirs(there, 0o700)
            elif content != u'socket':
                with open(there, 'wb') as target:
                    target.write(self.moved(unsqueeze(content), root))
                os.chmod(there, 0o700)      # one is a program

    def moved(self, data, root):
        """Return bytes in which all paths below the root are below `root`."""
        return data.replace(self.root.encode('ascii'), root.encode('ascii'))

    def state_folder(self, root):
        """Return the path of the state folder."""
        return os.path.join(root, '.node-%d' % self.ports[0])

    def told(self, sender, computation=None, process=None):
        """Return the frames (lists of parts) of a sender, of one computation or all."""
        return [control.unpack(unsqueeze(frame)[4:]) for who, whose, number, frame in self.frames
                if who == sender and (computation is None or (whose, number) == (computation,
                                                                                process))]


def new_root():
    """Return the path of a folder that is not there yet."""
    return ROOT + hex_digits(DIGITS)


def remove_root(root):
    shutil.rmtree(root, ignore_errors=True)


class Freezer(object):
    """Runs a node, kills it, runs the next one, and notes what there is to be noted."""

    def __init__(self, client_port=0, python=None):
        self.root = new_root()
        os.mkdir(self.root, 0o700)
        self._tap = tempfile.mkstemp(prefix='dispynode-tap-')[1]
        self.node = NodeProcess('-c', '16', '-d', '--client_shutdown', '--job_processes', '4',
                                folder=self.root, program=TAPPED, python=python,
                                env={'DISPYNODE_TEST_TAP': self._tap})
        self.scheduler = None
        self._path = os.path.join(self.root, 'flag')
        self._jobs, self._opened = {}, {}
        self._client_port = client_port
        self._files = None

    def run(self):
        """Return the Frozen."""
        try:
            self._run()
            with open(self._tap) as source:
                frames = [json.loads(line) for line in source]
            for frame in frames:
                frame[3] = squeeze(frame[3].encode('latin-1'))
            return Frozen({
                u'root': self.root, u'files': self._files, u'opened': self._opened,
                u'ports': [self.node.port, self.scheduler.port], u'jobs': self._jobs,
                u'sign': self.scheduler.node_sign, u'frames': frames})
        finally:
            if self.scheduler is not None:
                self.scheduler.close()
            self.node.stop()
            self.node._discard()
            os.unlink(self._tap)
            remove_root(self.root)

    def _start(self):
        self.node.start()
        self.node.wanted_port = self.node.port

    def _run(self):
        self._start()
        self.scheduler = FakeScheduler(self.node, NEWEST, port=self._client_port)
        first = self._before_the_kill()
        self.node.kill()
        self._let_end('told', 'big', 'prog-told')
        wait_until(lambda: self._ended('told', 'big'), TIMEOUT)
        self._files = picture(self.root)
        self._start()
        self._after_the_kill(*first)
        self._fences(first[0])
        self._leave(first[0])

    def _open(self, name, code, function, **settings):
        computation = self.scheduler.open(code, function, **settings)
        self._opened[name] = [computation.id, computation.auth]
        return computation

    def _submit(self, computation, name, *args, **changes):
        """Send a job; return it when it runs."""
        job = computation.make_job(self._path, name, *args)
        job.record.__dict__.update(changes)
        computation.send(job)
        self._jobs[name] = [computation.id, job.uid, job.hash]
        wait_until(lambda: os.path.exists('%s.%s.begun' % (self._path, name)), TIMEOUT)
        return job

    def _let_end(self, *names):
        for name in names:
            open('%s.%s' % (self._path, name), 'w').close()

    def _ended(self, *names):
        return all(os.path.exists('%s.%s.ended' % (self._path, name)) for name in names)

    def _before_the_kill(self):
        """Open two computations, run jobs that end and jobs that do not; return both."""
        self._let_end('kept', 'refused')
        function = self._open('function', CODE, 'f', setup='setup', setup_args=(self._path,),
                              cleanup='cleanup')
        sent = self._path + '.sent'
        with open(sent, 'w') as target:
            target.write('content')
        os.utime(sent, (1500000000, 1500000000))
        function.send_file(sent)
        self._submit(function, 'wide').wait(TIMEOUT)
        for number in range(50):            # until some modules were imported again and again
            if not self._was_said('imports'):
                self._let_end('quick-%d' % number)
                self._submit(function, 'quick-%d' % number).wait(TIMEOUT)
        for name, answer in (('refused', b'NAK'), ('kept', CLOSE)):
            self.scheduler.answers['JOB_REPLY'] = answer
            job = self._submit(function, name)
            wait_until(lambda: self._is_kept(job), TIMEOUT)
        for name in ('runs', 'told', 'gone'):
            self._submit(function, name)
        stopped = self._submit(function, 'stopped')
        self._submit(function, 'big', 300000)
        self._submit(function, 'long', 0, b'm' * 5000)
        self._submit(function, 'file', 0, b'n' * 70000)
        record = self.scheduler.file_record(sent, '', function.id)
        self._submit(function, 'with-file', xfer_files=[record])
        program = self._path + '.sh'
        with open(program, 'w') as target:
            target.write(PROGRAM)
        os.chmod(program, 0o755)
        programs = self.scheduler.open_program(program)
        self._opened['program'] = [programs.id, programs.auth]
        self._submit_program(programs, 'prog')
        self._submit_program(programs, 'prog-told')
        function.terminate(stopped)         # it is killed 5 s later: the next node is there by then
        wait_until(lambda: self._was_said('u0004stop'), TIMEOUT)
        return function, programs

    def _submit_program(self, programs, name):
        job = programs.submit(self._path + '.' + name)
        self._jobs[name] = [programs.id, job.uid, job.hash]
        wait_until(lambda: os.path.exists('%s.%s.begun' % (self._path, name)), TIMEOUT)

    def _is_kept(self, job):
        folder = os.path.join(self.root, '.node-%d' % self.node.port, 'undelivered')
        return any(name.startswith('%d-' % job.uid) for _where, _folders, names in os.walk(folder)
                   for name in names)

    def _after_the_kill(self, function, programs):
        """Let the next node finish what the first one began."""
        self.scheduler.answers['JOB_REPLY'] = b'ACK'
        self._let_end(*self._jobs)
        for _computation, uid, _hash in self._jobs.values():
            self.scheduler.jobs[uid].wait(TIMEOUT)
        programs.close()
        self.scheduler.open(CODE, 'f', cleanup='cleanup', send_setup=False).close()
        wait_until(lambda: self._was_said('remember'), TIMEOUT)

    def _was_said(self, word):
        """Return whether a frame with that word was noted."""
        with open(self._tap) as source:
            return word in source.read()

    def _fences(self, function):
        """Have the present node replaced, and the next one refused because of that."""
        folder = os.path.join(self.root, '.node-%d' % self.node.port, 'supervisors')
        path = [os.path.join(folder, name) for name in os.listdir(folder)
                if name.startswith('%d-' % function.id) and not name.endswith('.cleaned')][0]
        other = link.take_over(None, path, None, 99)
        self.node.wait_exit()
        self._start()
        self.node.wait_log('does not take this node for its own', TIMEOUT)
        other.send(b'end')
        other.abandon()

    def _leave(self, function):
        """Have a cleanup function end the node."""
        function.close()
        self.scheduler.open(CODE, 'f', setup='setup', setup_args=(self._path,),
                            cleanup='leave').close()
        self.node.wait_exit()


def picture(root):
    """Return what lies in a folder, for Frozen.files: but for the flags of jobs."""
    found = {}
    for where, folders, names in os.walk(root):
        for name in names + folders:
            path = os.path.join(where, name)
            below, mode = os.path.relpath(path, root), os.lstat(path).st_mode
            if below.startswith('flag.'):
                continue
            found[below] = 'folder' if stat.S_ISDIR(mode) else 'socket'
            if stat.S_ISREG(mode):
                with open(path, 'rb') as source:
                    found[below] = squeeze(source.read())
    return found


if __name__ == '__main__':
    print(save(Freezer(free_port()).run()))
