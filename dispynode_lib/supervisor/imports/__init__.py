"""Modules loaded before jobs are forked."""
