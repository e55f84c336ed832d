"""This machine: sockets, resources, clock, Python versions."""
