"""Who may connect and ask, how often."""
