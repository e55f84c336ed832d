"""Fuzz by hand, guided by coverage: python3 -m tests.fuzz FOLDER-OF-CASES [libFuzzer options]; needs atheris."""
from __future__ import absolute_import, division, print_function

import os
import sys

import atheris

with atheris.instrument_imports(include=['dispynode_lib']):
    from tests.fuzz.targets import TARGETS

RECORDED = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'wire')


def seed(folder):
    """Put the recorded messages of real clients into the folder, one for each reader."""
    for name in sorted(os.listdir(RECORDED)):
        if name.endswith('.bin'):
            with open(os.path.join(RECORDED, name), 'rb') as source:
                argument = source.read().partition(b':')[2]
            for number in range(10):
                with open(os.path.join(folder, '%d-%s' % (number, name)), 'wb') as target:
                    target.write(b'\0' + bytearray([number]) + argument)


def one_input(data):
    """Give a case to the target that its first byte chooses."""
    if data:
        TARGETS[data[0] % len(TARGETS)](data[1:])


if __name__ == '__main__':
    if not os.path.isdir(sys.argv[1]):
        os.makedirs(sys.argv[1])
        seed(sys.argv[1])
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
