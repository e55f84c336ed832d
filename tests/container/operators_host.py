"""What --print gives for systemd, cron, logrotate and init scripts, by the commands at its head, in
a Debian that has them."""
from __future__ import absolute_import, division, print_function

import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import unittest

from tests.interop.realclient import configuration, run_client
from tests.support import processes
from tests.support.waiting import wait_until

WAIT = 60
FOLDER = '/var/lib/dispynode'
JOBS = 40
RUNS = FOLDER + '/runs'
CRASH = """pid() { systemctl show -p MainPID --value dispynode; }
old=$(pid)
[ $old != 0 ] && kill -9 $old || exit 1
while new=$(pid); [ $new = 0 ] || [ $new = $old ]; do sleep 0.1; done
until systemctl is-active --quiet dispynode; do sleep 0.1; done"""
TWO_RUN = 'until [ $(wc -l < %s) = 2 ]; do sleep 0.1; done' % RUNS
LEFT = 'grep -l "^Uid:[[:space:]]$(id -u dispynode)" /proc/[0-9]*/status; true'
UPGRADE = """sed -i "s/^__version__ = .*/__version__ = '0.1.9'/" dispynode.py
install -m 755 dispynode.py /usr/local/bin/dispynode.py
dispynode.py --version | grep 'dispynode 0.1.9 '"""
# A root that is a layer in memory above the one on disk, seen in these namespaces only; "$@" is
# process 1 there
ENTER = '''set -e
mount --make-rprivate /
mount -t tmpfs none "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=$2,upperdir=$1/upper,workdir=$1/work" none "$1/root"
cd "$1/root"
cp "$3" root/dispynode.py
mount -t proc proc proc
mount --bind /sys sys
mount -t tmpfs -o mode=755 none sys/fs/cgroup
mkdir sys/fs/cgroup/systemd
mount -t cgroup -o none,name=systemd cgroup sys/fs/cgroup/systemd
for place in run tmp dev; do mount -t tmpfs -o mode=1777 none $place; done
chmod 755 run dev
mkdir dev/shm dev/pts
chmod 1777 dev/shm
for name in null zero full random urandom tty; do touch dev/$name; mount --bind /dev/$name dev/$name; done
mkdir old
pivot_root . old
umount -l old
shift 3
exec env -i container=test PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
'''


