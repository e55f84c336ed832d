"""A job process: the user's code, what it finds there, and what it reports."""
