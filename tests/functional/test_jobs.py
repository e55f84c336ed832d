"""Function jobs: arguments, results, output, names that user code finds."""
from __future__ import absolute_import, division, print_function

import os
import sys
import unittest

from tests.support.computation import Reply, read_frame
from tests.support.dialects import DIALECTS
from tests.support.nodecase import FINISHED, TIMEOUT, NodeCase
from tests.support.pickled import Record
from tests.support.waiting import wait_until

PY2 = sys.version_info[0] == 2

ECHO = '''
def echo(*args, **kwargs):
    return args, kwargs
'''

PLACE = '''
import os, sys

class Thing(object):
    def __init__(self, value):
        self.value = value

def place(what, *args):
    return globals()[what](*args)

def where():
    return {'cwd': os.getcwd(), 'path': sys.path[0], 'module': __name__, 'pid': os.getpid(),
            'group': os.getpgrp(), 'session': os.getsid(0), 'parent': os.getppid(),
            'main': sys.modules['__main__'].__dict__ is globals()}

def names():
    return [dispy_node_name, dispy_node_ip_addr, dispy_job_path, int(dispy_sock_family), callable(dispy_send_file),
            callable(dispy_provisional_result), 'dispynode_shutdown' in globals()]

def modules():
    return [struct.calcsize('>L'), os.sep, sys.byteorder, time.time() > 0, socket.AF_INET, bool(re.match('a', 'ab')),
            io.BytesIO(b'x').read(), copy.copy([1]), glob.glob('/'), stat.S_ISDIR(os.stat('/').st_mode),
            signal.SIGTERM > 0, bool(platform.system()), hashlib.sha1(b'').hexdigest()[:4],
            pickle.loads(pickle.dumps(3, 2)), marshal.loads(marshal.dumps(4)), callable(shutil.copy),
            os.path.isdir(tempfile.gettempdir()), threading.active_count(), callable(subprocess.Popen),
            callable(traceback.format_exc), multiprocessing.cpu_count() > 0]

def environment():
    return dict(os.environ)

def thing(value):
    return Thing(value)

def value_of(thing):
    return thing.value, type(thing) is Thing

def say(text):
    print(text)
    sys.stderr.write('err: %s\\n' % text)

def log(text):
    dispynode_logger.warning('%s is said', text)
    return True

def provisional(count):
    return [dispy_provisional_result(number * 10) for number in range(count)]

def provisional_relay():
    return [dispy_provisional_result('a', timeout=5, relay=True), dispy_provisional_result('b', 5, False)]

def provisional_then_fail():
    dispy_provisional_result('half')
    raise ValueError('after it')
'''

HOLD = '''
import os, time

def hold(path):
    with open(path + '-began', 'a') as stream:
        stream.write('once ')
    while not os.path.exists(path):
        time.sleep(0.01)
'''

LET_GO = """
import json, os, sys, weakref

class Thing(object):
    pass

def let_go():
    things = [os, sys, os.path.join, json, json.dumps, type(sys), Thing, let_go]
    references = [weakref.ref(thing) for thing in things if getattr(type(thing), '__weakrefoffset__', type(thing) is type)]
    del things
    for reference in references * 3:
        thing = reference()
        many = [thing] * 100
        a = thing; b = thing; c = thing; d = thing
        del thing, many, a, b, c, d
    return [reference() is None for reference in references]
"""


