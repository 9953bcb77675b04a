"""The outcome, progress, status, usage and notifications of a run."""
