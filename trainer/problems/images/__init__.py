"""Two-task image problems, and the data sets that they are built from."""
