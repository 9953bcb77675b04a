"""Physically smaller networks: a network is traced to a list of steps, shrunk, and stored as a list of steps."""
