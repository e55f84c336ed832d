"""Reads the command line by the table of options, and makes the help from it."""
from __future__ import absolute_import, division, print_function

import os
import sys

from dispynode_lib.errors import ConfigError, OptionError
from dispynode_lib.host.wording import counted
from dispynode_lib.options.table import ROWS, path, switch


LONGEST_SECRET = 4096                       # bytes of the first line of --secret_file

_BY_FLAG = dict((flag, row) for row in ROWS for flag in row.flags)


class Options(object):
    """Options as given; one attribute for each row of the table, and what follows from them.

    ip_addr, ext_ip_addr, scheduler_node   lists of text, [] if not given
    client_release      list of (port or None, release)
    node_port           int, None if not given (dispy_port + 1 if that was given)
    scheduler_port      int, None if not given (dispy_port if that was given)
    cpus                int > 0: CPUs to use, after finish()
    usable_cpus         int > 0: CPUs this process may use; cpus_reason says why that many
    msg_timeout, ping_interval, zombie_interval, drain_timeout, stop_timeout
                        float seconds; 0 never
    max_file_size       int bytes, 0 no limit
    service_start, service_stop, service_end   int minutes since midnight, or None
    serve               int, -1 no limit
    secret              text, '' if there is none; admin_secret None if not given
    save_config         path, '' for standard output, None if not given
    given               {name: (flag or file and line, text) as it was given}
    texts               {name: list of texts given}
    All others: text, True/False, or None if not given and without a default.
    """

    def __init__(self):
        self.secret_shown = False  # whether the secrets given can be read in the list of processes
        self.folder = None  # that relative paths mean, once make_paths_absolute() was called
        self.environment = {}               # what was read of it, secrets too
        self.given = {}
        self.texts = {}
        self.usable_cpus = self.cpus_reason = None
        for row in ROWS:
            setattr(self, row.name, [] if row.repeat else row.default)

    def finish(self, usable_cpus=None, host_cpus=None, with_secret=True):
        """Check what options say together and against this host; set what follows.

        usable_cpus   (number, reason) as resources.usable_cpus() tells, which is the default
        host_cpus     int, by default what resources.host_cpus() tells
        with_secret   whether to read the file of --secret_file
        Raises OptionError.
        """
        self._join_ports()
        self._check_pairs()
        if with_secret:
            self.read_secret()
        from dispynode_lib.host import resources
        self.usable_cpus, self.cpus_reason = usable_cpus or resources.usable_cpus()
        total = max(host_cpus or resources.host_cpus(), self.usable_cpus)
        self.cpus = resources.cpus_to_use(self.cpus, self.usable_cpus, total)
        if self.cpus is None:
            raise OptionError(self._cpus_text(total))

    def read_secret(self):
        """Take the secret from the file of --secret_file, if one was given. Raises ConfigError."""
        if self.secret_file:
            self.secret = _read_secret(self.secret_file)

    def make_paths_absolute(self, folder=None):
        """Make paths absolute: this process may change its working folder.

        folder   that relative ones mean, by default the one of this process
        Raises ConfigError if that has been removed.
        """
        try:
            self.folder = folder or os.getcwd()
        except EnvironmentError:
            self.folder = u''
        for row in ROWS:
            value = getattr(self, row.name)
            if row.kind is path and value:
                if not self.folder and not value.startswith(u'/'):
                    raise ConfigError(
                        u'%s %s: the folder in which this was started has been removed; give a '
                        u'path that begins with /' % (self.given[row.name][0], value),
                        os.EX_CANTCREAT)
                setattr(self, row.name, os.path.normpath(os.path.join(self.folder, value)))

    def need_restart(self, old):
        """Return the flags of what `old` says otherwise and a running node cannot change."""
        return [row.long_flag for row in ROWS if row.saved and not row.live
                and _value_given(self, row) != _value_given(old, row)]

    def _cpus_text(self, total):
        flag, value = self.given['cpus']
        usable = self.usable_cpus
        have = u'this host has %s' % counted(total, u'CPU')
        if usable < total:
            have += u', of which this process may use %d' % usable
        allowed = u'give 1 to %d' % total if total > 1 else u'give 1'
        if usable > 1:
            allowed += u', or -1 to leave one free' if usable == 2 else (
                u', or -%d to -1 to leave some free' % (usable - 1))
        return u'%s %s: %s; %s' % (flag, value, have, allowed)

    def _join_ports(self):
        if self.dispy_port is None:
            return
        if self.node_port is not None:
            raise OptionError(u'%s and %s: give one of them' % (
                self.given['node_port'][0], self.given['dispy_port'][0]))
        self.node_port = self.dispy_port + 1
        if self.scheduler_port is None:
            self.scheduler_port = self.dispy_port

    def _check_pairs(self):
        if self.keyfile and not self.certfile:
            raise OptionError(u'--keyfile: give the certificate with --certfile as well')
        if 'secret' in self.given and self.secret_file:
            raise OptionError(u'--secret and --secret_file: give one of them')
        if self.service_start is None:
            for name in ('service_stop', 'service_end'):
                if name in self.given:
                    raise OptionError(u'--%s: give --service_start as well' % name)
            return
        from dispynode_lib.host import hours
        hours.check(self.service_start, self.service_stop, self.service_end)


