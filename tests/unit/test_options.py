"""Options: how they are read, what is refused and in which words."""
from __future__ import absolute_import, division, print_function

import unittest

from dispynode_lib.options import table, parser
from dispynode_lib.errors import OptionError


def parse(*arguments):
    """Return finished Options of a host with 8 CPUs."""
    chosen = parser.parse(list(arguments))
    chosen.finish((8, 'all'), 8)
    return chosen


class OptionsCase(unittest.TestCase):
    """How options are read."""

    def refusal(self, *arguments):
        """Return the text with which `arguments` are refused."""
        with self.assertRaises(OptionError) as caught:
            parse(*arguments)
        text = caught.exception.args[0]
        self.assertNotIn('\n', text)
        return text


class Reading(OptionsCase):

    def test_nothing_given(self):
        chosen = parse()
        self.assertEqual(
            (chosen.ip_addr, chosen.node_port, chosen.scheduler_port, chosen.secret, chosen.name),
            ([], None, None, u'', None))
        self.assertEqual((chosen.cpus, chosen.msg_timeout, chosen.zombie_interval, chosen.serve),
                         (8, 5.0, 3600.0, -1))
        self.assertFalse(chosen.debug or chosen.daemon or chosen.check or chosen.given)

    def test_ways_to_write_a_value(self):
        for given in (['-c', '4'], ['-c4'], ['-c=4'], ['--cpus', '4'], ['--cpus=4']):
            self.assertEqual(parse(*given).cpus, 4, given)

    def test_dashes_and_underscores(self):
        for flag in ('--dest_path_prefix', '--dest-path-prefix', '--dest_path-prefix'):
            self.assertEqual(parse(flag, '/data').dest_path_prefix, '/data')

    def test_old_and_new_names(self):
        self.assertEqual(parse('--host', 'a', '--ip_addr=b', '-i', 'c').ip_addr, ['a', 'b', 'c'])
        self.assertEqual(
            parse('-i', '10.0.0.1 fd00::1 ', '-i', '[::1]').ip_addr, ['10.0.0.1', 'fd00::1', '::1'])
        self.assertEqual(parse('--ext_host', 'a').ext_ip_addr, ['a'])
        self.assertEqual(
            parse('--scheduler-host', 'a', '--scheduler_node', 'b').scheduler_node, ['a', 'b'])

    def test_lists_are_not_shared(self):
        parse('-i', 'a')
        self.assertEqual(parse().ip_addr, [])

    def test_short_options_together(self):
        chosen = parse('-dc4')
        self.assertEqual((chosen.debug, chosen.cpus), (True, 4))

    def test_negative_number_is_a_value(self):
        self.assertEqual(parse('-c', '-1').cpus, 7)
        self.assertEqual(parse('--cpus=-7').cpus, 1)
        self.assertEqual(parse('--serve', '-1').serve, -1)

    def test_secret_that_begins_with_a_dash(self):
        self.assertEqual(parse('--secret=-x').secret, '-x')
        self.assertEqual(parse('-s', '').secret, '')
        self.assertEqual(parse('--secret=a=b').secret, 'a=b')

    def test_help_ends_the_reading(self):
        self.assertTrue(parser.parse(['-h', '--nonsense']).help)
        self.assertTrue(parser.parse(['--version', '--nonsense']).version)

    def test_double_dash_at_the_end(self):
        self.assertTrue(parse('-d', '--').debug)

    def test_switches_may_be_repeated(self):
        self.assertTrue(parse('-d', '--debug').debug)

    def test_dispy_port_is_that_of_clients(self):
        chosen = parse('--dispy_port', '9700')
        self.assertEqual((chosen.node_port, chosen.scheduler_port), (9701, 9700))
        chosen = parse('--dispy_port', '9700', '--scheduler_port', '5')
        self.assertEqual((chosen.node_port, chosen.scheduler_port), (9701, 5))

    def test_address_in_brackets(self):
        self.assertEqual(parse('-i', '[fe80::1%eth0]').ip_addr, ['fe80::1%eth0'])

    def test_bytes_become_text(self):
        self.assertEqual(parse(b'--secret', b'caf\xc3\xa9').secret, u'caf\xe9')

    def test_sizes(self):
        for given, value in (('0', 0), ('17', 17), ('2k', 2048), ('3M', 3 << 20), ('1g', 1 << 30),
                             ('4t', 4 << 40)):
            self.assertEqual(parse('--max_file_size', given).max_file_size, value)

    def test_times(self):
        chosen = parse('--service_start', '17:00', '--service_stop', '7:00', '--service_end',
                       '08:00')
        self.assertEqual((chosen.service_start, chosen.service_stop, chosen.service_end),
                         (1020, 420, 480))

    def test_intervals(self):
        chosen = parse('--zombie_interval=10', '--ping_interval', '12.5', '--msg_timeout', '0.5')
        self.assertEqual((chosen.zombie_interval, chosen.ping_interval, chosen.msg_timeout),
                         (600.0, 12.5, 0.5))
        self.assertEqual(parse('--zombie_interval', '0').zombie_interval, 0)

    def test_save_config_without_a_file(self):
        self.assertEqual(parser.parse(['--save_config']).save_config, '')
        chosen = parser.parse(['--save_config', '-d'])
        self.assertEqual((chosen.save_config, chosen.debug), ('', True))
        self.assertEqual(parser.parse(['--save_config', 'x']).save_config, 'x')

    def test_the_example_of_the_manual(self):
        chosen = parser.parse(
            '-d --cpus -1 -s test --zombie_interval=10 --service_start 17:00 --service_stop 6:00'
            ' --service_end 8:00 --save_config /etc/dispynode.cfg'.split())
        chosen.finish((8, 'all'), 8)
        self.assertEqual((chosen.cpus, chosen.secret, chosen.save_config),
                         (7, 'test', '/etc/dispynode.cfg'))


