"""Requests of clients, written for the node's check of itself and for tests.

Each writer returns the payload of a frame as a Python 3 client of a recent release sends it, or,
with `python2`, as a Python 2 client does.
"""
from __future__ import absolute_import, division, print_function

from dispynode_lib.host.compat import to_text
from dispynode_lib.wire.pickle.pickles import dump
from dispynode_lib.wire.pickle.records import Record


def ping_request(version, sign, port, ip_addrs, node_ip_addr=None, python2=False):
    """Write a client's PING; the PONG goes to `port` on `ip_addrs`."""
    fields = {'version': _plain(version), 'sign': _plain(sign), 'port': port,
              'ip_addrs': _plain(list(ip_addrs))}
    if node_ip_addr is not None:
        fields['node_ip_addr'] = _plain(node_ip_addr)
    return b'PING:' + dump(fields, python2)


def compute_request(type, name, id, code, auth, scheduler_ip_addr, scheduler_port, python2=False,
                    **more):
    """Write a COMPUTE; `more`: attributes of _Compute with other than their usual values."""
    fields = {'type': type, 'name': name, 'id': id, 'code': code, 'auth': auth, 'dest_path': None,
              'xfer_files': [], 'reentrant': False, 'exclusive': True, 'setup': None,
              'cleanup': True, 'setup_args_count': 0, 'scheduler_ip_addr': scheduler_ip_addr,
              'scheduler_port': scheduler_port, 'node_ip_addr': None,
              'job_result_port': scheduler_port, 'pulse_interval': None, 'client_reply_addr': None}
    fields.update(more)
    return b'COMPUTE:' + dump(Record('_Compute', _plain(fields)), python2)


def job_request(uid, hash, compute_id, args, kwargs, code=u'', xfer_files=(), python2=False,
                opcode=b'JOB'):
    """Write a JOB or, with `opcode`, a TERMINATE_JOB; `args` and `kwargs` are pickles (bytes)."""
    fields = {'uid': uid, 'hash': _plain(hash), 'compute_id': compute_id, '_args': args,
              '_kwargs': kwargs, 'xfer_files': list(xfer_files), 'code': _plain(code)}
    return opcode + b':' + dump(Record('_DispyJob_', fields), python2)


def setup_request(compute_id, setup_args=(), python2=False):
    """Write a SETUP with a tuple of plain arguments."""
    return b'SETUP:' + dump({'compute_id': compute_id, 'setup_args': tuple(setup_args)}, python2)


def close_request(compute_id, auth, node_ip_addr, terminate_pending=True, close=True,
                  python2=False):
    """Write a CLOSE."""
    return b'CLOSE:' + dump({'compute_id': compute_id, 'auth': _plain(auth),
                             'node_ip_addr': _plain(node_ip_addr),
                             'terminate_pending': terminate_pending, 'close': close}, python2)


def _plain(thing):
    """Return `thing` with native strings as text, inside a dict or list too."""
    if isinstance(thing, dict):
        return dict((key, _plain(item)) for key, item in thing.items())
    if isinstance(thing, list):
        return [_plain(item) for item in thing]
    return to_text(thing) if isinstance(thing, str) else thing
