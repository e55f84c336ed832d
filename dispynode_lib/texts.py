"""Text and bytes, one rule: UTF-8; what is none, or cannot be, shows as U+FFFD or an escape."""
from __future__ import absolute_import, division, print_function

import os


def to_text(value):
    """Return `value` (bytes as UTF-8, or text) as text; undecodable bytes become U+FFFD."""
    if isinstance(value, bytes):
        return value.decode('utf-8', 'replace')
    return value


def to_bytes(value):
    """Return `value` (text or bytes) as UTF-8 bytes; lone surrogates become escapes."""
    if isinstance(value, bytes):
        return value
    try:
        return value.encode('utf-8')
    except UnicodeEncodeError:
        return value.encode('utf-8', 'backslashreplace')


if str is bytes:
    to_native = to_path = path_bytes = to_bytes
else:
    to_native = to_text                     # as `str`, what most functions take

    def to_path(value):
        """Return text or bytes as a file name for os functions: UTF-8 on disk in any locale."""
        if not isinstance(value, bytes):
            try:
                value = value.encode('utf-8', 'surrogateescape')
            except UnicodeEncodeError:
                value = to_bytes(value)
        return os.fsdecode(value)

    path_bytes = os.fsencode                # what to_path() was given, in bytes
