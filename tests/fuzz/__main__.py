"""Fuzz by hand, guided by coverage: python3 -m tests.fuzz FOLDER-OF-CASES [libFuzzer options];
needs atheris.

With --lines FOLDER, and coverage in place of atheris, it tells which lines of the readers the cases
of a folder reach.
"""
from __future__ import absolute_import, division, print_function

import os
import sys

PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MEASURED = ('wire/*', 'wire/pickle/*', 'options/configfile.py', 'node/computations/frames.py',
            'node/replies/journal.py', 'node/shared/known.py', 'node/shared/identity.py')


def fuzz():
    """Fuzz until libFuzzer ends."""
    import atheris
    with atheris.instrument_imports(include=['dispynode_lib']):
        from tests.fuzz import targets
    from tests.fuzz.seeds import write_all
    if not os.path.isdir(sys.argv[1]):
        os.makedirs(sys.argv[1])
        write_all(sys.argv[1])
    targets.quiet()
    atheris.Setup(sys.argv, targets.one_input)
    atheris.Fuzz()


def lines(folder):
    """Give every case of a folder to its target; print the lines of the readers that were
    reached."""
    import coverage
    measure = coverage.Coverage(
        data_file=None, branch=True, include=[
            os.path.join(PROJECT, 'dispynode_lib', name) for name in MEASURED
        ])
    measure.start()
    from tests.fuzz import targets
    targets.quiet()
    names = sorted(os.listdir(folder))
    for name in names:
        with open(os.path.join(folder, name), 'rb') as source:
            targets.one_input(source.read())
    measure.stop()
    print('%d cases' % len(names))
    measure.report(show_missing=True)


if __name__ == '__main__':
    if sys.argv[1:2] == ['--lines']:
        lines(sys.argv[2])
    else:
        fuzz()
