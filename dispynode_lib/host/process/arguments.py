"""Takes secrets out of what the process list shows of this process: every user of the host can read that."""
from __future__ import absolute_import, division, print_function

import os

from dispynode_lib.host import proc
from dispynode_lib.host.compat import to_bytes


def hide(secrets):
    """Overwrite the arguments that are, or end with, one of `secrets` (texts or None); return whether that went well."""
    secrets = [to_bytes(secret) for secret in secrets if secret]
    if not secrets:
        return True
    try:
        fields = proc.stat_fields(os.getpid())
        begin, end = int(fields[proc.ARGUMENTS_BEGIN]), int(fields[proc.ARGUMENTS_END])
        memory = os.open('/proc/self/mem', os.O_RDWR)
    except (EnvironmentError, IndexError, ValueError):
        return False                        # no /proc, or one that tells other processes nothing either
    try:
        os.lseek(memory, begin, os.SEEK_SET)
        words = os.read(memory, end - begin).split(b'\0')
        hidden = b'\0'.join([_hidden(word, secrets) for word in words])
        os.lseek(memory, begin, os.SEEK_SET)
        return os.write(memory, hidden) == end - begin
    except EnvironmentError:
        return False
    finally:
        os.close(memory)


def _hidden(word, secrets):
    """Return an argument, as long as before, without a secret: `-s SECRET`, `-sSECRET`, `--secret=SECRET`."""
    for secret in secrets:
        option = word[:len(word) - len(secret)]
        if word.endswith(secret) and (not option or option.endswith(b'=') or len(option) == 2 and option[:1] == b'-'):
            return option + b'x' * len(secret)
    return word
