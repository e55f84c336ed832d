"""What --print slurm prints, given to a Slurm of two hosts: real slurmctld, slurmd and munge, a
real client on another host."""
from __future__ import absolute_import, division, print_function

import json
import os
import re
import shutil
import subprocess
import tempfile
import unittest

from tests.interop.realclient import configuration
from tests.support import processes
from tests.support.netlab import Lab
from tests.support.nodeprocess import PROGRAM
from tests.support.waiting import wait_until

WAIT = 60
HOSTS = (('n1', '10.9.0.1'), ('n2', '10.9.0.2'))
CLIENT, CONTROLLER = '10.9.0.5', '10.9.0.9'
NODES = [address for _name, address in HOSTS]
JOBS = 8
CONFIG = '''ClusterName=lab
SlurmctldHost=ctl({controller})
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
CredType=cred/munge
SlurmUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/ctl.pid
SlurmdPidFile={folder}/%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/affinity
TaskProlog={folder}/prolog
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=1,batch_sched_delay=1
MailProg=/bin/true
MpiDefault=none
ReturnToService=2
NodeName=n1 NodeAddr={n1} CPUs={cpus} RealMemory=500
NodeName=n2 NodeAddr={n2} CPUs={cpus} RealMemory=500
PartitionName=all Nodes=n1,n2 Default=YES MaxTime=UNLIMITED State=UP CpuBind=core
'''


