"""What programs for dispy's own node find in their jobs, and how jobs end."""
from __future__ import absolute_import, division, print_function

import os

from tests.support.nodecase import TIMEOUT, NodeCase
from tests.support.processes import lives
from tests.support.waiting import wait_until

CODE = '''
import os, sys

def f(what, *args):
    return globals()[what](*args)

def own_file():
    import __main__
    return os.path.dirname(os.path.abspath(__file__)), __file__ == __main__.__file__, __name__

def become_leader(how):
    if how == 'setpgid':
        os.setpgid(0, 0)
    else:
        getattr(os, how)()
    return os.getsid(0) == os.getpgrp() == os.getpid()

def join_foreign_group():
    os.setpgid(0, os.getppid())

def printed():
    sys.stdout.write('some text')
    return sys.stdout.getvalue()

def log_by_module():
    from dispy.dispynode import dispynode_logger
    dispynode_logger.info('by dispy.dispynode')
    dispy.logger.warning('by dispy.logger')
    import dispy as again
    return again.logger is dispy.logger

def runs_on(seconds, path):
    import subprocess, time
    helper = subprocess.Popen([sys.executable, '-c', 'import os, time; os.setsid(); time.sleep(%d)' % seconds])
    with open(path + '.part', 'w') as stream:
        stream.write('%d %d' % (os.getpid(), helper.pid))
    os.rename(path + '.part', path)
    if hasattr(os, 'fork') and not os.fork():
        os.setsid()
        time.sleep(seconds)
        os._exit(0)
    time.sleep(seconds)

def temporary_file(folder):
    import tempfile
    kept = tempfile.NamedTemporaryFile(dir=folder)
    if sys.version_info[0] > 2:             # 2.7 collects no such cycle, at the end of a program neither
        kept.itself = kept
    return kept.name

def temporary_folder(folder):
    import tempfile
    global kept
    kept = getattr(tempfile, 'TemporaryDirectory', tempfile.NamedTemporaryFile)(dir=folder)
    return kept.name

def at_exit(path):
    import atexit, logging                  # which registers a function itself
    atexit.register(write, path)
    return True

def deleted(path):
    global kept
    kept = Deleted(path)
    return True

def deleted_of_module(path):
    global kept
    import usersmodule
    kept = usersmodule.Deleted(path)
    return True

class Deleted(object):
    def __init__(self, path):
        self.path = path
    def __del__(self):
        write(self.path)

def write(path):
    with open(path, 'a') as stream:
        stream.write('x')

def put(queue):
    queue.put(os.getpid())

def helper():
    import multiprocessing
    queue = multiprocessing.Queue()
    process = multiprocessing.Process(target=put, args=(queue,))
    process.start()
    found = queue.get(timeout=20) == process.pid
    process.join()
    return found

def setup(folder):
    import atexit, tempfile
    global folder_of_setup
    folder_of_setup = getattr(tempfile, 'TemporaryDirectory', tempfile.NamedTemporaryFile)(dir=folder)
    atexit.register(write, os.path.join(folder, 'at exit of setup'))
    return 0

def folder_is_there():
    return os.path.exists(folder_of_setup.name)
'''
WITHOUT = CODE.replace('__del__', 'end')    # by itself it has no finalizers


class Surroundings(NodeCase):

    def test_file_is_the_programs(self):
        folder, same, name = self.open(CODE, 'f').run('own_file').value
        self.assertTrue(os.path.isdir(folder))
        self.assertEqual((same, name), (True, '__main__'))

    def test_a_job_may_become_a_leader_though_it_is_one(self):
        computation = self.open(CODE, 'f')
        for how in ('setsid', 'setpgrp', 'setpgid'):
            self.assertIs(computation.run('become_leader', how).value, True, how)
        self.assertIn('not permitted', computation.run('join_foreign_group').exception)

    def test_standard_output_can_be_read(self):
        reply = self.open(CODE, 'f').run('printed')
        self.assertEqual((reply.value, reply.stdout), ('some text', 'some text'))

    def test_names_of_dispy(self):
        self.assertIs(self.open(CODE, 'f').run('log_by_module').value, True)
        self.node.wait_log('by dispy.dispynode', TIMEOUT)
        self.node.wait_log('by dispy.logger', TIMEOUT)

    def test_what_leaves_the_group_and_session_of_its_job_is_ended_with_it(self):
        computation = self.open(CODE, 'f')
        path = os.path.join(self.folder(), 'pids')
        job = computation.submit('runs_on', 300, path)
        wait_until(lambda: os.path.exists(path) and os.path.getsize(path), TIMEOUT, 'the pids')
        with open(path) as stream:
            pids = stream.read().split()
        computation.terminate(job)
        job.wait(TIMEOUT)
        wait_until(lambda: not any(lives(pid) for pid in pids), TIMEOUT, 'the end of %s' % pids)

    def test_a_process_can_be_given_a_function_of_the_job(self):
        self.assertIs(self.open(CODE, 'f').run('helper').value, True)


class Ends(NodeCase):
    """Of jobs: what is to be done when a program ends is done."""

    def test_temporary_files_of_a_job_are_removed_when_it_ends(self):
        computation, folder = self.open(CODE, 'f'), self.folder()
        for what in ('temporary_file', 'temporary_folder'):
            name = computation.run(what, folder).value
            wait_until(lambda: not os.path.exists(name), TIMEOUT, 'the end of ' + name)

    def test_functions_for_the_end_are_called_once(self):
        computation, folder = self.open(CODE, 'f'), self.folder()
        for what in ('at_exit', 'deleted'):
            path = os.path.join(folder, what)
            computation.run(what, path)
            wait_until(lambda: os.path.exists(path) and os.path.getsize(path), TIMEOUT,
                       'what %s writes' % what)
            with open(path) as stream:
                self.assertEqual(stream.read(), 'x')

    def test_objects_of_modules_that_the_client_sent_are_deleted_at_the_end(self):
        computation, folder = self.open(WITHOUT, 'f'), self.folder()
        path, module = os.path.join(folder, 'mark'), os.path.join(folder, 'usersmodule.py')
        with open(module, 'w') as stream:
            stream.write('class Deleted(object):\n'
                         '    def __init__(self, path):\n        self.path = path\n'
                         '    def __del__(self):\n        open(self.path, "w").close()\n')
        computation.send_file(module)
        self.assertIs(computation.run('deleted_of_module', path).value, True)
        wait_until(lambda: os.path.exists(path), TIMEOUT, 'what __del__ writes')

    def test_temporary_files_of_a_job_are_removed_though_setup_had_made_some(self):
        folder = self.folder()
        computation = self.open(WITHOUT, 'f', setup='setup', setup_args=(folder,))
        name = computation.run('temporary_file', folder).value
        wait_until(lambda: not os.path.exists(name), TIMEOUT, 'the end of ' + name)

    def test_what_setup_left_for_the_end_is_not_done_by_jobs(self):
        folder = self.folder()
        computation = self.open(CODE, 'f', setup='setup', setup_args=(folder,))
        path = os.path.join(folder, 'of a job')
        for _ in range(2):
            self.assertIs(computation.run('folder_is_there').value, True)
            computation.run('at_exit', path)
            wait_until(lambda: os.path.exists(path), TIMEOUT, 'what the job writes')
            os.unlink(path)
            self.assertFalse(os.path.exists(os.path.join(folder, 'at exit of setup')))
        computation.close()
        wait_until(lambda: os.path.exists(os.path.join(folder, 'at exit of setup')), TIMEOUT,
                   'what setup left')
