"""How clients of the different releases speak: the table behind FakeScheduler."""
from __future__ import absolute_import, division, print_function

import os
import pickle

from tests.support.pickled import Binary, Call, Form, Record

FUNCTION, PROGRAM = 1, 2


class Dialect(object):
    """One release on one Python.

    release   text, as its PING says it
    python2   bool; `protocol` of its pickles
    modern    4.11+: names of setup functions as text, SETUP by dict, lists of files
    setup_always   4.10+: SETUP is sent even without a setup function
    """

    def __init__(self, release, python2, protocol):
        number = tuple(int(part) for part in release.split('.'))
        self.release = release
        self.form = Form(python2, protocol)
        self.python2 = python2
        self.modern = number >= (4, 11)
        self.setup_always = number >= (4, 10)
        self.has_close = number >= (4, 12)
        self.has_exclusive = number >= (4, 8, 7)
        self.has_node_ip_addr = number >= (4, 8, 3)
        self.old_job_keys = number < (4, 7)

    def __repr__(self):
        return '%s (%s)' % (self.release, 'Python 2' if self.python2 else 'Python 3')

    def dumps(self, value):
        """Return `value` as a client of this dialect pickles it."""
        return self.form.dumps(value)

    def arguments(self, value):
        """Return the inner pickle of arguments (any object of the test's own Python)."""
        protocol = 2 if self.python2 else min(self.form.protocol, pickle.HIGHEST_PROTOCOL)
        return Binary(pickle.dumps(value, protocol))

    def compute(self, fields, setup, cleanup):
        """Return the record of COMPUTE; setup, cleanup: names, or as the client's user gives
        them."""
        if not self.modern:
            setup = self._function(setup)
            cleanup = cleanup if isinstance(cleanup, bool) else self._function(cleanup)
            fields['xfer_files'] = set(fields['xfer_files'])
        else:
            fields.update(setup_args_count=0, client_reply_addr=None)
        if not self.has_exclusive:
            del fields['exclusive']
        if not self.has_node_ip_addr:
            del fields['node_ip_addr']
        fields.update(setup=setup, cleanup=cleanup, reentrant=False)
        return Record('_Compute', **fields)

    def _function(self, what):
        """`what`: None, a name, or (name, args, kwargs)."""
        if what is None:
            return None
        name, args, kwargs = what if isinstance(what, tuple) else (what, (), {})
        return Call('dispy', '_Function', (name, tuple(args), dict(kwargs)), b'\x81')

    def setup(self, compute_id, args):
        """Return the argument of SETUP."""
        return {'compute_id': compute_id, 'setup_args': tuple(args)} if self.modern else compute_id

    def job(self, fields, args, kwargs):
        """Return the record of JOB; args, kwargs are pickles."""
        keys = ('args', 'kwargs') if self.old_job_keys else ('_args', '_kwargs')
        return Record('_DispyJob_',
                      **dict(fields, **{keys[0]: Binary(args), keys[1]: Binary(kwargs)}))

    def file(self, name, dest_path, compute_id, status):
        """Return the record of FILEXFER; status: os.stat_result."""
        plain = tuple(int(value) for value in tuple(status)[:10])
        times = {'st_atime': float(status.st_atime), 'st_mtime': float(status.st_mtime),
                 'st_ctime': float(status.st_ctime)}
        maker = '_make_stat_result' if self.python2 else 'stat_result'
        return Record('_XferFile', name=name, dest_path=dest_path, compute_id=compute_id,
                      stat_buf=Call('os', maker, (plain, times)), sep=os.sep)


# what a node of the test's own Python takes: on Python 2.7 a Python 3 client must have been told to
# write protocol 2
READABLE = max(2, pickle.HIGHEST_PROTOCOL + 3 * (pickle.HIGHEST_PROTOCOL > 2))

# one row per way of speaking that differs on the wire, oldest first
DIALECTS = tuple(
    Dialect(release, python2, min(protocol, READABLE)) for release, python2, protocol in (
        ('4.6.17', False, 4),
        ('4.8.7', True, 2),
        ('4.8.7', False, 4),
        ('4.10.6', False, 5),
        ('4.12.4', False, 5),
        ('4.15.2', False, 5),
    ))
OLDEST, PYTHON2, LEGACY, NEWEST = DIALECTS[0], DIALECTS[1], DIALECTS[2], DIALECTS[-1]