class SlurmTest(unittest.TestCase):

    def setUp(self):
        clients, self.python = configuration()
        self.client = clients[0]
        self.folder = tempfile.mkdtemp(prefix='dispynode-slurm-')
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.lab = Lab()
        self.addCleanup(self.lab.__exit__, None, None, None)
        self.addCleanup(self.end_marked)
        self.lab.bridge('near')
        self.here = self.lab.host('c', 'near', CLIENT + '/24')
        self.write(
            'slurm.conf',
            CONFIG.format(folder=self.folder, controller=CONTROLLER,
                          cpus=os.sysconf('SC_NPROCESSORS_ONLN'), **dict(HOSTS)))
        # what each host has for itself, as in clusters
        self.write('prolog', '#!/bin/sh\necho "export TMPDIR=%s/$SLURMD_NODENAME"\n' % self.folder,
                   0o755)
        self.write('munge.key', os.urandom(512).hex(), 0o400)
        for name in ('state', 'n1', 'n2'):
            os.mkdir(os.path.join(self.folder, name))
        self.mark, self.started = processes.new_mark(), []
        self.env = dict(os.environ, SLURM_CONF=os.path.join(self.folder, 'slurm.conf'),
                        HOME=self.folder)
        self.env[processes.MARK] = self.mark
        self.start_slurm()

    def end_marked(self):
        # what a failed test has left: slurmstepd has no mark
        self.slurm('scancel', '--full', '--user=root')
        wait_until(lambda: not self.slurm('squeue', '-h'), WAIT, 'allocations to end', interval=0.2)
        ended = processes.end_marked(self.mark, 8)
        for process in self.started:
            process.wait()
        self.assertEqual([command for command in ended.values() if PROGRAM in command], [])

    def write(self, name, text, mode=0o644):
        path = os.path.join(self.folder, name)
        with open(path, 'w') as target:
            target.write(text)
        os.chmod(path, mode)
        return path

    def read(self, name):
        with open(os.path.join(self.folder, name), 'rb') as source:
            return source.read().decode('utf-8', 'replace')

    def start_slurm(self):
        """Start all of Slurm, each host with a name of its own; wait until both are idle."""
        place = os.path.join(self.folder, 'munge')
        self.spawn('munge', [
            'munged', '--foreground', '--force', '--key-file', place + '.key', '--socket',
            place + '.sock', '--pid-file', place + '.pid', '--log-file', place + '.log',
            '--seed-file', place + '.seed'
        ])
        wait_until(lambda: os.path.exists(place + '.sock'), WAIT, lambda: self.read('munge.out'))
        for name, address, program in (
            ('ctl', CONTROLLER, 'slurmctld'), ) + tuple(host + ('slurmd', ) for host in HOSTS):
            host = self.lab.host(name, 'near', address + '/24')
            self.spawn(
                name, host.prefix + [
                    'unshare', '--uts', 'sh', '-c', 'hostname "$1"; exec "$2" -D', 'sh', name,
                    program
                ])
        wait_until(lambda: self.slurm('sinfo', '-h', '-o', '%t %D') == 'idle 2', WAIT,
                   lambda: self.read('ctl.out') + self.read('n1.out'), interval=0.2)

    def spawn(self, name, words):
        with open(os.path.join(self.folder, name + '.out'), 'wb') as output:
            self.started.append(
                processes.spawn(words, self.mark, self.env, stdin=subprocess.DEVNULL, stdout=output,
                                stderr=output, cwd=self.folder))

    def slurm(self, *words):
        """Run a command of Slurm on the first host, as its user does; return what it says."""
        host = self.lab.hosts['n1'].prefix if 'n1' in self.lab.hosts else []
        done = subprocess.run(host + list(words), env=self.env, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=self.folder,
                              timeout=WAIT)
        return done.stdout.decode('utf-8', 'replace').strip()

    def submit(self, *options):
        """Have Slurm run the script as it is printed; return the number of the allocation."""
        text = subprocess.check_output([self.python, PROGRAM, '--print', 'slurm']).decode('utf-8')
        self.write('dispynode.slurm', text)
        secret = re.findall(r'\((umask.*)\)$', text, re.M)[0]  # the comment says how to make it
        if '--no-secret' not in options:
            subprocess.check_call(['sh', '-c', secret], env=self.env)
        options = ['--nodes=2', '--output=out'] + [one for one in options if one != '--no-secret']
        told = self.slurm('sbatch', *(options + ['dispynode.slurm']))
        self.assertIn('Submitted batch job ', told)
        return told.split()[-1]

    def wait_ended(self, number):
        """Wait until an allocation has ended; return what Slurm calls its end."""
        wait_until(lambda: not self.slurm('squeue', '-h', '-j', number), WAIT,
                   lambda: self.read('out'), interval=0.2)
        return re.findall(r'JobState=(\w+)', self.slurm('scontrol', 'show', 'job', number))[0]

    def start_client(self, **settings):
        return self.lab.client(self.here, self.client.python, nodes=NODES, ip_addr=CLIENT,
                               secret=self.read('.dispynode-secret').strip(), **settings)

    def wait_serving(self):
        wait_until(
            lambda: os.path.exists(os.path.join(self.folder, 'out')) and self.read('out').count(
                ' serves at ') == 2, WAIT, lambda: self.read('out') + self.read('n1.out'),
            interval=0.1)

    def status(self, name):
        """Return the status of the node on a host."""
        place = os.path.join(self.folder, name, 'dispy', 'node')
        return json.loads(
            self.slurm(self.python, PROGRAM, '--dest_path_prefix', place, '--ctl', 'status',
                       '--json'))

    def test_the_script_as_printed_serves_a_client_and_can_be_drained(self):
        number = self.submit('--time=3', '--export=HOME,PATH,SLURM_CONF,' + processes.MARK)
        self.wait_serving()
        client = self.start_client(jobs=JOBS, seconds=1)
        done = client.wait_result(WAIT, event='done')
        self.assertEqual((done['right'], done['nodes']), (JOBS, NODES), client.output())
        client.wait_result(WAIT, event='closed')
        for name, _address in HOSTS:
            status = self.status(name)
            total = os.sysconf('SC_NPROCESSORS_ONLN')          # not those of one task
            self.assertEqual((status['cpus'], status['usable_cpus']), (total, total))
            with open('/proc/%d/environ' % status['pid']) as source:
                lifetime = re.findall(r'DISPYNODE_LIFETIME=(\d+)', source.read())
            # this Slurm had to be asked
            self.assertTrue(lifetime and 60 <= int(lifetime[0]) <= 120, lifetime)
        program = ' '.join([self.python, PROGRAM, '--ctl', 'drain'])
        self.slurm('srun', '--jobid=' + number, '--overlap', '--nodes=2', '--ntasks-per-node=1',
                   'sh', '-c', program)
        self.assertEqual(self.wait_ended(number), 'COMPLETED', self.read('out'))
        self.assertEqual(sorted(re.findall(r'^(\d): .* stopped$', self.read('out'), re.M)),
                         ['0', '1'])

    def test_scancel_answers_every_running_job(self):
        number = self.submit('--time=3')
        self.wait_serving()
        client = self.start_client(jobs=2, seconds=300)
        wait_until(lambda: sum(self.status(name)['busy']
                               for name, _address in HOSTS) == 2, WAIT, client.output, interval=0.2)
        self.slurm('scancel', number)
        done = client.wait_result(WAIT, event='done')
        self.assertEqual(done['right'], 0)
        self.assertEqual(self.wait_ended(number), 'CANCELLED', self.read('out'))

    def test_what_cannot_work_ends_with_one_line(self):
        self.wait_ended(self.submit('--time=3', '--no-secret'))
        self.assertEqual(self.read('out').count('.dispynode-secret: No such file or directory'), 2)
        self.assertNotIn('Traceback', self.read('out'))
        self.wait_ended(self.submit('--time=1'))
        self.assertIn(' s are left: no node is started', self.read('out'))


if __name__ == '__main__':
    unittest.main()
