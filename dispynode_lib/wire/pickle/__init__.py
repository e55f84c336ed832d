"""Pickles of peers, read without ever importing or running anything."""
