"""Content of files that peers send."""
from __future__ import absolute_import, division, print_function

import errno
import os

from dispynode_lib.errors import PeerGone
from dispynode_lib.host.io.streams import SLOWEST_FILE, Pace, aligned_buffer
from dispynode_lib.host import files
from dispynode_lib.host.descriptors import write_all
from dispynode_lib.log import Log

log = Log('dispynode.folders')

CHUNK = 1024000  # bytes asked for at once (docs/protocol.rst, "FILEXFER")
PIECE = 256 << 10  # bytes read and written at once: they stay in a CPU's cache
UTIME_OF_FD = os.utime in getattr(os, 'supports_fd', ())


def fill(partial, file_record, stream, value):
    """Make the file `partial` of what comes, with mode and times (as Folder.receive).

    Each part is asked for before the one in front of it is all written: it comes meanwhile.
    """
    size = file_record.size
    if size > CHUNK:
        stream.wait_in_kernel()
    if size:
        stream.send_frame(value(0))
    done, asked, pace = 0, min(size, CHUNK), Pace(stream.timeout, SLOWEST_FILE)
    view = aligned_buffer(PIECE) if size > CHUNK else memoryview(bytearray(min(size, PIECE)))
    fd = None
    try:
        fd = _new_file(partial)
        while done < size:
            count = stream.read_some_into(view[:min(asked - done, PIECE)])
            done += count
            if done < size:
                pace.check(done)
                if done == asked:
                    stream.send_frame(value(done))
                    asked = min(size, done + CHUNK)
            write_all(fd, view[:count])
        os.fchmod(fd, file_record.mode & 0o777)
        os.utime(fd if UTIME_OF_FD else partial, (file_record.atime, file_record.mtime))
    except EnvironmentError:
        _pass_over(stream, view, done, asked, pace)
        raise
    finally:
        if fd is not None:
            os.close(fd)


def _pass_over(stream, view, done, asked, pace):
    """Read and drop what a sender was asked for: unread, it would cost it the answer (RST)."""
    try:
        while done < asked:
            done += stream.read_some_into(view[:min(asked - done, len(view))])
            pace.check(done)
    except PeerGone as gone:
        log.debug('the rest of a file that cannot be written: %s', gone)


def _new_file(path):
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, 'O_NOFOLLOW', 0)
    try:
        return os.open(path, flags, 0o600)
    except EnvironmentError as error:
        if error.errno != errno.ENOENT:
            raise
    files.make_folder(os.path.dirname(path))
    return os.open(path, flags, 0o600)
