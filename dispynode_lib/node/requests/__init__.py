"""Requests of peers: ports, listeners, reception, handlers."""
