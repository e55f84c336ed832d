"""The one file, wherever it lies; and programs that are replaced while their node runs."""
from __future__ import absolute_import, division, print_function

import io
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

from tests.support import processes
from tests.support.nodeprocess import PROJECT, NodeProcess
from tests.support.scheduler import FakeScheduler
from tests.support.waiting import wait_until

sys.path.insert(0, os.path.join(PROJECT, 'packaging'))
import onefile      # noqa: E402

CODE = 'def job(n):\n    return 2 * n\n'
WAIT = 30
RUBBISH = b'this is no Python\n'


class ReleaseTest(unittest.TestCase):

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix='dispynode-release-')
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.home = self.path('home')
        os.mkdir(self.home, 0o700)
        self.env = {'HOME': self.home, 'XDG_CACHE_HOME': None}

    def path(self, *names):
        """Return a path in the test's folder."""
        return os.path.join(self.folder, *names)

    def one_file(self, *names):
        """Write the one file at path(names) in a folder of its own; return its path."""
        path = self.path(*names)
        os.makedirs(os.path.dirname(path))
        return onefile.write(path)

    def tree(self):
        """Copy the program's tree; return the path of the program."""
        shutil.copytree(os.path.join(PROJECT, 'dispynode_lib'), self.path('tree', 'dispynode_lib'))
        shutil.copy(os.path.join(PROJECT, 'dispynode.py'), self.path('tree', 'dispynode.py'))
        return self.path('tree', 'dispynode.py')

    def node(self, program, *options, **settings):
        """Return a NodeProcess of `program`."""
        settings.setdefault('env', self.env)
        settings['env']['PYTHONDONTWRITEBYTECODE'] = None
        return NodeProcess('-c', 1, *options, program=program, **settings)

    def check_serves(self, node):
        """Have the node do a job, and one that fails."""
        with FakeScheduler(node) as scheduler:
            scheduler.ping(timeout=WAIT)
            computation = scheduler.open(CODE, 'job')
            self.assertEqual(computation.run(21).value, 42)
            failed = computation.run(None)
            self.assertIn('TypeError', failed.exception)
            self.assertNotIn('dispynode_lib', failed.exception)


class PlacesTest(ReleaseTest):

    def test_alone_under_another_name(self):
        with self.node(self.one_file('alone', 'node-of-mine')) as node:
            self.check_serves(node)
        self.assertEqual(os.listdir(self.path('alone')), ['node-of-mine'])

    def test_through_a_symbolic_link(self):
        program = self.one_file('there', 'dispynode.py')
        os.symlink(program, self.path('link'))
        with self.node(self.path('link')) as node:
            self.check_serves(node)

    def test_from_a_folder_that_cannot_be_written_and_without_a_home(self):
        program = self.one_file('readonly', 'dispynode.py')
        os.chmod(os.path.dirname(program), 0o555)
        with self.node(program, env={'HOME': None, 'XDG_CACHE_HOME': None}) as node:
            self.check_serves(node)
        os.chmod(os.path.dirname(program), 0o755)
        self.assertEqual(os.listdir(os.path.dirname(program)), ['dispynode.py'])

    def test_from_standard_input(self):
        with open(self.one_file('stdin', 'dispynode.py'), 'rb') as text:
            with self.node('-', stdin=text) as node:
                self.check_serves(node)

    @unittest.skipIf(str is bytes, 'Python 2 has no option -I')
    def test_isolated(self):
        with self.node(self.one_file('isolated', 'dispynode.py'), flags=[
                '-I', '-bb', '-W', 'error'
        ]) as node:
            self.check_serves(node)

    def test_check_of_the_one_file(self):
        for command, text in (([self.one_file(
                'check', 'dispynode.py')], None), (['-'], self.path('check', 'dispynode.py'))):
            with open(text or os.devnull, 'rb') as stdin:
                done = subprocess.Popen([sys.executable] + command + ['--check', '-i', '127.0.0.1'],
                                        stdin=stdin, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT)
                output = done.communicate()[0].decode('utf-8')
            self.assertIn(u'WRONG' if done.returncode else u'passed', output)
            self.assertIn(u'ok    function job', output)

    def test_what_was_compiled_is_kept_and_nothing_stale_is_used(self):
        program = self.one_file('kept', 'dispynode.py')
        with self.node(program) as node:
            self.check_serves(node)
            wait_until(lambda: os.path.isdir(self.path('home', '.cache', 'dispynode')), WAIT)
        with io.open(program) as source:
            text = source.read()
        with io.open(program, 'w') as target:
            target.write(text.replace(u"return 'dispynode %s", u"return 'patched %s"))
        done = subprocess.Popen([sys.executable, program, '--version'], stdout=subprocess.PIPE,
                                env=dict(os.environ, HOME=self.home))
        self.assertTrue(done.communicate()[0].startswith(b'patched'))


def overwrite(path):
    """Write rubbish into a file, as `cat > path` does."""
    with open(path, 'wb') as target:
        target.write(RUBBISH)


def rename_over(path):
    """Put another file in the place of one, as `mv` and pip do."""
    with open(path + '.new', 'wb') as target:
        target.write(RUBBISH)
    os.rename(path + '.new', path)


