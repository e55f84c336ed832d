"""The table of what passed: interpreter x (tree, one file) x kind of test."""
from __future__ import absolute_import, division, print_function

import collections

from tests.runner.interpreters import sort_key

KINDS = ('unit', 'functional', 'attack', 'interop', 'network')
PROGRAMS = ('tree', 'one file')


def text(outcomes):
    """Return the table of suites with an interpreter: passed, and failed if any; '' if there are
    none."""
    cells = collections.defaultdict(lambda: [0, 0])
    for outcome in outcomes:
        if outcome.suite.minor is not None:
            cell = cells[outcome.suite.minor, outcome.suite.program, outcome.suite.kind]
            cell[0] += outcome.passed
            cell[1] += len(outcome.failures)
    columns = [(program, kind) for program in PROGRAMS for kind in KINDS
               if any(key[1:] == (program, kind) for key in cells)]
    if not columns:
        return ''
    lines = ['passed' + ''.join('%22s' % ('%s, %s' % (kind, program)) for program, kind in columns)]
    for minor in sorted(set(key[0] for key in cells), key=sort_key):
        lines.append('%-6s' % minor + ''.join('%22s' % _cell(cells.get((minor, ) + column))
                                              for column in columns))
    return '\n'.join(lines)


def versions(outcomes):
    """Return what became of each kind of argument, by client and node; '' if no suite tells of
    it."""
    lines, found = [], collections.OrderedDict()
    for line in [
            line for outcome in outcomes for line in outcome.told
            if isinstance(line, dict) and 'kind' in line
    ]:
        by_outcome = found.setdefault((line['client'], line['node']), collections.OrderedDict())
        by_outcome.setdefault(line['outcome'], []).append(line['kind'])
    for client, node in sorted(found, key=lambda pair:
                               (sort_key(pair[0].split()[-1]), sort_key(pair[1]))):
        lines.append('client %s, node %s:' % (client, node))
        for outcome, kinds in found[client, node].items():
            lines.append('    %s: %s' % (outcome, ', '.join(kinds)))
    return '\n'.join(lines)


def _cell(numbers):
    if numbers is None:
        return '-'
    return '%d' % numbers[0] + (', %d FAILED' % numbers[1] if numbers[1] else '')
