"""--check: does everything that a node does, once, on this host, and says what works."""
from __future__ import absolute_import, division, print_function

import collections
import os
import signal
import sys
import tempfile

from dispynode_lib import __version__
from dispynode_lib.cli import trial
from dispynode_lib.cli.trial import Failed
from dispynode_lib.errors import DispynodeError, StartError
from dispynode_lib.host import compat, resources, surroundings
from dispynode_lib.host.network import net
from dispynode_lib.host.process import accounts
from dispynode_lib.node.access import guard
from dispynode_lib.node.operator import statefolder
from dispynode_lib.node.shared import identity
from dispynode_lib.node.shared.known import KnownImports
from dispynode_lib.supervisor import nursery
from dispynode_lib.supervisor.imports import learning, preload
from dispynode_lib.wire import releases

LITTLE_DISK = 100 << 20                     # bytes
# one module: seconds that it took, why it cannot be loaded (None: it can), and what it leaves that
# was not there before
Tried = collections.namedtuple('Tried', 'name seconds error left')
LEAVES = (u'threads', u'open files', u'another working folder', u'another locale', u'processes',
          u'signal handlers')               # in the order of learning.surroundings()


def main(options, say):
    """Check `options` and this host, tell what was found with say(text); return 0 or 78."""
    signal.signal(signal.SIGTERM, _interrupt)       # leave no node behind
    with trial.Uninterrupted():
        tempfile.gettempdir()               # it writes a file there the first time
    say(u'dispynode %s checks itself on this host\n' % __version__)
    report = Report(say)
    for name, check in HOST_CHECKS:
        report.run(name, check, options)
    host = None
    try:
        try:
            with trial.Uninterrupted():
                host = trial.Trial(options.msg_timeout)
        except (StartError, EnvironmentError, NotImplementedError) as error:
            report.run('node', _raise, Failed(u'the check needs %s: %s' % (trial.LOOPBACK, error)))
        else:
            if not all(report.run(name, check, host) for name, check in trial.CHECKS):
                report.show(host.log_tail())
    finally:
        if host is not None:
            host.close()
    return report.end()


def _interrupt(_number, _frame):
    raise KeyboardInterrupt


def _raise(error):
    raise error


class Report(object):
    """Prints one line for each check and counts all and the bad ones."""

    def __init__(self, say):
        self._say = say
        self._wrong = self._all = self._lacks = 0
        self._began = compat.monotonic()

    def run(self, name, check, subject):
        """Run check(subject), which returns a text or raises; return whether it was good."""
        began = compat.monotonic()
        try:
            word, text = u'ok', check(subject)
        except Lacking as error:            # the node works all the same
            word, text = u'lacks', u'%s' % (error,)
        except (DispynodeError, EnvironmentError) as error:
            word, text = u'WRONG', u'%s' % (error,)
        self._all += 1
        self._wrong += word == u'WRONG'
        self._lacks += word == u'lacks'
        seconds = compat.monotonic() - began
        took = u' (%.0f ms)' % (1000 * seconds) if isinstance(subject, trial.Trial) else u''
        self._say(u'%-6s%-14s%s%s\n' % (word, name, text, took))
        return word != u'WRONG'

    def show(self, lines):
        """Print lines of the trial node's log."""
        for line in lines:
            self._say(u'      | %s\n' % line)

    def end(self):
        """Print the sum; return the exit status."""
        seconds = compat.monotonic() - self._began
        if self._wrong:
            missing = len(HOST_CHECKS) + len(trial.CHECKS) - self._all
            self._say(u'%d of %d checks failed%s (%.1f s)\n' % (
                self._wrong, self._all, u', %d not tried' % missing if missing else u'', seconds))
            return os.EX_CONFIG
        self._say(u'all %d checks passed%s (%.1f s)\n' %
                  (self._all, u', %d promises do not hold here' % self._lacks if self._lacks
                   else u'', seconds))
        return 0


class Lacking(Exception):
    """This host has less than a node can use: what, why, and which promise does not hold."""


# What this host has

def check_python(_options):
    return u'%s, %s' % (compat.PYTHON_VERSION, sys.executable)


def check_options(options):
    given = sorted(flag for flag, _text in options.given.values() if flag != u'--check')
    return u'valid: %s' % u' '.join(given) if given else u'none given, all have their defaults'


def check_address(options):
    chosen = net.node_addresses(options.ip_addr)
    text = u'; '.join(u'%s: %s' % pair for pair in chosen)
    if all(net.is_loopback(address) for address, _why in chosen):
        text += u'; only clients on this host can use it: give another one with -i'
    return text


