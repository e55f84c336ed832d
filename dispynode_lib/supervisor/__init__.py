"""The supervisor process of one computation, and its jobs."""
