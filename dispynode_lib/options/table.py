"""The table of options: how each is written, what it takes, and what --help says about it."""
from __future__ import absolute_import, division, print_function

import os
import sys

from dispynode_lib.wire import releases
from dispynode_lib.wire.control import is_module_name


# Kinds: each takes the text given and returns the value; a ValueError says what is allowed.

def _integer(text, allowed):
    if not text.lstrip(u'-') or text.lstrip(u'-').strip(u'0123456789') or u'-' in text[1:]:
        raise ValueError(allowed)
    return int(text)


def _number(text, allowed):
    if text.strip(u'0123456789.'):
        raise ValueError(allowed)
    try:
        return float(text)
    except ValueError:
        raise ValueError(allowed)


def _in_range(read, least, most, allowed, other=None, factor=1):
    """Return a kind: a number in that range, or `other`; the value is `factor` times as much."""
    def kind(text):
        value = read(text, allowed)
        if value != other and not least <= value <= most:
            raise ValueError(allowed)
        return value * factor
    return kind


port = _in_range(_integer, 1, 65535, u'give a port from 1 to 65535')
base_port = _in_range(_integer, 1, 65534,
                      u'give a port from 1 to 65534; the node uses the next one')
timeout = _in_range(_number, 0.1, 3600, u'give seconds from 0.1 to 3600')
seconds = _in_range(_number, 0.1, 1e9, u'give seconds from 0.1 to 1000000000')
milliseconds = _in_range(_number, 0, 1000, u'give milliseconds from 0 to 1000')
# docs/protocol.rst, "Pings and service times", "Zombies"
ping_seconds = _in_range(_number, 10, 1e7, u'give seconds, at least 10, or 0 for no pings', 0)
# as seconds
zombie_minutes = _in_range(_number, 1, 1e6, u'give minutes, at least 1, or 0 for never', 0,
                           factor=60)
limit_seconds = _in_range(_number, 0.1, 1e8, u'give seconds, at least 0.1, or 0 for no limit', 0)
orphan_seconds = _in_range(_number, 0.1, 1e8,
                           u'give seconds, at least 0.1, or 0 to end them at once', 0)
grace_seconds = _in_range(_number, 0.1, 1e8, u'give seconds, at least 0.1, or 0 for none', 0)
count = _in_range(_integer, 1, 1000000, u'give a number, at least 1, or 0 for no limit', 0)
niceness = _in_range(_integer, 0, 19, u'give a number from 0 to 19')
clients = _in_range(_integer, 1, float('inf'),
                    u'give how many clients to serve, at least 1, or -1 for no limit', -1)


def switch(_text):
    """An option without a value."""
    return True


def text_value(text):
    """Any text, also an empty one."""
    return text


def word(text):
    """A name or address: text without white space."""
    if not text or len(text.split()) != 1 or text != text.strip():
        raise ValueError(u'give a name or address without blanks')
    return text


def address(text):
    """A host name or an address; an IPv6 address may stand in brackets."""
    return word(text[1:-1] if text[:1] == u'[' and text[-1:] == u']' else text)


def addresses(text):
    """One or more of them with blanks between, as `hostname -I` prints them; a list."""
    if not text.split():
        raise ValueError(u'give a name or address')
    return [address(part) for part in text.split()]


def path(text):
    """A file or folder, in the form that os functions take in this locale."""
    if not text or u'\0' in text:
        raise ValueError(u'give a path')
    try:
        text.encode(sys.getfilesystemencoding())
    except UnicodeEncodeError:
        if hasattr(os, 'fsdecode'):
            return os.fsdecode(text.encode('utf-8'))
    return text


def cpus(text):
    """CPUs to use, or below zero to leave free; Options.finish compares it with the host."""
    allowed = u'give how many CPUs to use, or a negative number to leave so many free'
    value = _integer(text, allowed)
    if value == 0:
        raise ValueError(allowed)
    return value


def size(text):
    """Bytes, with an optional suffix k, m, g or t; 0 for no limit."""
    allowed = u'give a number of bytes, also with k, m, g or t behind it; 0 for no limit'
    digits, suffix = text, text[-1:].lower()
    factor = {u'k': 1 << 10, u'm': 1 << 20, u'g': 1 << 30, u't': 1 << 40}.get(suffix)
    if factor:
        digits = text[:-1]
    value = _integer(digits, allowed)
    if value < 0:
        raise ValueError(allowed)
    return value * (factor or 1)


