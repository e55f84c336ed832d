"""Computations and their jobs, as the node sees them."""