class Host(object):
    """A Debian in namespaces of its own, but for the network; a context manager. `program`: words,
    its process 1."""

    def __init__(self, *program):
        self.folder, self.mark = tempfile.mkdtemp(prefix='dispynode-host-'), processes.new_mark()
        self.group = '/sys/fs/cgroup/systemd/%s' % os.path.basename(self.folder)
        os.mkdir(self.group)
        os.mkdir(self.folder + '/root')
        script = 'echo $$ > %s/cgroup.procs; exec unshare --cgroup --pid --fork --mount --uts --ipc sh -c "$@"' % self.group
        self.log = open(self.folder + '/log', 'wb')
        self.process = processes.spawn([
            'sh', '-c', script, 'sh', ENTER, 'sh', self.folder + '/root',
            os.environ['DISPYNODE_TEST_HOST'], os.environ['DISPYNODE_TEST_PROGRAM']
        ] + list(program), self.mark, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)

    def __enter__(self):
        wait_until(self.has_begun, WAIT, self.log_tail)
        return self

    def has_begun(self):
        """Return whether process 1 is the program, in its own root."""
        if self.process.poll() is not None:
            raise AssertionError('process 1 has ended:\n' + self.log_tail())
        first = self.first()
        if first is None:
            return False
        with open('/proc/%d/comm' % first) as name:
            return name.read().strip() not in ('sh', 'unshare', 'env')

    def __exit__(self, *_error):
        os.kill(self.first(), signal.SIGKILL)           # all the others with it
        self.process.wait()
        self.log.close()
        wait_until(self.remove_group, WAIT, 'the end of what ran in %s' % self.group)
        shutil.rmtree(self.folder, ignore_errors=True)

    def remove_group(self):
        """Remove the control groups; return whether they are gone."""
        for folder, _names, _files in os.walk(self.group, topdown=False):
            try:
                os.rmdir(folder)
            except EnvironmentError:
                return False
        return True

    def first(self):
        """Return the number of its process 1, as seen from here; None before there is one."""
        children = subprocess.run(['pgrep', '-P', str(self.process.pid)],
                                  stdout=subprocess.PIPE).stdout.split()
        return int(children[0]) if children else None

    def log_tail(self):
        """Return what process 1 wrote."""
        with open(self.folder + '/log', 'rb') as log:
            return log.read().decode('utf-8', 'replace')

    def run(self, line, status=0):
        """Run a line of shell there, which is to end with `status`; return what it says."""
        done = subprocess.run([
            'nsenter',
            '--target=%d' % self.first(), '--mount', '--uts', '--ipc', '--pid', '--cgroup', 'env',
            '-i', 'HOME=/root', 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
            'sh', '-c', 'cd /root && ' + line
        ], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=WAIT)
        text = done.stdout.decode('utf-8', 'replace')
        if done.returncode != status:
            raise AssertionError('%s: status %d\n%s' % (line, done.returncode, text))
        return text

    def says(self, line, text):
        """Wait until `line` says `text`."""
        wait_until(lambda: text in self.run(line + ' 2>&1; true'), WAIT, lambda: '%s: %s' %
                   (line, self.run(line + '; true')))

    def follow(self, name):
        """Do what the file `name` says at its head."""
        lines = self.run('python3 dispynode.py --print ' + name).splitlines()
        for line in [line[4:] for line in lines if re.match('#   [a-z]', line)]:
            self.run(line)


