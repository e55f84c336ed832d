"""CPUs, quotas and what is free, from files made for the test."""
from __future__ import absolute_import, division, print_function

import os
import shutil
import tempfile
import unittest

from dispynode_lib.options import parser
from dispynode_lib.host import resources
from dispynode_lib.node.access import guard

V1_MOUNT = '32 31 0:29 %s /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n'
V2_MOUNT = '41 31 0:38 %s /sys/fs/cgroup rw,relatime shared:4 - cgroup2 cgroup2 rw\n'


class FakeHost(unittest.TestCase):

    def setUp(self):
        self.root = tempfile.mkdtemp()
        self._host_cpus = resources.host_cpus
        resources.host_cpus = lambda: 8

    def tearDown(self):
        resources.host_cpus = self._host_cpus
        shutil.rmtree(self.root)

    def write(self, path, text):
        path = self.root + path
        if not os.path.isdir(os.path.dirname(path)):
            os.makedirs(os.path.dirname(path))
        with open(path, 'w') as target:
            target.write(text)


class MoreThanThereIs(unittest.TestCase):

    def test_more_cpus_than_the_affinity_are_warned_of(self):
        chosen = parser.parse(['--cpus', '3', '--user', 'nobody'])
        chosen.finish(usable_cpus=(1, u'CPU affinity: 1 of 4 CPUs'), host_cpus=4)
        self.assertIn(u'3 CPUs offered, but this process may use 1: CPU affinity: 1 of 4 CPUs',
                      guard.warnings(chosen, [u'127.0.0.1'], 51348))


class EveryAddress(unittest.TestCase):

    def told(self, *arguments):
        """Return whether it is told that nobody can call, and that everybody may."""
        said = u' '.join(guard.open_doors(parser.parse(list(arguments)), [u'0.0.0.0'], 51348))
        return u'cannot call 0.0.0.0' in said, u'no --secret' in said

    def test_listening_everywhere_without_a_secret_is_warned_of(self):
        self.assertEqual(self.told(), (True, True))
        self.assertEqual(self.told('-s', 'x'), (True, False))
        self.assertEqual(self.told('-s', 'x', '--ext_ip_addr', '10.0.0.1'), (False, False))


class CPUs(FakeHost):

    def cgroup(self, line, mount):
        """Write where the process is and what is mounted."""
        self.write('/proc/self/cgroup', line)
        self.write('/proc/self/mountinfo',
                   '31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n' + mount)

    def usable(self):
        return resources.usable_cpus(self.root)

    def test_nothing_known(self):
        self.assertEqual(self.usable(), (8, 'all CPUs of this host'))

    def test_affinity_from_status(self):
        self.write('/proc/self/status', 'Name:\tpython\nCpus_allowed:\t0,0000000d\n')
        self.assertEqual(self.usable(), (3, 'CPU affinity: 3 of 8 CPUs'))

    def test_cpuset_of_both_versions_is_named(self):
        self.write('/proc/self/status', 'Name:\tpython\nCpus_allowed:\t0,0000000d\n')
        self.cgroup('0::/batch/job\n', V2_MOUNT % '/')
        self.write('/sys/fs/cgroup/batch/cpuset.cpus.effective', '0,2-3\n')
        self.assertEqual(self.usable(),
                         (3, 'cpuset of 3 of 8 CPUs (/sys/fs/cgroup/batch/cpuset.cpus.effective)'))
        self.cgroup('3:cpuset:/docker/abc\n',
                    '33 31 0:29 /docker/abc /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n')
        self.write('/sys/fs/cgroup/cpuset/cpuset.cpus', '0-1\n')
        self.assertEqual(self.usable(),
                         (2, 'cpuset of 2 of 8 CPUs (/sys/fs/cgroup/cpuset/cpuset.cpus)'))
        for text in ('\n', 'what\n', '0-7\n', '0-3\n'):  # no limit, or more than the affinity
            self.write('/sys/fs/cgroup/cpuset/cpuset.cpus', text)
            self.assertEqual(self.usable(), (3, 'CPU affinity: 3 of 8 CPUs'))

    def test_quota_of_version_2(self):
        self.cgroup('0::/batch/job\n', V2_MOUNT % '/')
        self.write('/sys/fs/cgroup/batch/job/cpu.max', '150000 100000\n')
        self.assertEqual(self.usable(),
                         (2, 'cgroup quota of 1.5 of 8 CPUs (/sys/fs/cgroup/batch/job/cpu.max)'))

    def test_a_second_mount_of_a_part_of_the_hierarchy_hides_no_quota(self):
        self.cgroup('0::/batch/job\n',
                    V2_MOUNT % '/' + '42 31 0:38 /other /mnt/other rw - cgroup2 cgroup2 rw\n')
        self.write('/sys/fs/cgroup/batch/job/cpu.max', '150000 100000\n')
        self.write('/mnt/other/cpu.max', '700000 100000\n')
        self.assertEqual(self.usable()[0], 2)

    def test_who_may_not_ask_for_his_affinity_reads_it(self):
        def denied(_pid):
            raise EnvironmentError(1, 'Operation not permitted')

        before = getattr(os, 'sched_getaffinity', None)
        os.sched_getaffinity = denied
        try:
            self.assertGreater(resources.usable_cpus()[0], 0)
        finally:
            if before is None:
                del os.sched_getaffinity
            else:
                os.sched_getaffinity = before

    def test_quota_of_a_parent(self):
        self.cgroup('0::/batch/job\n', V2_MOUNT % '/')
        self.write('/sys/fs/cgroup/batch/job/cpu.max', 'max 100000\n')
        self.write('/sys/fs/cgroup/batch/cpu.max', '400000 100000\n')
        self.assertEqual(self.usable()[0], 4)

    def test_no_quota(self):
        self.cgroup('0::/\n', V2_MOUNT % '/')
        self.write('/sys/fs/cgroup/cpu.max', 'max 100000\n')
        self.assertEqual(self.usable()[0], 8)

    def test_less_than_one_cpu(self):
        self.cgroup('0::/\n', V2_MOUNT % '/')
        self.write('/sys/fs/cgroup/cpu.max', '5000 100000\n')
        self.assertEqual(self.usable()[0], 1)

    def test_quota_of_version_1_in_a_container(self):
        self.cgroup('9:name=systemd:/x\n3:cpu,cpuacct:/docker/abc\n0::/\n',
                    V1_MOUNT % '/docker/abc')
        self.write('/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us', '250000\n')
        self.write('/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us', '100000\n')
        self.assertEqual(self.usable(), (3, 'cgroup quota of 2.5 of 8 CPUs '
                                            '(/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us)'))

    def test_version_1_without_quota(self):
        self.cgroup('3:cpu,cpuacct:/\n', V1_MOUNT % '/')
        self.write('/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us', '-1\n')
        self.write('/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us', '100000\n')
        self.assertEqual(self.usable()[0], 8)

    def test_cgroup_outside_of_the_namespace(self):
        self.cgroup('0::/../other\n', V2_MOUNT % '/')
        self.write('/sys/fs/cgroup/cpu.max', '100000 100000\n')
        self.assertEqual(self.usable()[0], 1)

    def test_damaged_files(self):
        self.cgroup('0::/\n:\nnonsense\n', V2_MOUNT % '/' + '\nnonsense - cgroup2\n')
        self.write('/sys/fs/cgroup/cpu.max', 'what is this\n')
        self.assertEqual(self.usable()[0], 8)

    def test_the_option(self):
        self.assertEqual([resources.cpus_to_use(n, 3, 8)
                          for n in (None, 1, 3, 8, -1, -2)], [3, 1, 3, 8, 2, 1])
        self.assertEqual([resources.cpus_to_use(n, 3, 8) for n in (0, 9, -3, -9)], [None] * 4)

    def test_this_host(self):
        count, reason = resources.usable_cpus()
        self.assertTrue(count >= 1 and reason)


