"""What is fuzzed: every reader of what peers and jobs send. A target takes bytes; only ProtocolError may come out of it."""
from __future__ import absolute_import, division, print_function

from dispynode_lib.errors import ProtocolError
from dispynode_lib.node import jobframes
from dispynode_lib.wire import control, framing, messages

READERS = (
    messages.read_ping, messages.read_pulse, messages.read_node_info_udp, messages.read_compute, messages.read_file,
    messages.read_job, messages.read_setup, messages.read_close, messages.read_question, messages.read_admin,
)
LARGEST = 1 << 16


def read_message(data):
    """The first byte chooses the reader of the rest."""
    reader = READERS[bytearray(data[:1] or b'\0')[0] % len(READERS)]
    try:
        reader(data[1:])
    except ProtocolError:
        return


def split_frame(data):
    """A datagram, or the payload of a frame."""
    try:
        framing.split(data)
    except ProtocolError:
        return


def control_frames(data):
    """What a job writes to its channel, in pieces."""
    splitter = control.Splitter(LARGEST)
    try:
        for start in range(0, len(data), 7):
            for parts in splitter.feed(data[start:start + 7]):
                jobframes.read_done(parts[1:], program=False)
    except ProtocolError:
        return


TARGETS = (read_message, split_frame, control_frames)
