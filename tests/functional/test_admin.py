"""Administration requests, service hours and CPUs set at run time."""
from __future__ import absolute_import, division, print_function

import socket
import unittest

from tests.support.dialects import NEWEST
from tests.support.nodeprocess import NodeProcess
from tests.support.scheduler import FakeScheduler, make_token

WAIT = 30
CODE = 'import time\ndef job(seconds=0):\n    time.sleep(seconds)\n    return seconds\n'
STATUS = ['avail_info', 'busy', 'clients_done', 'cpu_time', 'jobs_done', 'scheduler_ip', 'serve']
INFO = sorted(STATUS + ['cpus', 'max_cpus', 'name', 'service_end', 'service_start', 'service_stop'])
NAK, EMPTY, REFUSED = 'NAK', 'empty', -1
REQUESTS = (('SET_CPUS', {'cpus': 1}), ('SERVICE_TIME', {'control': 'end_time', 'time': '0'}),
            ('SERVE_CLIENTS', {'serve': 5}))


class Administrator(FakeScheduler):
    """A scheduler that knows the admin secret."""

    def admin(self, secret='admin'):
        """Return the token for administration requests."""
        return make_token(secret, self.node_sign)

    def outcome(self, opcode, value, token):
        """Return the value answered, NAK or EMPTY."""
        answer = self.call(opcode, value, token=token)
        if not answer:
            return EMPTY
        return NAK if answer.startswith(b'NAK') else self.ask(opcode, value, token=token)


class AdminTest(unittest.TestCase):

    def test_who_may_what(self):
        for options, with_ordinary in ((('--admin_secret', 'admin'), False), ((), True)):
            with NodeProcess('-c', 2, *options) as node, Administrator(node) as asker:
                asker.ping(timeout=WAIT)
                wrong, ordinary = asker.admin('wrong'), asker.token()
                sign = asker.node_sign.encode('ascii')
                self.assertEqual(asker.call('NODE_INFO', {'sign': ''}, token=wrong), sign)
                self.assertEqual(asker.ask('NODE_STATUS', {}, token=wrong), REFUSED)
                if with_ordinary:
                    self.assertEqual(sorted(asker.ask('NODE_INFO', {'sign': ''}, token=ordinary)),
                                     INFO)
                    self.assertEqual(sorted(asker.ask('NODE_STATUS', {}, token=ordinary)), STATUS)
                else:
                    self.assertEqual(asker.call('NODE_INFO', {'sign': ''}, token=ordinary), sign)
                    self.assertEqual(asker.ask('NODE_STATUS', {}, token=ordinary), REFUSED)
                self.assertEqual(
                    [asker.outcome(opcode, value, ordinary)
                     for opcode, value in REQUESTS], [NAK, EMPTY, EMPTY])
                self.assertEqual(
                    [asker.outcome(opcode, value, wrong)
                     for opcode, value in REQUESTS], [REFUSED] * 3)

    def test_status_and_changes(self):
        with NodeProcess('-c', 1, '--admin_secret', 'admin') as node, Administrator(node) as asker:
            asker.ping(timeout=WAIT)
            token = asker.admin()
            computation = asker.open(CODE, 'job')
            computation.run(0)
            info = asker.ask('NODE_INFO', {'sign': ''}, token=token)
            self.assertEqual((info['jobs_done'], info['busy'], info['serve'], info['scheduler_ip'],
                              info['cpus']), (1, 0, -1, '127.0.0.1', 1))
            self.assertGreater(info['avail_info'].memory, 0)
            self.assertEqual(asker.ask('SET_CPUS', {'cpus': 0}, token=token), {'cpus': 0})
            self.assertEqual(asker.wait_for('NODE_CPUS', timeout=WAIT).value['cpus'], 0)
            self.assertEqual(asker.ask('SET_CPUS', {'cpus': None}, token=token),
                             {'cpus': info['max_cpus']})
            for wrong in (info['max_cpus'] + 1, -info['max_cpus'] - 1):
                self.assertEqual(asker.ask('SET_CPUS', {'cpus': wrong}, token=token), REFUSED)
            self.assertEqual(asker.ask('SERVE_CLIENTS', {'serve': -2}, token=token), REFUSED)
            self.assertEqual(asker.ask('SERVE_CLIENTS', {'serve': 1}, token=token), {'serve': 1})
            computation.close()
            self.assertEqual(node.wait_exit(WAIT), 0)

    def test_node_info_by_datagram(self):
        with NodeProcess() as node, FakeScheduler(node) as asker:
            sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sender.sendto(
                b'NODE_INFO:' + NEWEST.dumps({
                    'ip_addr': asker.ip_addr, 'port': asker.port, 'sign': asker.sign,
                    'version': '4.15.2'
                }), (node.ip_addr, node.port))
            sender.close()
            told = asker.wait_for('NODE_INFO', timeout=WAIT).value
            self.assertEqual((told['ip_addr'], told['port'], told['version']),
                             (node.ip_addr, node.port, '4.15.2'))

    def test_bad_requests_are_refused(self):
        with NodeProcess('--admin_secret', 'admin') as node, Administrator(node) as asker:
            asker.ping(timeout=WAIT)
            token = asker.admin()
            for value in ({'control': 'end_time', 'time': '24:00'}, {
                    'control': 'noon', 'time': '12:00'
            }, {}):
                self.assertEqual(asker.ask('SERVICE_TIME', value, token=token), REFUSED)
            self.assertEqual(asker.ask('SET_CPUS', {}, token=token), REFUSED)


class ServiceHoursTest(unittest.TestCase):

    def test_end_of_service_kills_jobs_delivers_status_9_then_says_terminated(self):
        with NodeProcess('--admin_secret', 'admin') as node, Administrator(node) as asker:
            computation = asker.open(CODE, 'job')
            job = computation.submit(3600)
            token = asker.admin()
            self.assertIsInstance(asker.ask('SERVICE_TIME', {'control': 'stop_time', 'time': None},
                                            token=token)['service_stop'], int)
            asker.wait_for('NODE_CPUS', timeout=WAIT, match=lambda value: value['cpus'] == 0)
            asker.ask('SERVICE_TIME', {'control': 'end_time', 'time': None}, token=token)
            asker.wait_for('TERMINATED', timeout=WAIT)
            self.assertEqual([
                message.opcode
                for message in asker.received if message.opcode in ('JOB_REPLY', 'TERMINATED')
            ], ['JOB_REPLY', 'TERMINATED'])
            self.assertEqual(asker.messages('JOB_REPLY')[0].value.status, 9)
            self.assertTrue(job)
            asker.send_ping()
            node.wait_log('PING not answered: service hours: outside service hours: closed', WAIT)
            for control in ('stop_time', 'end_time'):
                asker.ask('SERVICE_TIME', {'control': control, 'time': '0'}, token=token)
            asker.wait_for('PING', timeout=WAIT)
            computation.closed = True