def modules(text):
    """Names of modules with commas between, or `learn` or `none`; returned as a list."""
    names = [name.strip() for name in text.split(u',')]
    if not all(is_module_name(name) for name in names):
        raise ValueError(u'give names of modules with commas between, or learn, or none')
    if u'none' in names and len(names) > 1:
        raise ValueError(u'none goes with nothing else')
    return names


def clock(text):
    """Time of day as HH:MM, returned as minutes since midnight."""
    hours, colon, minutes = text.partition(u':')
    allowed = u'give a time of day from 00:00 to 23:59 as HH:MM'
    if not colon or len(minutes) != 2 or not 1 <= len(hours) <= 2:
        raise ValueError(allowed)
    hour, minute = _integer(hours, allowed), _integer(minutes, allowed)
    if not (0 <= hour <= 23 and 0 <= minute <= 59):
        raise ValueError(allowed)
    return 60 * hour + minute


def log_format(text):
    """How log lines look."""
    if text not in (u'text', u'json'):
        raise ValueError(u'give text or json')
    return text


def network(text):
    """Addresses that may do something."""
    from dispynode_lib.host.network.net import Network
    return Network(text)


def command(text):
    """The first words of a command for a running node."""
    words = text.split()
    if not words:
        raise ValueError(u'give a command')
    return words


class Row(object):
    """One option.

    name    attribute of Options
    flags   as written on the command line, with underscores; dashes are accepted as well;
            `long_flag`: the first with two
    kind    function from the text given to the value, or `switch`
    unit    word for the value in the help
    default None: the option has none; switches are off, what may be repeated is an empty list
    shown   default in words, where `default` alone says too little
    repeat  whether it may be given more than once; the attribute is a list then, to which a kind
            may add a list
    saved   whether it belongs in a config file
    hidden  whether the value is a secret: never shown in messages
    bare    whether the value may be missing
    live    whether SIGHUP changes it while the node runs
    """

    def __init__(self, group, name, flags, kind, unit, help, default=None, shown=None, repeat=False,
                 saved=True, hidden=False, bare=False, live=False):
        self.group, self.name, self.flags, self.kind = group, name, flags.split(), kind
        self.long_flag = [flag for flag in self.flags if flag.startswith('--')][0]
        self.unit, self.help, self.shown = unit, help, shown
        self.default = False if kind is switch else default
        self.repeat, self.saved, self.hidden = repeat, saved, hidden
        self.bare, self.live = bare, live


GENERAL, NETWORK, SECURITY = 'General', 'Network', 'Security'
JOBS, SERVICE, OPERATION = 'Jobs and files', 'Service', 'Running it'

