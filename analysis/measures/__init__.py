"""What is computed from a table of results."""
