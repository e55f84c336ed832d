"""The status page: HTML without scripts or anything from elsewhere."""
from __future__ import absolute_import, division, print_function

import time

from dispynode_lib.host.wording import counted
from dispynode_lib.node.history import Sample
from dispynode_lib.node.status import duration

WIDTH, HEIGHT = 300.0, 80.0                 # of a plot
HOUR = 3600.0
GIGABYTE = 1e9

STYLE = u"""
body { font: 15px/1.4 sans-serif; margin: 1.5em auto; max-width: 64em; padding: 0 1em; color: #222; background: #fff }
h1 { font-size: 1.5em; margin: 0 } h2 { font-size: 1.1em; margin: 1.5em 0 .4em }
p { margin: .3em 0 } .phase { padding: .1em .6em; border-radius: 1em; color: #fff; font-size: .7em; vertical-align: middle }
.good { background: #27713b } .bad { background: #a33 } .small { color: #666; font-size: .9em }
table { border-collapse: collapse; width: 100% } th { text-align: left; color: #666; font-weight: normal }
th, td { padding: .15em .8em .15em 0; border-bottom: 1px solid #ddd } td.n { text-align: right }
figure { display: inline-block; margin: 0 1.5em .5em 0 } figcaption { font-size: .9em } svg { display: block; border: 1px solid #ccc }
ul { margin: .3em 0; padding-left: 1.2em }
"""


def html(status, samples):
    """Return the page (text) for a status of node.status.gather() and the history's samples."""
    parts = [
        u'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>%s: dispynode</title>'
        u'<meta name="viewport" content="width=device-width"><style>%s</style></head><body>'
        % (escape(status['name']), STYLE),
        _head(status), _idle(status), _plots(status, samples), _computations(status), _recent(status),
        u'<p class="small">As of %s; for programs: <a href="/status.json">/status.json</a>, '
        u'<a href="/metrics">/metrics</a>, <a href="/readyz">/readyz</a></p></body></html>\n'
        % _time(status['now'], u'%Y-%m-%d %H:%M:%S'),
    ]
    return u'\n'.join(part for part in parts if part)


def _head(status):
    scheduler = status['scheduler']
    return u'\n'.join([
        u'<h1>%s <span class="phase %s">%s</span></h1>' % (
            escape(status['name']), u'good' if status['ready'] else u'bad', escape(status['phase'].lower())),
        u'<p>%d of %s busy; scheduler: %s; %s</p>' % (
            status['busy'], counted(status['cpus'], u'CPU'),
            escape(u'%s port %d' % (scheduler['address'], scheduler['port'])) if scheduler else u'none',
            escape(status['service'])),
        u'<p>%s done for %s in %s; %s kept</p>' % (
            counted(status['jobs_done'], u'job'), counted(status['clients_done'], u'client'),
            duration(status['uptime']), counted(status['undelivered'], u'undelivered result')),
        u'<p class="small">%s, ports %s; dispynode %s, Python %s, process %d; files in %s</p>' % (
            escape(u', '.join(status['addresses'])), u', '.join(u'%d' % port for port in status['ports']),
            status['version'], status['python'], status['pid'], escape(status['folder'])),
    ])


def _idle(status):
    if not status['why_idle']:
        return u''
    return u'<h2>Why it is idle</h2><ul>%s</ul>' % u''.join(u'<li>%s</li>' % escape(line) for line in status['why_idle'])


def _plots(status, samples):
    now, available = status['now'], status['available']
    if available is not None:
        samples = samples + [Sample(now, available['cpu'], available['memory'], available['disk'], available['swap'],
                                    status['busy'], status['cpus'])]
    figures = [
        _plot(u'busy CPUs', samples, now, lambda sample: sample.busy, max(1, status['cpus']), u'%d'),
        _plot(u'CPU time free, %', samples, now, lambda sample: sample.cpu, 100.0, u'%.0f'),
        _plot(u'memory free, GB', samples, now, lambda sample: sample.memory / GIGABYTE, None, u'%.1f'),
        _plot(u'disk free, GB', samples, now, lambda sample: sample.disk / GIGABYTE, None, u'%.1f'),
    ]
    return u'<h2>The last hour</h2>' + u''.join(figures)


