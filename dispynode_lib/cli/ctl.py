"""--ctl: has the running node do a command, or ends what has outlived it; --ensure: finds whether
it is there and answers."""
from __future__ import absolute_import, division, print_function

import errno
import os

from dispynode_lib.errors import StartError
from dispynode_lib.host import plainjson, processes
from dispynode_lib.host.network import unixsocket
from dispynode_lib.host.process import lockfile
from dispynode_lib.host.compat import monotonic, to_text
from dispynode_lib.host.wording import counted
from dispynode_lib.node.operator import control_socket, statefolder
from dispynode_lib.node.replies.records import Records

# as the LSB gives them for `status`, and for other actions
NOT_RUNNING, NOT_RUNNING_ELSE, NO_ANSWER = 3, 7, 4
TIMEOUT = 20.0                              # seconds to wait for an answer
HEALTHY = 10.0                              # seconds in which a healthy node answers
REACHED = 2.0                               # seconds for a supervisor to be reached
NO_ACCESS = errno.EACCES, errno.EPERM
ENDING = ('quit', 'exit')
RESTART = 'restart'
PAUSE = 0.02                                # seconds between two looks


def main(options, say):
    """Do the command --ctl, print the answer with say(text); return the exit status."""
    words = options.ctl
    if [word.lower() for word in words] == [u'list']:
        return _list(options.json, say)
    folder = statefolder.place(options)[1]
    asks = words[0].lower() == u'status'
    path, pid = os.path.join(folder, statefolder.SOCKET), os.path.join(folder, statefolder.PID)
    before = _made(path), lockfile.owner(pid)
    try:
        answer = control_socket.ask(path, words, TIMEOUT)
    except EnvironmentError as error:
        if words[0].lower() in ENDING and _end_waiting(folder, options, say):
            return 0
        return _no_answer(error, folder, options.json, asks, say)
    if words[0].lower() in ENDING:
        _wait_for_end(pid, options)
    if options.json:
        say(plainjson.dumps(answer['data']) + u'\n')
    else:
        say(answer['text'], to_error=answer['status'] != 0)
    if words[0].lower() == RESTART and not answer['status'] and not _has_next(
            path, before, options):
        say(u'dispynode with files in %s: the next node does not answer; its log tells why\n' %
            to_text(os.path.dirname(folder)), to_error=True)
        return NO_ANSWER
    return answer['status']


def _list(as_json, say):
    """Show the nodes of this host; return the exit status."""
    from dispynode_lib.cli import hostnodes
    found = hostnodes.find()
    if as_json:
        say(plainjson.dumps([node.data() for node in found]) + u'\n')
    else:
        say(u''.join(node.line()
                     for node in found) or u'no node runs on this host, or none that you may see\n')
    return 0 if found else NOT_RUNNING


def _no_answer(error, folder, as_json, asks, say):
    pid = lockfile.owner(os.path.join(folder, statefolder.PID))
    if pid is None and error.errno in NO_ACCESS:
        status, text = os.EX_NOPERM, (
            u'no access to %s: %s; do it as the user of the node, or as root' %
            (to_text(folder), error.strerror))
    elif pid is None:
        status = NOT_RUNNING if asks else NOT_RUNNING_ELSE
        text = u'not running: there is no node in %s%s' % (
            to_text(folder), _waiting(folder) or _elsewhere(folder))
    else:
        status, text = NO_ANSWER, u'process %d does not answer: %s' % (pid, error)
    if as_json:
        say(plainjson.dumps({'running': None if status == os.EX_NOPERM else pid is not None,
                             'pid': pid, 'text': text}) + u'\n')
    else:
        say(u'dispynode with files in %s: %s\n' % (to_text(os.path.dirname(folder)), text),
            to_error=True)
    return status


def _waiting(folder):
    """Return text on computations that wait for the next node, u'' if there are none."""
    count = len([path for path in _supervisors(folder) if _is_there(path)])
    return count and u'; %s for the next one: start it, or end them by --ctl quit' % (
        u'1 computation waits' if count == 1 else u'%d computations wait' % count)