def _value_given(options, row):
    if row.name == 'secret':
        return options.secret               # perhaps that of a file
    if row.repeat:
        return options.texts.get(row.name)
    return getattr(options, row.name) if row.name in options.given else row.default


def _read_secret(secret_path):
    """Return the secret (text) in the first line of a file. Raises ConfigError."""
    try:
        with open(secret_path, 'rb') as source:
            line = source.readline(LONGEST_SECRET + 1)
    except EnvironmentError as error:
        raise ConfigError(u'--secret_file %s: %s' % (secret_path, error.strerror or error))
    if len(line) > LONGEST_SECRET:
        raise ConfigError(u'--secret_file %s: its first line has over %d bytes' %
                          (secret_path, LONGEST_SECRET))
    try:
        secret = line.decode('utf-8-sig').rstrip(u'\r\n')
    except UnicodeDecodeError:
        raise ConfigError(u'--secret_file %s: its first line is no text in UTF-8' % secret_path)
    if not secret:
        raise ConfigError(
            u'--secret_file %s: its first line is empty; write the secret there, or leave the '
            u'option out to serve whoever reaches the node' % secret_path)
    return secret


def parse(arguments):
    """Return the Options that `arguments` (list, no program) say; finish() is still to do.

    Reading ends at --help and --version. Raises OptionError with one line for the user.
    """
    options = Options()
    words = [_decode(argument) for argument in arguments]
    at = 0
    while at < len(words):
        at = _take(options, words, at)
        if options.help or options.version:
            break
    return options


def _take(options, words, at):
    """Read the option at words[at] with its value; return where the next one stands."""
    given = words[at]
    if given == u'--' and at + 1 == len(words):
        return at + 1
    if options.ctl and (given[:1] != u'-' or given[1:2].isdigit()):
        options.ctl.append(given)           # --ctl cpus 2
        return at + 1
    if given[:1] != u'-' or given in (u'-', u'--'):
        wrong = words[at + 1] if given == u'--' else given
        raise OptionError(u"'%s': only options are expected; see --help" % wrong)
    if given.startswith(u'--'):
        flag, equals, value = given.partition(u'=')
        value = value if equals else None
    else:
        flag, value = given[:2], given[2:] or None
    row = _find(flag)
    if row.kind is switch:
        return _take_switch(options, row, flag, value, words, at)
    if value is None:
        return _take_value(options, row, flag, words, at + 1)
    if not given.startswith(u'--') and value[:1] == u'=':
        value = value[1:]
    set_value(options, row, flag, value)
    return at + 1


