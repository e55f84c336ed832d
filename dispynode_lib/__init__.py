"""A node of the distributed computing package dispy."""

__version__ = '0.1.0'
