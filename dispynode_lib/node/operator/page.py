"""The status page: HTML without scripts or anything from elsewhere."""
from __future__ import absolute_import, division, print_function

import time

from dispynode_lib.host.wording import counted
from dispynode_lib.node.operator import plots
from dispynode_lib.node.shared.history import RECENT_JOBS, Sample
from dispynode_lib.node.operator.status import duration

GIGABYTE = 1e9
KEY = (
    u'<p class="small">Jobs (those running, and the last %d): <span class="key"><b '
    u'style="background: var(--run)"></b>running'
    u'<b style="background: var(--good)"></b>finished<b style="background: var(--bad)"></b>failed '
    u'or stopped</span></p>'
    % RECENT_JOBS)

STYLE = u"""
:root { color-scheme: light dark; --ink: #222; --dim: #595959; --paper: #fff; --rule: #ccc; --line: #1f5f99; --area: #cfe3f5;
  --good: #27713b; --bad: #a33; --run: #1f5f99 }
@media (prefers-color-scheme: dark) { :root { --ink: #ddd; --dim: #a5a5a5; --paper: #161a1e; --rule: #444; --line: #7db8ee;
  --area: #24405a; --good: #3f9a5a; --bad: #d86a6a; --run: #7db8ee } }
body { font: 15px/1.4 sans-serif; margin: 1.5em auto; max-width: 64em; padding: 0 1em; color: var(--ink);
  background: var(--paper); overflow-wrap: anywhere }
h1 { font-size: 1.5em; margin: 0 } h2 { font-size: 1.1em; margin: 1.5em 0 .4em } p { margin: .3em 0 }
a { color: var(--line) } .small { color: var(--dim); font-size: .9em } .wide { overflow-x: auto }
.phase { padding: .1em .6em; border-radius: 1em; color: #fff; font-size: .7em; vertical-align: middle; background: #a33 }
.phase.good { background: #27713b }
table { border-collapse: collapse; width: 100%; overflow-wrap: normal } th { text-align: left; color: var(--dim); font-weight: normal }
td:not(:nth-child(3)) { white-space: nowrap }
th, td { padding: .15em .8em .15em 0; border-bottom: 1px solid var(--rule); vertical-align: top }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 20em), 1fr)); gap: .8em 1.5em }
figure { margin: 0 } figcaption { font-size: .9em } svg { display: block; width: 100%; height: auto }
svg text { font-size: 9px; fill: var(--dim) } .frame { fill: none; stroke: var(--rule) } .tick { stroke: var(--rule) }
.area { fill: var(--area) } .line { fill: none; stroke: var(--line); stroke-width: 1.5 } .dot { fill: var(--line) }
rect.running { fill: var(--run) } rect.finished { fill: var(--good) } rect.failed { fill: var(--bad) }
.key { white-space: nowrap } .key b { display: inline-block; width: .8em; height: .8em; margin: 0 .3em 0 .8em }
ul { margin: .3em 0; padding-left: 1.2em }
"""


def html(status, samples):
    """Return the page (text) for a status of node.operator.status.gather() and the history's
    samples."""
    parts = [
        u'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>%s: dispynode</title>'
        u'<meta name="viewport" content="width=device-width, '
        u'initial-scale=1"><style>%s</style></head><body>'
        % (escape(status['name']), STYLE),
        _head(status),
        _idle(status),
        _plots(status, samples),
        _computations(status),
        _recent(status),
        u'<p class="small">As of %s, reload for now; for programs: <a '
        u'href="/status.json">/status.json</a>, '
        u'<a href="/metrics">/metrics</a>, <a href="/readyz">/readyz</a></p></body></html>\n' %
        _time(status['now'], u'%Y-%m-%d %H:%M:%S'),
    ]
    return u'\n'.join(part for part in parts if part)


def _head(status):
    scheduler = status['scheduler']
    return u'\n'.join([
        u'<h1>%s <span class="phase %s">%s</span></h1>' %
        (escape(status['name']), u'good' if status['ready'] else u'bad',
         escape(status['phase'].lower())),
        u'<p>%d of %s busy; scheduler: %s; %s</p>' %
        (status['busy'], counted(status['cpus'], u'CPU'),
         escape(u'%s port %d' %
                (scheduler['address'], scheduler['port'])) if scheduler else u'none',
         escape(status['service'])),
        u'<p>%s done for %s in %s; %s kept</p>' %
        (counted(status['jobs_done'], u'job'), counted(status['clients_done'], u'client'),
         duration(status['uptime']), counted(status['undelivered'], u'undelivered result')),
        u'<p class="small">%s, ports %s; dispynode %s, Python %s, process %d; files in %s</p>' %
        (escape(u', '.join(status['addresses'])),
         u', '.join(u'%d' % port for port in status['ports']),
         status['version'], status['python'], status['pid'], escape(status['folder'])),
    ])