def _take_switch(options, row, flag, value, words, at):
    if value is not None and flag.startswith(u'--'):
        raise OptionError(u'%s=%s: this option takes no value' % (flag, value))
    set_value(options, row, flag, u'')
    if value is None:
        return at + 1
    words[at] = u'-' + value                # short options may stand together: -dc4
    return at


def _take_value(options, row, flag, words, at):
    value = words[at] if at < len(words) else None
    negative = value is not None and value[1:2].isdigit()
    if value is None or (value[:1] == u'-' and value != u'-' and not negative):
        if not row.bare:
            hint = u'' if value is None else u'; for one that begins with a dash write %s=%s' % (
                row.long_flag, row.unit)
            raise OptionError(u'%s: it needs a value, %s%s' % (flag, row.unit, hint))
        set_value(options, row, flag, None)
        return at
    set_value(options, row, flag, value)
    return at + 1


def set_value(options, row, flag, text):
    """Note that `flag` (as people know it) was given with `text`. Raises OptionError."""
    if row.name in options.given and not row.repeat and row.kind is not switch:
        first = options.given[row.name][0]
        raise OptionError(
            u'%s: given already%s' % (flag, u'' if first == flag else u' as ' + first))
    try:
        value = u'' if text is None else row.kind(text)
    except ValueError as error:
        shown = u'' if row.hidden else u" '%s'" % text if not text.strip(
        ) or u' ' in text else u' ' + text
        raise OptionError(u'%s%s: %s' % (flag, shown, error))
    if row.repeat:
        getattr(options, row.name).extend(value if isinstance(value, list) else [value])
    else:
        setattr(options, row.name, value)
    options.given[row.name] = (flag, text)
    options.texts.setdefault(row.name, []).append(text)


def _find(flag):
    name = u'--' + flag[2:].replace(u'-', u'_') if flag.startswith(u'--') else flag
    row = _BY_FLAG.get(name)
    if row is None:
        likely = suggestion(name, _BY_FLAG) if name.startswith(u'--') else u''
        raise OptionError(u'%s: there is no such option%s; see --help' % (flag, likely))
    return row


def suggestion(name, known):
    """Return what to add (text) to a message that there is no such name, of those `known`."""
    import difflib
    near = difflib.get_close_matches(name, sorted(known), 1)
    return u'; did you mean %s?' % near[0] if near else u''


def _decode(argument):
    """Return a command line word as text: UTF-8, else in the locale's encoding."""
    try:
        if not isinstance(argument, bytes):
            argument.encode('utf-8')
            return argument                 # no surrogates: Python has read it well
    except UnicodeEncodeError:
        argument = os.fsencode(argument)
    for encoding in ('utf-8', sys.getfilesystemencoding()):
        try:
            return argument.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise OptionError(u'%r: this is neither UTF-8 nor %s' % (argument, sys.getfilesystemencoding()))


def help_text():
    """Return what --help prints: the options, in groups, with units and defaults."""
    import textwrap
    lines = ['Usage: dispynode.py [OPTION]...', '',
             'A node of dispy: runs the jobs that dispy clients send.',
             'Long options may be written with dashes or with underscores.']
    group = None
    for row in ROWS:
        if row.group != group:
            group = row.group
            lines += ['', group + ':']
        lines += _help_lines(row, textwrap)
    return '\n'.join(lines) + '\n'


def _help_lines(row, textwrap):
    head = '  ' + ', '.join(row.flags) + (' ' + row.unit if row.unit else '')
    body = textwrap.wrap(describe(row), 79 - 28)
    first = [head.ljust(28) + body.pop(0)] if len(head) < 27 else [head]
    return first + [' ' * 28 + line for line in body]


def describe(row):
    """Return what an option does and its default, in one line."""
    shown = row.shown
    if shown is None and row.kind is not switch and row.default is not None:
        shown = ('%g' if isinstance(row.default, float) else '%s') % row.default
    return row.help + (' (default: %s)' % shown if shown else '')
