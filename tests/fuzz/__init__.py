"""Mutated grid files and results folders: each one works or ends in one clear error, and nothing outside is touched."""
