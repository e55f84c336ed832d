"""Pages by plain HTTP on the node's own port: health for machines, a page for people."""
from __future__ import absolute_import, division, print_function

from dispynode_lib.host import plainjson
from dispynode_lib.host.compat import to_bytes, to_text
from dispynode_lib.host.network.net import Network
from dispynode_lib.log import Log

log = Log('dispynode.http')

TEXT, JSON, HTML = 'text/plain; charset=utf-8', 'application/json', 'text/html; charset=utf-8'
METRICS = 'text/plain; version=0.0.4; charset=utf-8'
REASONS = {200: 'OK', 400: 'Bad Request', 404: 'Not Found', 503: 'Service Unavailable'}
LOOPBACK = ('127.0.0.0/8', '::1')
POLICY = "default-src 'none'; style-src 'unsafe-inline'"


class Pages(object):
    """Answers GET requests of those who may ask."""

    def __init__(self, common, status, history, complaints):
        self._options, self._state, self._identity = common.options, common.state, common.identity
        self._status, self._history, self._complaints = status, history, complaints
        self._allowed = [Network(text) for text in LOOPBACK] + list(common.options.http_allow)
        self._table = {'/healthz': self.health, '/readyz': self.ready, '/metrics': self.metrics,
                       '/status.json': self.status, '/': self.page}

    def serve(self, connection):
        """Answer a connection that began with GET; a worker's thread."""
        address = connection.address[0]
        if not self.allows(address):
            self._complaints.note(address, 'HTTP refused', 'allow it by --http_allow %s' % address)
            return
        try:
            connection.sock.settimeout(self._options.msg_timeout)
            connection.sock.sendall(self.answer(connection.data))
        except EnvironmentError as error:
            log.debug('answering HTTP of %s: %s', address, error)
        except Exception:
            log.exception('answering HTTP of %s', address)
            connection.sock.sendall(b'HTTP/1.0 500 Internal Server Error\r\n\r\n')

    def allows(self, address):
        """Return whether the peer at `address` (text) may ask."""
        address = to_text(address)
        # this host calls its own address from that very address
        return address in self._identity.addresses or any(
            network.holds(address) for network in self._allowed)

    def answer(self, data):
        """Return the bytes of the response to the request that `data` (bytes) begins with."""
        words = data.partition(b'\n')[0].split()
        if len(words) != 3 or not words[2].startswith(b'HTTP/'):
            return response(400, TEXT, u'this is no HTTP request\n')
        path = to_text(words[1]).partition(u'?')[0]
        page = self._table.get(path)
        if page is None:
            return response(404, TEXT, u'there are %s\n' % u', '.join(sorted(self._table)))
        return response(*page())

    def health(self):
        """Answer /healthz: the node lives, for it answers."""
        return 200, TEXT, u'ok\n'

    def ready(self):
        """Answer /readyz: whether it takes jobs."""
        closed = self._state.closed()
        trouble = closed[1] if closed is not None else self._status.trouble()
        return (200, TEXT, u'ready\n') if trouble is None else (503, TEXT, u'%s\n' % trouble)

    def status(self):
        """Answer /status.json: all about the node."""
        return 200, JSON, plainjson.dumps(self._status.gather()) + u'\n'

    def metrics(self):
        """Answer /metrics, in the text format of Prometheus."""
        from dispynode_lib.node.operator import metrics
        return 200, METRICS, metrics.text(self._status.gather())

    def page(self):
        """Answer /, the page for people."""
        from dispynode_lib.node.operator import page
        return 200, HTML, page.html(self._status.gather(), self._history.samples())


def response(status, kind, text):
    """Return the bytes of one HTTP response, the last on its connection."""
    body = to_bytes(text)
    head = ['HTTP/1.1 %d %s' % (status, REASONS[status]), 'Content-Type: %s' % kind,
            'Content-Length: %d' % len(body), 'Cache-Control: no-store',
            'Content-Security-Policy: %s' % POLICY, 'X-Content-Type-Options: nosniff',
            'Connection: close']
    return '\r\n'.join(head).encode('ascii') + b'\r\n\r\n' + body
