"""Config files and the environment as sources of options; saving options to a file.

Source of the section [DEFAULT]: files that the original node writes with --save_config.
"""
from __future__ import absolute_import, division, print_function

import collections
import os
import re

from dispynode_lib.options import parser
from dispynode_lib.errors import ConfigError, OptionError
from dispynode_lib.host import files
from dispynode_lib.host.compat import to_native, to_text
from dispynode_lib.host.process import accounts
from dispynode_lib.options.table import ROWS, switch

SECTION, OLDER_SECTION = u'dispynode', u'DEFAULT'
PREFIX = 'DISPYNODE_'
LONGEST = 1 << 20                           # bytes of a file
TRUE, FALSE = (u'true', u'yes', u'on', u'1'), (u'false', u'no', u'off', u'0', u'')

# keys of the original's files that are called otherwise here
OLDER_NAMES = {
    u'ip_addrs': u'ip_addr',
    u'hosts': u'ip_addr',
    u'ext_ip_addrs': u'ext_ip_addr',
    u'ext_hosts': u'ext_ip_addr',
    u'loglevel': u'debug',
    u'node_init': u'init',
    u'scheduler_host': u'scheduler_node',
}
# the original writes every option: these values say that it was not given
OLDER_DEFAULTS = {
    u'cpus': (u'0', ),
    u'node_port': (u'51348', ),
    u'scheduler_port': (u'51347', ),
    u'dispy_port': (u'61590', u'9700'),
    u'ping_interval': (u'0', ),
    u'serve': (u'-1', ),
    u'max_file_size': (u'0', ),
    u'zombie_interval': (u'60.0', ),
    u'msg_timeout': (u'10', ),
}
OLDER_IGNORED = (u'safe_setup',)            # jobs are safe from setup here in any case
EXCLUSIVE = (('node_port', 'dispy_port'), ('secret', 'secret_file'))

_BY_NAME = dict((row.name, row) for row in ROWS if row.saved)


# one option from a file or the environment
Entry = collections.namedtuple('Entry', 'row texts where')


def apply(options, environment):
    """Complete `options` from `environment` (a dict), then from the file of --config.

    Secrets are removed from `environment`, so that jobs do not inherit them. Raises OptionError,
    ConfigError.
    """
    options.environment = dict((name, environment[name]) for name in environment
                               if name.startswith(PREFIX))
    _fill(options, _environment_entries(environment))
    if options.config is not None:
        _fill(options, _file_entries(options.config))


def _fill(options, entries):
    given = set(options.given)
    for names in EXCLUSIVE:
        if given.intersection(names):
            given.update(names)
    for entry in entries:
        if entry.row.name not in given:
            try:
                _set(options, entry)
            except OptionError as error:
                raise ConfigError(u'%s' % error)


def _set(options, entry):
    row = entry.row
    for text in entry.texts:
        if row.kind is switch:
            if text.lower() not in TRUE + FALSE:
                raise OptionError(u'%s %s: give True or False' % (entry.where, text))
            if text.lower() in FALSE:
                continue
        parser.set_value(options, row, entry.where, text)


# the environment

def _environment_entries(environment):
    found = []
    for row in ROWS:
        name = PREFIX + row.name.upper()
        if (row.saved or row.name == 'config') and name in environment:
            text = to_text(environment[name])
            texts = _split_list(text) if row.repeat else [text]
            found.append(Entry(row, texts, u'%s in the environment' % to_text(name)))
            if row.hidden:
                del environment[name]
    return found


# files

def _file_entries(path):
    try:
        with open(to_native(path), 'rb') as source:
            data = source.read(LONGEST + 1)
    except EnvironmentError as error:
        raise ConfigError(u'--config %s: %s' % (to_text(path), error.strerror or error))
    if len(data) > LONGEST:
        raise ConfigError(u'--config %s: this is no configuration file: it has over %d bytes' %
                          (to_text(path), LONGEST))
    try:
        lines = data.decode('utf-8-sig').split(u'\n')
    except UnicodeDecodeError:
        raise ConfigError(u'--config %s: this is no text in UTF-8' % to_text(path))
    return list(_read_lines(lines, to_text(path)))


