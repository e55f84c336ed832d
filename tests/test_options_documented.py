"""The table of options, the manual of dispynode and the README tell of the same options."""
from __future__ import absolute_import, division, print_function

import io
import os
import re
import textwrap
import unittest

from dispynode_lib import options
from dispynode_lib.option_table import ROWS, switch

PROJECT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# every option in the manual of dispynode, and whether it takes a value
MANUAL = {
    '--save_config': True, '--config': True, '-d': False, '-c': True, '--cpus': True, '-i': True, '--ip_addr': True,
    '--ext_ip_addr': True, '-p': True, '--node_port': True, '--name': True, '-s': True, '--secret': True,
    '--dest_path_prefix': True, '--scheduler_node': True, '--scheduler_port': True, '--keyfile': True,
    '--certfile': True, '--max_file_size': True, '--zombie_interval': True, '--ping_interval': True,
    '--clean': False, '--client_shutdown': False, '--msg_timeout': True, '--service_start': True,
    '--service_stop': True, '--service_end': True, '--serve': True, '--daemon': False,
}

# options that newer releases have besides those, as their --help tells
NEWER = {
    '--host': True, '--ext_host': True, '--scheduler_host': True, '--dispy_port': True, '--ipv4_udp_multicast': False,
    '--admin_secret': True, '--init': True, '--force_cleanup': False, '--unsafe_setup': False, '--debug': False,
    '-h': False, '--help': False,
}





def readme_table():
    """Return the part of README.rst that lists the options which work; `python -m tests.test_options_documented`."""
    lines, group = [], None
    for row in ROWS:
        if not row.works:
            continue
        if row.group != group:
            group = row.group
            lines += ['**%s**' % group, '']
        flags = ', '.join('``%s``' % flag for flag in row.flags)
        lines.append(flags + (' ``%s``' % row.unit if row.unit else ''))
        lines += textwrap.wrap(options.describe(row), 100, initial_indent='    ', subsequent_indent='    ') + ['']
    return '\n'.join(lines)


class Documented(unittest.TestCase):

    def test_options_of_the_manual_and_of_newer_releases(self):
        rows = dict((flag, row) for row in ROWS for flag in row.flags)
        for known in (MANUAL, NEWER):
            for flag, has_value in sorted(known.items()):
                self.assertIn(flag, rows)
                self.assertEqual(rows[flag].kind is not switch, has_value, flag)

    def test_readme_lists_the_options_that_work(self):
        with io.open(os.path.join(PROJECT, 'README.rst'), encoding='utf-8') as source:
            readme = source.read()
        for part in readme_table().split('\n\n'):
            self.assertIn(part.strip('\n'), readme, 'README.rst should hold what '
                          '`python -m tests.test_options_documented` prints')

    def test_readme_names_no_option_that_does_not_work(self):
        with io.open(os.path.join(PROJECT, 'README.rst'), encoding='utf-8') as source:
            words = set(word.replace('-', '_') for word in re.findall(r'(?<![\w-])--(\w[\w-]+)', source.read()))
        for row in ROWS:
            if not row.works:
                for flag in row.flags:
                    self.assertNotIn(flag.lstrip('-'), words)


if __name__ == '__main__':
    print(readme_table())
