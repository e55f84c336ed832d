"""--ctl restart: this process becomes the program that is on disk now, with the options that it was
started with."""
from __future__ import absolute_import, division, print_function

import os
import sys

from dispynode_lib.code.image import python_flags

BACKGROUND = ('--detach', '--ensure')       # it is there already


def replace(chosen, argv, folder):
    """Execute the program anew; does not return. Raises EnvironmentError.

    chosen   the Options
    argv     list without the program's name
    folder   in which this process was started
    """
    os.chdir(folder)
    program = os.path.join(folder, sys.argv[0])
    start = ['-m', 'dispynode_lib'] if program.endswith('__main__.py') else [program]
    options = [word for word in argv if word not in BACKGROUND]
    if len(options) != len(argv):
        options.append('--daemon')
        if chosen.log_file and '--log_file' not in argv:
            options += ['--log_file', str(chosen.log_file)]
    environment = dict(os.environ)
    environment.update((name, value) for name, value in (chosen.environment or {}).items()
                       if name.startswith('DISPYNODE_'))
    os.execve(sys.executable, [sys.executable] + python_flags() + start + options, environment)
