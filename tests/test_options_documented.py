"""The table of options, the manual of dispynode and the README tell of the same options."""
from __future__ import absolute_import, division, print_function

import io
import os
import textwrap
import unittest

from dispynode_lib.options import parser
from dispynode_lib.options.table import ROWS, switch

PROJECT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# every option in the manual of dispynode, and whether it takes a value
MANUAL = {
    '--save_config': True,
    '--config': True,
    '-d': False,
    '-c': True,
    '--cpus': True,
    '-i': True,
    '--ip_addr': True,
    '--ext_ip_addr': True,
    '-p': True,
    '--node_port': True,
    '--name': True,
    '-s': True,
    '--secret': True,
    '--dest_path_prefix': True,
    '--scheduler_node': True,
    '--scheduler_port': True,
    '--keyfile': True,
    '--certfile': True,
    '--max_file_size': True,
    '--zombie_interval': True,
    '--ping_interval': True,
    '--clean': False,
    '--client_shutdown': False,
    '--msg_timeout': True,
    '--service_start': True,
    '--service_stop': True,
    '--service_end': True,
    '--serve': True,
    '--daemon': False,
}

# each option of the manual: (file below tests/, test) that shows the node do what the manual says
SHOWN_BY = {
    '--save_config': ('unit/test_config.py', 'test_the_manuals_example'),
    '--config': ('functional/test_signals.py', 'test_hangup_rereads_what_can_change'),
    '-d': ('functional/test_signals.py', 'test_d_shows_nothing_of_jobs_that_do_well'),
    '-c': ('functional/test_jobs.py', 'test_d24_the_answer_to_compute_is_all_cpus_and_never_less'),
    '--cpus': ('unit/test_options.py', 'test_too_many_cpus'),
    '-i': ('functional/test_discovery.py', 'test_start_tells_addresses_ports_and_targets'),
    '--ip_addr': ('functional/test_discovery.py',
                  'test_a_client_that_finds_the_node_at_two_addresses_keeps_its_computation'),
    '--ext_ip_addr': ('functional/test_discovery.py', 'test_announced_external_address'),
    '-p': ('functional/test_state_folder.py', 'test_nodes_with_different_ports_share_a_folder'),
    '--node_port': ('functional/test_discovery.py',
                    'test_ping_by_connection_and_datagram_in_every_dialect'),
    '--name': ('functional/test_commands.py', 'test_status_of_an_idle_node'),
    '-s': ('functional/test_discovery.py', 'test_wrong_secret'),
    '--secret': ('functional/test_discovery.py', 'test_wrong_secret'),
    '--dest_path_prefix': ('functional/test_files.py', 'test_d21_dest_path_of_several_levels'),
    '--scheduler_node': ('functional/test_discovery.py',
                         'test_a_node_started_later_finds_its_named_scheduler'),
    '--scheduler_port': ('functional/test_discovery.py',
                         'test_a_node_started_later_finds_its_named_scheduler'),
    '--keyfile': ('interop/interop_tls.py', 'test_jobs_results_and_files_pass_through_tls'),
    '--certfile': ('interop/interop_tls.py', 'test_jobs_results_and_files_pass_through_tls'),
    '--max_file_size': ('functional/test_files.py',
                        'test_files_above_the_limit_are_refused_not_cut'),
    '--zombie_interval': ('unit/test_duties.py',
                          'test_running_jobs_of_a_zombie_are_left_to_finish'),
    '--ping_interval': ('unit/test_announcer.py', 'test_ping_interval_goes_on'),
    '--clean': ('functional/test_state_folder.py', 'test_clean'),
    '--client_shutdown': ('functional/test_setup_cleanup.py',
                          'test_d19_cleanup_shuts_the_node_down_when_it_is_free'),
    '--msg_timeout': ('functional/test_background.py',
                      'test_a_silent_peer_is_waited_for_as_long_as_said'),
    '--service_start': ('unit/test_service.py',
                        'test_the_manuals_example_through_two_days_without_a_scheduler'),
    '--service_stop': ('unit/test_service.py',
                       'test_jobs_under_way_when_service_stops_are_taken_later_ones_not'),
    '--service_end': ('functional/test_admin.py',
                      'test_end_of_service_kills_jobs_delivers_status_9_then_says_terminated'),
    '--serve': ('functional/test_discovery.py', 'test_serve_counts_clients_not_computations'),
    '--daemon': ('functional/test_commands.py', 'test_daemon_shows_no_menu_and_reads_nothing'),
}

# options that newer releases have besides those, as their --help tells
NEWER = {
    '--host': True,
    '--ext_host': True,
    '--scheduler_host': True,
    '--dispy_port': True,
    '--ipv4_udp_multicast': False,
    '--admin_secret': True,
    '--init': True,
    '--force_cleanup': False,
    '--unsafe_setup': False,
    '--debug': False,
    '-h': False,
    '--help': False,
}





def readme_table():
    """Return the part of README.rst that lists the options; `python -m
    tests.test_options_documented`."""
    lines, group = [], None
    for row in ROWS:
        if row.group != group:
            group = row.group
            lines += ['**%s**' % group, '']
        flags = ', '.join('``%s``' % flag for flag in row.flags)
        lines.append(flags + (' ``%s``' % row.unit if row.unit else ''))
        lines += textwrap.wrap(parser.describe(row), 100, initial_indent='    ',
                               subsequent_indent='    ') + ['']
    return '\n'.join(lines)


class Documented(unittest.TestCase):

    def test_every_option_of_the_manual_has_a_test_of_what_it_does(self):
        self.assertEqual(sorted(SHOWN_BY), sorted(MANUAL))
        for flag, (path, name) in sorted(SHOWN_BY.items()):
            with io.open(os.path.join(PROJECT, 'tests', path), encoding='utf-8') as source:
                self.assertIn('    def %s(self' % name, source.read(), flag)

    def test_options_of_the_manual_and_of_newer_releases(self):
        rows = dict((flag, row) for row in ROWS for flag in row.flags)
        for known in (MANUAL, NEWER):
            for flag, has_value in sorted(known.items()):
                self.assertIn(flag, rows)
                self.assertEqual(rows[flag].kind is not switch, has_value, flag)

    def test_readme_lists_the_options(self):
        with io.open(os.path.join(PROJECT, 'README.rst'), encoding='utf-8') as source:
            readme = source.read()
        for part in readme_table().split('\n\n'):
            self.assertIn(part.strip('\n'), readme, 'README.rst should hold what '
                          '`python -m tests.test_options_documented` prints')


if __name__ == '__main__':
    print(readme_table())
