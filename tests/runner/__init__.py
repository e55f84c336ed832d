"""The test command, `python3 -m tests`: what to run, where, and how it went."""
