"""Blocking and non-blocking I/O: the loop, worker threads, streams, the log."""