class ReplacedTest(ReleaseTest):
    """The files become rubbish, or are gone, and the process that supervisors come from is lost
    besides."""

    def check_replaced(self, program, replace):
        config = self.path('config')
        with open(config, 'w') as target:
            target.write('ping_interval = 30\n')
        with self.node(program, '--config', config) as node:
            self.check_serves(node)
            replace()
            for pid, command in node.processes().items():
                if '--supervise' in command:
                    processes.send(pid, signal.SIGKILL)
            self.check_serves(node)
            node.signal(signal.SIGHUP)              # modules that only this needs
            node.wait_log('the options have been read', WAIT)
            node.signal(signal.SIGUSR2)
            node.wait_log('asked for by SIGUSR2', WAIT)
            node.signal(signal.SIGINT)              # or an end
            self.assertEqual(node.wait_exit(), 0)
            self.assertNotIn('Traceback', node.log())

    def check_one_file(self, replace):
        program = self.one_file('one', 'dispynode.py')
        self.check_replaced(program, lambda: replace(program))

    def check_tree(self, replace):
        program = self.tree()
        self.check_replaced(
            program, lambda: [
                replace(os.path.join(folder, name))
                for folder, _folders, names in list(os.walk(self.path('tree'))) for name in names
            ])

    def test_one_file_is_overwritten(self):
        self.check_one_file(overwrite)

    def test_another_file_takes_the_place_of_the_one_file(self):
        self.check_one_file(rename_over)

    def test_one_file_is_deleted(self):
        self.check_one_file(os.unlink)

    def test_tree_is_overwritten(self):
        self.check_tree(overwrite)

    def test_other_files_take_the_place_of_the_tree(self):
        self.check_tree(rename_over)

    def test_restart_needs_nothing_of_the_new_tree_before_it_is_that(self):
        program = self.tree()
        with self.node(program) as node:
            self.check_serves(node)
            served = node.log().count('serves at')
            for name in os.listdir(self.path('tree', 'dispynode_lib', 'cli')):
                if name not in ('__init__.py', 'main.py', '__pycache__'):
                    overwrite(self.path('tree', 'dispynode_lib', 'cli', name))
            self.assertEqual(subprocess.call([
                sys.executable, os.path.join(PROJECT, 'dispynode.py'), '--ctl', 'restart', '-p',
                str(node.port), '--dest_path_prefix', node.folder]), 0)
            wait_until(lambda: node.log().count('serves at') > served, WAIT)
            self.check_serves(node)

    def test_a_program_that_does_not_start_does_not_take_the_place_of_the_node_at_restart(self):
        program = self.tree()
        with self.node(program) as node:
            self.check_serves(node)
            served = node.log().count('serves at')
            for change in overwrite, os.unlink:
                change(program)
                ctl = subprocess.Popen(
                    [sys.executable, os.path.join(PROJECT, 'dispynode.py'), '--ctl', 'restart', '-p',
                     str(node.port), '--dest_path_prefix', node.folder], stderr=subprocess.PIPE)
                self.assertIn(b'the program on disk does not start', ctl.communicate()[1])
                self.assertEqual(ctl.returncode, 1)
                self.check_serves(node)
            self.assertEqual(node.log().count('serves at'), served)

    def test_tree_is_deleted(self):
        program = self.tree()
        self.check_replaced(program, lambda: shutil.rmtree(self.path('tree')))


class TextTest(ReleaseTest):
    """What the file says, and of itself."""

    def told(self, *command):
        """Return what a command writes to standard output."""
        return subprocess.Popen(command, stdout=subprocess.PIPE).communicate()[0].decode('utf-8')

    def test_it_is_ascii_text_with_all_modules(self):
        with io.open(self.one_file('ascii', 'dispynode.py'), encoding='ascii') as source:
            text = source.read()
        for folder, _folders, names in os.walk(os.path.join(PROJECT, 'dispynode_lib')):
            for name in names:
                if name.endswith('.py'):
                    with io.open(os.path.join(folder, name), encoding='ascii') as source:
                        self.assertIn("r'''\n%s'''" % source.read(), text)

    def test_the_version_names_the_build(self):
        tree = self.told(sys.executable, os.path.join(PROJECT, 'dispynode.py'), '--version')
        program = self.one_file('build', 'dispynode.py')
        one = self.told(sys.executable, program, '--version')
        self.assertEqual(one, tree.replace(u', tree', u', one file'))
        with io.open(program) as source:
            text = source.read()
        with io.open(program, 'w') as target:
            target.write(text.replace(u'Be the program `dispynode`', u'Be that program'))
        patched = self.told(sys.executable, program, '--version')
        self.assertNotEqual(patched, one)
        self.assertEqual(patched.split(u'(build ')[0], one.split(u'(build ')[0])

    def test_a_traceback_gives_module_line_and_text(self):
        program = self.one_file('text', 'dispynode.py')
        with io.open(program) as source:
            text = source.read()
        with io.open(program, 'w') as target:
            target.write(
                text.replace(u'def program():\n', u'def program():\n    raise KeyError("here")\n'))
        done = subprocess.Popen([sys.executable, program], stderr=subprocess.PIPE)
        told = done.communicate()[1].decode('utf-8')
        with io.open(os.path.join(PROJECT, 'dispynode_lib', 'cli', 'main.py')) as source:
            line = source.read().split(u'\n').index(u'def program():') + 2
        self.assertIn(
            u'dispynode_lib/cli/main.py", line %d, in program\n    raise KeyError("here")' % line,
            told)


if __name__ == '__main__':
    unittest.main()
