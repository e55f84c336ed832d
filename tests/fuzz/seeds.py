"""Cases to begin with: the recorded messages of real clients, one file or frame of each kind, and
attacks on pickles."""
from __future__ import absolute_import, division, print_function

import os
import struct

from dispynode_lib.wire import control
from dispynode_lib.wire.pickle import pickles
from dispynode_lib.wire.pickle.records import Record
from tests.fuzz.targets import READERS, TARGETS

RECORDED = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'wire')
FOUND = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'found')

# each tuple holds the one before twice: 2 ** 40 paths in 200 bytes
EXPONENTIAL = b'\x80\x04)\x94' + b''.join(
    b'h' + struct.pack('B', number) + b'h' + struct.pack('B', number) + b'\x86\x94'
    for number in range(40)) + b'.'
PICKLES = (
    b'\x80\x04\x96' + struct.pack('<Q', 2**63) + b'.',  # BYTEARRAY8 that lies
    b'\x80\x05\x96' + struct.pack('<Q', 4) + b'abcd.',
    b'\x80\x04\x8e' + struct.pack('<Q', 2**64 - 1) + b'.',
    b'\x80\x04\x8d' + struct.pack('<Q', 2**32) + b'a.',
    b'(' * 200 + b't' * 200 + b'.',
    b']' + b'q\0' + b'h\0a' * 40 + b'.',  # deep; a list in itself
    b'\x80\x02)' + b'2\x86' * 60 + b'.',
    EXPONENTIAL,
    # memo
    b'Nr' + struct.pack('<L', 2**32 - 1) + b'.',
    b'Np' + b'9' * 31 + b'\n.',
    b'j' + b'\xff' * 4 + b'.',
    b'I' + b'9' * 5000 + b'\n.',
    b'L' + b'9' * 5000 + b'L\n.',
    b'F' + b'1' * 60 + b'\n.',
    b'\x8b' + struct.pack('<L', 2**31 - 1) + b'\xff' * 9 + b'.',
    b'\x8a\xff' + b'\x7f' * 255 + b'.',
    b"cos\nsystem\n(S'true'\ntR.",
    b'\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.',
    b"(ios\nsystem\n.",
    b'\x82\x01.',
    b'\x97.',
    b'\x98.',
    b'\x80\xff.',
    b'cdispy\n_Compute\n)\x81}b}b.',
    b'',
)
FILES = (
    b'51347 4.8.7\n9700 4.15.2\n',
    b'0123456789' * 4 + b'\n',
    b'{"folder": "/tmp/a", "pid": 7}',
    b'{"folder": ["/"]}',
    b'[' * 2000,
    b'[dispynode]\ncpus = 2\nallow = [\'10.0.0.0/8\']\nservice_start = 08:00\njob_memory = '
    b'2g\nclean = True\n',
    b'[DEFAULT]\nip_addrs = []\ncpus = 0\nsafe_setup = True\nloglevel = 1\n',
    b'client_release=4.8.7@51347',
    b'cpus=-1',
    b'CPUS=2',
    b'status',
    b'cpus 2',
    b'/healthz HTTP/1.1\r\nHost: a\r\n\r\n',
    b'/?q HTTP/1.0\n\n',
    b'\xff /',
)


def _frames():
    """Return frames of jobs and notes of accepted ones."""
    done = control.pack(b'done', b'11', b'\x80\x02K\1.', b'out', b'err', None, b'1.5', b'2.5')
    note = control.pack(b'1', b'auth', b'2', b'abc', b'192.0.2.1', b'9700', b'192.0.2.2', b'0',
                        b'4', b'1.500', b'x' * 40)[4:]
    log = control.pack(b'log', b'20', b'dispynode', b'a\nb')
    return [
        done, note, log, done + log,
        control.pack(None, None),
        control.pack(b'192.0.2.1', b'9700', b'x' * 40)[4:]
    ]


def _jobs():
    """Return JOBs with code and arguments of some size, in either order."""
    first, then = [('uid', 7), ('hash', u'ab')], [('compute_id', 9), ('_kwargs', b'\x80\x02}.'),
                                                  ('xfer_files', [])]
    big = [('code', u'# code\n' * 100), ('_args', b'\x80\x02U\xff' + b'A' * 900 + b'.')]
    return [pickles.dump(Record('_DispyJob_', dict(first + pair + then)), python2)
            for pair in (big, big[::-1]) for python2 in (False, True)]


def all_cases():
    """Return [(name, case)]; the first byte of a case chooses its target, for read_message the
    second one the reader."""
    plain = [('pickle-%02d' % number, data) for number, data in enumerate(PICKLES)]
    plain += [('file-%02d' % number, data) for number, data in enumerate(FILES)]
    plain += [('frame-%02d' % number, data) for number, data in enumerate(_frames())]
    plain += [('job-%02d' % number, data) for number, data in enumerate(_jobs())]
    recorded = []
    for name in sorted(os.listdir(RECORDED)):
        if name.endswith('.bin'):
            with open(os.path.join(RECORDED, name), 'rb') as source:
                recorded.append((name, source.read()))
    arguments = plain + [(name, data.partition(b':')[2]) for name, data in recorded]
    cases = [('0-%02d-%s' % (number, name), bytes(bytearray([0, number])) + data)
             for number in range(len(READERS)) for name, data in arguments]
    for number in range(1, len(TARGETS)):
        cases += [('%d-%s' % (number, name), bytes(bytearray([number])) + data)
                  for name, data in arguments]
        if TARGETS[number].__name__ in ('split_frame', 'new_connection', 'framed_reply'):
            for name, data in recorded:
                frame = struct.pack('>L', len(data)) + data
                cases += [('%d-whole-%s' % (number, name), bytes(bytearray([number])) + data),
                          ('%d-framed-%s' % (number, name), bytes(bytearray([number])) + frame),
                          ('%d-begun-%s' % (number, name),
                           bytes(bytearray([number])) + b'x' * 40 + frame)]
    return cases + found_cases()


def found_cases():
    """Return [(name, case)] of those that a fuzzer has found: each made a reader fail once."""
    found = []
    for name in sorted(os.listdir(FOUND)) if os.path.isdir(FOUND) else ():
        if name.endswith('.case'):
            with open(os.path.join(FOUND, name), 'rb') as source:
                found.append((name, source.read()))
    return found


def write_all(folder):
    """Write every case into a folder, one file each."""
    for name, case in all_cases():
        with open(os.path.join(folder, name), 'wb') as target:
            target.write(case)
