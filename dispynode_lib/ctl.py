"""--ctl: has the running node do a command; --ensure: finds whether it is there and answers."""
from __future__ import absolute_import, division, print_function

import os

from dispynode_lib.errors import StartError
from dispynode_lib.host import lockfile, plainjson
from dispynode_lib.host.compat import monotonic, to_text
from dispynode_lib.node import control_socket, statefolder

NOT_RUNNING, NOT_RUNNING_ELSE, NO_ANSWER = 3, 7, 4      # as the LSB gives them for `status`, and for other actions
TIMEOUT = 20.0                              # seconds to wait for an answer
HEALTHY = 10.0                              # seconds in which a healthy node answers
ENDING = ('quit', 'exit')


def main(options, say):
    """Do the command --ctl, print the answer with say(text); return the exit status."""
    folder = statefolder.place(options)[1]
    words = options.ctl
    asks = words[0].lower() == u'status'
    try:
        answer = control_socket.ask(os.path.join(folder, statefolder.SOCKET), words, TIMEOUT)
    except EnvironmentError as error:
        return _no_answer(error, folder, options.json, asks, say)
    if words[0].lower() in ENDING:
        _wait_for_end(os.path.join(folder, statefolder.PID), options)
    if options.json:
        say(plainjson.dumps(answer['data']) + u'\n')
    else:
        say(answer['text'], to_error=answer['status'] != 0)
    return answer['status']


def _no_answer(error, folder, as_json, asks, say):
    pid = lockfile.owner(os.path.join(folder, statefolder.PID))
    if pid is None:
        status, text = NOT_RUNNING if asks else NOT_RUNNING_ELSE, u'not running'
    else:
        status, text = NO_ANSWER, u'process %d does not answer: %s' % (pid, error)
    if as_json:
        say(plainjson.dumps({'running': pid is not None, 'pid': pid, 'text': text}) + u'\n')
    else:
        say(u'dispynode with files in %s: %s\n' % (to_text(os.path.dirname(folder)), text), to_error=True)
    return status


def _wait_for_end(pid_path, options):
    """Wait until the node has ended, as long as it may take."""
    import time
    deadline = monotonic() + options.stop_timeout + TIMEOUT
    while lockfile.owner(pid_path) is not None and monotonic() < deadline:
        time.sleep(0.02)


def is_healthy(options):
    """Return whether the node with these options runs and answers. Raises StartError if it runs and does not."""
    folder = statefolder.place(options)[1]
    try:
        control_socket.ask(os.path.join(folder, statefolder.SOCKET), [u'cpus'], HEALTHY)
        return True
    except EnvironmentError as error:
        pid = lockfile.owner(os.path.join(folder, statefolder.PID))
        if pid is None:
            return False
        raise StartError(u'process %d, the node with files in %s, does not answer: %s; end it by kill -9 %d'
                         % (pid, to_text(os.path.dirname(folder)), error, pid), NO_ANSWER)