class OperatorsHostTest(unittest.TestCase):

    def assert_serves(self, host):
        """Have a real client use the node."""
        told = run_client(configuration()[0][0], 'no_op.py', 5, node=host)
        self.assertEqual((told['right'], told['lost']), (5, 0), told)

    def test_systemd(self):
        with Host('/lib/systemd/systemd', '--log-target=console') as host:
            host.says('systemctl is-system-running', 'running')
            host.follow('systemd')
            self.assert_serves(host)
            self.assertIn('process', host.run('dispynode.py --ctl list'))
            host.run('systemd-analyze security --threshold=40 dispynode')
            self.assertIn('PRIORITY=6', host.run('journalctl -u dispynode -o verbose'))
            host.run('systemctl reload dispynode')
            host.says('journalctl -u dispynode', 'SIGHUP: the log is open')
            host.run('systemctl restart dispynode')
            self.assert_serves(host)
            host.run('systemctl kill --kill-who=main --signal=KILL dispynode')
            host.says('systemctl show -p NRestarts dispynode', 'NRestarts=1')
            host.says('systemctl is-active dispynode', 'active\n')
            host.says('dispynode.py --config /etc/dispynode.cfg --ctl status', 'is serving')
            self.assert_serves(host)
            host.run(
                'install -m 755 dispynode.py /usr/local/bin/dispynode.py && systemctl restart '
                'dispynode'
            )
            self.assert_serves(host)
            host.run('systemctl stop dispynode')
            host.run('dispynode.py --config /etc/dispynode.cfg --ctl status', 3)

    def test_jobs_go_on_through_restart_crash_and_upgrade_under_systemd(self):
        with Host('/lib/systemd/systemd', '--log-target=console') as host:
            host.says('systemctl is-system-running', 'running')
            host.follow('systemd')
            for lines in (['systemctl restart dispynode'] * 3, [CRASH] * 3,
                          [UPGRADE, 'systemctl restart dispynode'],
                          ['dispynode.py --config /etc/dispynode.cfg --ctl restart']):
                self.assert_jobs_go_on(host, lines)
                host.says('systemctl show -p SubState dispynode', 'SubState=running')
            self.assertIn('NRestarts=0', host.run('systemctl show -p NRestarts dispynode'))
            self.assertIn('taken over from the node before', host.run('journalctl -u dispynode'))

    def test_a_stop_ends_jobs_and_leaves_nobody_behind_under_systemd(self):
        with Host('/lib/systemd/systemd', '--log-target=console') as host:
            host.says('systemctl is-system-running', 'running')
            host.follow('systemd')
            told = self.during_jobs(host, 2, 9000, [TWO_RUN, 'systemctl stop dispynode'])
            self.assertEqual((told['right'], told['lost']), (1, 0), told)
            self.assertEqual(told['others'], ['9 the node was stopped before the job had ended'])
            host.run('systemctl is-active dispynode', 3)
            self.assertEqual(host.run(LEFT), '')

    def during_jobs(self, host, count, longest, lines):
        """Have a real client run `count` jobs, and each of `lines` when some run; return what it
        tells."""
        host.run('rm -f %s' % RUNS)
        started, told = os.path.join(host.folder, 'started'), []
        client = threading.Thread(target=lambda: told.append(run_client(
            configuration()[0][0], 'kept.py', count, longest, RUNS, started, node=host)))
        client.start()
        try:
            wait_until(lambda: os.path.exists(started) or not client.is_alive(), WAIT, host.log_tail)
            for line in lines:
                host.run(line)
        finally:
            client.join()
            os.remove(started)
        self.assertTrue(told, 'the client has failed')
        return told[0]

    def assert_jobs_go_on(self, host, lines):
        """Run `lines` during jobs: each has its right result, and none ran twice."""
        told = self.during_jobs(host, JOBS, 3, lines)
        self.assertEqual((told['right'], told['lost'], told['others']), (JOBS, 0, []), told)
        runs = host.run('sort -n ' + RUNS).split()
        self.assertEqual(runs, [str(number) for number in range(JOBS)])

    def test_a_start_that_fails_for_want_of_an_address_is_tried_again_a_wrong_option_is_not(self):
        with Host('/lib/systemd/systemd', '--log-target=console') as host:
            host.says('systemctl is-system-running', 'running')
            host.follow('systemd')
            for line, state in (('ip_addr = 192.0.2.1', 'SubState=auto-restart'),
                                ('nonsense = 1', 'SubState=failed')):
                host.run('cp /etc/dispynode.cfg right && echo "%s" >> /etc/dispynode.cfg' % line)
                host.run('systemctl restart dispynode', 1)
                host.says('systemctl show -p SubState dispynode', state)
                host.run('cat right > /etc/dispynode.cfg')

    def test_cron_and_logrotate(self):
        with Host('sleep', '1000') as host:
            host.follow('cron')
            host.run('cron')                            # the host has just been booted: @reboot
            host.says('dispynode.py --ctl list', 'user dispynode')
            host.says('dispynode.py --ctl status --dest_path_prefix ' + FOLDER, 'is serving')
            self.assert_serves(host)
            host.run('dispynode.py --print logrotate > /etc/logrotate.d/dispynode')
            host.run('logrotate --force /etc/logrotate.d/dispynode')
            self.assert_serves(host)
            self.assertIn('opened', host.run('cat /var/log/dispynode.log'))
            self.assertIn('serves at', host.run('cat /var/log/dispynode.log.1'))

    def test_init_script(self):
        with Host('sleep', '1000') as host:
            host.follow('init')
            self.assert_serves(host)
            host.run('service dispynode reload')
            self.assert_jobs_go_on(host, ['service dispynode restart'] * 2)
            host.run('kill -9 $(cat /run/dispynode.pid)')
            host.run('service dispynode status', 3)
            host.run('service dispynode start')
            self.assert_serves(host)
            host.run('service dispynode stop')
            host.run('service dispynode status', 3)


if __name__ == '__main__':
    unittest.main()
