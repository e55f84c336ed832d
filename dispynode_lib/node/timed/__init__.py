"""Timed duties, the watchdog thread that does them, service hours."""
