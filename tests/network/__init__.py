"""Nodes, real clients and schedulers on hosts of their own: network namespaces joined by a bridge.

The modules are named network_*.py, so that plain unittest discovery leaves them alone: run them by
python3 -m tests --only network, as root or where users may make namespaces.
"""
