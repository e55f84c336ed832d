"""What peers ask, and how it comes in: ports, listeners, handlers."""
