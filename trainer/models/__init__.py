"""Multi-task architectures, one a file."""
