"""--print NAME: files for init systems, the manual page and the completion of options."""
from __future__ import absolute_import, division, print_function

import os
import sys

from dispynode_lib import __version__
from dispynode_lib.options import parser
from dispynode_lib.code import packed
from dispynode_lib.errors import OptionError
from dispynode_lib.code import image
from dispynode_lib.host.compat import to_text
from dispynode_lib.options.table import ROWS, path, switch

# name -> (file in data/, what it is)
FILES = (
    (u'init', 'dispynode.init', u'SysV init script, for /etc/init.d/dispynode'),
    (u'systemd', 'dispynode.service', u'systemd unit, for /etc/systemd/system/dispynode.service'),
    (u'needrestart', 'dispynode.needrestart',
     u'for /etc/needrestart/conf.d/dispynode.conf'),
    (u'logrotate', 'dispynode.logrotate', u'for /etc/logrotate.d/dispynode'),
    (u'cron', 'dispynode.cron', u'for /etc/cron.d/dispynode'),
    (u'slurm', 'dispynode.slurm', u'batch script for sbatch'),
    (u'kubernetes', 'dispynode.yaml', u'DaemonSet, for kubectl apply -f -'),
    (u'grafana', 'dispynode-grafana.json', u'dashboard of /metrics, to be imported in Grafana'),
    (u'alerts', 'dispynode-alerts.yaml', u'alert rules on /metrics, for rule_files of Prometheus'),
    (u'man', 'dispynode.1', u'manual page'),
    (u'completion', 'dispynode.bash', u'completion of options for bash'),
)


def show(name, say):
    """Print the file called `name`, or a list; return the exit status. Raises OptionError."""
    if not name:
        say(u''.join(u'%-12s%s\n' % (key, about) for key, _file, about in FILES))
        return 0
    say(text_of(name))
    return 0


def text_of(name):
    """Return the text of the file called `name`. Raises OptionError."""
    for key, file_name, _about in FILES:
        if name in (key, file_name):
            return _filled(to_text(_read(file_name)))
    raise OptionError(
        u'--print %s: there are %s' % (name, u', '.join(key for key, _file, _about in FILES)))


def _read(file_name):
    """Return a file of data/ in bytes: pkgutil.get_data() wants sys.path on Python 2."""
    path = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'data',
                        file_name)
    if packed.importer is not None:
        return packed.importer.get_data(path)
    with open(path, 'rb') as source:
        return source.read()


def _flags(which):
    return [flag for row in ROWS if which(row) for flag in row.flags]


def _takes_any_value(row):
    return row.kind not in (path, switch) and row.name not in ('ctl', 'print_file', 'log_format')


def _filled(text):
    for mark, make in (
            (u'@COMMAND@', program_path), (u'@PYTHON@', lambda: to_text(sys.executable)),
            (u'@VERSION@', lambda: to_text(__version__)), (u'@MAN_OPTIONS@', man_options),
            (u'@FLAGS@', lambda: u' '.join(_flags(lambda row: True))),
            (u'@PATH_FLAGS@', lambda: u'|'.join(_flags(lambda row: row.kind is path))),
            (u'@VALUE_FLAGS@', lambda: u'|'.join(_flags(_takes_any_value))),
            (u'@PRINT_NAMES@', lambda: u' '.join(key for key, _file, _about in FILES))):
        if mark in text:
            text = text.replace(mark, make())
    return text


def program_path():
    """Return the path of this program as it was started, for scripts that start it again."""
    name = sys.argv[0] if sys.argv and os.path.basename(
        sys.argv[0]).startswith('dispynode') else None
    if packed.importer is not None:         # the one file, which has any name
        return to_text(image.own_name())
    here = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return to_text(os.path.abspath(name) if name else os.path.join(here, 'dispynode.py'))


def man_options():
    """Return the options in the language of manual pages."""
    lines, group = [], None
    for row in ROWS:
        if row.group != group:
            group = row.group
            lines.append(u'.SS %s' % group)
        flags = u', '.join(u'\\fB%s\\fR' % _roff(flag) for flag in row.flags)
        lines += [u'.TP', flags + (u' \\fI%s\\fR' % _roff(row.unit) if row.unit else u''),
                  _roff(parser.describe(row))]
    return u'\n'.join(lines)


def _roff(text):
    text = to_text(text).replace(u'\\', u'\\e').replace(u'-', u'\\-')
    return u'\\&' + text if text[:1] in (u'.', u"'") else text
