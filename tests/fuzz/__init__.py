"""Mutated grid files and results folders: each works or ends in one clear error, and touches nothing outside."""
