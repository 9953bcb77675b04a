"""Physically smaller networks: traced to a list of steps, shrunk, and stored as such a list."""