class Jobs(NodeCase):

    def test_arguments_and_results_come_back_the_same(self):
        values = [
            0, -1, 255, 65536, 1 << 31, 1 << 70, 2.5, True, None, 'text', u'\xe9\u20ac', b'',
            [1, [2]], (1, ), {'k': [1]},
            set([1]), 'x' * 100000, u''
        ]
        for dialect in [one for one in DIALECTS if one.python2 == PY2]:
            computation = self.open(ECHO, 'echo', dialect)
            args, kwargs = self.finished(computation.run(*values, a=1, b=[2]))
            self.assertEqual((args, kwargs), (tuple(values), {'a': 1, 'b': [2]}), dialect)
            self.let_go(computation.scheduler)

    def test_the_reply_has_all_ten_attributes(self):
        computation = self.open(PLACE, 'place')
        job = computation.submit('where')
        reply = job.wait()
        self.assertEqual(sorted(reply.message.value.fields()), [
            'end_time', 'exception', 'hash', 'ip_addr', 'result', 'start_time', 'status', 'stderr',
            'stdout', 'uid'
        ])
        self.assertEqual((reply.uid, reply.hash, reply.ip_addr), (job.uid, job.hash, '127.0.0.1'))
        self.assertEqual((reply.stdout, reply.stderr), ('', ''))
        self.assertLessEqual(reply.start_time, reply.end_time)

    def test_a_job_is_a_process_group_of_its_own_in_the_folder_of_its_computation(self):
        computation = self.open(PLACE, 'place')
        found = self.finished(computation.run('where'))
        self.assertTrue(found['main'])
        self.assertEqual((found['module'], found['path']), ('__main__', '.'))
        self.assertEqual((found['group'], found['session']), (found['pid'], found['pid']))
        self.assertNotEqual(found['parent'], self.node.pid)
        self.assertTrue(
            found['cwd'].startswith(os.path.realpath(self.node.folder) + '/127.0.0.1/place_'),
            found['cwd'])
        again = self.finished(computation.run('where'))
        self.assertNotEqual(again['pid'], found['pid'])
        self.assertEqual((again['cwd'], again['parent']), (found['cwd'], found['parent']))

    def test_user_code_finds_the_names_of_all_releases(self):
        computation = self.open(PLACE, 'place')
        name, address, path, family, send, provisional, shutdown = self.finished(
            computation.run('names'))
        self.assertTrue(name)
        self.assertEqual((address, family), ('127.0.0.1', 2))
        self.assertEqual(path, self.finished(computation.run('where'))['cwd'])
        self.assertEqual((send, provisional, shutdown), (True, True, False))

    def test_user_code_finds_the_modules_of_the_original_node(self):
        computation = self.open(PLACE, 'place')
        found = self.finished(computation.run('modules'))
        self.assertEqual(found[12:15], ['da39', 3, 4])
        self.assertTrue(all(found), found)

    def test_the_environment_names_node_and_folder(self):
        computation = self.open(PLACE, 'place')
        found = self.finished(computation.run('environment'))
        self.assertEqual(found['dispy_job_path'], self.finished(computation.run('where'))['cwd'])
        self.assertEqual(found['dispy_node_ip_addr'], '127.0.0.1')

    def test_nothing_but_a_mark_of_the_nodes_own_is_left_in_the_environment(self):
        computation = self.open(PLACE, 'place')
        found = set(self.finished(computation.run('environment'))) - set(os.environ)
        self.assertEqual(
            sorted(name for name in found if not name.startswith(('DISPYNODE_TEST', 'PYTHON'))),
            ['_DISPYNODE_OF', 'dispy_job_path', 'dispy_node_ip_addr', 'dispy_node_name'])

    def test_objects_of_user_classes_travel_as_main(self):
        computation = self.open(PLACE, 'place')
        reply = computation.run('thing', 5)
        self.assertIn(b'__main__', reply.result)
        value = self.finished(reply)
        self.assertIsInstance(value, Record)
        self.assertEqual((value.kind, value.value), ('Thing', 5))

    def test_arguments_may_be_objects_of_user_classes(self):
        computation = self.open(PLACE, 'place')
        pickle = b"(S'value_of'\n(i__main__\nThing\n(dS'value'\nI7\nsbt." if PY2 else \
            b'\x80\x03X\x08\x00\x00\x00value_ofc__main__\nThing\n)\x81}X\x05\x00\x00\x00valueK\x07sb\x86.'
        if PY2:
            pickle = b"\x80\x02U\x08value_ofc__main__\nThing\n)\x81}U\x05valueK\x07sb\x86."
        job = computation.send(computation.raw_job(pickle))
        self.assertEqual(self.finished(job.wait()), (7, True))

    def test_stdout_and_stderr_come_with_the_reply(self):
        computation = self.open(PLACE, 'place')
        reply = computation.run('say', 'one')
        self.assertEqual((reply.stdout, reply.stderr), ('one\n', 'err: one\n'))

    def test_code_that_comes_with_a_job_is_for_that_job_only(self):
        computation = self.open('def f(): return extra()', 'f')
        dumps = computation.scheduler.dialect.arguments
        job = computation.raw_job(dumps(()), code='def extra(): return 42\n')
        self.assertEqual(self.finished(computation.send(job).wait()), 42)
        self.assertIn('NameError', self.failed(computation.run()))

    def test_the_logger_reaches_the_log_of_the_node_with_the_id_of_the_job(self):
        computation = self.open(PLACE, 'place')
        job = computation.submit('log', 'hello')
        self.finished(job.wait())
        self.node.wait_log('job %d of computation %d: hello is said' % (job.uid, computation.id),
                           TIMEOUT)

    def test_provisional_results_come_before_the_final_one(self):
        computation = self.open(PLACE, 'place')
        job = computation.submit('provisional', 3)
        self.assertEqual(self.finished(job.wait()), [0, 0, 0])
        replies = [Reply(message) for message in computation.scheduler.messages('JOB_REPLY')]
        self.assertEqual([reply.status for reply in replies], [7, 7, 7, FINISHED])
        self.assertEqual([reply.value for reply in replies[:3]], [0, 10, 20])

    def test_a_provisional_result_without_a_client_is_not_kept(self):
        computation = self.open(PLACE, 'place')
        scheduler = computation.scheduler
        scheduler.answers['JOB_REPLY'] = lambda message: (b'ACK'
                                                          if message.value.status == FINISHED else
                                                          'close the connection without an answer')
        reply = computation.run('provisional', 2)
        self.assertEqual(self.finished(reply), [-1, -1])
        wait_until(lambda: computation.pending_jobs() == {'done': [], 'pending': 0}, TIMEOUT)

    def test_d22_an_exception_after_a_provisional_result(self):
        computation = self.open(PLACE, 'place')
        job = computation.submit('provisional_then_fail')
        reply = job.wait()
        self.assertIn('ValueError: after it', self.failed(reply))
        self.assertIsNone(reply.value)
        self.assertEqual(len(job.replies), 2)

    def test_the_default_target_of_provisional_results_is_the_shared_client(self):
        with self.second_listener() as shared:
            computation = self.open(PLACE, 'place', client_reply_addr=('127.0.0.1', shared.port))
            shared.jobs = computation.scheduler.jobs
            job = computation.submit('provisional_relay')
            self.assertEqual(self.finished(job.wait()), [0, 0])
            self.assertEqual([message.value.status
                              for message in shared.messages('JOB_REPLY')], [7])
            self.assertEqual(
                [message.value.status
                 for message in computation.scheduler.messages('JOB_REPLY')], [7, FINISHED])

    def second_listener(self):
        from tests.support.scheduler import FakeScheduler
        return FakeScheduler(self.node)

    def test_what_was_there_before_the_fork_outlives_jobs_that_let_go_of_it(self):
        computation = self.open(LET_GO, 'let_go')
        for job in [computation.submit() for _ in range(60)]:
            self.assertEqual(set(self.finished(job.wait(TIMEOUT))), set([False]))

    def test_replies_speak_the_dialect_of_the_client(self):
        for dialect in DIALECTS:
            computation = self.open('def f(): return 5', 'f', dialect)
            message = computation.run().message
            self.assertEqual((message.python2, message.protocol),
                             (dialect.python2, 2 if dialect.python2 else 3), dialect)
            self.let_go(computation.scheduler)


