"""What the operator sees and commands."""