def _idle(status):
    if not status['why_idle']:
        return u''
    return u'<h2>Why it is idle</h2><ul>%s</ul>' % u''.join(
        u'<li>%s</li>' % escape(line) for line in status['why_idle'])


def _plots(status, samples):
    now, available = status['now'], status['available']
    span = plots.span_of(status['uptime'])
    if available is not None:
        samples = samples + [
            Sample(now, available['cpu'], available['memory'], available['disk'], available['swap'],
                   status['busy'], status['cpus'])
        ]

    def curve(title, value, top, form):
        return plots.curve(title, [(sample.when, value(sample))
                                   for sample in samples], now, span, top, form)

    figures = [
        plots.rows_of_jobs(_jobs(status), status['cpus'], now, span),
        curve(u'busy CPUs of %d' % status['cpus'], lambda sample: sample.busy, max(
            1, status['cpus']), u'%.3g'),
        curve(u'CPU time free, %', lambda sample: sample.cpu, 100.0, u'%.0f'),
        curve(u'memory free, GB', lambda sample: sample.memory / GIGABYTE, None, u'%.1f'),
        curve(u'disk free, GB', lambda sample: sample.disk / GIGABYTE, None, u'%.1f'),
    ]
    return u'<h2>The last %d minutes</h2><div class="plots">%s</div>%s' % (
        span / 60, u''.join(figures), KEY)


def _jobs(status):
    """Return what plots.rows_of_jobs takes: jobs that have ended and are remembered, and those that
    run."""
    found = [(job['ended'] - job['seconds'], job['ended'], job['outcome'],
              escape(u'job %d of %s: %s' % (job['uid'], job['name'], job['outcome'])))
             for job in status['recent_jobs']]
    for computation in status['computations']:
        found += [(job['started'], None, u'running',
                   escape(u'job %d of %s: running' % (job['uid'], computation['name'])))
                  for job in computation['jobs']]
    return found


def _computations(status):
    if not status['computations']:
        return u'<h2>Computations</h2><p>None is open.</p>'
    parts = []
    for computation in status['computations']:
        parts.append(
            u'<h2>Computation %d: %s</h2><p class="small">of %s port %d, open for %s%s</p>' %
            (computation['id'], escape(computation['name']), escape(computation['scheduler']),
             computation['scheduler_port'], duration(computation['age']),
             u'; its scheduler is silent' if computation['zombie'] else u''))
        rows = [(u'%d' % job['uid'], u'%s' % (job['pid'] or u'starting'), _time(job['started']),
                 duration(job['age']) + (u', being stopped' if job['stopping'] else u''))
                for job in computation['jobs']]
        parts.append(
            _table((u'job', u'process', u'started',
                    u'for'), rows) if rows else u'<p>No job is running.</p>')
    return u''.join(parts)


def _recent(status):
    jobs = status['recent_jobs']
    if not jobs:
        return u'<h2>Recent jobs</h2><p>None has ended yet.</p>'
    rows = [(u'%d' % job['uid'], job['name'], job['outcome'] +
             (u': ' + job['reason'] if job['reason'] else u''), _time(job['ended']),
             duration(job['seconds'])) + _used(job) for job in jobs]
    return u'<h2>Recent jobs</h2>' + _table(
        (u'job', u'computation', u'outcome', u'ended', u'took', u'CPU time', u'memory'), rows)


def _used(job):
    if job['cpu_seconds'] is None:
        return u'', u''
    return duration(job['cpu_seconds']), u'%.0f MB' % (job['peak_memory'] / 1e6)


def _table(head, rows):
    top = u''.join(u'<th>%s</th>' % word for word in head)
    below = u''.join(u'<tr>%s</tr>' % u''.join(u'<td>%s</td>' % escape(cell) for cell in row)
                     for row in rows)
    return u'<div class="wide"><table><tr>%s</tr>%s</table></div>' % (top, below)


def _time(when, form=u'%H:%M:%S'):
    return u'%s' % time.strftime(str(form), time.localtime(when))


def escape(text):
    """Return text for HTML, also within a quoted attribute."""
    return (u'%s' % (text, )).replace(u'&', u'&amp;').replace(u'<', u'&lt;').replace(
        u'>', u'&gt;').replace(u'"', u'&quot;')