def check_ports(options):
    """Bind what the node binds, at the port where requests go."""
    port = options.node_port or releases.NODE_PORTS[0]
    _bind(options, port)
    ports = [port] if options.node_port else releases.NODE_PORTS
    clients = [options.scheduler_port] if options.scheduler_port else releases.CLIENT_PORTS
    return u'free; a firewall must let in TCP and UDP %s, and let out TCP and UDP %s' % (
        _list(ports), _list(clients))


def check_more_ports(options):
    """Bind the ports at which clients of other releases look for a node."""
    if options.node_port:
        return u'none: clients must be told the port %d' % options.node_port
    taken = []
    for port in releases.NODE_PORTS[1:]:
        try:
            _bind(options, port)
        except StartError as error:
            taken.append(u'%s' % error)
    if taken:
        said = u'%s; the node works, but clients of releases that use this port do not find it'
        return said % u'; '.join(taken)
    return u'%s are free' % _list(releases.NODE_PORTS[1:])


def _bind(options, port):
    addresses, opened = [address for address, _why in net.node_addresses(options.ip_addr)], []
    try:
        for address in addresses:
            opened.append(net.open_listener(address, port))
        for family in set(net.family_of(address) for address in addresses):
            opened.append(net.udp_socket(port, family))
    finally:
        for sock in opened:
            sock.close()


def check_cpus(options):
    descriptors = guard.descriptor_limit()[1]
    text, most = _cpus(options), guard.cpus_for(descriptors)
    if options.cpus > most:
        text += u'; %d are offered: a process may have only %d descriptors (ulimit -n)' % (
            most, descriptors)
    return text


def _cpus(options):
    if 'cpus' in options.given:
        return u'%d, as %s says; this process may use %d: %s' % (
            options.cpus, options.given['cpus'][0], options.usable_cpus, options.cpus_reason)
    return u'%d: %s' % (options.cpus, options.cpus_reason)


def check_psutil(_options):
    psutil = resources.import_psutil()
    if psutil is not None:
        return u'%s is installed' % psutil.__version__
    info = resources.Meter(tempfile.gettempdir()).read()
    return u'not installed; %s' % (
        u'not needed here: availability comes from /proc' if info is not None else
        u'the node works, but cannot tell clients how busy this host is')


def check_disk(options):
    """Find whether the folder of clients' files can be made and written, and how much fits in."""
    folder = compat.to_text(statefolder.place(options)[0])
    there = folder
    while not os.path.exists(there) and os.path.dirname(there) != there:
        there = os.path.dirname(there)
    if not os.path.isdir(there):
        raise Failed(
            u'%s: %s is no folder; give another one with --dest_path_prefix' % (folder, there))
    if not os.access(there, os.W_OK | os.X_OK):
        raise Failed(
            u'%s: this user may not write to %s; give another folder with --dest_path_prefix' %
            (folder, there))
    free = resources.free_disk(there)
    if free < LITTLE_DISK:
        raise Failed(u'%s: only %s free; make room, or give another folder with --dest_path_prefix'
                     % (folder, _size(free)))
    return u'%s free in %s' % (_size(free), folder)


def check_surroundings(options):
    surroundings.require(options)
    if not compat.LINUX:
        raise Lacking(surroundings.unlike_linux())
    return u'%s %s' % (os.uname()[0], os.uname()[2])


def check_certificate(options):
    """Read the certificate and the key, and make of them what the node makes of them."""
    if not options.certfile:
        return u'none given'
    from dispynode_lib.host.network import tls
    tls.Tls(options.certfile, options.keyfile)
    return u'%s can be used' % options.certfile


def check_user(options):
    if not options.user:
        return u'none given, it is who starts the node'
    entry = accounts.find(options.user)
    if os.geteuid() not in (0, entry.pw_uid):
        raise Failed(u'--user %s: only root can start a node for another user' % options.user)
    return u'%s has the number %d' % (options.user, entry.pw_uid)


def check_files(options):
    """Find whether the files that options name can be written, without making them."""
    for flag, name in ((u'--log_file', options.log_file), (u'--pid_file', options.pid_file),
                       (u'--ledger', options.ledger)):
        if name:
            path = os.path.abspath(compat.to_native(name))
            there = path if os.path.exists(path) else os.path.dirname(path)
            if os.path.isdir(path) or not os.access(there, os.W_OK):
                raise Failed(
                    u'%s %s: it cannot be written; give access there, or choose another file' %
                    (flag, name))
    if options.log_file or options.pid_file:
        return u'log and pid file can be written'
    return u'none given'


