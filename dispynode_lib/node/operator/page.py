"""The status page: HTML without scripts or anything from elsewhere."""
from __future__ import absolute_import, division, print_function

import time

from dispynode_lib.host.wording import counted, duration
from dispynode_lib.node.shared.history import RECENT_JOBS, Sample

GIGABYTE = 1e9
# of figures
WIDTH, HEIGHT = 300.0, 80.0                 # of what is drawn, without the axes
LEFT, BELOW, ABOVE = 40.0, 16.0, 6.0        # room for figures and times
ROW = 11.0                                  # height of a CPU's row
SPANS = (300.0, 900.0, 3600.0)              # seconds that a figure may show
ROWS = 64                                   # CPUs shown at most
KEY = (
    u'<p class="small">Jobs (those running, and the last %d): <span class="key"><b '
    u'style="background: var(--run)"></b>running<b style="background: var(--good)"></b>finished<b '
    u'style="background: var(--bad)"></b>failed or stopped</span></p>' % RECENT_JOBS)

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
    """Return the page (text) for a status of Status.gather() and the history's samples."""
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
    span = span_of(status['uptime'])
    if available is not None:
        samples = samples + [Sample(now, available['cpu'], available['memory'], available['disk'],
                                    available['swap'], status['busy'], status['cpus'])]

    def of_samples(title, value, top, form):
        return curve(title, [(sample.when, value(sample)) for sample in samples], now, span, top,
                     form)

    figures = [
        rows_of_jobs(_jobs(status), status['cpus'], now, span),
        of_samples(u'busy CPUs of %d' % status['cpus'], lambda sample: sample.busy,
                   max(1, status['cpus']), u'%.3g'),
        of_samples(u'CPU time free, %', lambda sample: sample.cpu, 100.0, u'%.0f'),
        of_samples(u'memory free, GB', lambda sample: sample.memory / GIGABYTE, None, u'%.1f'),
        of_samples(u'disk free, GB', lambda sample: sample.disk / GIGABYTE, None, u'%.1f')]
    return u'<h2>The last %d minutes</h2><div class="plots">%s</div>%s' % (
        span / 60, u''.join(figures), KEY)


def _jobs(status):
    """Return what rows_of_jobs takes: the jobs that are remembered, and those that run."""
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
        parts.append(_table((u'job', u'process', u'started', u'for'), rows) if rows
                     else u'<p>No job is running.</p>')
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


# Figures: SVG with axes and times; the colours are classes of STYLE

def span_of(uptime):
    """Return the seconds that figures show: an hour at most, hardly more than the node ran."""
    return [span for span in SPANS if span >= uptime or span == SPANS[-1]][0]


def curve(title, points, now, span, top, form):
    """Return one figure (text): [(when, value)] over the last `span` seconds, 0 at the bottom.

    top    value at the upper end, None: a little above the highest
    form   of a value, such as u'%.1f'
    """
    points = [point for point in points if now - span <= point[0] <= now]
    top = top or (max([value for _when, value in points] + [1e-9]) * 1.1)
    marks = [(_across(when, now, span), ABOVE + HEIGHT * (1 - min(1.0, value / top)))
             for when, value in points]
    shape = _grid(now, span, ABOVE + HEIGHT) + u''.join(
        _text(LEFT - 4, ABOVE + HEIGHT * (1 - part) + 4, form % (top * part), u'end')
        for part in (0, 0.5, 1))
    if marks:
        line = u' '.join(u'%.1f,%.1f' % mark for mark in marks)
        shape += u'<polygon class="area" points="%.1f,%.1f %s %.1f,%.1f"/>' % (
            marks[0][0], ABOVE + HEIGHT, line, marks[-1][0], ABOVE + HEIGHT)
        shape += u'<polyline class="line" points="%s"/>' % line
        shape += u'<circle class="dot" cx="%.1f" cy="%.1f" r="2.5"/>' % marks[-1]
    last = form % points[-1][1] if points else u'not known yet'
    return _figure(u'%s: %s' % (title, last), shape, HEIGHT)


def rows_of_jobs(jobs, cpus, now, span):
    """Return one figure (text): a row for each CPU, with the jobs that it ran.

    jobs   [(start, end or None while it runs, outcome, title)], title as text for HTML
    """
    rows = place([job for job in jobs if (job[1] or now) >= now - span], now)
    count = min(ROWS, max(cpus, len(rows), 1))
    height, shape = ROW * count, u''
    for number in range(count):
        y = ABOVE + ROW * number
        if count <= 16 or number % 8 == 0:
            shape += _text(LEFT - 4, y + ROW - 2, u'CPU %d' % (number + 1), u'end')
        for start, end, outcome, title in rows[number] if number < len(rows) else ():
            left = _across(max(start, now - span), now, span)
            width = max(1.5, _across(end or now, now, span) - left)
            shape += (u'<rect class="%s" x="%.1f" y="%.1f" width="%.1f" height="%.1f">'
                      u'<title>%s, %s</title></rect>'
                      % (_class(outcome), left, y + 1, width, ROW - 2, title,
                         duration((end or now) - start)))
    return _figure(u'Jobs on each CPU', _grid(now, span, ABOVE + height) + shape, height)


def place(jobs, now):
    """Return rows (lists) of jobs that do not overlap; the first row that is free takes each."""
    rows = []
    for job in sorted(jobs, key=lambda job: job[0]):
        free = [row for row in rows if (row[-1][1] or now + 1) <= job[0] + 0.001]
        if free:
            free[0].append(job)
        else:
            rows.append([job])
    return rows


def _class(outcome):
    return {u'running': u'running', u'finished': u'finished'}.get(outcome, u'failed')


def _across(when, now, span):
    return LEFT + WIDTH * (1 - (now - when) / span)


def _grid(now, span, bottom):
    """Return the frame, and the times below it."""
    shape = u'<rect class="frame" x="%d" y="%d" width="%d" height="%.1f"/>' % (
        LEFT, ABOVE, WIDTH, bottom - ABOVE)
    for part, anchor in ((0, u'start'), (0.5, u'middle'), (1, u'end')):
        x = LEFT + WIDTH * part
        shape += u'<line class="tick" x1="%.1f" y1="%d" x2="%.1f" y2="%.1f"/>' % (
            x, ABOVE, x, bottom + 3)
        shape += _text(x, bottom + BELOW - 3,
                       time.strftime('%H:%M', time.localtime(now - span * (1 - part))), anchor)
    return shape


def _text(x, y, text, anchor):
    return u'<text x="%.1f" y="%.1f" text-anchor="%s">%s</text>' % (x, y, anchor, text)


def _figure(title, shape, height):
    return (u'<figure><figcaption>%s</figcaption><svg viewBox="0 0 %d %d" role="img" '
            u'aria-label="%s">%s</svg></figure>' %
            (title, LEFT + WIDTH + 4, ABOVE + height + BELOW, title, shape))
