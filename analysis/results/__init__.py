"""What lies on disk: a results folder read as a table, without trusting any of its files."""
