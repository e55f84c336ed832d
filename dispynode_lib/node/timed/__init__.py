"""What is done by the clock: duties, the watchdog thread, service hours."""
