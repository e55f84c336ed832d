"""Status of the node: one dict, from which text, JSON, metrics and page are made."""
from __future__ import absolute_import, division, print_function

import os
import time

from dispynode_lib import __version__
from dispynode_lib.host.compat import PYTHON_VERSION, monotonic, to_text
from dispynode_lib.host.io.loop import gather
from dispynode_lib.host.wording import counted, duration
from dispynode_lib.node.shared.history import in_words
from dispynode_lib.node.discovery import visitors
from dispynode_lib.node.timed import duties

PIDS_TIMEOUT = 0.5  # seconds that supervisors have to tell the processes of jobs


class Status(object):
    """Gathers what is known about the node from its parts; any thread but the loop's."""

    def __init__(self, common, folder, history, ports, addresses, nursery, visitors, announcer,
                 delivery, spool, service, complaints, penalties):
        self._options, self._state, self._identity = common.options, common.state, common.identity
        self._folder, self._history = folder, history
        self._ports, self._addresses, self._nursery = ports, addresses, nursery
        self._visitors, self._announcer = visitors, announcer
        self._delivery, self._spool, self._service = delivery, spool, service
        self._complaints, self._penalties = complaints, penalties

    def trouble(self):
        """Return why the node is of no use now (text), None if it is."""
        return self._addresses.trouble() or self._nursery.trouble()

    def gather(self):
        """Return the status as a dict of plain values; waits a moment for supervisors."""
        now = time.time()
        found = self._gather_node(now)
        found.update(self._gather_work(now))
        found['why_idle'] = self.why_idle(found['busy'])
        return found

    def _gather_node(self, now):
        state, identity, service = self._state, self._identity, self._service
        info = identity.meter.read()
        trouble, failing = self._addresses.trouble(), self._nursery.trouble()
        return {'version': __version__, 'python': PYTHON_VERSION, 'pid': os.getpid(),
                'name': identity.name, 'phase': state.phase(),
                'ready': state.closed() is None and trouble is None and failing is None,
                'network': trouble, 'trouble': failing, 'began': self._history.began,
                'uptime': now - self._history.began, 'now': now,
                'addresses': list(identity.addresses), 'external': list(identity.external),
                'ports': list(self._ports.numbers()), 'folder': to_text(self._folder.root),
                'state_folder': to_text(self._folder.path),
                'usable_cpus': self._options.usable_cpus, 'cpus_reason': self._options.cpus_reason,
                'service': service.describe(), 'service_open': service.is_open(),
                'service_next_change': service.next_change(),
                'available': None if info is None
                else {'cpu': info.cpu, 'memory': info.memory, 'disk': info.disk, 'swap': info.swap}}

    def _gather_work(self, now):
        state, history, counts = self._state, self._history, self._state.counts()
        pids = job_pids(state.computations())
        return {'cpus': state.cpus(), 'busy': counts['busy'], 'free': state.free_cpus(),
                'scheduler': owner(state, self._options, history),
                'clients': self._visitors.fields(),
                'computations': [self._computation(computation, now, pids)
                                 for computation in state.computations()],
                'cleaning_up': _cleaning_up(set(state.computations() + state.ending()), now),
                'jobs_done': counts['jobs_done'], 'clients_done': counts['clients_done'],
                'computations_opened': counts['computations'], 'job_seconds': counts['cpu_time'],
                'outcomes': history.outcomes(), 'usage': history.usage(), 'serve': counts['serve'],
                'undelivered': self._spool.total(), 'being_delivered': self._delivery.pending(),
                'refused': self._complaints.counts(),
                'recent_jobs': [job.fields() for job in history.jobs()]}

    def why_idle(self, busy):
        """Return the sentences (list of text) on why no job runs, [] while one does."""
        if busy:
            return []
        lines = [trouble for trouble in (self._nursery.trouble(), self._addresses.trouble())
                 if trouble is not None]
        lines.append(
            why_owned(owner(self._state, self._options, self._history), self._state.refusal()))
        lines += visitors.sentences(self._visitors.fields(), self._identity.port)
        lines.append(self._service.describe())
        described = self._announcer.describe()
        lines += [u'it ' + line for line in described[:1]] + described[1:]
        lines += self._ports.describe() + self._penalties.sentences()
        lines += self._complaints.sentences() or [u'no client has been turned away']
        return [to_text(line) for line in lines]

    def _computation(self, computation, now, pids):
        jobs = sorted(self._state.jobs(computation.id), key=lambda job: job.started)
        opened = self._history.opened_at(computation.id)
        return {'id': computation.id, 'name': computation.name, 'opened': opened,
                'age': now - opened, 'program': computation.program,
                'scheduler': computation.scheduler[0], 'scheduler_port': computation.scheduler[1],
                'release': computation.peer.version, 'zombie': computation.zombie,
                'moved': computation.moved, 'folder': to_text(computation.folder.path)
                if computation.folder else None,
                'jobs': [_job(job, now, pids.get(computation.id, {})) for job in jobs]}


def _cleaning_up(computations, now):
    """Return what is being cleaned up (functions, files), the oldest first."""
    rows = [(computation.cleaning_since, computation) for computation in computations]
    return [{'id': computation.id, 'name': computation.name, 'scheduler': computation.scheduler[0],
             'since': since, 'age': now - since}
            for since, computation in sorted((row for row in rows if row[0] is not None),
                                             key=lambda row: row[0])]