def _plot(title, samples, now, value, top, form):
    """Return one figure: the last hour from left to right, 0 at the bottom."""
    points = [(sample.when, value(sample)) for sample in samples if now - HOUR <= sample.when <= now]
    top = top or (max([height for _when, height in points] + [1e-9]) * 1.1)
    marks = [(WIDTH * (1 - (now - when) / HOUR), HEIGHT * (1 - min(1.0, height / top))) for when, height in points]
    line = u' '.join(u'%.1f,%.1f' % mark for mark in marks)
    last = form % points[-1][1] if points else u'not known yet'
    shape = u''
    if marks:
        area = u'%.1f,%.1f %s %.1f,%.1f' % (marks[0][0], HEIGHT, line, marks[-1][0], HEIGHT)
        shape = (u'<polygon points="%s" fill="#cfe3f5"/><polyline points="%s" fill="none" stroke="#1f5f99" '
                 u'stroke-width="1.5"/>' % (area, line))
        shape += u'<circle cx="%.1f" cy="%.1f" r="2.5" fill="#1f5f99"/>' % marks[-1]
    return (u'<figure><figcaption>%s: %s <span class="small">(of %s)</span></figcaption><svg width="%d" height="%d" '
            u'viewBox="0 0 %d %d" role="img" aria-label="%s">%s</svg></figure>' % (
                escape(title), last, form % top, WIDTH, HEIGHT, WIDTH, HEIGHT, escape(title), shape))


def _computations(status):
    if not status['computations']:
        return u'<h2>Computations</h2><p>None is open.</p>'
    parts = []
    for computation in status['computations']:
        parts.append(u'<h2>Computation %d: %s</h2><p class="small">of %s port %d, open for %s%s</p>' % (
            computation['id'], escape(computation['name']), escape(computation['scheduler']),
            computation['scheduler_port'], duration(computation['age']),
            u'; its scheduler is silent' if computation['zombie'] else u''))
        rows = [(u'%d' % job['uid'], u'%s' % (job['pid'] or u'starting'), _time(job['started']),
                 duration(job['age']) + (u', being stopped' if job['stopping'] else u'')) for job in computation['jobs']]
        parts.append(_table((u'job', u'process', u'started', u'for'), rows) if rows else u'<p>No job is running.</p>')
    return u''.join(parts)


def _recent(status):
    jobs = status['recent_jobs']
    if not jobs:
        return u'<h2>Recent jobs</h2><p>None has ended yet.</p>'
    rows = [(u'%d' % job['uid'], job['name'], job['outcome'] + (u': ' + job['reason'] if job['reason'] else u''),
             _time(job['ended']), duration(job['seconds'])) + _used(job) for job in jobs]
    return u'<h2>Recent jobs</h2>' + _table(
        (u'job', u'computation', u'outcome', u'ended', u'took', u'CPU time', u'memory'), rows)


def _used(job):
    if job['cpu_seconds'] is None:
        return u'', u''
    return duration(job['cpu_seconds']), u'%.0f MB' % (job['peak_memory'] / 1e6)


def _table(head, rows):
    return u'<table><tr>%s</tr>%s</table>' % (
        u''.join(u'<th>%s</th>' % word for word in head),
        u''.join(u'<tr>%s</tr>' % u''.join(u'<td>%s</td>' % escape(cell) for cell in row) for row in rows))


def _time(when, form=u'%H:%M:%S'):
    return u'%s' % time.strftime(str(form), time.localtime(when))


def escape(text):
    """Return text for HTML, also within a quoted attribute."""
    return (u'%s' % (text,)).replace(u'&', u'&amp;').replace(u'<', u'&lt;').replace(u'>', u'&gt;').replace(u'"', u'&quot;')
