"""The node's status as metrics, in the text format of Prometheus (version 0.0.4)."""
from __future__ import absolute_import, division, print_function

import os

from dispynode_lib.node.shared.history import CPU_BOUNDS, MEMORY_BOUNDS, OUTCOMES

GAUGE, COUNTER, HISTOGRAM = 'gauge', 'counter', 'histogram'
PHASES = ('STARTING', 'SERVING', 'PAUSED', 'DRAINING', 'STOPPING')


def text(status):
    """Return the metrics for a status of node.operator.status.gather()."""
    lines = []
    for name, kind, help, samples in _table(status):
        lines.append(u'# HELP dispynode_%s %s' % (name, help))
        lines.append(u'# TYPE dispynode_%s %s' % (name, kind))
        for sample in samples:
            suffix, labels, value = sample if kind == HISTOGRAM else ('',) + sample
            lines.append(u'dispynode_%s%s%s %s' % (name, suffix, _labels(labels), _number(value)))
    return u'\n'.join(lines) + u'\n'


def _table(status):
    """Return [(name, kind, help, samples)]: (labels, value), of a histogram after a suffix."""
    one = lambda value: [({}, value)]       # noqa: E731
    rows = [
        ('info', GAUGE, 'What runs here; always 1.', [(dict(
            version=status['version'], python=status['python'], name=status['name']), 1)]),
        ('start_time_seconds', GAUGE, 'When the node started, seconds since the epoch.',
         one(status['began'])),
        ('phase', GAUGE, 'Whether the node is in this phase.',
         [({'phase': phase.lower()}, int(status['phase'] == phase)) for phase in PHASES]),
        ('ready', GAUGE, 'Whether the node takes jobs.', one(int(status['ready']))),
        ('cpus', GAUGE, 'CPUs offered.', one(status['cpus'])),
        ('busy_cpus', GAUGE, 'CPUs that jobs hold.', one(status['busy'])),
        ('computations', GAUGE, 'Open computations.', one(len(status['computations']))),
        ('computations_total', COUNTER, 'Computations opened.', one(status['computations_opened'])),
        ('clients_total', COUNTER, 'Clients served.', one(status['clients_done'])),
        ('jobs_total', COUNTER, 'Jobs ended, by outcome.',
         [({'outcome': outcome}, status['outcomes'].get(outcome, 0))
          for outcome in sorted(set(OUTCOMES).union(status['outcomes']))]),
        ('job_seconds_total', COUNTER, 'Time that jobs took, in seconds.', one(
            status['job_seconds'])),
        ('undelivered_results', GAUGE, 'Results kept because their client could not be reached.',
         one(status['undelivered'])),
        ('results_under_way', GAUGE, 'Results being delivered.', one(status['being_delivered'])),
        ('refused_total', COUNTER, 'Peers turned away, by cause.',
         [({'cause': cause}, count) for cause, count in sorted(status['refused'].items())]),
    ]
    return rows + [
        _histogram(status, 'job_cpu_seconds', 'CPU time of jobs that have ended.',
                   CPU_BOUNDS, 'cpu_counts', 'cpu_seconds'),
        _histogram(status, 'job_peak_memory_bytes', 'Memory of jobs that have ended, at its peak.',
                   MEMORY_BOUNDS, 'memory_counts', 'peak_memory')] + _host(status) + _process()


def _histogram(status, name, help, bounds, counts, total):
    samples = []
    for outcome, sums in sorted(status['usage'].items()):
        up_to = 0
        for bound, count in zip(bounds + ('+Inf',), sums[counts]):
            up_to += count
            samples.append(('_bucket', {'outcome': outcome, 'le': bound}, up_to))
        samples += [('_sum', {'outcome': outcome}, sums[total]),
                    ('_count', {'outcome': outcome}, sums['jobs'])]
    return name, HISTOGRAM, help, samples


def _host(status):
    available = status['available']
    if available is None:
        return []
    return [('available_' + name, GAUGE, help, [({}, available[key])]) for name, key, help in (
        ('cpu_percent', 'cpu', 'CPU time that is free.'),
        ('memory_bytes', 'memory', 'Memory that is free.'),
        ('disk_bytes', 'disk', 'Disk space that is free.'),
        ('swap_percent', 'swap', 'Swap space that is free.'))]


def _process():
    times = os.times()
    return [('process_cpu_seconds_total', COUNTER, 'CPU time of the node itself, without jobs.',
             [({}, times[0] + times[1])])]


def _labels(labels):
    if not labels:
        return u''
    return u'{%s}' % u','.join(u'%s="%s"' % (name, _escape(labels[name]))
                               for name in sorted(labels))


def _escape(value):
    return (u'%s' % value).replace(u'\\', u'\\\\').replace(u'"', u'\\"').replace(u'\n', u'\\n')


def _number(value):
    return u'%d' % value if value == int(value) else repr(float(value))