def _job(job, now, pids):
    child = job.child
    return {'uid': job.uid, 'started': job.started, 'age': now - job.started,
            'stopping': job.stopping, 'pid': None if child is None else pids.get(child.number)}


def job_pids(computations):
    """Return {computation id: {number of a job process: pid}} of those that answer soon."""
    answers = gather(dict((one.id, one.ask_pids) for one in computations), PIDS_TIMEOUT)
    return dict((computation_id, pids) for computation_id, (pids,) in answers.items())


# in words

def describe(status):
    """Return the status as text for a person."""
    lines = [u'%s (dispynode %s, Python %s, process %d) is %s%s' %
             (status['name'], status['version'], status['python'], status['pid'],
              status['phase'].lower(), u'' if status['ready'] or status['phase'] != 'SERVING'
              else u', but %s' % _not_ready(status))]
    lines.append(u'  address      %s%s, TCP and UDP ports %s' % (
        u', '.join(status['addresses']),
        u' (announced as %s)' % u', '.join(status['external']) if status['external'] else u'',
        u', '.join(u'%d' % port for port in status['ports'])))
    lines.append(u'  CPUs         %d offered, %d busy; this process may use %d: %s' % (
        status['cpus'], status['busy'], status['usable_cpus'], status['cpus_reason']))
    lines.append(u'  running      %s' % duration(status['uptime']))
    scheduler = status['scheduler']
    lines.append(u'  scheduler    %s' % (describe_owner(scheduler) if scheduler else u'none'))
    lines.append(u'  service      %s%s' % (status['service'], _next_change(status)))
    lines.append(u'  done         %s, %s%s, %.1f s of jobs' %
                 (counted(status['clients_done'], u'client'), counted(status['jobs_done'], u'job'),
                  u' (%s)' % in_words(status['outcomes']) if status['outcomes'] else u'',
                  status['job_seconds']))
    lines.append(u'  undelivered  %s kept, %d under way' % (
        counted(status['undelivered'], u'result'), status['being_delivered']))
    lines.append(u'  files in     %s' % status['folder'])
    for computation in status['computations']:
        lines += _describe_computation(computation)
    for computation in status['cleaning_up']:
        lines.append(u'  cleaning up  %d (%s) of %s, for %s, since %s' %
                     (computation['id'], computation['name'], computation['scheduler'],
                      duration(computation['age']),
                      time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(computation['since']))))
    if not status['why_idle']:
        lines += [
            u'  not served   ' + line
            for line in visitors.sentences(status['clients'], status['ports'][0])
        ]
    if status['why_idle']:
        lines.append(u'  idle because')
        lines += [u'    %s' % line for line in status['why_idle']]
    return u'\n'.join(lines) + u'\n'


def _not_ready(status):
    if status['trouble']:
        return status['trouble']
    return u'takes no client%s' % (u' of other hosts: %s' %
                                   status['network'] if status['network'] else u'')


def _next_change(status):
    when = status['service_next_change']
    return u'' if when is None else u'; next change %s' % time.strftime(
        '%Y-%m-%d %H:%M', time.localtime(when))


def _describe_computation(computation):
    lines = [u'  computation  %d (%s) of %s port %d, open for %s%s' %
             (computation['id'], computation['name'], computation['scheduler'],
              computation['scheduler_port'], duration(computation['age']),
              u', its scheduler is silent' if computation['zombie']
              else u', its scheduler knows an address that is gone' if computation['moved']
              else u'')]
    for job in computation['jobs']:
        lines.append(u'    job %d, process %s, for %s%s' % (
            job['uid'], job['pid'] or u'(starting)', duration(job['age']),
            u', being stopped' if job['stopping'] else u''))
    return lines


def owner(state, options, history):
    """Return a dict of plain values about the scheduler that has the node, None if none has."""
    scheduler = state.scheduler()
    if scheduler is None:
        return None
    opened = [history.opened_at(computation.id) for computation in state.computations()]
    silent_for, given_up_in = duties.silence(state, options, monotonic()) or (None, None)
    return {'address': scheduler[0], 'port': scheduler[1],
            'for': max(0.0, time.time() - min(opened)) if opened else None,
            'silent_for': silent_for, 'given_up_in': given_up_in}


def describe_owner(told):
    """Return what owner() tells as text."""
    text = u'%s port %d' % (told['address'], told['port'])
    if told['for'] is not None:
        text += u' for ' + duration(told['for'])
    if told['silent_for'] is not None:
        text += u', silent for %s; %s; --ctl release frees the node now' % (
            duration(told['silent_for']), u'it is never given up (--zombie_interval 0)'
            if told['given_up_in'] is None else u'it will be given up in ' +
            duration(told['given_up_in']))
    return text


def why_owned(told, refusal):
    """Return a text on who has the node: of what owner() and NodeState.refusal() return."""
    if told is not None:
        return u'busy with the scheduler at ' + describe_owner(told)
    if refusal is None:
        return u'it waits for a client: none has opened a computation'
    return refusal[1]
