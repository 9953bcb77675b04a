"""The supervisor, which runs a plan in attempts. This package does not import Ray."""
