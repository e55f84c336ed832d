"""How the running program keeps its own code: in memory, in one file, for new processes."""
