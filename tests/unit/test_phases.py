"""node.shared.phases and the tables of computations, supervisors, jobs and job processes."""
from __future__ import absolute_import, division, print_function

import collections
import io
import os
import unittest

from dispynode_lib.node.computations import computation, link, supervision
from dispynode_lib.node.shared import job, phases
from dispynode_lib.node.shared.phases import Life

# the table, the first phase, the last ones
COMPUTATION = computation.LIFE, computation.OPENING, [computation.CLOSED]
SUPERVISION = supervision.LIFE, supervision.NONE, []
JOB = job.LIFE, job.ADMITTED, [job.FINISHED, job.STOPPED]
CHILD = link.LIFE, link.IDLE, [link.TOLD, link.GONE]
DOCUMENT = os.path.join(os.path.dirname(__file__), '..', '..', 'docs', 'architecture.rst')
TABLES = (COMPUTATION, SUPERVISION, JOB, CHILD)
# events that the node itself brings about, where it looks at the phase before: anywhere else they
# are faults
OWN = {
    'a computation': (computation.OPENED, computation.FAILED, computation.ABANDON,
                      computation.DRAINED, computation.CLEANED, computation.REMOVED),
    'a supervisor': (supervision.START, supervision.ATTACH, supervision.FAIL, supervision.SET_UP,
                     supervision.CLOSE, supervision.LOST),
    'a job': (job.TAKE, job.WAIT, job.GIVE, job.STOP, job.FINISH),
    'a job process': (link.GIVE, link.DISMISS, link.TAKE_BACK),
}


def described(life):
    """Return a table as docs/architecture.rst shows it: a list of lines, one for each pair of
    phases."""
    rows = collections.OrderedDict()
    for (before, event), after in life.edges.items():
        rows.setdefault((before, after), []).append(event)
    return ['    %-11s -> %-11s %s' % (before, after, ', '.join(sorted(events)))
            for (before, after), events in rows.items()]


def phases_of(life):
    """Return all phases (set)."""
    return set(phase for phase, _event in life.edges).union(life.edges.values())


def events_of(life):
    """Return all events (set)."""
    return set(event for _phase, event in life.edges)


class Thing(object):
    phase = 'young'


class LifeTest(unittest.TestCase):

    def setUp(self):
        self.faults = []
        self.addCleanup(setattr, phases, 'on_fault', phases.on_fault)
        phases.on_fault = self.faults.append
        self.life, self.thing = Life(u'a thing', {('young', 'age'): 'old'},
                                     [('old', 'age')]), Thing()

    def test_an_edge_changes_the_phase(self):
        self.assertTrue(self.life.change(self.thing, 'age'))
        self.assertEqual((self.thing.phase, self.faults), ('old', []))

    def test_what_is_ignored_changes_nothing_and_is_no_fault(self):
        self.thing.phase = 'old'
        self.assertFalse(self.life.change(self.thing, 'age'))
        self.assertEqual((self.thing.phase, self.faults), ('old', []))

    def test_an_event_without_an_edge_is_refused_and_told(self):
        self.assertFalse(self.life.change(self.thing, 'die'))
        self.assertEqual((self.thing.phase, self.faults), (
            'young', [u'a fault of dispynode: a thing, young, cannot die: that is refused']))


class TablesTest(unittest.TestCase):

    def test_every_phase_is_reached(self):
        for life, first, _last in TABLES:
            reached, more = set(), [first]
            while more:
                phase = more.pop()
                reached.add(phase)
                more += [after for (before, _event), after in life.edges.items()
                         if before == phase and after not in reached]
            self.assertEqual(reached, phases_of(life), life.noun)

    def test_only_the_last_phases_are_never_left(self):
        for life, _first, last in TABLES:
            left = set(before for (before, _event), after in life.edges.items() if before != after)
            self.assertEqual(phases_of(life) - left, set(last), life.noun)

    def test_from_every_phase_the_end_is_reached(self):
        for life, first, last in TABLES:
            for start in phases_of(life):
                reached, more = set(), [start]
                while more:
                    phase = more.pop()
                    reached.add(phase)
                    more += [after for (before, _event), after in life.edges.items()
                             if before == phase and after not in reached]
                self.assertTrue(reached.intersection(last or [first]), (life.noun, start))

    def test_every_event_in_every_phase_has_an_edge_or_is_ignored_or_is_the_nodes_own(self):
        for life, _first, _last in TABLES:
            for phase, event in phases.every(phases_of(life), events_of(life)):
                known = (phase, event) in life.edges or (phase, event) in life.ignored
                self.assertTrue(known or event in OWN[life.noun], (life.noun, phase, event))

    def test_nothing_is_both_an_edge_and_ignored(self):
        for life, _first, _last in TABLES:
            self.assertEqual(life.ignored.intersection(life.edges), set(), life.noun)
            self.assertLessEqual(set(event
                                     for _phase, event in life.ignored), events_of(life), life.noun)

    def test_the_document_shows_each_table(self):
        with io.open(DOCUMENT, encoding='utf-8') as source:
            shown = set(source.read().splitlines())
        for life, _first, _last in TABLES:
            self.assertEqual([line for line in described(life) if line not in shown], [], life.noun)


if __name__ == '__main__':
    unittest.main()
