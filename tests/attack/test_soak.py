"""The soak test in a reduced form."""
from __future__ import absolute_import, division, print_function

import unittest

from tests.soak.__main__ import run


class SoakTest(unittest.TestCase):

    def test_nothing_grows_and_nothing_is_lost(self):
        self.assertEqual(run(0.03, 3), [])
