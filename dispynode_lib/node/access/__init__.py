"""Access to the node: who may connect and ask, how often."""
