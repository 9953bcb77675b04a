"""Multi-task architectures, one in each file."""
