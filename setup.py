"""Packaging of dispynode; works on Python 2.7 and today's."""
import io
import os
import re
import sys

from setuptools import Command, find_packages, setup

HERE = os.path.dirname(os.path.abspath(__file__))


def read(name):
    """Return the text of a file beside this one."""
    with io.open(os.path.join(HERE, name), encoding='utf-8') as source:
        return source.read()


class OneFile(Command):
    """Writes build/dispynode.py, the whole program in one file."""

    description = 'write the whole program as one file, build/dispynode.py'
    user_options = [('output=', 'o', 'where to write it')]

    def initialize_options(self):
        self.output = None

    def finalize_options(self):
        self.output = self.output or os.path.join(HERE, 'build', 'dispynode.py')

    def run(self):
        sys.path.insert(0, os.path.join(HERE, 'packaging'))
        import onefile
        print(onefile.write(self.output))


setup(
    cmdclass={'onefile': OneFile},
    name='dispynode',
    version=re.search(r"__version__ = '([^']+)'", read('dispynode_lib/__init__.py')).group(1),
    description='A node for dispy clients of all releases since 4.6',
    long_description=read('README.rst'),
    long_description_content_type='text/x-rst',
    license='Apache-2.0',
    packages=find_packages(include=['dispynode_lib', 'dispynode_lib.*']),
    package_data={'dispynode_lib': ['data/*']},
    scripts=['dispynode.py'],
    entry_points={'console_scripts': ['dispynode = dispynode_lib.__main__:program']},
    python_requires='>=2.7,!=3.0.*,!=3.1.*,!=3.2.*,!=3.3.*,!=3.4.*,!=3.5.*',
    install_requires=['psutil<7; python_version < "3"', 'psutil; python_version >= "3"'],
    zip_safe=False,
    classifiers=[
        'Development Status :: 3 - Alpha',
        'Environment :: Console',
        'Environment :: No Input/Output (Daemon)',
        'Intended Audience :: Developers',
        'Intended Audience :: Science/Research',
        'Intended Audience :: System Administrators',
        'Operating System :: POSIX :: Linux',
        'Programming Language :: Python :: 2.7',
        'Programming Language :: Python :: 3',
    ] + ['Programming Language :: Python :: 3.%d' % minor for minor in range(6, 16)] + [
        'Programming Language :: Python :: Implementation :: CPython',
        'Topic :: System :: Clustering',
        'Topic :: System :: Distributed Computing',
    ],
)
