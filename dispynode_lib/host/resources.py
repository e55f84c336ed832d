"""Resources of this host: CPUs, and what is free now."""
from __future__ import absolute_import, division, print_function

import os

from dispynode_lib.host import proc
from dispynode_lib.host.proc import AvailInfo, import_psutil


def host_cpus():
    """Return the CPUs that this host has online, at least 1."""
    try:
        return max(1, os.sysconf('SC_NPROCESSORS_ONLN'))
    except (AttributeError, ValueError, EnvironmentError):
        return getattr(os, 'cpu_count', lambda: 1)() or 1


def kernel_version():
    """Return (6, 1) for a kernel that calls itself 6.1.0-22-amd64."""
    return tuple(
        int(word) for word in os.uname()[2].partition('-')[0].split('.')[:2] if word.isdigit())


def usable_cpus(root=''):
    """Return (CPUs that this process may really use, why): affinity, cpuset, cgroup quota.

    root   put before /proc and cgroup paths
    """
    total = host_cpus()
    count, reason = total, 'all CPUs of this host'
    allowed = _affinity(root)
    if allowed and allowed < count:
        count, reason = allowed, 'CPU affinity: %d of %d CPUs' % (allowed, total)
    allowed, where = cpuset(root)
    # the affinity is never more: which CPUs it has says the cpuset
    if allowed and allowed <= count and allowed < total:
        count, reason = allowed, 'cpuset of %d of %d CPUs (%s)' % (allowed, total, where)
    quota, where = cgroup_quota(root)
    if quota is not None and quota < count:
        # part of a CPU still serves a job at a time
        count = max(1, int(-(-quota // 1)))
        reason = 'cgroup quota of %.4g of %d CPUs (%s)' % (quota, total, where)
    return count, reason


def cpus_to_use(wanted, usable, total):
    """Return the number of CPUs that option `--cpus` means, None if it is out of range.

    wanted   int from the option, None if it was not given
    usable   CPUs that this process may use
    total    CPUs of this host
    """
    if wanted is None:
        return usable
    if wanted < 0:
        return usable + wanted if -wanted < usable else None
    return wanted if 0 < wanted <= total else None


def _affinity(root):
    if not root and hasattr(os, 'sched_getaffinity'):
        try:
            return len(os.sched_getaffinity(0))
        except EnvironmentError:            # a sandbox may forbid to ask
            pass
    for line in proc.lines(root + '/proc/self/status'):
        if line.startswith('Cpus_allowed:'):
            return bin(int(line.split()[1].replace(',', ''), 16)).count('1')
    return None


def cgroup_quota(root=''):
    """Return (CPUs' worth of time that the cgroups of this process grant, file that says so).

    (None, None) if there is no limit. Looks at version 2 and version 1, and at all parents.
    """
    least, where = None, None
    for folder, version in _cgroups(root, 'cpu'):
        quota, name = _folder_quota(root + folder, version)
        if quota is not None and (least is None or quota < least):
            least, where = quota, folder + '/' + name
    return least, where


def _folder_quota(folder, version):
    """Return (quota or None, name of the file) of one cgroup."""
    if version == 2:
        words = _first_line(folder + '/cpu.max').split()
    else:
        words = [_first_line(folder + '/cpu.cfs_' + name) for name in ('quota_us', 'period_us')]
    try:
        quota, period = [int(word) for word in words]
    except ValueError:                      # no such file, or `max`
        return None, None
    name = 'cpu.max' if version == 2 else 'cpu.cfs_quota_us'
    return (quota / period, name) if quota > 0 and period > 0 else (None, None)


def cpuset(root=''):
    """Return (CPUs of this process's cpuset, file that says so), or (None, None)."""
    for folder, version in _cgroups(root, 'cpuset'):
        for name in ('cpuset.cpus.effective',) if version == 2 else (
                'cpuset.effective_cpus', 'cpuset.cpus'):
            count = _count_of_list(_first_line(root + folder + '/' + name))
            if count:
                return count, folder + '/' + name
    return None, None


def _count_of_list(text):
    """Return how many numbers a list of the kernel such as 0-3,8 holds; 0: it is none."""
    try:
        ends = [part.partition('-')[::2] for part in text.split(',')]
        return sum(int(last or first) - int(first) + 1 for first, last in ends)
    except ValueError:
        return 0


def _cgroups(root, controller):
    """Return [(folder, version)] of the cgroups, parents too, that may limit this process."""
    found = []
    mounts = _cgroup_mounts(root, controller)
    for line in proc.lines(root + '/proc/self/cgroup'):
        _number, controllers, path = (line.split(':', 2) + ['', ''])[:3]
        version = 1 if controllers else 2
        if (version == 2 or controller in controllers.split(',')) and version in mounts:
            found += [(folder, version)
                      for folder in _with_parents(path, *_mount_of(path, mounts[version]))]
    return found


def sees_cgroups():
    """Return whether there are cgroups here that could limit this process."""
    return bool(_cgroups('', 'cpu'))


def _mount_of(path, mounts):
    """Return the mount that shows a cgroup and most of its parents."""
    showing = [mount for mount in mounts if (path + '/').startswith(mount[0].rstrip('/') + '/')]
    return min(showing or mounts[:1], key=lambda mount: len(mount[0]))


def _cgroup_mounts(root, controller):
    """Return {1 or 2: [(part of the hierarchy, mount point)]} of a controller's mounts."""
    mounts = {}
    for line in proc.lines(root + '/proc/self/mountinfo'):
        before, dash, after = line.partition(' - ')
        kind, _source, options = (after.split() + ['', '', ''])[:3]
        fields = before.split()
        if len(fields) > 4 and (kind == 'cgroup2' or
                                (kind == 'cgroup' and controller in options.split(','))):
            mounts.setdefault(2 if kind == 'cgroup2' else 1, []).append((fields[3], fields[4]))
    return mounts


def _with_parents(path, mounted, mount_point):
    """Return the folders of a cgroup and its parents, as far as they can be seen here."""
    mounted = mounted.rstrip('/')
    inside = path[len(mounted):] if (path + '/').startswith(mounted + '/') else ''
    names = [name for name in inside.split('/') if name]
    if '..' in names:                       # a cgroup outside of this namespace
        names = []
    return ['/'.join([mount_point.rstrip('/')] + names[:count])
            for count in range(len(names), -1, -1)]


def _first_line(path):
    return (proc.lines(path) + [''])[0]


def _kilobytes(text, name):
    """Return the number of a line `name: number kB` of /proc/meminfo (bytes), or None."""
    words = text.partition(b'\n' + name + b':')[2].split(None, 1)
    return int(words[0]) if words and words[0].isdigit() else None


class Meter(object):
    """Reads what is free; each reading tells of the time since the last one."""

    def __init__(self, folder, root=''):
        """`folder`: path on the disk that jobs use."""
        self._folder = folder
        self._memory, self._stat = root + '/proc/meminfo', root + '/proc/stat'
        self._times = (0, 0)                # (idle, all) at the last reading, in ticks
        self._cpu = 100.0
        self._psutil_read = False

    def read(self):
        """Return an AvailInfo, or None where this host does not tell. Never waits.

        The first reading of `cpu` is the mean since the host started. Linux is asked itself: psutil
        reads the same files, but takes 20 ms to import.
        """
        memory = self._read_memory()
        if memory is None:
            return self._read_psutil()
        return AvailInfo(self._read_cpu(), memory[0], free_disk(self._folder), memory[1])

    def _read_memory(self):
        """Return (bytes available, percent of swap free), None if this is not Linux."""
        text = b'\n' + proc.read(self._memory)
        free, available = _kilobytes(text, b'MemFree'), _kilobytes(text, b'MemAvailable')
        if free is None:
            return None
        if available is None:               # before Linux 3.14
            available = free + (_kilobytes(text, b'Buffers') or 0) + (
                _kilobytes(text, b'Cached') or 0)
        total = _kilobytes(text, b'SwapTotal')
        swap = 100.0 * (_kilobytes(text, b'SwapFree') or 0) / total if total else 100.0
        return available * 1024, round(swap, 1)

    def _read_cpu(self):
        """Return percent idle since the last reading."""
        times = [int(number) for number in proc.read(self._stat).partition(b'\n')[0].split()[1:9]]
        if len(times) >= 4:
            idle, total = times[3] + sum(times[4:5]), sum(times)
            passed = total - self._times[1]
            if passed > 0:
                self._cpu = round(max(0.0, min(100.0, 100.0 * (idle - self._times[0]) / passed)), 1)
                self._times = idle, total
        return self._cpu

    def _read_psutil(self):
        psutil = import_psutil()
        if psutil is None:
            return None
        try:
            busy = psutil.cpu_percent(None)
            if self._psutil_read:           # its first reading means nothing
                self._cpu = 100.0 - busy
            self._psutil_read = True
            return AvailInfo(self._cpu, psutil.virtual_memory().available, free_disk(self._folder),
                             100.0 - psutil.swap_memory().percent)
        except (psutil.Error, EnvironmentError):        # a jail may forbid to ask
            return None


def free_disk(folder):
    """Return the bytes that this user may still write below `folder`, 0 if that cannot be told."""
    try:
        disk = os.statvfs(folder)
    except (EnvironmentError, AttributeError):
        return 0
    return disk.f_bavail * disk.f_frsize