class CPUs(NodeCase):

    def test_d24_the_answer_to_compute_is_all_cpus_and_never_less(self):
        scheduler = self.scheduler()
        first = scheduler.open('import time\ndef f(s): time.sleep(s)\n', 'f')
        first.submit(30)
        second = scheduler.open('def f(): return 1', 'f')
        self.assertEqual((first.cpus, second.cpus), (2, 2))

    def test_computations_of_one_scheduler_share_the_cpus(self):
        scheduler = self.scheduler()
        code = 'import time\ndef f(n):\n    time.sleep(0.05)\n    return n\n'
        computations = [scheduler.open(code, 'f') for _ in range(3)]
        jobs = [(n, computations[n % 3].submit(n)) for n in range(24)]
        for number, job in jobs:
            self.assertEqual(self.finished(job.wait(TIMEOUT)), number)
            self.assertEqual(len(job.replies), 1)

    def test_d16_a_job_waits_for_a_cpu_that_is_free_a_moment_later(self):
        computation = self.open('import time\ndef f():\n    time.sleep(0.3)\n    return 1', 'f')
        jobs = [computation.submit() for _ in range(6)]
        self.assertEqual([self.finished(job.wait(TIMEOUT)) for job in jobs], [1] * 6)

    def test_d5_d6_six_hundred_fast_jobs_without_a_loss(self):
        computation = self.open('def f(n): return n', 'f')
        jobs = [computation.submit(number) for number in range(600)]
        for number, job in enumerate(jobs):
            self.assertEqual(self.finished(job.wait(60)), number)
        self.assertTrue(all(len(job.replies) == 1 for job in jobs))


class Repeated(NodeCase):

    def test_the_same_job_sent_twice_while_all_cpus_are_busy_runs_once_and_leaves_no_cpu_taken(self):
        computation, folder = self.open(HOLD, 'hold'), self.folder()
        first, second, third = [os.path.join(folder, name) for name in ('1', '2', '3')]
        jobs = [computation.submit(first) for _ in range(computation.cpus)]
        scheduler, job = computation.scheduler, computation.make_job(second)
        scheduler.jobs[job.uid] = job
        self.make(second)
        with scheduler.connection('JOB', job.record) as one:
            with scheduler.connection('JOB', job.record) as other:
                self.assertEqual(len(computation.jobs()), len(jobs))    # both have been taken in
                self.make(first)
                self.assertEqual([read_frame(one), read_frame(other)], [b'ACK', b'ACK'])
        jobs += [job] + [computation.submit(third) for _ in range(computation.cpus)]
        self.make(third)
        for each in jobs:
            self.finished(each.wait(TIMEOUT))
        self.assertEqual([len(each.replies) for each in jobs], [1] * len(jobs))
        with open(second + '-began') as stream:
            self.assertEqual(stream.read(), 'once ')
        wait_until(lambda: not computation.jobs(), TIMEOUT)

    @staticmethod
    def make(path):
        open(path, 'w').close()


class RepeatedOnOneCPU(Repeated):
    options = ('-c', '1')


if __name__ == '__main__':
    unittest.main()
