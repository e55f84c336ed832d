"""Messages of a node: one writer for each; it returns the payload of a frame.

`peer` is a peers.Peer or anything with `python2`: it decides how strings are written. Texts may be
given as text or as UTF-8 bytes. Source: docs/protocol.rst, "Minimal replies", "Messages from a
node".
"""
from __future__ import absolute_import, division, print_function

from dispynode_lib.host.compat import to_text
from dispynode_lib.host.proc import AvailInfo
from dispynode_lib.wire.pickle.opcodes import FLOAT
from dispynode_lib.wire.pickle.pickles import binary, binary_head, dump, integer, text
from dispynode_lib.wire.pickle.records import Record

NULL_RESULT = b'\x80\x02N.'         # the pickle of None, as every Python reads it


def pong(peer, ip_addr, port, sign, name, cpus, platform, auth, avail_info, scheduler_ip_addr):
    """Write a PONG, the answer to a PING, which announces the peer's own release.

    auth            token (bytes) made from the secret and the peer's sign
    avail_info      None or an object with cpu, memory, disk, swap
    """
    return b'PONG:' + dump({'ip_addr': to_text(ip_addr), 'port': port, 'sign': to_text(sign),
                            'version': to_text(peer.version), 'name': to_text(name), 'cpus': cpus,
                            'platform': to_text(platform), 'auth': bytes(auth),
                            'avail_info': _info(avail_info),
                            'scheduler_ip_addr': to_text(scheduler_ip_addr)}, peer.python2)


def ping(version, python2, ip_addr, port, sign, scheduler_ip_addr):
    """Write a node's own PING for a release; `scheduler_ip_addr` None in a broadcast."""
    return b'PING:' + dump({'ip_addr': to_text(ip_addr), 'port': port, 'sign': to_text(sign),
                            'version': to_text(version),
                            'scheduler_ip_addr': to_text(scheduler_ip_addr)}, python2)


def pulse(peer, ip_addr, port, cpus, scheduler_ip_addr, avail_info):
    """Write a PULSE; `cpus` is the number in use."""
    return b'PULSE:' + dump({'ip_addr': to_text(ip_addr), 'port': port, 'cpus': cpus,
                             'scheduler_ip_addr': to_text(scheduler_ip_addr),
                             'avail_info': _info(avail_info)}, peer.python2)


def node_cpus(peer, ip_addr, sign, cpus):
    """Write a NODE_CPUS: the number of CPUs to use from now on."""
    return b'NODE_CPUS:' + dump({'ip_addr': to_text(ip_addr), 'sign': to_text(sign), 'cpus': cpus},
                                peer.python2)


def terminated(peer, ip_addr, port, sign):
    """Write a TERMINATED: the node is no longer there for this scheduler."""
    return b'TERMINATED:' + dump({'ip_addr': to_text(ip_addr), 'port': port, 'sign': to_text(sign)},
                                 peer.python2)


def node_closed(peer, node_addr, node_auth, compute_id, auth):
    """Write a NODE_CLOSED: CLOSE with `close` False is done; `node_auth`: the node's token."""
    return b'NODE_CLOSED:' + dump({'node_addr': to_text(node_addr), 'node_auth': bytes(node_auth),
                                   'compute_id': compute_id, 'auth': to_text(auth)}, peer.python2)


def node_info_udp(version, python2, ip_addr, port, sign):
    """Write the answer to a NODE_INFO datagram."""
    return b'NODE_INFO:' + dump({'ip_addr': to_text(ip_addr), 'port': port, 'sign': to_text(sign),
                                 'version': to_text(version)}, python2)


def value(peer, thing):
    """Write a bare pickle; AvailInfo in a dict becomes what peers expect."""
    if type(thing) is dict:
        thing = dict((key, _info(item) if isinstance(item, AvailInfo) else item)
                     for key, item in thing.items())
    return dump(thing, peer.python2)


def file_transfer(peer, name, dest_path, stat_result, sep):
    """Write the FILEXFER of a file that a job sends; `stat_result` as os.stat gives it."""
    return b'FILEXFER:' + dump(file_record(name, dest_path, stat_result, sep), peer.python2)


def file_record(name, dest_path, stat_result, sep, compute_id=None):
    """Return the Record that describes a file."""
    return Record('_XferFile', {'name': to_text(name), 'dest_path': to_text(dest_path),
                                'compute_id': compute_id, 'sep': to_text(sep),
                                'stat_buf': Record('stat',
                                                   {'mode': stat_result.st_mode,
                                                    'size': stat_result.st_size,
                                                    'atime': float(stat_result.st_atime),
                                                    'mtime': float(stat_result.st_mtime)})})


def _info(info):
    if info is None:
        return None
    return Record('DispyNodeAvailInfo',
                  dict((key, getattr(info, key)) for key in AvailInfo.__slots__))


# JOB_REPLY is written for every job: its pickle is put together from constants.

class _ReplyWords(object):
    """Constant pieces of a pickled _JobReply for one kind of peer."""

    def __init__(self, python2):
        def key(name):
            return text(to_text(name), python2)

        self.head = (b'\x80\x02'
                     if python2 else b'\x80\x03') + b'cdispy\n_JobReply\n)\x81}(' + key('uid')
        for name in ('hash', 'ip_addr', 'status', 'result', 'stdout', 'stderr', 'exception'):
            setattr(self, name, key(name))
        self.start_time = key('start_time') + b'G'
        self.end_time = key('end_time') + b'G'
        self.empty = text(u'', python2)


_WORDS = {False: _ReplyWords(False), True: _ReplyWords(True)}


def _output(output, python2, empty):
    if output is None:
        return b'N'
    if type(output) is bytes:
        return binary(output, python2)
    return text(output, python2) if output else empty


def job_reply_parts(peer, uid, hash, ip_addr, status, result, stdout, stderr, exception, start_time,
                    end_time, opcode=b'JOB_REPLY:'):
    """Return (head, result, tail): three byte strings that are a JOB_REPLY one after the other.

    hash, ip_addr       text
    result              a pickle (bytes), None for the pickle of None; it is handed back, not copied
    stdout, stderr      text, bytes or None; bytes reach Python 3 peers as bytes
    exception           text or None
    start_time, end_time    seconds since the epoch; None for a job that did not start becomes 0.0
    """
    python2 = peer.python2
    words = _WORDS[python2]
    if result is None:
        result = NULL_RESULT
    head = b''.join((opcode, words.head, integer(uid), words.hash, text(hash, python2),
                     words.ip_addr, text(ip_addr, python2), words.status, integer(status),
                     words.result, binary_head(len(result), python2)))
    tail = b''.join(
        (words.stdout, _output(stdout, python2, words.empty), words.stderr,
         _output(stderr, python2, words.empty), words.exception,
         b'N' if exception is None else text(to_text(exception), python2), words.start_time,
         FLOAT.pack(start_time or 0.0), words.end_time, FLOAT.pack(end_time or 0.0), b'ub.'))
    return head, result, tail


def job_reply(*args, **fields):
    """Write a JOB_REPLY; parameters as job_reply_parts."""
    return b''.join(job_reply_parts(*args, **fields))


def job_reply_object(*args, **fields):
    """Write a bare _JobReply: the reply to RETRIEVE_JOB, the second frame of a job's FILEXFER."""
    return b''.join(job_reply_parts(*args, opcode=b'', **fields))
