"""What a supervisor has to know of its computation: the `open` frame."""
from __future__ import absolute_import, division, print_function

from dispynode_lib.host.compat import integer_types, path_bytes, to_bytes
from dispynode_lib.wire import releases


def open_frame(computation, common, big_folder, descriptors, lasting=('', 0, 0)):
    """Return the parts of the frame.

    computation   node.computations.computation.Computation
    common        node.shared.common.Common
    big_folder    where big arguments and results are
    descriptors   that each process may open
    lasting       where the next node finds the supervisor, for how long it waits for that, number
                  of this node
    """
    frame = [b'open']
    for key, value in _settings(
            computation, computation.request, common, big_folder, descriptors, lasting):
        frame.append(key.encode('ascii'))
        frame.append(b'%d' % value if isinstance(value, integer_types) else to_bytes(value))
    return frame


def _settings(computation, request, common, big_folder, descriptors, lasting):
    options, peer = common.options, computation.peer
    client = request.client_reply_addr or (u'', 0)
    in_compute = request.setup_in_compute or request.cleanup_in_compute
    return (('id', request.id), ('type', request.type), ('name', request.name),
            ('code', request.code), ('folder', path_bytes(
                computation.folder.path)), ('big_folder', path_bytes(big_folder)),
            ('setup', request.setup), ('cleanup',
                                       request.cleanup if has_cleanup_function(request) else u''),
            ('compute', computation.argument if in_compute else b''), ('python2', int(
                peer.python2)), ('protocol', peer.protocol), ('setup_accepts', ' '.join(
                    '%d' % status
                    for status in peer.accepts_setup())), ('node_name', common.identity.name),
            ('node_ip_addr', computation.node_ip_addr), ('scheduler_ip_addr',
                                                         computation.result_address[0]),
            ('job_result_port', computation.result_address[1]), ('client_ip_addr',
                                                                 client[0]), ('client_port',
                                                                              client[1]),
            ('max_file_size', options.max_file_size
             or 0), ('certfile', path_bytes(
                 options.certfile or '')), ('keyfile', path_bytes(
                     options.keyfile or '')), ('whole_records',
                                               int(releases.wants_whole_records(peer.version))),
            ('cleanup_timeout',
             '%g' % options.cleanup_timeout), ('limits', _limits(
                 options, descriptors)), ('client_shutdown', int(bool(
                     options.client_shutdown))), ('preload', _policy(
                         options.preload)), ('ledger', int(bool(
                             options.ledger))), ('socket', path_bytes(
                                 lasting[0])), ('orphan_timeout', '%g' % lasting[1]), ('generation',
                                                                                       lasting[2]))


def _policy(preload):
    """Return what a supervisor may load of what its jobs import, as supervisor/imports/learning
    reads it."""
    words = sorted(set(['standard'] + [name.partition('.')[0] for name in preload]))
    return '' if u'none' in preload else ' '.join(words)


def _limits(options, descriptors):
    """Return what the operator allows jobs, as supervisor/processes/limits reads it."""
    limits = (('nice', options.nice), ('memory', options.job_memory),
              ('output', options.job_output), ('processes', options.job_processes), ('descriptors',
                                                                                     descriptors))
    return ' '.join('%s=%d' % (key, value) for key, value in limits if value)


def has_cleanup_function(request):
    """Return whether a COMPUTE names a cleanup function, and not just whether files are to be
    removed."""
    return bool(request.cleanup) and not isinstance(request.cleanup, bool)
