"""Commands of an operator, and what they print."""
