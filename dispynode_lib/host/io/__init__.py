"""Waiting and not waiting: the loop, worker threads, streams, the log."""