def check_preload(options):
    """Try to load what the operator names, and what jobs of this node have imported."""
    if u'none' in options.preload:
        return u'nothing, as --preload none says'
    named = [name for name in options.preload if name != u'learn']
    path = os.path.join(statefolder.place(options)[1], KnownImports.FILE)
    known = KnownImports(path, options.preload).names()
    tried = try_modules(named + [name for name in known if name not in named])
    text = u'; '.join(_loaded(options, named, [each for each in tried if each.error is None]))
    refused = [each.error for each in tried if each.error is not None]
    if refused:
        raise Lacking(u'%s; not loaded ahead of jobs: %s' % (text, u'; '.join(refused)))
    return text


def _loaded(options, named, tried):
    """Yield what is loaded ahead of jobs, in words."""
    yield u'whatever jobs import' if u'learn' in options.preload else (
        u'what jobs import of the standard library')
    for each in tried:
        if each.name in named:
            yield u'%s (%.0f ms%s)' % (each.name, 1000 * each.seconds, each.left and
                                       u'; leaves %s, so only because it is named' % each.left)
    known = [each.seconds for each in tried if each.name not in named]
    if known:
        yield u'%d known from earlier jobs (%.0f ms)' % (len(known), 1000 * sum(known))


def check_names(options):
    """Look up the names of other hosts."""
    identity.external_addresses(options.ext_ip_addr)
    for name in options.scheduler_node:
        try:
            net.resolve(name)
        except EnvironmentError as error:
            raise Failed(u'--scheduler_node %s: no address for this name: %s' %
                         (name, error.strerror or error))
    return u', '.join(options.ext_ip_addr + options.scheduler_node) or u'none given'


def promise(lacks, loss):
    """Return a check that tells what does not hold here."""
    def check(_options):
        why = lacks()
        if why is not None:
            raise Lacking(u'%s: %s' % (why, loss))
        return u'there'
    return check


def _size(count):
    for unit in (u'bytes', u'KB', u'MB', u'GB'):
        if count < 10000:
            return u'%d %s' % (count, unit)
        count //= 1000
    return u'%d TB' % count


def _list(numbers):
    return u', '.join(u'%d' % number for number in numbers)


# Modules tried: whether they can be loaded before jobs are forked

def try_modules(names):
    """Load modules as the nursery does, in a process to be thrown away; return [Tried]."""
    found = []
    while len(found) < len(names):
        found += _try_in_process(names[len(found):])
        for name in names[len(found):len(found) + 1]:
            found.append(Tried(name, 0.0, u'%s: it ends the process that imports it' % name, u''))
    return found


def _try_in_process(names):
    """Return [Tried] as far as the process came."""
    with trial.Uninterrupted():
        read_end, write_end = os.pipe()
        pid = os.fork()
    if not pid:
        _be_trial(names, read_end, write_end)
    os.close(write_end)
    try:
        with os.fdopen(read_end, 'rb') as pipe:
            lines = compat.to_text(pipe.read()).splitlines()
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    rows = [line.split(u'\t') for line in lines]
    return [Tried(name, float(seconds), error or None, left) for name, seconds, error, left in rows]


def _be_trial(names, read_end, write_end):
    """Be the process that loads modules; does not return."""
    try:
        os.close(read_end)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        silent = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(silent, fd)
        preloaded = preload.begin()
        preloaded.install()
        for name in names:
            os.write(write_end, _try(preloaded, name))
    finally:
        os._exit(0)


def _try(preloaded, name):
    """Load one module; return a line of bytes about it."""
    before, began = learning.surroundings(), compat.monotonic()
    error = nursery.in_time(preloaded.load, compat.to_native(name)) or u''
    seconds, after = compat.monotonic() - began, learning.surroundings()
    left = [what for what, one, other in zip(LEAVES, before, after) if one != other]
    fields = name, u'%.3f' % seconds, u' '.join(compat.to_text(error).split()), u', '.join(left)
    return (u'\t'.join(fields) + u'\n').encode('utf-8')


HOST_CHECKS = (
    ('python', check_python),
    ('options', check_options),
    ('address', check_address),
    ('ports', check_ports),
    ('more ports', check_more_ports),
    ('CPUs', check_cpus),
    ('psutil', check_psutil),
    ('disk', check_disk),
    ('system', check_surroundings),
    ('certificate', check_certificate),
    ('user', check_user),
    ('files', check_files),
    ('other hosts', check_names),
    ('preload', check_preload),
) + tuple((name, promise(lacks, loss)) for name, lacks, loss in surroundings.PROMISES)
