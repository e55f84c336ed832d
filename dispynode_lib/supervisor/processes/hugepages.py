"""Huge pages for what setup made: a fork copies one page table entry for 2 MiB instead of 512.

Linux 6.1 and later can do it when asked (MADV_COLLAPSE); elsewhere nothing happens. With 200 MB
behind it a fork takes 1 ms instead of 11 (docs/performance.rst).
"""
from __future__ import absolute_import, division, print_function

import os

from dispynode_lib.supervisor.processes.lean import call_system

WORTHWHILE = 48 << 20                       # bytes in memory; below it forks are cheap anyway
HUGE = 2 << 20
MADV_HUGEPAGE, MADV_COLLAPSE = 14, 25


def collapse():
    """Ask for huge pages for the private memory of this process, if it is large."""
    if _resident() < WORTHWHILE:
        return
    for begin, end in _areas():
        for advice in (MADV_HUGEPAGE, MADV_COLLAPSE):
            call_system('madvise', begin, end - begin, advice)


def _resident():
    """Return the bytes of this process in memory, 0 if the system does not tell."""
    try:
        with open('/proc/self/statm', 'rb') as source:
            return int(source.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')
    except (EnvironmentError, ValueError, IndexError):
        return 0


def _areas():
    """Return [(begin, end)] of private, writable memory without a file, by huge pages."""
    found = []
    with open('/proc/self/maps', 'rb') as source:
        lines = source.read().splitlines()
    for line in lines:
        words = line.split()
        if b'w' not in words[1] or len(words) > 5 and words[5] != b'[heap]':
            continue
        begin, end = [int(word, 16) for word in words[0].split(b'-')]
        begin, end = (begin + HUGE - 1) // HUGE * HUGE, end // HUGE * HUGE
        if end > begin:
            found.append((begin, end))
    return found