def _supervisors(folder):
    """Return the paths of the sockets by which supervisors of a dead node are found."""
    return [path for found in Records(folder, 0, 0).supervisors().values() for _key, path in found]


def _is_there(path):
    try:
        unixsocket.connect(path, REACHED).close()
        return True
    except EnvironmentError:
        return False


def _end_waiting(folder, options, say):
    """End computations that wait for the next node, and tell that; return how many there were."""
    try:
        count = _end_supervisors(folder, options.stop_timeout + TIMEOUT)
    except (EnvironmentError, lockfile.Held):
        return 0                            # no access, or a node has just come
    if count:
        text = u'there is no node in %s; %s, which waited for the next one, ended: its start ' \
            u'tells their clients' % (to_text(folder), counted(count, u'computation'))
        say(plainjson.dumps({'text': text, 'done': True}) + u'\n' if options.json else
            u'dispynode with files in %s: %s\n' % (to_text(os.path.dirname(folder)), text))
    return count


def _end_supervisors(folder, seconds):
    """End computations as a node that stops does, wait so many seconds at most; return how many
    there were.

    Raises lockfile.Held if there is a node, EnvironmentError without access.
    """
    paths = _supervisors(folder)
    if not paths:
        return 0
    from dispynode_lib.node.computations import link        # few look for them
    lock = lockfile.LockFile(os.path.join(folder, statefolder.PID))
    lock.acquire()                          # no node comes meanwhile
    try:
        pids = [link.end_supervisor(path) for path in paths]
        begun = [(pid, processes.start_time(pid)) for pid in pids if pid]
        processes.wait_gone([pair for pair in begun if pair[1] is not None], seconds)
    finally:
        lock.release()
    return len([pid for pid in pids if pid is not None])


def _elsewhere(folder):
    """Return what is known (text) of the port of a state folder whose node does not run."""
    from dispynode_lib.cli import hostnodes
    files, name = os.path.split(folder)
    found = hostnodes.on_port(int(name[len(statefolder.PREFIX):]), files)
    return found and u'; ' + found


def _wait_for_end(pid_path, options):
    """Wait until the node has ended, as long as it may take."""
    import time
    deadline = monotonic() + options.stop_timeout + TIMEOUT
    while lockfile.owner(pid_path) is not None and monotonic() < deadline:
        time.sleep(PAUSE)


def _made(path):
    """Return what differs when a socket has been made anew, None if there is none."""
    try:
        found = os.stat(path)
        return found.st_ino, found.st_ctime
    except EnvironmentError:
        return None


def _has_next(path, before, options):
    """Wait until another node is at the socket `path`; return whether it comes.

    before   (_made() of the one that is to be replaced, its pid)
    """
    import time
    deadline = monotonic() + options.stop_timeout + TIMEOUT
    made, pid = before
    can_see = pid is not None and processes.start_time(pid) is not None
    while monotonic() < deadline and not (can_see and processes.start_time(pid) is None):
        if _made(path) not in (None, made):
            try:
                control_socket.ask(path, [u'cpus'], HEALTHY)
                return True
            except EnvironmentError:
                pass                        # it is about to listen there
        time.sleep(PAUSE)
    return False


def is_healthy(options):
    """Return whether the node answers. Raises StartError if it runs and does not."""
    folder = statefolder.place(options)[1]
    try:
        control_socket.ask(os.path.join(folder, statefolder.SOCKET), [u'cpus'], HEALTHY)
        return True
    except EnvironmentError as error:
        pid = lockfile.owner(os.path.join(folder, statefolder.PID))
        if pid is None:
            return False
        raise StartError(
            u'process %d, the node with files in %s, does not answer: %s; end it by kill -9 %d' %
            (pid, to_text(os.path.dirname(folder)), error, pid), NO_ANSWER)
