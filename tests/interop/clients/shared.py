"""A program with a SharedJobCluster: functions with files both ways, provisional results, setup, a
program."""
from __future__ import absolute_import, division, print_function

import json
import os
import sys
import time

import dispy

from submitting import submit

RELEASE = tuple(int(part) for part in dispy.__version__.split('.'))
provisional = []


def setup(*args):
    global made
    made = 'by setup'
    return 0


def work(number, name):
    import time
    with open('sent.txt') as stream:
        read = stream.read()
    told = dispy_provisional_result(-number)                # noqa: F821
    with open(name, 'w') as stream:
        stream.write('made by job %d' % number)
    sent = dispy_send_file(name)                            # noqa: F821
    time.sleep(0.3)
    return number * number, read, told, sent, made          # noqa: F821


def on_change(job):
    if job.status == dispy.DispyJob.ProvisionalResult:
        provisional.append(job.result)


def wait_for_end(job):
    """Wait for the final reply: older releases set `finish` at a provisional result, too."""
    deadline = time.time() + 60
    while job.status in (dispy.DispyJob.Created, dispy.DispyJob.Running,
                         dispy.DispyJob.ProvisionalResult):
        if time.time() > deadline:
            return
        time.sleep(0.02)


def options(port):
    modern = RELEASE >= (4, 11)
    found = {'loglevel': dispy.logger.DEBUG, 'callback': on_change, 'nodes': ['127.0.0.1']}
    found['ip_addr'] = '127.0.0.1'         # `host` does not work here in 4.15.2
    found['scheduler_host' if RELEASE >= (4, 13) else 'scheduler_node'] = '127.0.0.1'
    found['client_port' if modern else 'port'] = port
    return found


def run(name, exclusive, port, count):
    with open('sent.txt', 'w') as stream:
        stream.write('from ' + name)
    cluster = dispy.SharedJobCluster(work, depends=['sent.txt'], setup=setup, exclusive=exclusive,
                                     **options(port))
    jobs = [submit(cluster, number, '%s-%d.txt' % (name, number)) for number in range(count)]
    told = {'right': 0, 'others': [], 'files': 0}
    for number, job in enumerate(jobs):
        wait_for_end(job)
        if job.status == dispy.DispyJob.Finished and list(job.result) == [
                number * number, 'from ' + name, 0, 0, 'by setup']:
            told['right'] += 1
        else:
            told['others'].append([number, job.status, repr(job.result), job.exception])
    cluster.close()
    for number in range(count):
        path = '%s-%d.txt' % (name, number)
        told['files'] += os.path.exists(path) and open(path).read() == 'made by job %d' % number
    told['provisional'] = sorted(provisional)
    told['program'] = run_program(port)
    return told


def run_program(port):
    with open('tool.py', 'w') as stream:
        stream.write('import sys\nprint("program says " + sys.argv[1])\nsys.exit(3)\n')
    given = options(port)
    del given['callback']
    cluster = dispy.SharedJobCluster(os.path.abspath('tool.py'), **given)
    job = submit(cluster, 'hello')
    job.finish.wait(60)
    told = [
        job.status, job.result,
        job.stdout.decode() if isinstance(job.stdout, bytes) else job.stdout
    ]
    cluster.close()
    return told


if __name__ == '__main__':
    print('\nRESULT ' + json.dumps(
        run(sys.argv[1], sys.argv[2] == 'exclusive', int(sys.argv[3]), int(sys.argv[4]))))
    sys.stdout.flush()
    os._exit(0)
