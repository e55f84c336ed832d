"""Config files, the environment, and what --save_config writes."""
from __future__ import absolute_import, division, print_function

import os
import shutil
import stat
import tempfile
import unittest

from dispynode_lib.options import configfile, parser
from dispynode_lib.errors import ConfigError, OptionError

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'configs')


class ConfigTest(unittest.TestCase):

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix='dispynode-test-')
        self.addCleanup(shutil.rmtree, self.folder)
        self.path = os.path.join(self.folder, 'node.cfg')

    def write(self, text):
        with open(self.path, 'w') as target:
            target.write(text)

    def read(self, text, arguments=(), environment=None):
        """Return the Options for a file with `text`, command line and environment."""
        self.write(text)
        return self.read_file(self.path, arguments, environment)

    @staticmethod
    def read_file(path, arguments=(), environment=None):
        chosen = parser.parse(['--config', path] + list(arguments))
        configfile.apply(chosen, environment if environment is not None else {})
        return chosen

    def refused(self, text, *parts):
        with self.assertRaises(ConfigError) as caught:
            self.read(text)
        self.assertEqual(caught.exception.status, 78)
        for part in parts:
            self.assertIn(part, str(caught.exception))
        self.assertNotIn('\n', str(caught.exception))


class Files(ConfigTest):

    def test_options_of_every_kind(self):
        chosen = self.read(
            '# a comment\n; another\n[dispynode]\ncpus = 2\ndebug = yes\nclean = no\nip-addr = '
            '10.0.0.1, ::1\n'
            'msg_timeout: 7.5\nsecret = "  a b "\nservice_start = 17:00\nmax_file_size = 5m\n')
        self.assertEqual(
            (chosen.cpus, chosen.debug, chosen.clean, chosen.ip_addr, chosen.msg_timeout),
            (2, True, False, ['10.0.0.1', '::1'], 7.5))
        self.assertEqual((chosen.secret, chosen.service_start, chosen.max_file_size),
                         ('  a b ', 1020, 5 << 20))

    def test_command_line_environment_file_default(self):
        text = 'cpus = 2\nname = file\nmsg_timeout = 7\n'
        chosen = self.read(text, ['--cpus', '4'],
                           {'DISPYNODE_CPUS': '3', 'DISPYNODE_NAME': 'environment'})
        self.assertEqual((chosen.cpus, chosen.name, chosen.msg_timeout, chosen.serve),
                         (4, 'environment', 7.0, -1))

    def test_config_file_named_by_the_environment(self):
        self.write('cpus = 2\n')
        chosen = parser.parse([])
        configfile.apply(chosen, {'DISPYNODE_CONFIG': self.path})
        self.assertEqual(chosen.cpus, 2)

    def test_options_that_exclude_each_other(self):
        chosen = self.read('dispy_port = 9700\nsecret = a\n', ['-p', '5000', '--secret_file', '/x'])
        self.assertEqual((chosen.node_port, chosen.dispy_port, chosen.secret), (5000, None, ''))

    def test_secrets_leave_the_environment(self):
        environment = {
            'DISPYNODE_SECRET': 'x', 'DISPYNODE_ADMIN_SECRET': 'y',
            'DISPYNODE_PORT': 'tcp://10.0.0.1:1'
        }
        chosen = self.read('', (), environment)
        self.assertEqual((chosen.secret, chosen.admin_secret), ('x', 'y'))
        self.assertEqual(list(environment), ['DISPYNODE_PORT'])

    def test_unknown_keys(self):
        self.refused('cpu = 2\n', 'line 1', 'there is no option cpu', 'did you mean cpus?')
        self.refused('help = True\n', 'there is no option help')
        self.refused('[other]\n', 'section [other]')

    def test_bad_lines(self):
        self.refused('\ncpus\n', 'line 2', "'cpus' is no line of the kind")
        self.refused('cpus = many\n', 'line 1: cpus many: give how many CPUs')
        self.refused('debug = perhaps\n', 'debug perhaps: give True or False')
        self.refused('cpus = 1\ncpus = 2\n', 'line 2', 'twice')
        self.refused('[dispynode]\nloglevel = True\n', 'there is no option loglevel')

    def test_files_that_cannot_be_read(self):
        for path in (self.folder, os.path.join(self.folder, 'none')):
            with self.assertRaises(ConfigError):
                self.read_file(path)
        with open(self.path, 'wb') as target:
            target.write(b'name = \xff\n')
        with self.assertRaises(ConfigError):
            self.read_file(self.path)

    def test_bad_value_in_the_environment(self):
        with self.assertRaises(ConfigError) as caught:
            configfile.apply(parser.parse([]), {'DISPYNODE_CPUS': 'x'})
        self.assertIn('DISPYNODE_CPUS in the environment x: give how many', str(caught.exception))


