"""Figures of the status page."""
from __future__ import absolute_import, division, print_function

import unittest

from dispynode_lib.node.operator import page


class PlotsTest(unittest.TestCase):

    def test_jobs_at_the_same_time_stand_in_rows_of_their_own(self):
        jobs = [(0, 10, u'finished', u'a'), (5, 15, u'failed', u'b'), (10, None, u'running', u'c'),
                (16, 17, u'finished', u'd')]
        self.assertEqual([[job[3] for job in row]
                          for row in page.place(jobs, 20)], [[u'a', u'c'], [u'b', u'd']])

    def test_curves_without_and_with_points(self):
        self.assertIn(u'not known yet', page.curve(u'x', [], 1000.0, 300, 100.0, u'%.0f'))
        shown = page.curve(u'x', [(600.0, 1.0), (900.0, 50.0), (1000.0, 100.0)], 1000.0, 300,
                            100.0, u'%.0f')
        self.assertIn(u'x: 100', shown)
        # what is older than the span is left out
        self.assertIn(u'points="240.0,46.0 340.0,6.0"', shown)

    def test_figures_show_about_as_long_as_the_node_has_run(self):
        self.assertEqual([page.span_of(uptime)
                          for uptime in (1, 301, 900, 1e6)], [300, 900, 900, 3600])

    def test_what_came_before_the_span_is_left_out(self):
        shown = page.rows_of_jobs([(0, 10, u'finished', u'old'), (950, None, u'running', u'new')],
                                   2, 1000, 300)
        self.assertIn(u'new, 50.0 s', shown)
        self.assertNotIn(u'old', shown)


if __name__ == '__main__':
    unittest.main()
