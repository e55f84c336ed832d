"""Figures of the status page: SVG with axes and times; the colours are classes of the page's
style."""
from __future__ import absolute_import, division, print_function

import time

from dispynode_lib.host.wording import duration

WIDTH, HEIGHT = 300.0, 80.0                 # of what is drawn, without the axes
LEFT, BELOW, ABOVE = 40.0, 16.0, 6.0        # room for figures and times
ROW = 11.0                                  # height of a CPU's row
SPANS = (300.0, 900.0, 3600.0)              # seconds that a figure may show
ROWS = 64                                   # CPUs shown at most


def span_of(uptime):
    """Return how many seconds the figures are to show: no more than an hour, not much more than the
    node has run."""
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
    """Return rows (list of lists) of jobs that do not overlap within a row; the first row that is
    free takes each."""
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
    return (
        u'<figure><figcaption>%s</figcaption><svg viewBox="0 0 %d %d" role="img" '
        u'aria-label="%s">%s</svg></figure>'
        % (title, LEFT + WIDTH + 4, ABOVE + height + BELOW, title, shape))
