"""Watching a run: its outcome, progress, status, usage and notifications."""