class Free(FakeHost):

    def setUp(self):
        super(Free, self).setUp()
        self.write('/proc/meminfo', 'MemTotal: 9000 kB\nMemFree: 1000 kB\nMemAvailable: 5000 kB\n'
                                    'SwapTotal: 200 kB\nSwapFree: 50 kB\nHugePages_Total: 0\n')
        self.write('/proc/stat', 'cpu  100 0 100 700 100 0 0 0 0 0\ncpu0 1 1 1\n')
        self.meter = resources.Meter(self.root, self.root)

    def test_first_reading_is_since_the_start_of_the_host(self):
        info = self.meter.read()
        self.assertEqual((info.cpu, info.memory, info.swap), (80.0, 5000 * 1024, 25.0))
        self.assertTrue(info.disk > 0)

    def test_later_readings_are_since_the_last(self):
        self.meter.read()
        self.write('/proc/stat', 'cpu  175 0 100 725 100 0 0 0 0 0\n')
        self.assertEqual(self.meter.read().cpu, 25.0)
        self.assertEqual(self.meter.read().cpu, 25.0)

    def test_guests_are_counted_once(self):
        self.write('/proc/stat', 'cpu  100 0 0 100 0 0 0 0 100 0\n')
        self.assertEqual(self.meter.read().cpu, 50.0)

    def test_no_swap(self):
        self.write(
            '/proc/meminfo',
            'MemFree: 10 kB\nBuffers: 2 kB\nCached: 3 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n')
        info = self.meter.read()
        self.assertEqual((info.memory, info.swap), (15 * 1024, 100.0))

    def test_disk_that_is_not_there(self):
        self.assertEqual(resources.free_disk(self.root + '/none'), 0)

    def test_types_are_those_of_the_wire(self):
        info = self.meter.read()
        self.assertIsInstance(info.cpu, float)
        self.assertIsInstance(info.swap, float)


class FakePsutil(object):
    """Answers as psutil does: nothing useful for `cpu_percent` the first time."""

    def __init__(self):
        self.answers = [0.0, 30.0]

    def cpu_percent(self, interval):
        assert interval is None
        return self.answers.pop(0)

    def virtual_memory(self):
        self.available = 7000
        return self

    def swap_memory(self):
        self.percent = 10.0
        return self


class OtherSystems(FakeHost):

    def setUp(self):
        super(OtherSystems, self).setUp()
        self._import = resources.import_psutil

    def tearDown(self):
        resources.import_psutil = self._import
        super(OtherSystems, self).tearDown()

    def test_without_psutil(self):
        resources.import_psutil = lambda: None
        self.assertIsNone(resources.Meter(self.root, self.root).read())

    def test_with_psutil(self):
        psutil = FakePsutil()
        resources.import_psutil = lambda: psutil
        meter = resources.Meter(self.root, self.root)
        first, second = meter.read(), meter.read()
        self.assertEqual((first.cpu, second.cpu), (100.0, 70.0))
        self.assertEqual((second.memory, second.swap), (7000, 90.0))


if __name__ == '__main__':
    unittest.main()
