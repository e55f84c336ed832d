"""One real client does its main job with a node on its default ports."""
from __future__ import absolute_import, division, print_function

import unittest

from tests.interop.realclient import configuration, run_client
from tests.support.computation import FINISHED, TERMINATED
from tests.support.nodeprocess import NodeProcess

JOBS = 200


class MainJobTest(unittest.TestCase):
    """All tests look at the same run of one client."""

    @classmethod
    def setUpClass(cls):
        clients, node_python = configuration()
        cls.client = clients[0]
        with NodeProcess('-c', '2', python=node_python, port='default') as node:
            cls.told = run_client(cls.client, 'main_job.py', JOBS, node=node)

    def single(self, name):
        """Return what is known of the job `name`, which must have finished."""
        told = self.told['single'][name]
        self.assertEqual(told.get('status'), FINISHED, told)
        return told

    def test_the_client_is_the_release_that_was_asked_for(self):
        self.assertEqual(self.told['release'], self.client.release)

    def test_arguments_and_results_of_many_types_come_back_the_same(self):
        self.assertTrue(self.single('echo')['same'])

    def test_depends_of_a_function_and_a_module_file(self):
        self.assertEqual(self.single('depends')['result'], 42)

    def test_objects_of_a_class_in_depends_travel_both_ways(self):
        self.assertTrue(self.single('object')['same'])

    def test_stdout_and_stderr_of_the_job(self):
        told = self.single('output')
        self.assertEqual((told['stdout'], told['stderr']), ('to stdout: one\n', 'to stderr: one\n'))
        self.assertEqual(told['result'], 2)

    def test_a_job_runs_in_main_in_a_folder_with_the_files(self):
        pid, _folder, names, module = self.single('place')['result']
        self.assertGreater(pid, 1)
        self.assertIn('addition.py', names)
        self.assertEqual(module, '__main__')

    def test_an_exception_brings_a_traceback_of_the_users_own_frames(self):
        told = self.told['single']['fail']
        self.assertEqual(told.get('status'), TERMINATED, told)
        self.assertIsNone(told['result'])
        self.assertEqual(told['stdout'], 'before the failure\n')
        text = told['exception']
        for wanted in ('Traceback (most recent call last)', 'in everything',
                       'in fail_deep_inside', 'ValueError: no luck with that'):
            self.assertIn(wanted, text)
        for internal in ('dispynode_lib', 'dispynode.py'):
            self.assertNotIn(internal, text)

    def test_all_of_many_jobs_are_right(self):
        told = self.told['many']
        self.assertEqual((told['right'], told['wrong'], told['lost'], told['none']),
                         (JOBS, 0, 0, 0), told)
