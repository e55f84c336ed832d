"""Options: their table, the command line, config files."""
