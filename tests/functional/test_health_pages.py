"""Health for machines and the page for people, on the node's own port."""
from __future__ import absolute_import, division, print_function

import json
import os
import re
import socket
import unittest

from dispynode_lib.cli import printed
from tests.support.operatorcase import MARKED, TIMEOUT, OperatorCase
from tests.support.waiting import wait_until

NO_NURSERY = '''
import os
with open('/proc/self/cmdline', 'rb') as source:
    if b'--supervise' in source.read() and os.path.exists(%r):
        os._exit(3)
'''


class HealthPages(OperatorCase):

    def get(self, path, request=None):
        """Return (status, headers, body) of a GET on the node's port."""
        sock = socket.create_connection(('127.0.0.1', self.port), 20)
        try:
            sock.sendall(request or ('GET %s HTTP/1.1\r\nHost: x\r\n\r\n' % path).encode('ascii'))
            data = b''
            while True:
                piece = sock.recv(65536)
                if not piece:
                    break
                data += piece
        finally:
            sock.close()
        head, _blank, body = data.decode('utf-8').partition('\r\n\r\n')
        return int(head.split()[1]) if head else None, head, body

    def test_dashboard_and_alerts_ask_for_metrics_that_there_are(self):
        with self.node():
            there = set(re.findall(r'^# TYPE (\S+)', self.get('/metrics')[2], re.M))
        for name in ('grafana', 'alerts'):
            text = printed.text_of(name)
            asked = set(
                re.sub(r'_bucket$', '', metric)
                for metric in re.findall(r'dispynode_[a-z_]+', text))
            self.assertGreater(len(asked), 4)
            self.assertEqual(asked - there, set())
        panels = json.loads(printed.text_of('grafana'))['panels']
        self.assertEqual(len(set(panel['id'] for panel in panels)), len(panels))

    def test_health_and_readiness(self):
        with self.node():
            self.assertEqual(self.get('/healthz')[::2], (200, 'ok\n'))
            self.assertEqual(self.get('/readyz')[::2], (200, 'ready\n'))
            self.told('stop')
            self.assertEqual(self.get('/readyz')[::2], (503, 'the node is paused\n'))
            self.assertEqual(self.get('/healthz')[0], 200)
            self.told('start')
            self.assertEqual(self.get('/readyz?x=y')[0], 200)

    def test_a_node_whose_nursery_cannot_be_started_is_not_ready_and_says_why(self):
        broken = os.path.join(self.folder, 'broken')
        open(broken, 'w').close()
        with open(os.path.join(self.folder, 'sitecustomize.py'), 'w') as target:
            target.write(NO_NURSERY % broken)
        why = 'no job can run: the nursery of supervisors cannot be started: '
        with self.node(env={'PYTHONPATH': self.folder}) as node:
            wait_until(lambda: self.get('/readyz')[0] == 503, TIMEOUT)
            self.assertTrue(self.get('/readyz')[2].startswith(why), self.get('/readyz'))
            self.assertEqual(self.get('/healthz')[0], 200)
            self.assertIn(why, self.told('why'))
            self.assertIn(' is serving, but ' + why, self.told('status'))
            self.assertFalse(self.status()['ready'])
            os.unlink(broken)
            wait_until(lambda: self.get('/readyz')[0] == 200, TIMEOUT)
            self.assertNotIn(why, self.told('status'))
            with self.scheduler(node) as scheduler:
                self.assertEqual(scheduler.open('def f(): return 7', 'f').run().value, 7)
            self.assertEqual(node.log().count(why), 1)

    def test_busy_is_ready_and_draining_is_not(self):
        with self.node() as node:
            scheduler = self.scheduler(node)
            self.addCleanup(scheduler.close)
            computation = scheduler.open(MARKED, 'wait')
            self.assertEqual(self.get('/readyz')[0], 200)
            self.told('drain')
            self.assertEqual(self.get('/readyz')[::2], (503, 'the node is draining\n'))
            computation.close()
            node.wait_exit()

    def test_outside_service_hours(self):
        import time
        hour = time.localtime().tm_hour
        start, end = '%02d:00' % ((hour + 11) % 24), '%02d:00' % ((hour + 12) % 24)
        with self.node('--service_start', start, '--service_end', end):
            status, _head, body = self.get('/readyz')
            self.assertEqual(status, 503)
            self.assertIn('outside service hours', body)
            found = self.status()
            self.assertFalse(found['service_open'])
            self.assertTrue(0 < found['service_next_change'] - found['now'] <= 12 * 3600)
            self.assertIn('next change', self.told('status'))

    def test_metrics(self):
        with self.node('-c', '2') as node:
            scheduler = self.scheduler(node)
            self.addCleanup(scheduler.close)
            mark = os.path.join(self.folder, 'mark')
            computation = scheduler.open(MARKED, 'wait')
            job = computation.submit(mark)
            open(mark, 'w').close()
            job.wait()
            _status, head, body = self.get('/metrics')
            self.assertIn('Content-Type: text/plain; version=0.0.4', head)
            found = dict(re.findall(r'^(dispynode_[a-z_]+(?:\{[^}]*\})?) ([-+.e0-9]+)$', body,
                                    re.M))
            self.assertEqual(found['dispynode_cpus'], '2')
            self.assertEqual(found['dispynode_jobs_total{outcome="finished"}'], '1')
            self.assertEqual(found['dispynode_ready'], '1')
            for line in body.splitlines():
                self.assertTrue(
                    re.match(
                        r'(# (HELP|TYPE) dispynode_\w+ .+|dispynode_\w+(\{\w+="[^"]*"(,\w+="[^"]*")*\})? '
                        r'[-+.e0-9]+)$', line), line)
            names = re.findall(r'^# TYPE (\S+)', body, re.M)
            self.assertEqual(len(names), len(set(names)))

    def test_status_is_what_the_command_tells(self):
        with self.node():
            page = json.loads(self.get('/status.json')[2])
            command = self.status()
            self.assertEqual(sorted(page), sorted(command))
            self.assertEqual((page['pid'], page['ports']), (command['pid'], command['ports']))

    def test_page(self):
        with self.node('-c', '2') as node:
            scheduler = self.scheduler(node)
            self.addCleanup(scheduler.close)
            computation = scheduler.open('def fail(n):\n    raise ValueError("<script>")\n', 'fail')
            computation.run(1)
            _status, head, body = self.get('/')
            self.assertIn("Content-Security-Policy: default-src 'none'", head)
            self.assertIn('failed: ValueError: &lt;script&gt;', body)
            self.assertNotIn('<script', body)
            self.assertEqual(re.findall(r'(?:src|href)="(?!/)', body), [])  # nothing from elsewhere
            self.assertEqual(body.count('<svg'), 5)
            self.assertIn('<title>job', body)
            self.assertEqual(re.findall(r'>(CPU \d)<', body), ['CPU 1', 'CPU 2'])
            self.assertTrue(re.search(r'>\d\d:\d\d</text>', body), 'times on the axis')
            for link in ('/metrics', '/status.json'):
                self.assertIn('href="%s"' % link, body)

    def test_curves_begin_in_the_first_minute(self):
        with self.node():
            def points():
                return len(
                    re.findall(r'<polyline class="line" points="([^"]*)"',
                               self.get('/')[2])[0].split())
            wait_until(lambda: points() >= 3, 30)           # two samples and what is now
            self.assertIn('The last 5 minutes', self.get('/')[2])

    def test_bad_requests(self):
        with self.node():
            self.assertEqual(self.get('/none')[0], 404)
            self.assertEqual(self.get('', b'GET\x20\r\n\r\n')[0], 400)
            self.assertEqual(self.get('', b'GET / HTTP/1.1\r\nX: ' + b'y' * 20000)[0], 200)
            self.assertEqual(
                self.get('', b'POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\n' + b'y' * 100)[0],
                None)
            self.assertEqual(self.get('/healthz')[0], 200)

    def test_jobs_go_on(self):
        with self.node() as node:
            scheduler = self.scheduler(node)
            self.addCleanup(scheduler.close)
            computation = scheduler.open('def add(a, b):\n    return a + b\n', 'add')
            for _ in range(5):
                self.assertEqual(self.get('/')[0], 200)
                self.assertEqual(computation.run(1, 2).value, 3)


if __name__ == '__main__':
    unittest.main()