class Refusing(OptionsCase):

    def test_too_many_cpus(self):
        self.assertEqual(
            self.refusal('--cpus', '12'), '--cpus 12: this host has 8 CPUs; '
            'give 1 to 8, or -7 to -1 to leave some free')
        self.assertTrue(self.refusal('-c-8').startswith('-c -8: this host has 8 CPUs; '))
        self.assertIn('-c 0: give how many', self.refusal('-c', '0'))

    def test_cpus_of_a_restricted_process(self):
        chosen = parser.parse(['-c', '-2'])
        with self.assertRaises(OptionError) as caught:
            chosen.finish((2, 'quota'), 8)
        self.assertEqual(
            caught.exception.args[0], '-c -2: this host has 8 CPUs, of which this process '
            'may use 2; give 1 to 8, or -1 to leave one free')
        chosen = parser.parse(['-c', '2'])
        with self.assertRaises(OptionError) as caught:
            chosen.finish((1, 'all'), 1)
        self.assertEqual(caught.exception.args[0], '-c 2: this host has 1 CPU; give 1')

    def test_wrong_values(self):
        for flag, values in (
                ('--cpus', ('x', '1.5', '', '--', '1-', '1_0')),
                ('--node_port', ('0', '65536', '-1', 'http', '')),
                ('--dispy_port', ('0', '65535')),
                ('--msg_timeout', ('0', '-1', 'nan', 'inf', '1e3', '', '.', '1.2.3')),
                ('--ping_interval', ('9', '-1', 'x')),
                ('--zombie_interval', ('0.5', '-1', 'x')),
                ('--max_file_size', ('k', '-1', '1.5k', '1kb')),
                ('--service_start', ('24:00', '12', '12:60', '1:2', ':30', '-1:00', '12:000')),
                ('--serve', ('0', '-2', 'x')),
                ('--name', ('', 'a b', ' a')),
                ('--ip_addr', ('', '  ')),
                ('--dest_path_prefix', ('', 'a\0b')),
                ('--log_format', ('xml',))):
            for value in values:
                text = self.refusal('%s=%s' % (flag, value))
                self.assertTrue(text.startswith(flag), text)
                self.assertIn('give ', text)

    def test_secrets_are_not_repeated(self):
        for row in parser.ROWS:
            if row.hidden:
                text = self.refusal(row.flags[-1] + '=sesame', row.flags[-1] + '=sesame')
                self.assertNotIn('sesame', text)

    def test_missing_value(self):
        self.assertEqual(self.refusal('-c'), '-c: it needs a value, N')
        self.assertIn('--secret=TEXT', self.refusal('-s', '-x'))
        self.assertIn('-i: it needs a value', self.refusal('-i', '--ext_ip_addr', 'a.b.c.d'))

    def test_value_for_a_switch(self):
        self.assertEqual(self.refusal('--daemon=yes'), '--daemon=yes: this option takes no value')

    def test_unknown_options(self):
        self.assertEqual(self.refusal('--cpu', '2'),
                         '--cpu: there is no such option; did you mean --cpus?; see --help')
        self.assertIn('--service_end', self.refusal('--serviece_end', '8:00'))
        self.assertEqual(self.refusal('-x'), '-x: there is no such option; see --help')
        self.assertIn('--dest', self.refusal('--dest', '/tmp'))

    def test_words_that_are_no_options(self):
        for given in (['start'], ['--', 'start'], ['-d', 'start']):
            self.assertEqual(self.refusal(*given), "'start': only options are expected; see --help")
        self.assertIn("'-'", self.refusal('-'))

    def test_given_twice(self):
        self.assertEqual(self.refusal('-c', '1', '--cpus', '2'), '--cpus: given already as -c')
        self.assertEqual(self.refusal('-c', '1', '-c', '2'), '-c: given already')

    def test_options_that_exclude_each_other(self):
        self.assertEqual(self.refusal('-p', '5', '--dispy_port', '6'),
                         '-p and --dispy_port: give one of them')
        self.assertIn('one of them', self.refusal('--secret', 'x', '--secret_file', 'y'))

    def test_options_that_need_each_other(self):
        self.assertIn('--certfile', self.refusal('--keyfile', 'x'))
        self.assertIn('--service_start', self.refusal('--service_end', '8:00'))
        self.assertIn('--service_end', self.refusal('--service_start', '8:00'))

    def test_bytes_in_no_known_encoding(self):
        self.assertIn('UTF-8', self.refusal(b'--name', b'\xff\xfe'))

    def test_all_refusals_come_before_any_work(self):
        self.assertIn('-p 0', self.refusal('-d', '-p', '0', '--version'))


class Help(OptionsCase):

    def test_lines_fit_a_terminal(self):
        for line in parser.help_text().splitlines():
            self.assertLessEqual(len(line), 79)

    def test_units_and_defaults(self):
        text = ' '.join(parser.help_text().split())
        self.assertIn('-c, --cpus N', text)
        self.assertIn(
            '--msg_timeout SECONDS longest wait for a peer in one step of a dialogue (default: 5)',
            text)
        self.assertIn('(default: 60)', text)

    def test_every_row_is_complete(self):
        seen = set()
        for row in parser.ROWS:
            self.assertTrue(row.help and row.flags and row.group)
            self.assertEqual(bool(row.unit), row.kind is not table.switch, row.name)
            for flag in row.flags:
                self.assertNotIn(flag, seen)
                self.assertNotIn('-', flag.lstrip('-'))
                seen.add(flag)


if __name__ == '__main__':
    unittest.main()
