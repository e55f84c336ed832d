"""This process as the host sees it: account, arguments, locks, service manager."""