ROWS = (
    Row(GENERAL, 'help', '-h --help', switch, '', 'print this text and exit', saved=False),
    Row(GENERAL, 'version', '--version', switch, '', 'print the version and exit', saved=False),
    Row(GENERAL, 'check', '--check', switch, '',
        'try everything a node does, on this host, say what works and what does not, and exit',
        saved=False),
    Row(GENERAL, 'config', '--config', path, 'FILE',
        'read options from FILE; the environment (DISPYNODE_CPUS and so on) and the command line '
        'win', saved=False),
    Row(GENERAL, 'save_config', '--save_config', path, 'FILE',
        'write the options given, secrets too, to FILE (mode 0600) and exit',
        shown='standard output', saved=False, bare=True),
    Row(GENERAL, 'save_secrets', '--save_secrets', switch, '',
        'accepted from old start scripts; changes nothing', saved=False),
    Row(GENERAL, 'print_file', '--print', word, 'NAME',
        'print a file for an init system, the manual page or the completion of options; without '
        'NAME list them', saved=False, bare=True),
    Row(GENERAL, 'debug', '-d --debug', switch, '', 'log each message and each job', live=True),
    Row(NETWORK, 'ip_addr', '-i --ip_addr --host', addresses, 'ADDR',
        'name or address of this host for its peers, or several with blanks between; may be given '
        'more than once', shown='the address of the route to the network, also when that changes',
        repeat=True),
    Row(NETWORK, 'ext_ip_addr', '--ext_ip_addr --ext_host', address, 'ADDR',
        'announce ADDR to peers: for a node behind NAT; may be given more than once', repeat=True),
    Row(NETWORK, 'node_port', '-p --node_port', port, 'PORT', 'TCP and UDP port of this node',
        shown='51348, also found at 61591 and 9701'),
    Row(NETWORK, 'dispy_port', '--dispy_port', base_port, 'PORT',
        'port of clients; the node uses the next one'),
    Row(NETWORK, 'scheduler_port', '--scheduler_port', port, 'PORT',
        'port of clients and schedulers', shown='51347, 61590 and 9700'),
    Row(NETWORK, 'scheduler_node', '--scheduler_node --scheduler_host', address, 'ADDR',
        'scheduler or client to announce this node to; may be given more than once', repeat=True),
    Row(NETWORK, 'ipv4_udp_multicast', '--ipv4_udp_multicast', switch, '',
        'discover by IPv4 multicast, not by broadcast'),
    Row(NETWORK, 'ping_interval', '--ping_interval', ping_seconds, 'SECONDS',
        'look for schedulers so often while idle, at least 10; 0: only at start', default=0.0,
        live=True),
    Row(NETWORK, 'client_release', '--client_release', releases.candidate, 'RELEASE[@PORT]',
        'release of clients to announce this node to, besides all published ones (4.6.0 to '
        '4.15.2) and those heard; may be given more than once', repeat=True),
    Row(NETWORK, 'msg_timeout', '--msg_timeout', timeout, 'SECONDS',
        'longest wait for a peer in one step of a dialogue', default=5.0, live=True),
    Row(NETWORK, 'reply_hold', '--reply_hold', milliseconds, 'MILLISECONDS',
        'send no reply sooner after its job was accepted: clients lose those that come at once',
        default=5.0),
    Row(SECURITY, 'secret', '-s --secret', text_value, 'TEXT',
        'serve only clients that know this secret', default=u'', shown='empty', hidden=True),
    Row(SECURITY, 'secret_file', '--secret_file', path, 'FILE',
        'read the secret from the first line of FILE'),
    Row(SECURITY, 'admin_secret', '--admin_secret', text_value, 'TEXT',
        'let administration programs that know this secret change the node', hidden=True),
    Row(SECURITY, 'certfile', '--certfile', path, 'FILE', 'TLS certificate (PEM); turns TLS on'),
    Row(SECURITY, 'keyfile', '--keyfile', path, 'FILE', 'private key of the certificate',
        shown='in the certificate file'),
    Row(SECURITY, 'allow', '--allow', network, 'ADDR/BITS',
        'listen to nobody but this address or network, such as 10.0.0.0/8; may be given more than '
        'once', shown='everybody', repeat=True),
    Row(SECURITY, 'user', '--user', word, 'NAME',
        'run as this user, the programs of clients as well; only as root',
        shown='who starts the node'),
    Row(JOBS, 'cpus', '-c --cpus', cpus, 'N', 'CPUs to use; a negative number leaves so many free',
        shown='all that affinity, cpuset and cgroup quota leave', live=True),
    Row(JOBS, 'job_time', '--job_time', limit_seconds, 'SECONDS',
        'stop jobs that run longer; 0: no limit', default=0.0),
    Row(JOBS, 'cleanup_timeout', '--cleanup_timeout', limit_seconds, 'SECONDS',
        'end cleanup functions that run longer; 0: no limit', default=60.0, live=True),
    Row(JOBS, 'job_memory', '--job_memory', size, 'BYTES',
        'stop jobs that use more memory, looked at every 0.25 s (to ask at once for twice as much '
        'and 256 MB fails), also with k, m, g or t behind it; 0: no limit', default=0),
    Row(JOBS, 'job_output', '--job_output', size, 'BYTES',
        'stop jobs that print more, also with k, m, g or t behind it; 0: no limit', default=0),
    Row(JOBS, 'job_processes', '--job_processes', count, 'N',
        'stop jobs that have more processes at once, themselves included, looked at every 0.25 s; '
        '0: no limit', default=0),
    Row(JOBS, 'preload', '--preload', modules, 'NAMES',
        'load these modules before jobs are forked, with commas between; learn: whatever jobs '
        'import, tried first; none: nothing; without it what jobs import of the standard library; '
        'may be given more than once', shown='the standard library', repeat=True),
    Row(JOBS, 'nice', '--nice', niceness, 'N', 'run jobs with this niceness, from 0 to 19',
        default=0),
    Row(JOBS, 'dest_path_prefix', '--dest_path_prefix', path, 'DIR', "folder for clients' files",
        shown='a folder in the temporary folder'),
    Row(JOBS, 'max_file_size', '--max_file_size', size, 'BYTES',
        'largest file to take from or send to clients, also with k, m, g or t behind it; 0: no '
        'limit', default=0),
    Row(JOBS, 'clean', '--clean', switch, '', 'at start remove what earlier runs have left'),
    Row(JOBS, 'force_cleanup', '--force_cleanup', switch, '',
        "remove clients' files even when they ask to keep them"),
    Row(JOBS, 'init', '--init', path, 'FILE',
        'call init() of this Python file before the node serves, which it does if that returns 0, '
        'and close() when it ends, each in a process of its own'),
    Row(JOBS, 'unsafe_setup', '--unsafe_setup', switch, '',
        'accepted from old start scripts; changes nothing'),
    Row(SERVICE, 'service_start', '--service_start', clock, 'HH:MM',
        'take jobs from this time of day', live=True),
    Row(SERVICE, 'service_stop', '--service_stop', clock, 'HH:MM',
        'take no new computations and jobs from this time', live=True),
    Row(SERVICE, 'service_end', '--service_end', clock, 'HH:MM', 'end running jobs at this time',
        live=True),
    Row(SERVICE, 'serve', '--serve', clients, 'N', 'quit after N clients; -1: no limit',
        default=-1),
    Row(SERVICE, 'zombie_interval', '--zombie_interval', zombie_minutes, 'MINUTES',
        'give up a scheduler that is silent for so long; 0: never', default=3600.0, shown='60',
        live=True),
    Row(SERVICE, 'client_shutdown', '--client_shutdown', switch, '',
        'clients may end this node with dispynode_shutdown()'),
    Row(OPERATION, 'name', '--name', word, 'NAME', 'name of this node for its clients',
        shown='the host name'),
    Row(OPERATION, 'daemon', '--daemon', switch, '', 'do not read commands from the terminal'),
    Row(OPERATION, 'detach', '--detach', switch, '',
        'go into the background; return when the node serves, or with the exit status of its '
        'failure'),
    Row(OPERATION, 'ensure', '--ensure', switch, '',
        'as --detach, but do nothing if this node runs already and answers: for cron', saved=False),
    Row(OPERATION, 'ctl', '--ctl', command, 'COMMAND',
        'have the running node with the same port and folder do it: status, stop, start, cpus N, '
        'release, drain, restart, quit, exit, why; list: show all nodes of this host; exit status '
        '0 done, 3 not running', saved=False),
    Row(OPERATION, 'json', '--json', switch, '', 'with --ctl: answer as JSON', saved=False),
    Row(OPERATION, 'http_allow', '--http_allow', network, 'ADDR',
        'who may see /, /healthz, /readyz, /metrics and /status.json on the node port: an '
        'address, or a network such as 10.0.0.0/8; may be given more than once', shown='this host',
        repeat=True),
    Row(OPERATION, 'pid_file', '--pid_file', path, 'FILE',
        'where the running node keeps its process number', shown='a file in its state folder'),
    Row(OPERATION, 'log_file', '--log_file', path, 'FILE', 'write the log to FILE',
        shown='standard error; with --detach a file in the state folder'),
    Row(OPERATION, 'log_format', '--log_format', log_format, 'text|json', 'form of log lines',
        default=u'text'),
    Row(OPERATION, 'ledger', '--ledger', path, 'FILE',
        'append one line of JSON to FILE for each job and each computation that has ended: who, '
        'what, when, what it used'),
    Row(OPERATION, 'drain_timeout', '--drain_timeout', seconds, 'SECONDS',
        'longest wait for running computations after SIGINT, for running jobs after SIGUSR1',
        shown='no limit', live=True),
    Row(OPERATION, 'grace', '--grace', grace_seconds, 'SECONDS',
        'after SIGTERM running jobs may go on for so long, no new ones start; a second SIGTERM '
        'ends that', default=0.0, live=True),
    Row(OPERATION, 'stop_timeout', '--stop_timeout', timeout, 'SECONDS',
        'longest time that jobs which are told to stop, after SIGTERM and --grace, may take for '
        'it, with their replies', default=5.0, live=True),
    Row(OPERATION, 'orphan_timeout', '--orphan_timeout', orphan_seconds, 'SECONDS',
        'how long running jobs go on without a node after this one was killed; the next one with '
        'the same port and folder takes them over', default=600.0),
    Row(OPERATION, 'keep_jobs', '--keep_jobs', switch, '',
        'SIGTERM ends the node and leaves running jobs to the next one: for service managers'),
    Row(OPERATION, 'lifetime', '--lifetime', seconds, 'SECONDS',
        'have ended after so long: take no new jobs in the last tenth of it (at most 300 s, or '
        '--drain_timeout)', shown='no limit'),
    Row(OPERATION, 'idle_timeout', '--idle_timeout', seconds, 'SECONDS',
        'end when no computation has been open for so long', shown='never'),
)
