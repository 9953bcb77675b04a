"""Networks that are really smaller: traced to a list of steps, shrunk, and kept as such a list."""