class OriginalFiles(ConfigTest):
    """What releases of the original wrote, unchanged (tests/unit/configs)."""

    def test_defaults_are_as_if_not_given(self):
        for release in ('4.8.7', '4.15.2'):
            chosen = self.read_file(os.path.join(HERE, release + '-default.cfg'))
            given = set(chosen.given) - set(['config'])
            self.assertEqual(given, set(['zombie_interval']) & given, release)

    def test_all_that_was_given(self):
        for release, ports in (('4.8.7', (50000, None)), ('4.15.2', (50001, 50000))):
            chosen = self.read_file(os.path.join(HERE, release + '-many.cfg'))
            chosen.finish(usable_cpus=(4, 'all'), host_cpus=4)
            self.assertEqual((chosen.node_port, chosen.scheduler_port), ports)
            self.assertEqual((chosen.cpus, chosen.debug, chosen.secret, chosen.zombie_interval),
                             (3, True, 'test', 600))
            self.assertEqual((chosen.ip_addr, chosen.ext_ip_addr), (['127.0.0.1', '10.0.0.1'], []))
            self.assertEqual((chosen.service_start, chosen.service_stop, chosen.service_end),
                             (1020, 360, 480))
            self.assertEqual(
                (chosen.max_file_size, chosen.serve, chosen.ping_interval, chosen.name),
                (5 << 20, 3, 30, 'nodeX'))
            self.assertTrue(chosen.clean and chosen.client_shutdown and chosen.daemon)
            self.assertIsNone(chosen.dest_path_prefix)

    def test_nothing_is_evaluated(self):
        chosen = self.read(
            "[DEFAULT]\nname = __import__('os').getcwd()\nhosts = ['a', u'b', \"c\"]\n")
        self.assertEqual((chosen.name, chosen.ip_addr),
                         ("__import__('os').getcwd()", ['a', 'b', 'c']))


