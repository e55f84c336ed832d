"""Hosts of a test network: namespaces that end with the processes which hold them, joined by veth
pairs.

The test runs in a namespace of its own, the hub, which holds the bridges. Nothing has a name
outside of it.
"""
from __future__ import absolute_import, division, print_function

import itertools
import json
import os
import shutil
import subprocess
import tempfile
import time

from tests.support import processes
from tests.support.nodeprocess import NodeProcess, in_own_network
from tests.support.waiting import wait_until

CLIENTS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'network',
                       'clients')

_numbers = itertools.count()


def command(*words):
    """Run a command of the hub; AssertionError with its output if it fails."""
    process = subprocess.Popen(list(words), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT)
    output = process.communicate(b'')[0].decode('utf-8', 'replace')
    if process.returncode:
        raise AssertionError('%s: %s' % (' '.join(words), output.strip()))
    return output


class Host(object):
    """One namespace; `links`: {bridge: interface}."""

    def __init__(self, lab, name):
        self.lab, self.name, self.links = lab, name, {}
        # it holds the namespace, and ends with the test: its input closes
        self.keeper = subprocess.Popen(['unshare', '--net', 'sh', '-c', 'echo up; read word'],
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.keeper.stdout.readline()
        self.prefix = ['nsenter', '--net=/proc/%d/ns/net' % self.keeper.pid]
        self.run('ip', 'link', 'set', 'lo', 'up')

    def run(self, *words):
        """Run a command on this host; return its output."""
        return command(*(self.prefix + list(words)))

    def connect(self, bridge, *addresses):
        """Add an interface on a bridge with these addresses, such as 10.9.0.1/24."""
        # a new name each: those of a host that has ended vanish a little later
        outside, inside = 'veth%d' % next(_numbers), 'eth%d' % len(self.links)
        command('ip', 'link', 'add', outside, 'type', 'veth', 'peer', 'name', inside, 'netns',
                str(self.keeper.pid))
        command('ip', 'link', 'set', outside, 'master', bridge, 'up')
        self.links[bridge] = outside
        self.run('ip', 'link', 'set', inside, 'up')
        for address in addresses:
            more = ['nodad'] if ':' in address else ['broadcast', '+']
            self.run('ip', 'addr', 'add', address, 'dev', inside, *more)
        return self

    def cut(self, bridge):
        """Pull the cable."""
        command('ip', 'link', 'set', self.links[bridge], 'down')

    def restore(self, bridge):
        """Plug it in again."""
        command('ip', 'link', 'set', self.links[bridge], 'up')

    def end(self):
        """Let go of the namespace."""
        self.keeper.stdin.close()
        self.keeper.stdout.close()
        self.keeper.wait()


class HostNode(NodeProcess):
    """A node on a host of the lab, on its default ports."""

    def __init__(self, host, *options, **settings):
        settings.setdefault('port', 'default')
        settings.setdefault('ip_addr', None)
        super(HostNode, self).__init__(*options, **settings)
        self.host = host

    def command(self):
        return self.host.prefix + super(HostNode, self).command()

    def wait_serving(self, timeout=20):
        wait_until(lambda: self.status is not None or ' serves at ' in self.log(), timeout,
                   lambda: 'the node to serve; its log:\n' + self.log_tail(), interval=0.02)
        if self.status is not None:
            raise AssertionError('the node ended at once; its log:\n' + self.log_tail())

    def wait_accepted(self, number, timeout=20):
        """Wait until `number` jobs run, and whoever sent them has read the answers."""
        status = [
            self.python, self.program, '--dest_path_prefix', self.folder, '--ctl', 'status',
            '--json'
        ]
        wait_until(
            lambda: json.loads(self.host.run(*status))['busy'] == number and not self.host.run(
                'ss', '-Htn'), timeout, lambda: '%d jobs; the log:\n%s' % (number, self.log_tail()),
            interval=0.05)


class Program(object):
    """A program on a host; its output goes to a file in a folder of its own, its working folder:
    clients begun in the same second would have one file for recovery."""

    def __init__(self, host, words, folder):
        self.words = words
        own = tempfile.mkdtemp(dir=folder)
        handle, self.path = tempfile.mkstemp(dir=own)
        self.started = time.time()
        self.mark = processes.new_mark()
        try:
            with open(os.devnull, 'rb') as null:
                self.process = processes.spawn(
                    host.prefix + words, self.mark,
                    dict(os.environ, PYTHONDONTWRITEBYTECODE='1', PYTHONWARNINGS='ignore'),
                    stdin=null, stdout=handle, stderr=handle, cwd=own)
        finally:
            os.close(handle)

    def output(self):
        """Return what it has written so far."""
        with open(self.path, 'rb') as source:
            return source.read().decode('utf-8', 'replace')

    def results(self):
        """Return the dicts of its RESULT lines so far."""
        return [
            json.loads(line[7:]) for line in self.output().splitlines()
            if line.startswith('RESULT {')
        ]

    def wait_result(self, timeout=60, **wanted):
        """Wait for a RESULT line with these values; return its dict."""
        def find():
            found = [result for result in self.results()
                     if all(result.get(key) == value for key, value in wanted.items())]
            return found[-1:] or ([None] if self.process.poll() is not None else [])

        found = wait_until(find, timeout, lambda: '%s in the output:\n%s' % (wanted, self.output()),
                           interval=0.05)
        if found[0] is None:
            raise AssertionError(
                '%s ended; its output:\n%s' % (' '.join(self.words), self.output()))
        return found[0]

    def end(self):
        """Kill it and its children."""
        processes.end_marked(self.mark)
        self.process.wait()


class Lab(object):
    """Context manager: bridges and hosts, gone at the end with all programs."""

    def __init__(self):
        if not in_own_network():
            raise AssertionError('run this by: python3 -m tests --only network')
        self.hosts, self.programs = {}, []
        self.bridges = []
        self.folder = tempfile.mkdtemp(prefix='dispynode-lab-')

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        try:
            for program in self.programs:
                program.end()
        finally:
            for host in self.hosts.values():
                host.end()
            for bridge in self.bridges:
                command('ip', 'link', 'del', bridge)
            shutil.rmtree(self.folder, ignore_errors=True)

    def bridge(self, name):
        """Make a bridge, a network of its own."""
        command('ip', 'link', 'add', name, 'type', 'bridge', 'mcast_snooping', '0')
        command('ip', 'link', 'set', name, 'up')
        self.bridges.append(name)

    def host(self, name, bridge, *addresses):
        """Make a host connected to a bridge."""
        self.hosts[name] = Host(self, name).connect(bridge, *addresses)
        return self.hosts[name]

    def start(self, host, *words):
        """Start a program on a host."""
        program = Program(host, list(words), self.folder)
        self.programs.append(program)
        return program

    def client(self, host, python, **settings):
        """Start clients/jobs.py with these settings (see there)."""
        return self.start(host, python, os.path.join(CLIENTS, 'jobs.py'), json.dumps(settings))

    def scheduler(self, host, python, address, *options):
        """Start a dispyscheduler at `address`; wait until it listens."""
        program = os.path.join(os.path.dirname(python), 'dispyscheduler.py')
        scheduler = self.start(host, python, program, '-d', '--daemon', '-i', address, *options)
        wait_until(lambda: 'cheduler at' in scheduler.output() or 'erver' in scheduler.output()
                   or scheduler.process.poll() is not None, 60, scheduler.output)
        return scheduler
