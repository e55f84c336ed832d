"""This process: account, inherited descriptors, lock files, service manager."""