class Saving(ConfigTest):

    def save(self, *arguments):
        """Return what --save_config writes for `arguments`."""
        chosen = parser.parse(list(arguments) + ['--save_config', self.path])
        self.told = []
        configfile.save(chosen, lambda text, to_error=False: self.told.append((text, to_error)))
        with open(self.path) as source:
            return source.read()

    def test_the_manuals_example(self):
        arguments = [
            '-d', '--cpus', '-1', '-s', 'test', '--zombie_interval=10', '--service_start', '17:00',
            '--service_stop', '6:00', '--service_end', '8:00'
        ]
        text = self.save(*arguments)
        self.assertEqual(
            self.told, [('dispynode: %s holds a secret: keep it from others\n' % self.path, True)])
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)
        again = self.read_file(self.path)
        given = parser.parse(arguments)
        for name in given.given:
            self.assertEqual(getattr(again, name), getattr(given, name), name)
        self.assertNotIn('save_config', text)

    def test_secrets_are_left_out(self):
        self.assertEqual(self.save('-s', 'hidden', '--admin_secret', 'hidden').count('hidden'), 2)
        self.assertEqual(self.save('-s', 'hidden', '--save_secrets').count('hidden'), 1)
        self.save('-c', '2')
        self.assertEqual(self.told, [])

    def test_the_services_user_cannot_read_what_another_one_saved(self):
        self.save('-c', '2', '--user', 'somebody')
        self.assertIn('chown somebody %s' % self.path, self.told[0][0])
        if os.geteuid() == 0:
            os.chown(self.path, 12345, -1)
            self.save('-c', '3')
            self.assertIn('chown 12345 %s' % self.path, self.told[0][0])

    def test_every_option_comes_back(self):
        arguments = [
            '-i', '10.0.0.1', '-i', 'fe80::1', '--name', 'x', '-s', ' "a" ', '--log_format', 'json',
            '--http_allow', '10.0.0.0/8', '--http_allow', '::1', '--pid_file', '/run/x y', '--clean'
        ]
        self.save(*arguments)
        again, given = self.read_file(self.path), parser.parse(arguments)
        for name in given.given:
            self.assertEqual(again.texts[name], given.texts[name]) if name != 'clean' else None
        self.assertEqual((again.ip_addr, again.secret, again.clean),
                         (['10.0.0.1', 'fe80::1'], ' "a" ', True))

    def test_what_some_take_for_the_end_of_a_line_comes_back(self):
        for secret in (u'a\x0cb', u'a\x85b', u'a\u2028b', u'a\rb'):
            self.save(u'-s', secret)
            self.assertEqual(self.read_file(self.path).secret, secret)

    def test_a_value_of_several_lines_is_refused_not_saved_as_what_cannot_be_read(self):
        with self.assertRaises(ConfigError) as caught:
            self.save('-s', 'a\nclean = True')
        self.assertEqual(caught.exception.status, 64)
        self.assertIn('--secret has several lines', str(caught.exception))
        self.assertEqual(os.listdir(self.folder), [])

    def test_standard_output(self):
        said = []
        configfile.save(parser.parse(['-c', '2', '-s', 'x', '--save_config']),
                        lambda *told: said.append(told))
        self.assertIn('[dispynode]\nsecret = x\ncpus = 2\n', said[0][0])
        self.assertEqual(said[1:], [('dispynode: this is a secret: keep it from others\n', True)])

    def test_file_that_cannot_be_written(self):
        with self.assertRaises(ConfigError) as caught:
            configfile.save(parser.parse(['--save_config',
                                          os.path.join(self.folder, 'none', 'x')]), None)
        self.assertEqual(caught.exception.status, 73)
        self.assertEqual(os.listdir(self.folder), [])


class SecretFile(ConfigTest):

    def test_first_line(self):
        self.write('top secret \r\nmore\n')
        chosen = parser.parse(['--secret_file', self.path])
        chosen.finish(usable_cpus=(1, ''), host_cpus=1)
        self.assertEqual(chosen.secret, 'top secret ')

    def test_missing(self):
        with self.assertRaises(OptionError) as caught:
            parser.parse(['--secret_file', self.path]).finish(usable_cpus=(1, ''), host_cpus=1)
        self.assertEqual(caught.exception.status, 78)

    def test_the_mark_with_which_some_editors_begin_a_file_is_no_part_of_what_it_says(self):
        for text, option in ((b'\xef\xbb\xbfword\n', '--secret_file'),
                             (b'\xef\xbb\xbf[dispynode]\nsecret = word\n', '--config')):
            with open(self.path, 'wb') as target:
                target.write(text)
            chosen = parser.parse([option, self.path])
            if option == '--config':
                configfile.apply(chosen, {})
            chosen.read_secret()
            self.assertEqual(chosen.secret, 'word')

    def test_a_file_without_an_end_is_refused(self):
        for option in ('--config', '--secret_file'):
            with self.assertRaises(OptionError) as caught:
                chosen = parser.parse([option, '/dev/zero'])
                configfile.apply(chosen, {})
                chosen.read_secret()
            self.assertEqual(caught.exception.status, 78)
            self.assertIn('has over ', str(caught.exception))

    def test_an_empty_first_line_does_not_open_the_node_to_everybody(self):
        for text in ('', '\nsecret\n'):
            self.write(text)
            with self.assertRaises(OptionError) as caught:
                parser.parse(['--secret_file', self.path]).read_secret()
            self.assertEqual(caught.exception.status, 78)
            self.assertIn('its first line is empty', str(caught.exception))


if __name__ == '__main__':
    unittest.main()