def _read_lines(lines, path):
    section, seen = SECTION, set()
    for number, line in enumerate(lines, 1):
        line = line.strip()
        where = u'%s, line %d' % (path, number)
        if not line or line[:1] in u'#;':
            continue
        if line[:1] == u'[':
            section = line.strip(u'[]').strip()
            if section not in (SECTION, OLDER_SECTION):
                raise ConfigError(
                    u'%s: section [%s]; only [%s] is expected' % (where, section, SECTION))
            continue
        name, text = _key_and_value(line, where)
        entry = _older_entry(name, text, where) if section == OLDER_SECTION else _entry(
            name, text, where)
        if entry is None:
            continue
        if entry.row.name in seen:
            raise ConfigError(u'%s: %s stands there twice' % (where, name))
        seen.add(entry.row.name)
        yield entry


def _key_and_value(line, where):
    found = re.match(r'([\w-]+)\s*[=:]\s*(.*)$', line)
    if not found:
        raise ConfigError(u"%s: '%s' is no line of the kind: option = value" % (where, line[:40]))
    return found.group(1).lower().replace(u'-', u'_'), found.group(2)


def _entry(name, text, where):
    row = _BY_NAME.get(name)
    if row is None:
        raise ConfigError(u'%s: there is no option %s%s' % (
            where, name, parser.suggestion(name, _BY_NAME)))
    if row.repeat:
        texts = _split_list(text)
    else:
        texts = [text[1:-1] if len(text) > 1 and text[:1] == text[-1:] == u'"' else text]
    return Entry(row, texts, u'%s: %s' % (where, name))


def _older_entry(name, text, where):
    """Return the Entry for a line of the original's file, None if it is a default there."""
    if name in OLDER_IGNORED or text in (u'', u'None', u'[]') or text in OLDER_DEFAULTS.get(
            name, ()):
        return None
    return _entry(OLDER_NAMES.get(name, name), text, where)


def _split_list(text):
    """Return the texts of "['a', 'b']" or "a, b"."""
    text = text.strip()
    if text[:1] == u'[' and text[-1:] == u']' and (
            text[1:2] in (u"'", u'"') or text.strip(u'[]').count(u':') < 2):    # else IPv6
        text = text[1:-1]
    pieces = [piece.strip() for piece in text.split(u',')]
    pieces = [re.sub(r'^u?([\'"])(.*)\1$', r'\2', piece) for piece in pieces]
    return [piece for piece in pieces if piece]


# saving

def save(options, say):
    """Write the options to the file of --save_config, or to say(text). Raises ConfigError.

    say   function(text, to_error=False)
    """
    rows = [row for row in ROWS if row.saved and row.name in options.given]
    lines = [u'# Options of dispynode: dispynode.py --config FILE', u'[%s]' % SECTION]
    lines += [u'%s = %s' % (row.name, _value_text(options, row)) for row in rows]
    text = u'\n'.join(lines) + u'\n'
    secret = any([row.hidden for row in rows])
    if options.save_config == u'':
        say(text)
    else:
        _save_as(options, text, say)
    if secret:
        say(
            u'dispynode: %s a secret: keep it from others\n' %
            (u'%s holds' % to_text(options.save_config) if options.save_config else u'this is'),
            True)


def _save_as(options, text, say):
    path = to_native(options.save_config)
    try:
        user = _user(options, path)
        files.write(path, text.encode('utf-8'))
    except EnvironmentError as error:
        raise ConfigError(u'--save_config %s: %s' % (to_text(path), error.strerror or error),
                          os.EX_CANTCREAT)
    if user is not None:
        say(u'dispynode: %s belongs to %s now: for the node to read it as %s: chown %s %s\n' % (
            to_text(path), accounts.name_of(os.geteuid()), user, user, to_text(path)), True)


def _user(options, path):
    """Return the name of the user that the node runs as, None if unknown or who saves."""
    if options.user:
        return options.user if options.user != accounts.name_of(os.geteuid()) else None
    if os.path.exists(path) and os.stat(path).st_uid != os.geteuid():
        return accounts.name_of(os.stat(path).st_uid)
    return None


def _value_text(options, row):
    if row.kind is switch:
        return u'True'
    texts = options.texts[row.name]
    if any(u'\n' in text for text in texts):
        raise ConfigError(u'--save_config: the value of %s has several lines, which a config file '
                          u'cannot hold; give one line' % row.long_flag, os.EX_USAGE)
    if row.repeat:
        return u'[%s]' % u', '.join(u"'%s'" % text for text in texts)
    text = texts[-1]
    return u'"%s"' % text if text != text.strip() or (text[:1] == text[-1:] == u'"') else text
